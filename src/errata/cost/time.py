"""Hours of training: operations over the speed that such runs reach.

Per token a forward pass takes 2 operations a weight, and attention 2·seq_len·heads·head_dim a layer
(causal); the backward pass takes as much again for the activations, and once more for the weights
where they learn; checkpointing repeats the forward pass.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from errata.cost.memory import Setup
from errata.cost.rates import RATES


class Gpu(NamedTuple):
    """Dense 16-bit operations a second, in 10¹²; memory in GiB, several where models differ.

    `share`: of those operations, what this machine's own runs reached, where they were measured."""

    tera: float
    gib: tuple[int, ...]
    share: tuple[float, float] | None = None


GPUS: dict[str, Gpu] = {name: Gpu(rate.tera, rate.gib) for name, rate in RATES.items()}
# Share of that speed in published runs: the middle 80 % of 24 with at least 1,024 tokens a pass,
# all of the 4 with fewer. See docs/cost.md.
SHARE, SHARE_SHORT = (0.16, 0.67), (0.09, 0.38)
SHORT = 1024
# Sampling reads all weights for a token of each answer: a tenth of training's speed at best.
GENERATES = 0.1
PPO_EPOCHS = 2  # passes over a rollout, as configs/align/ppo.yaml has it
_NAMES = re.compile(
    r"(?:(?:RTX)?((?:3060|[3-5]0[6-9]0))|6000ADA|L40S|MI300X|A5000|A6000|A100|A800|H100|H200|H800"
    r"|B200|V100|P100|A40|A30|A10|H20|L40|L20|L4|T4)(?!\d(?!\d{1,2}G))"  # A4000 is no A40
)


def gpu(text: str | None) -> tuple[str, Gpu] | None:
    """A known GPU by the name people give it, with `-80G` or `80GB` as its memory; else None."""
    said = re.sub(r"(?<=\d)[^A-Z0-9]+(?=\d)", " ", (text or "").upper())  # SXM4-80GB is no 480 GB
    found = _NAMES.search(re.sub(r"[^A-Z0-9 ]|(?<!\d) | (?!\d)", "", said))
    if not found:
        return None
    name = f"RTX{found[1]}" if found[1] else found[0]
    if name not in GPUS:
        return None
    kind = GPUS[name]
    own = sizes(text)
    return name, kind._replace(gib=own) if own else kind


def sizes(text: str | None) -> tuple[int, ...]:
    """Memory in GiB where a GPU's text gives it: `48GB card`, `40/80GB`; of `1g.10gb` it is 10."""
    number = r"(?<![a-wyz\d.])(?:(\d{1,3})\s*/\s*)?(\d{1,3})\s*-?\s*G(?:i?B)?\b(?!\.\d)"
    found = re.search(number, re.sub(r"\b\dg\.", " ", text or ""), re.IGNORECASE)
    return tuple(size for each in found.groups() if each and (size := int(each))) if found else ()


def operations(run: Setup, objective: str) -> float:
    """Of one token, forward and backward; PPO: sampled, scored by three models, learnt from."""
    arch = run.arch
    weights = arch.params - (0 if arch.tied else arch.vocab * arch.hidden)  # looking up is free
    forward = 2 * weights + 2 * arch.layers * arch.heads * arch.head_dim * run.seq_len
    learns: float = 2 if run.method.adapts else 3
    if run.method.name == "freeze":
        learns = 1 + 2 * run.method.layers / arch.layers
    passes = learns + run.checkpointing
    if objective == "ppo":
        return forward * (1 / GENERATES + 3 + PPO_EPOCHS * passes * run.learners)
    return forward * (passes + (objective == "dpo"))  # the reference's forward pass


def hours(run: Setup, objective: str, rows: int, epochs: float, kind: Gpu) -> tuple[float, float]:
    """Low and high, for rows as long as seq_len; shorter ones take less. Several GPUs share the
    rows, and lose a tenth at most where little is exchanged, half at most where weights are."""
    tokens = rows * epochs * run.tokens / run.micro_batch
    slow, fast = SHARE if run.tokens >= SHORT else SHARE_SHORT
    if kind.share:
        slow, fast = kind.share
    seconds = tokens * operations(run, objective) / (kind.tera * 1e12) / run.gpus
    lost = 1.0 if run.gpus == 1 else 0.5 if run.sharding == "zero3" else 0.9
    return seconds / fast / 3600, seconds / slow / lost / 3600
