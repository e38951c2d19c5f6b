"""Supervised fine-tuning with LoRA: learn the answers of data/sft.jsonl, not the prompts.

The loss is the mean over all labelled tokens of an optimiser step, however the step is divided into
micro batches (8 × 1 equals 1 × 8), and only the answers' columns are scored.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, set_seed

from errata import jsonl
from errata.outcome import Outcome
from errata.records import SftExample
from errata.train.job import arguments
from errata.train.logprobs import IGNORE, labelled_logps, left_pad
from errata.train.settings import ALIASES, Training
from errata.train.stage import Job, train
from errata.workspace import Workspace

__all__ = ["ALIASES", "Config", "main"]


class Config(Training):
    """SFT has no knob of its own."""


class SftTrainer(Trainer):
    """Cross-entropy of the labelled tokens, normalised over the whole accumulation window."""

    loss_is_scaled_for_ga = True

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """The window's micro batches, and how many tokens are learnt in all of them."""
        batches = []
        for _ in range(num_batches):
            try:
                batches.append(next(epoch_iterator))
            except StopIteration:
                break
        count = sum((batch["labels"] != IGNORE).sum() for batch in batches)
        if batches:
            count = self.accelerator.gather(torch.as_tensor(count, device=device)).sum()
        return batches, count

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """−Σ log p / tokens of the window (times processes: DDP takes the mean of gradients)."""
        logps, mask = labelled_logps(model, inputs)
        count = mask.sum() if num_items_in_batch is None else num_items_in_batch
        scale = 1 if num_items_in_batch is None else self.accelerator.num_processes
        loss = -logps.sum() * scale / count
        return (loss, {"logps": logps}) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, None, None]:
        """Validation needs the loss alone."""
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None


def prepare(job: Job) -> Trainer:
    """Model, adapter and encoded rows of a run."""
    from errata.train.model import add_lora, load
    from errata.train.tokens import encode_sft, show_mask

    config = job.config
    assert isinstance(config, Config)
    rows = jsonl.read(job.dataset, SftExample)
    valid = jsonl.read(job.validation, SftExample) if job.validation else []
    set_seed(config.seed)
    model, tokenizer = load(job.start.base, config.dtype)
    model = add_lora(
        model, config.lora_r, config.lora_alpha, config.lora_dropout, job.start.adapter
    )
    encoded = encode_sft(tokenizer, rows, config.seq_len)
    job.extra["first_row"] = show_mask(tokenizer, encoded[0])
    job.extra["pages"] = [
        f"## First row, what is learnt in ⟦ ⟧\n\n```\n{job.extra['first_row']}\n```"
    ]
    job.run.links((row.id, job.run.id, "trained") for row in rows)
    job.clock.start()
    return SftTrainer(
        model=model,
        args=arguments(config, job.checkpoints, bool(job.validation)),
        data_collator=lambda batch: left_pad(batch, tokenizer.pad_token_id),
        train_dataset=[(row.ids, row.labels) for row in encoded],
        eval_dataset=[(r.ids, r.labels) for r in encode_sft(tokenizer, valid, config.seq_len)]
        or None,
    )


def main(ws: Workspace, config: Config) -> Outcome:
    """`errata sft`."""
    return train(ws, "sft", config, prepare)
