"""Hours of training: operations over the speed that such runs reach.

Per token a forward pass takes 2 operations a weight, and attention 2·seq_len·heads·head_dim a layer
(causal); the backward pass takes as much again for the activations, and once more for the weights
where they learn; checkpointing repeats the forward pass.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from errata.cost.memory import Setup


class Gpu(NamedTuple):
    """Dense 16-bit operations a second, in 10¹²; memory in GiB, several where models differ."""

    tera: float
    gib: tuple[int, ...]


GPUS: dict[str, Gpu] = {
    "RTX3090": Gpu(71, (24,)),
    "RTX4090": Gpu(165, (24,)),
    "RTX5090": Gpu(209, (32,)),
    "A10": Gpu(125, (24,)),
    "A100": Gpu(312, (40, 80)),
    "A6000": Gpu(155, (48,)),
    "H100": Gpu(989, (80,)),
    "H200": Gpu(989, (141,)),
    "L4": Gpu(121, (24,)),
    "L40S": Gpu(362, (48,)),
    "T4": Gpu(65, (16,)),
    "V100": Gpu(125, (16, 32)),
}
# Share of that speed in published runs: the middle 80 % of 24 with at least 1,024 tokens a pass,
# all of the 4 with fewer. See docs/cost.md.
SHARE, SHARE_SHORT = (0.16, 0.67), (0.09, 0.38)
SHORT = 1024


def gpu(text: str | None) -> tuple[str, Gpu] | None:
    """A known GPU by the name people give it, with `-80G` or `80GB` as its memory; else None."""
    said = re.sub(r"[^A-Z0-9]", "", (text or "").upper())
    found = re.search(r"(RTX)?([345]090)|L40S|A6000|A100|H100|H200|V100|A10|L4|T4", said)
    if not found:
        return None
    name = f"RTX{found[2]}" if found[2] else found[0]
    kind = GPUS[name]
    size = re.search(r"(\d{2,3})G", said[found.end() :])
    return name, kind._replace(gib=(int(size[1]),)) if size else kind


def operations(run: Setup, objective: str) -> float:
    """Of one token, forward and backward."""
    arch = run.arch
    weights = arch.params - (0 if arch.tied else arch.vocab * arch.hidden)  # looking up is free
    forward = 2 * weights + 2 * arch.layers * arch.heads * arch.head_dim * run.seq_len
    passes = (3 if run.method.name == "full" else 2) + run.checkpointing
    return forward * (passes + (objective == "dpo"))  # the reference's forward pass


def hours(run: Setup, objective: str, rows: int, epochs: float, kind: Gpu) -> tuple[float, float]:
    """Low and high, for rows as long as seq_len; shorter ones take less."""
    tokens = rows * epochs * run.seq_len * run.sequences
    slow, fast = SHARE if run.tokens >= SHORT else SHARE_SHORT
    seconds = tokens * operations(run, objective) / (kind.tera * 1e12)
    return seconds / fast / 3600, seconds / slow / 3600
