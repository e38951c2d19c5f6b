"""A reward model as a function: conversations in, one number each out.

The score is read where training read it, at the last token of the answer, and not where
transformers pools (the last that is no padding: another one where a model pads with its end token).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from errata.records import Message
from errata.train.model import load, with_adapter
from errata.train.reward import dtype_of, score_name
from errata.train.tokens import encode


@torch.inference_mode()
def rewards(
    base: str, folder: Path, rows: Sequence[Sequence[Message]], batch: int = 64
) -> list[float]:
    """The reward of each conversation's last answer, in order. BadInput when the reward model was
    trained on another base, or an answer alone is longer than the model has positions for."""
    model, tokenizer = load(base, kind="reward")
    model = with_adapter(model, folder, trainable=False).eval()
    head: Any = model.get_submodule(score_name(model))
    room = getattr(model.config, "max_position_embeddings", None) or 1 << 20
    found = [encode(tokenizer, row, room, "preference_score").ids for row in rows]
    order = sorted(range(len(found)), key=lambda place: len(found[place]))
    out = [0.0] * len(found)
    for start in range(0, len(order), batch):
        picked = order[start : start + batch]
        ids = torch.zeros(len(picked), max(len(found[i]) for i in picked), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for line, place in enumerate(picked):  # padded on the right: what is before does not see it
            ids[line, : len(found[place])] = torch.tensor(found[place])
            mask[line, : len(found[place])] = 1
        seen = model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
        last = seen.hidden_states[-1][torch.arange(len(picked)), mask.sum(-1) - 1]
        for place, value in zip(picked, head(last.to(dtype_of(head)))[:, 0].tolist(), strict=True):
            out[place] = float(value)
    return out
