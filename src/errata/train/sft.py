"""Supervised fine-tuning: learn the answers of data/sft.jsonl, not the prompts.

LoRA on frozen weights, on weights in 4 bits (QLoRA), or all weights. The loss is the mean over all
labelled tokens of an optimiser step, however the step is cut (8 × 1 equals 1 × 8).
"""

from __future__ import annotations

from transformers import Trainer

from errata import jsonl
from errata.outcome import Outcome
from errata.records import SftExample
from errata.train.logprobs import Scored
from errata.train.mix import Replaying, replayed
from errata.train.packing import Batch
from errata.train.prepare import build, learns, sft_examples, show_first
from errata.train.settings import ALIASES, Training
from errata.train.stage import Job, train
from errata.train.step import Example, StepTrainer, Sums
from errata.workspace import Workspace

__all__ = ["ALIASES", "Config", "main"]


class Config(Training, Replaying):
    """The panel, and the replay mix."""


class SftTrainer(StepTrainer):
    """Cross-entropy of the labelled tokens."""

    def amount(self, examples: list[Example]) -> int:
        """Labelled tokens."""
        return sum(e.tree.learnt for e in examples)

    def sums(self, scored: Scored, batch: Batch, examples: list[Example], total: float) -> Sums:
        """−Σ log p."""
        return Sums(-scored.logps.sum(), {})


def prepare(job: Job) -> Trainer:
    """Model, adapter and encoded rows of a run."""
    config = job.config
    assert isinstance(config, Config)
    rows = replayed(job, jsonl.read(job.dataset, SftExample))
    learns(job, rows)
    valid = jsonl.read(job.validation, SftExample) if job.validation else []
    model, tokenizer, scorer = build(job, config)
    examples = sft_examples(job, tokenizer, rows)
    show_first(job, tokenizer, examples[0].tree)
    checks = sft_examples(job, tokenizer, valid)
    return SftTrainer(model, scorer, config, job.checkpoints, examples, checks)


def main(ws: Workspace, config: Config) -> Outcome:
    """`errata sft`."""
    return train(ws, "sft", config, prepare)
