"""The reward model: one scalar at the end of an answer; chosen shall score above rejected.

A LoRA adapter and a scalar head on the same base; the loss is Bradley–Terry (losses.py). It is
worth as much as its accuracy on pairs it never saw, which the report and `accept` hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from transformers import Trainer, set_seed

from errata import candidates, jsonl
from errata.errors import BadInput
from errata.outcome import Outcome
from errata.records import PreferencePair
from errata.store import runs
from errata.train.dpo import preference_metrics
from errata.train.job import arguments
from errata.train.logprobs import left_pad
from errata.train.losses import bradley_terry
from errata.train.settings import ALIASES, Training
from errata.train.stage import Job, train
from errata.train.tokens import EncodedPair
from errata.workspace import Workspace

__all__ = ["ALIASES", "Config", "main"]
DEFAULT_CONFIG = "rm.yaml"


class Config(Training):
    """The panel over preference pairs."""

    dataset: str = Field("data/prefs.jsonl", description="preference pairs")
    epochs: float = Field(1.0, gt=0, description="passes; a reward model overfits after one or two")
    micro_batch: int = Field(8, ge=1, description="pairs at once")
    lr: float = Field(1e-3, gt=0, description="see the panel")


def collate(pairs: list[EncodedPair], pad_id: int) -> dict[str, Tensor]:
    """2B left-padded rows, chosen first."""
    rows = [(p.chosen.ids, p.chosen.labels) for p in pairs]
    rows += [(p.rejected.ids, p.rejected.labels) for p in pairs]
    return left_pad(rows, pad_id)


def scores(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """(2B,) scalar of each row, read at its last token."""
    mask = batch["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    out = model(
        input_ids=batch["input_ids"], attention_mask=mask, position_ids=positions, use_cache=False
    )
    result: Tensor = out.logits[:, 0].float()
    return result


class RewardTrainer(Trainer):
    """Mean Bradley–Terry loss of a batch."""

    loss_is_scaled_for_ga = False

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """−log σ(r_chosen − r_rejected), averaged."""
        chosen, rejected = scores(model, inputs).chunk(2)
        loss = bradley_terry(chosen, rejected).mean()
        return (loss, {"margin": (chosen - rejected).detach()}) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss and margins of validation pairs."""
        with torch.no_grad():
            loss, out = self.compute_loss(model, self._prepare_inputs(inputs), return_outputs=True)
        return loss.detach(), out["margin"], torch.zeros_like(out["margin"])


def prepare(job: Job) -> Trainer:
    """Scalar-headed model with a new adapter, and encoded pairs."""
    from errata.train.model import add_lora, load
    from errata.train.tokens import encode_pairs

    config = job.config
    assert isinstance(config, Config)
    rows = jsonl.read(job.dataset, PreferencePair)
    valid = jsonl.read(job.validation, PreferencePair) if job.validation else []
    set_seed(config.seed)
    model, tokenizer = load(job.start.base, config.dtype, "reward")
    if job.start.adapter is not None:
        job.notes.append("a reward model starts from the base; the run's adapter is not used")
    model = add_lora(model, config.lora_r, config.lora_alpha, config.lora_dropout, None, "reward")
    job.run.links((row.id, job.run.id, "trained") for row in rows)
    job.clock.start()
    return RewardTrainer(
        model=model,
        args=arguments(config, job.checkpoints, bool(job.validation), label_names=["labels"]),
        data_collator=lambda pairs: collate(pairs, tokenizer.pad_token_id),
        train_dataset=encode_pairs(tokenizer, rows, config.seq_len),
        eval_dataset=encode_pairs(tokenizer, valid, config.seq_len) or None,
        compute_metrics=preference_metrics,
    )


def load_reward(ws: Workspace, name: str, dtype: str) -> tuple[Any, str]:
    """A trained reward model in eval mode, and its run id; `last` is the newest finished run."""
    from peft import PeftModel

    from errata.train.model import load

    record = runs.last_run(ws, "rm") if name == "last" else runs.get_run(ws, name)
    if record is None or not (ws.runs / record["id"] / "adapter").is_dir():
        raise BadInput(f"reward_model={name}: no finished rm run; run `errata rm` first")
    base, _ = candidates.verify(ws, candidates.resolve(ws, str(record["config"]["model"])))
    model, _ = load(base, dtype, "reward")
    folder = Path(ws.runs / record["id"] / "adapter")
    return PeftModel.from_pretrained(model, str(folder)).eval(), str(record["id"])


def main(ws: Workspace, config: Config) -> Outcome:
    """`errata rm`."""
    return train(ws, "rm", config, prepare)
