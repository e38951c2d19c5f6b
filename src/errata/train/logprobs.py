"""Log-probabilities of the labelled tokens, through the model's own forward.

Batches are padded on the left, so that all answers end in the same column; `logits_to_keep` then
lets the head score only the last columns, those of the longest answer. Soft-capping, logit scales,
autocast, DDP and FSDP all apply, because nothing goes round the model's forward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

IGNORE = -100


def labelled_logps(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scores of the labelled tokens of a left-padded batch.

    `batch` holds input_ids, attention_mask and labels, each (B, T). Returns log-probabilities and
    their mask, both (B, K), with K the columns from the first labelled token on; unlabelled
    positions hold 0. A batch with no labelled token raises ValueError.
    """
    labels = batch["labels"]
    columns = (labels != IGNORE).any(0).nonzero()
    if not len(columns):
        raise ValueError("no labelled token in the batch: answers were cut off; raise seq_len")
    keep = int(labels.shape[1] - columns[0])
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    out = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        position_ids=positions,
        use_cache=False,
        logits_to_keep=keep + 1,
    )
    logits = out.logits[:, -keep - 1 : -1].float()  # position t scores token t + 1
    target = labels[:, -keep:]
    mask = target != IGNORE
    picked = logits.gather(-1, target.clamp(min=0)[..., None])[..., 0]
    return (picked - logits.logsumexp(-1)) * mask, mask


def sequence_logps(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """(B,) sum of the labelled tokens' log-probabilities."""
    return labelled_logps(model, batch)[0].sum(-1)


def left_pad(rows: list[tuple[list[int], list[int]]], pad_id: int) -> dict[str, Tensor]:
    """(ids, labels) rows of different lengths → one left-padded batch."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), pad_id)
    labels = torch.full((len(rows), width), IGNORE)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, (row, said) in enumerate(rows):
        ids[index, width - len(row) :] = torch.tensor(row)
        labels[index, width - len(row) :] = torch.tensor(said)
        mask[index, width - len(row) :] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
