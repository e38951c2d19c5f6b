"""How much of a fine-tune an export keeps: base b, fine-tuned f, exported e, as log-probabilities.

With d = f − b (what training changed) and x = e − b (what is left of it), over the positions of
answers and the whole vocabulary:

    retention  ρ = ⟨x, d⟩ / ⟨d, d⟩          1: all of it, 0: none, below 0: turned round
    noise        = ‖x − ρ d‖ / ‖d‖          what the export changes besides, in units of the effect
    KL(f ‖ e)    = Σ_v exp f · (f − e)      nats a token

A quantised model can have the base's perplexity and none of the fine-tune: its error is then larger
than what the adapter does (merge reports of QLoRA adapters: 10 to 150 times). KL shows the size of
the error, ρ and noise show it in units of what was paid for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from errata.train.packing import IGNORE, Encoded


class Distance(NamedTuple):
    """Between two models over the same positions; in nats a token."""

    mean: float
    most: float
    top1: float  # share of positions at which both would say the same token


class Kept(NamedTuple):
    """Of a fine-tune."""

    retention: float
    noise: float


def distance(f: torch.Tensor, e: torch.Tensor) -> Distance | None:
    """KL(f ‖ e) and agreement of two (N, V) tables of log-probabilities; None without a row."""
    if not len(f):
        return None
    lost = (f.exp() * (f - e)).sum(-1).clamp(min=0)  # below 0 by rounding alone
    same = (f.argmax(-1) == e.argmax(-1)).float()
    return Distance(float(lost.mean()), float(lost.max()), float(same.mean()))


def kept(b: torch.Tensor, f: torch.Tensor, e: torch.Tensor) -> Kept | None:
    """Retention and noise of three (N, V) tables; None where training changed nothing."""
    d, x = (f - b).double().flatten(), (e - b).double().flatten()
    size = float(d @ d)
    if not size:
        return None
    share = float(x @ d) / size
    return Kept(share, float((x - share * d).norm()) / size**0.5)


@torch.inference_mode()
def answer_logprobs(model: Any, rows: Sequence[Encoded]) -> torch.Tensor:
    """(N, V) float32 log-probabilities of every labelled position, row after row."""
    device = next(model.parameters()).device
    found = []
    for row in rows:  # one at a time: (T, V) logits of one row are enough to hold
        ids = torch.tensor([list(row.ids)], device=device)
        at = [place for place, label in enumerate(row.labels) if label != IGNORE]
        logits = model(input_ids=ids, use_cache=False).logits[0]
        found.append(logits[torch.tensor(at) - 1].float().log_softmax(-1).cpu())
    return torch.cat(found) if found else torch.zeros(0, 1)
