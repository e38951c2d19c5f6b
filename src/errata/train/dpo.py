"""Direct preference optimisation: the chosen answer up, the rejected one down, near the reference.

The reference is the model this run started from; its log-probabilities are computed once, before
the first step, so that training holds one model. Where the policy starts as the reference, the
sigmoid loss of the untouched policy must be ln 2; that is checked before anything moves.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from transformers import Trainer

from errata import candidates, jsonl, report
from errata.errors import ErrataError
from errata.language import say
from errata.outcome import Outcome
from errata.records import Candidate, PreferencePair
from errata.train.logprobs import Scored, Scorer, by_sequence, ready
from errata.train.losses import LOSSES, margin
from errata.train.model import drops, load, weights_dtype, with_adapter
from errata.train.packing import IGNORE, Batch, Limits, Tree, cut, in_parts
from errata.train.prepare import build, learns, note_halved, pair_trees, show_first
from errata.train.reference import Pair, cached, compute, key
from errata.train.settings import ALIASES, Training
from errata.train.stage import Job, train
from errata.train.step import Example, StepTrainer, Sums, autocast, tokens_at_once
from errata.train.turns import as_messages
from errata.train.versus import Versus, after_training
from errata.workspace import Workspace

__all__ = ["ALIASES", "DEFAULT_CONFIG", "Config", "main"]
DEFAULT_CONFIG = "align/dpo.yaml"


class Config(Training, Versus):
    """The panel, and what is DPO's own."""

    dataset: str = Field("data/prefs.jsonl", description="preference pairs")
    epochs: float = Field(1.0, gt=0, description="passes over the pairs; more than 2 overfits")
    micro_batch: int = Field(8, ge=1, description="pairs at once")
    lr: float = Field(5e-5, gt=0, description="a twentieth of SFT's; more costs accuracy")
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


class DpoTrainer(StepTrainer):
    """Mean preference loss of a step's pairs; `Example.reference` is (chosen, rejected)."""

    config: Config
    first_step_tells = False  # whether the policy is the reference: at no cost

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """The frame's; of the first step of all, every margin must be 0."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.first_step_tells and self.state.global_step == 0:
            check_start(self, torch.cat(self._measured["margin"]))
        return loss

    def sums(self, scored: Scored, batch: Batch, examples: list[Example], total: float) -> Sums:
        """LOSSES[loss] of the pairs' margins, and the chosen answers' own loss if asked for."""
        knobs = self.config
        policy = by_sequence(scored.logps, batch)
        reference = torch.tensor([e.reference for e in examples], device=policy.device)
        chosen, rejected = policy[::2], policy[1::2]
        h = margin(chosen, rejected, reference[:, 0], reference[:, 1], knobs.beta)
        preference = LOSSES[knobs.loss](h, knobs.beta, knobs.label_smoothing)
        loss, parts = preference.sum(), dict[str, Tensor]()
        if knobs.sft_weight:
            learnt = chosen.new_tensor([_chosen_tokens(e) for e in examples])
            loss = loss - knobs.sft_weight * (chosen / learnt).sum()
            parts["preference_loss"] = preference.detach()  # ln 2 at the start, as `loss` is not
        shift = (policy.detach() - reference.flatten()).view(-1, 2)
        return Sums(
            loss,
            {
                **parts,
                "margin": h.detach(),
                "preference_score": (h.detach() > 0).float(),
                "chosen_reward": knobs.beta * shift[:, 0],
                "rejected_reward": knobs.beta * shift[:, 1],
            },
        )


def _chosen_tokens(example: Example) -> int:
    return sum(label != IGNORE for label in example.tree.branches[0].labels)


def check_start(trainer: DpoTrainer, margins: Tensor) -> None:
    """The untouched policy is the reference: every margin is 0, and the sigmoid loss ln 2."""
    exact = trainer.scorer.model.dtype == torch.float32 and not trainer.config.mixed
    worst, near = float(margins.abs().max()), 1e-2 if exact else 1.0
    if not worst <= near * trainer.config.beta:
        raise ErrataError(
            f"dpo: the policy is not the reference at step 0 (margin {worst:.3g}); "
            "delete .errata/cache/reference and report this"
        )


def margins_now(trainer: DpoTrainer, examples: list[Example]) -> Tensor:
    """Of a few examples, without dropout: the reference had none."""
    trainer.scorer.model.eval()
    limits = (trainer.limits.rows, trainer.limits.tokens)
    longest = cut(examples[: trainer.config.micro_batch], lambda e: e.tree.tokens, *limits)[0]

    def margins(part: list[Example]) -> Tensor:
        scored, batch = trainer.scorer([e.tree for e in part])
        return trainer.sums(scored, batch, part, len(part)).measured["margin"]

    with torch.no_grad(), autocast(trainer.config, trainer.scorer.device):
        return torch.cat(in_parts(longest, lambda e: e.tree.tokens, trainer.eval_limits, margins))


def reference_of(job: Job, config: Config, scorer: Scorer, trees: list[Tree]) -> list[Pair]:
    """Reference log-probabilities of every pair, from the cache where they are known."""
    start, model = job.start.candidate, scorer
    if config.reference != "start":
        start = candidates.resolve(job.ws, config.reference)
    settings = {
        "dtype": str(scorer.model.dtype), "method": config.method, "seq_len": config.seq_len,
        "way": scorer.way, "autocast": config.mixed,
    }  # fmt: skip

    def now() -> list[Pair]:
        nonlocal model
        if config.reference != "start":
            model = _other(job, config, start)
        limits = Limits(2 * config.micro_batch, 2 * tokens_at_once(config, model.device))
        bare = config.reference == "start" and config.method != "full" and not job.start.adapter
        with (
            autocast(config, model.device),
            model.model.disable_adapter() if bare else nullcontext(),
        ):
            found = compute(model, trees, limits)
        note_halved(job, limits.halved, say("reference", "参考模型"))
        return found

    found, kept = cached(job.ws, key(start, settings, trees), now)
    if kept:
        job.notes.append(say("reference log-probs read from the cache", "参考模型对数概率取自缓存"))
    return found


def _other(job: Job, config: Config, candidate: Candidate) -> Scorer:
    """Another model as the reference, for as long as its log-probabilities take."""
    base, adapter = candidates.verify(job.ws, candidate)
    model, tokenizer = load(base, weights_dtype(config), nf4=config.method == "qlora")
    if adapter is not None:
        model = with_adapter(model, adapter, False)
    return ready(model, tokenizer.pad_token_id, config.seq_len)


def prepare(job: Job) -> Trainer:
    """Policy, reference log-probabilities and encoded pairs of a run."""
    config = job.config
    assert isinstance(config, Config)
    rows = jsonl.read(job.dataset, PreferencePair)
    learns(job, rows)
    valid = jsonl.read(job.validation, PreferencePair) if job.validation else []
    model, tokenizer, scorer = build(job, config)
    trees = pair_trees(job, tokenizer, rows + valid)
    show_first(job, tokenizer, trees[0])
    job.clock.start()
    known = reference_of(job, config, scorer, trees)
    examples = [
        Example(row.id, tree, pair)
        for row, tree, pair in zip(rows + valid, trees, known, strict=True)
    ]
    train, checks = examples[: len(rows)], examples[len(rows) :]
    trainer = DpoTrainer(model, scorer, config, job.checkpoints, train, checks)
    if config.reference == "start":
        trainer.first_step_tells = not drops(model)
        if not trainer.first_step_tells:
            check_start(trainer, margins_now(trainer, train))
    return trainer


def show_samples(job: Job, trainer: Any) -> None:
    """A few answers sampled at `temperature`, for people to read beside the curves."""
    from errata.evaluate.generate import Decoding, answers

    config = job.config
    assert isinstance(config, Config)
    rows = jsonl.read(job.validation or job.dataset, PreferencePair)[:4]
    prompts = [as_messages(row.prompt) for row in rows]
    decoding = Decoding(temperature=config.temperature, seed=config.seed)
    said = answers(trainer.model, job.tokenizer, prompts, decoding)
    chosen = [as_messages(row.chosen, "assistant")[-1].content for row in rows]
    cells = [
        [prompt[-1].content, good, text]
        for prompt, good, text in zip(prompts, chosen, said, strict=True)
    ]
    head = say("Samples at temperature", "采样回答，温度")
    table = report.markdown_table(["prompt", "chosen", say("sampled", "采样")], cells)
    job.extra.setdefault("pages", []).append(f"## {head} {config.temperature:g}\n\n{table}")


def main(ws: Workspace, config: Config) -> Outcome:
    """`errata dpo`."""

    def after(job: Job, trainer: Any) -> dict[str, float | None]:
        show_samples(job, trainer)
        return after_training(job, trainer.model, job.tokenizer)

    held_to = config.reference  # another version of it is another run; the start is one anyway
    also = [] if held_to == "start" else [candidates.resolve(ws, held_to).digest]
    return train(ws, "dpo", config, prepare, after, also)
