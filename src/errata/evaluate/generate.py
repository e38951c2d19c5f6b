"""Greedy or sampled answers from a causal LM: batched by length, left-padded, with the KV cache.

One loop for evaluation, PPO rollouts and serving. A finished row leaves the batch's work only when
all rows of its batch are done, so rows are sorted by prompt length and batches kept moderate.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from errata.records import Message
from errata.train.packing import IGNORE
from errata.train.tokens import encode
from errata.train.turns import render, shorten


@dataclass(frozen=True)
class Decoding:
    """How an answer is drawn: temperature 0 is greedy; `seed` matters only above it."""

    max_new_tokens: int = 48
    temperature: float = 0.0
    seed: int = 0


def next_tokens(
    logits: torch.Tensor, decoding: Decoding, rng: torch.Generator | None
) -> torch.Tensor:
    """(B, V) logits → (B,) ids.

    Drawn by where one uniform number falls in the cumulated probabilities: `torch.multinomial`
    draws V numbers a row, a tenth of a rollout's time on a CPU at V = 32 k."""
    if decoding.temperature <= 0:
        return logits.argmax(-1)
    scaled = torch.softmax(logits.float() / decoding.temperature, -1)
    edges = scaled.cumsum(-1, dtype=torch.float64)
    drawn = torch.rand(len(edges), 1, dtype=edges.dtype, device=edges.device, generator=rng)
    found = torch.searchsorted(edges, drawn * edges[:, -1:], right=True)[:, 0]
    return found.clamp(max=logits.shape[-1] - 1)


@torch.inference_mode()
def generate_batch(
    model: Any,
    rows: Sequence[Sequence[int]],
    decoding: Decoding,
    end_ids: set[int],
    pad_id: int,
    rng: torch.Generator | None = None,
    each: int = 1,
) -> list[list[int]]:
    """Continue each row of token ids, `each` times from one pass over it; the result, row by row,
    holds the new ids, the end token with them."""
    from transformers import DynamicCache

    device = next(model.parameters()).device
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id, device=device)
    mask = torch.zeros((len(rows), width), dtype=torch.long, device=device)
    for index, row in enumerate(rows):
        ids[index, width - len(row) :] = torch.tensor(list(row), device=device)
        mask[index, width - len(row) :] = 1
    cache, named = DynamicCache(config=model.config), cache_name(model)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    ends = torch.tensor(sorted(end_ids), device=device)
    alive = torch.ones(len(rows) * each, dtype=torch.bool, device=device)
    steps: list[torch.Tensor] = []
    for _ in range(decoding.max_new_tokens):
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
            **{named: cache},
        )
        logits = out.logits[:, -1]
        if not steps and each > 1:
            cache.batch_repeat_interleave(each)
            logits, mask, positions = (
                x.repeat_interleave(each, 0) for x in (logits, mask, positions)
            )
        chosen = next_tokens(logits, decoding, rng)
        chosen = torch.where(alive, chosen, torch.full_like(chosen, pad_id))
        steps.append(chosen)
        alive &= ~torch.isin(chosen, ends)
        if not bool(alive.any()):
            break
        ids = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], -1)
        positions = positions[:, -1:] + 1
    return [_until_end(row, end_ids) for row in torch.stack(steps, 1).tolist()]


@torch.inference_mode()
def answer_logps(model: Any, tokenizer: Any, rows: Sequence[Sequence[Message]]) -> list[float]:
    """Log-probability, in nats, of the answer that each conversation ends with. BadInput for one
    that is longer than the model has positions for."""
    room = getattr(model.config, "max_position_embeddings", None) or sys.maxsize
    found = [encode(tokenizer, row, room, "answer_logps") for row in rows]
    device, width = next(model.parameters()).device, max(len(row.ids) for row in found)
    ids = torch.zeros((len(found), width), dtype=torch.long, device=device)
    labels = torch.full((len(found), width), IGNORE, device=device)
    for place, row in enumerate(found):  # padded on the right: what is before does not see it
        ids[place, : len(row.ids)] = torch.tensor(row.ids, device=device)
        labels[place, : len(row.labels)] = torch.tensor(row.labels, device=device)
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    targets = labels[:, 1:]
    lost = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), targets, ignore_index=IGNORE, reduction="none"
    )
    return [-float(one) for one in lost.sum(-1)]


def cache_name(model: Any) -> str:
    """How a model calls its cache: `cache` since transformers 5.24, `past_key_values` before."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    known = inspect.signature(type(plain).forward).parameters
    return "cache" if "cache" in known else "past_key_values"


def _until_end(ids: list[int], end_ids: set[int]) -> list[int]:
    """Up to the end token and with it; a row that was cut off at its longest has none."""
    end = next((place for place, token in enumerate(ids) if token in end_ids), len(ids))
    return ids[: end + 1]


def end_token_ids(model: Any, tokenizer: Any) -> set[int]:
    """Every id that ends an answer: the tokenizer's and the generation config's may differ."""
    found = {tokenizer.eos_token_id}
    configured = getattr(model.generation_config, "eos_token_id", None)
    found.update(configured if isinstance(configured, list) else [configured])
    return {token for token in found if token is not None}


def answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[Message]],
    decoding: Decoding | None = None,
    batch: int = 128,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """One answer a prompt, in the order given. `progress` is called with rows done so far."""
    decoding = decoding or Decoding()
    was_training = model.training
    model.eval()
    room = getattr(model.config, "max_position_embeddings", None)
    room = None if room is None else room - decoding.max_new_tokens
    rows = [render(tokenizer, messages, answer_next=True) for messages in prompts]
    rows = [row if room is None else shorten(tokenizer, row, room) for row in rows]
    ends = end_token_ids(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends)
    rng = torch.Generator(device=next(model.parameters()).device).manual_seed(decoding.seed)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    texts = [""] * len(rows)
    for start in range(0, len(order), batch):
        picked = order[start : start + batch]
        new = generate_batch(model, [rows[i] for i in picked], decoding, ends, pad, rng)
        for index, ids in zip(picked, new, strict=True):
            texts[index] = tokenizer.decode(ids, skip_special_tokens=True).strip()
        if progress:
            progress(min(start + batch, len(order)))
    if was_training:
        model.train()
    return texts
