"""The reward model: one scalar at the end of an answer; chosen shall score above rejected.

A LoRA adapter and a scalar head on the same base; the loss is Bradley–Terry (losses.py). It is
worth as much as its accuracy on pairs it never saw, and its margins as much as their calibration;
both are in the report, and `accept` may hold them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from transformers import Trainer

from errata import candidates, jsonl
from errata.errors import BadInput
from errata.outcome import Outcome
from errata.records import PreferencePair
from errata.store import past
from errata.train.logprobs import Scored
from errata.train.losses import bradley_terry
from errata.train.packing import Batch
from errata.train.prepare import build, learns, pair_trees, show_first
from errata.train.settings import ALIASES, Training
from errata.train.stage import Job, train
from errata.train.step import Example, StepTrainer, Sums
from errata.workspace import Workspace

__all__ = ["ALIASES", "Config", "main"]
DEFAULT_CONFIG = "rm.yaml"


class Config(Training):
    """The panel over preference pairs."""

    dataset: str = Field("data/prefs.jsonl", description="preference pairs")
    epochs: float = Field(1.0, gt=0, description="passes; a reward model overfits after one or two")
    micro_batch: int = Field(8, ge=1, description="pairs at once")
    lr: float = Field(1e-3, gt=0, description="see the panel")


class RewardTrainer(StepTrainer):
    """Mean Bradley–Terry loss of a step's pairs."""

    def sums(self, scored: Scored, batch: Batch, examples: list[Example], total: float) -> Sums:
        """−log σ(r_chosen − r_rejected), read at the last token of each answer."""
        head: Any = self.scorer.model.get_submodule(score_name(self.scorer.model))
        rewards = head(scored.last.to(dtype_of(head)))[:, 0].float()
        chosen, rejected = rewards[::2], rewards[1::2]
        gap = (chosen - rejected).detach()
        # Brier score of σ(gap) against "chosen is better": 0 is sure and right, 0.25 a coin.
        brier = (1 - torch.sigmoid(gap)) ** 2
        return Sums(
            bradley_terry(chosen, rejected).sum(),
            {"margin": gap, "preference_score": (gap > 0).float(), "brier": brier},
        )


def score_name(model: Any) -> str:
    """Path of the scalar head, inside peft's wrappers if there are any; BadInput without one."""
    for name, _ in model.named_modules():
        if name.split(".")[-1] == "score":
            return str(name)
    raise BadInput(f"rm: {model.config.model_type} has no scalar head `score`; choose another base")


def dtype_of(head: Any) -> torch.dtype:
    """Of a head's weights."""
    found: torch.dtype = next(head.parameters()).dtype
    return found


def prepare(job: Job) -> Trainer:
    """Scalar-headed model with an adapter, and encoded pairs."""
    config = job.config
    assert isinstance(config, Config)
    rows = jsonl.read(job.dataset, PreferencePair)
    learns(job, rows)
    valid = jsonl.read(job.validation, PreferencePair) if job.validation else []
    job.extra["held_back"] = len(valid)  # how many pairs its accuracy was measured on
    model, tokenizer, scorer = build(job, config, "reward")
    trees = pair_trees(job, tokenizer, rows + valid)
    show_first(job, tokenizer, trees[0])
    examples = [Example(row.id, tree) for row, tree in zip(rows + valid, trees, strict=True)]
    train_on, checks = examples[: len(rows)], examples[len(rows) :]
    return RewardTrainer(model, scorer, config, job.checkpoints, train_on, checks)


def find_reward(ws: Workspace, name: str) -> tuple[str, Path, Any]:
    """(run id, adapter folder, candidate of its base) of a trained reward model.

    `last` is the newest finished run. BadInput when there is none."""
    record = past.last_run(ws, "rm") if name == "last" else past.get_run(ws, name)
    if record is None or not (ws.runs / record["id"] / "adapter").is_dir():
        raise BadInput(f"reward_model={name}: no finished rm run; run `errata rm` first")
    base = candidates.resolve(ws, str(record["config"]["model"]))
    return str(record["id"]), Path(ws.runs / record["id"] / "adapter"), base


def main(ws: Workspace, config: Config) -> Outcome:
    """`errata rm`."""
    return train(ws, "rm", config, prepare)
