"""Direct preference optimisation: the chosen answer up, the rejected one down, near the reference.

The reference is the model this run started from; its log-probabilities are computed once, before
the first step, so that training holds one model. Where the policy starts as the reference, the
sigmoid loss of the untouched policy must be ln 2; that is checked before the first step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from transformers import Trainer, set_seed

from errata import candidates, jsonl, report
from errata.errors import ErrataError
from errata.language import say
from errata.outcome import Outcome
from errata.records import PreferencePair
from errata.train.job import arguments
from errata.train.logprobs import left_pad, sequence_logps
from errata.train.losses import LOSSES, margin
from errata.train.settings import ALIASES, Training
from errata.train.stage import Job, train
from errata.train.tokens import EncodedPair, as_messages
from errata.workspace import Workspace

__all__ = ["ALIASES", "DEFAULT_CONFIG", "Config", "main"]
DEFAULT_CONFIG = "align/dpo.yaml"


class Config(Training):
    """The panel, and what is DPO's own."""

    dataset: str = Field("data/prefs.jsonl", description="preference pairs")
    epochs: float = Field(1.0, gt=0, description="passes over the pairs; more than 2 overfits")
    micro_batch: int = Field(8, ge=1, description="pairs at once")
    lr: float = Field(2e-4, gt=0, description="a fifth of SFT's or less")
    beta: float = Field(0.1, gt=0, description="KL constraint: higher stays nearer the reference")
    loss: Literal["sigmoid", "ipo", "hinge", "robust"] = Field(
        "sigmoid", description="see losses.py"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="share of wrong labels, for robust"
    )
    temperature: float = Field(1.0, ge=0, description="of the answers sampled for the report")
    reference: str = Field(
        "start", description="`start`: the model this run starts from; or a path"
    )
    sft_weight: float = Field(
        0.0, ge=0, description="share of the chosen answer's own loss: keeps it from sinking"
    )


class PairCollator:
    """Pairs → one left-padded batch of 2B rows, chosen first, with the reference's log-probs."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, pairs: list[tuple[EncodedPair, float, float]]) -> dict[str, Tensor]:
        rows = [(p.chosen.ids, p.chosen.labels) for p, _, _ in pairs]
        rows += [(p.rejected.ids, p.rejected.labels) for p, _, _ in pairs]
        batch = left_pad(rows, self.pad_id)
        batch["reference"] = torch.tensor([c for _, c, _ in pairs] + [r for _, _, r in pairs])
        return batch


@torch.no_grad()
def reference_logps(
    model: Any, pairs: list[EncodedPair], pad_id: int, batch: int
) -> list[tuple[float, float]]:
    """(chosen, rejected) log-probabilities of each pair under `model`, longest pairs first."""
    model.eval()
    rows = [row for pair in pairs for row in pair]
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i].ids))
    found = [0.0] * len(rows)
    device = next(model.parameters()).device
    for start in range(0, len(order), batch):
        picked = order[start : start + batch]
        padded = left_pad([(rows[i].ids, rows[i].labels) for i in picked], pad_id)
        logps = sequence_logps(model, {k: v.to(device) for k, v in padded.items()})
        for index, value in zip(picked, logps.tolist(), strict=True):
            found[index] = value
    return list(zip(found[::2], found[1::2], strict=True))


class DpoTrainer(Trainer):
    """Mean preference loss of a batch; accumulation averages batches."""

    loss_is_scaled_for_ga = False
    config: Config
    tokenizer_of_run: Any

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """LOSSES[config.loss] of the pairs' margins, plus the chosen answers' own loss if asked."""
        config = self.config
        logps = sequence_logps(model, inputs)
        chosen, rejected = logps.chunk(2)
        ref_chosen, ref_rejected = inputs["reference"].chunk(2)
        h = margin(chosen, rejected, ref_chosen, ref_rejected, config.beta)
        loss = LOSSES[config.loss](h, config.beta, config.label_smoothing).mean()
        if config.sft_weight:
            learnt = (inputs["labels"].chunk(2)[0] != -100).sum()
            loss = loss - config.sft_weight * chosen.sum() / learnt
        return (loss, {"margin": h.detach()}) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss and margins, from which `preference_score` is computed."""
        with torch.no_grad():
            loss, out = self.compute_loss(model, self._prepare_inputs(inputs), return_outputs=True)
        return loss.detach(), out["margin"], torch.zeros_like(out["margin"])


def preference_metrics(prediction: Any) -> dict[str, float]:
    """Share of validation pairs ranked right, and the mean margin."""
    h = prediction.predictions
    return {"preference_score": float((h > 0).mean()), "margin": float(h.mean())}


def check_start(
    trainer: DpoTrainer, collate: PairCollator, data: list[Any], config: Config
) -> None:
    """The untouched policy is the reference: sigmoid loss ln 2, every margin 0."""
    model: Any = trainer.model
    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        batch = {k: v.to(device) for k, v in collate(data[: config.micro_batch]).items()}
        _, out = trainer.compute_loss(model, batch, return_outputs=True)
    worst = float(out["margin"].abs().max())
    if worst > 1e-2 * config.beta:
        raise ErrataError(
            f"dpo: the policy is not the reference at step 0 (margin {worst:.3g}); report this"
        )


def prepare(job: Job) -> Trainer:
    """Policy, reference log-probabilities and encoded pairs of a run."""
    from errata.train.model import add_lora, load
    from errata.train.tokens import encode_pairs

    config = job.config
    assert isinstance(config, Config)
    rows = jsonl.read(job.dataset, PreferencePair)
    valid = jsonl.read(job.validation, PreferencePair) if job.validation else []
    set_seed(config.seed)
    model, tokenizer = load(job.start.base, config.dtype)
    model = add_lora(
        model, config.lora_r, config.lora_alpha, config.lora_dropout, job.start.adapter
    )
    pairs = encode_pairs(tokenizer, rows, config.seq_len)
    checks = encode_pairs(tokenizer, valid, config.seq_len)
    reference = model if config.reference == "start" else _reference(job, config)
    job.clock.start()
    both = pairs + checks
    logps = reference_logps(reference, both, tokenizer.pad_token_id, 4 * config.micro_batch)
    data = [(pair, *found) for pair, found in zip(both, logps, strict=True)]
    collate = PairCollator(tokenizer.pad_token_id)
    trainer = DpoTrainer(
        model=model,
        args=arguments(config, job.checkpoints, bool(job.validation), label_names=["labels"]),
        data_collator=collate,
        train_dataset=data[: len(pairs)],
        eval_dataset=data[len(pairs) :] or None,
        compute_metrics=preference_metrics,
    )
    trainer.config, trainer.tokenizer_of_run = config, tokenizer
    if config.reference == "start" and job.checkpoint is None:
        check_start(trainer, collate, data, config)
    job.run.links((row.id, job.run.id, "trained") for row in rows)
    return trainer


def show_samples(job: Job, trainer: Any) -> None:
    """A few answers sampled at `temperature`, for people to read beside the curves."""
    from errata.evaluate.generate import Decoding, answers

    config = job.config
    assert isinstance(config, Config)
    rows = jsonl.read(job.validation or job.dataset, PreferencePair)[:4]
    prompts = [as_messages(row.prompt) for row in rows]
    decoding = Decoding(temperature=config.temperature, seed=config.seed)
    said = answers(trainer.model, trainer.tokenizer_of_run, prompts, decoding)
    chosen = [as_messages(row.chosen, "assistant")[-1].content for row in rows]
    cells = [
        [prompt[-1].content, good, text]
        for prompt, good, text in zip(prompts, chosen, said, strict=True)
    ]
    head = say("Samples at temperature", "采样回答，温度")
    table = report.markdown_table(["prompt", "chosen", say("sampled", "采样")], cells)
    job.extra.setdefault("pages", []).append(f"## {head} {config.temperature:g}\n\n{table}")


def _reference(job: Job, config: Config) -> Any:
    """Another model as the reference."""
    from errata.train.model import add_lora, load

    base, adapter = candidates.verify(job.ws, candidates.resolve(job.ws, config.reference))
    model, _ = load(base, config.dtype)
    return model if adapter is None else add_lora(model, 1, 1, 0.0, Path(adapter))


def main(ws: Workspace, config: Config) -> Outcome:
    """`errata dpo`."""
    return train(ws, "dpo", config, prepare, show_samples)
