"""What a benchmark's requests say: TTFT, TPOT, ITL, latency, rates, with intervals. Pure.

TTFT    from when a request was due until its first piece of text
TPOT    (end − first piece) / (tokens − 1): the time of each later token of one answer
ITL     gaps between two pieces of text, of all requests together
latency from when it was due until its end; in an open loop also what it waited to be sent, so that
        a slow server cannot hide behind requests it kept from being asked (coordinated omission)

Percentiles have distribution-free intervals by order statistics: the ranks whose binomial
probability covers 95 % (David & Nagaraja, Order Statistics, 3rd ed., 7.1). With few requests the
upper end of a P95 is nowhere in the sample, and is None: "at least".
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

LEAST = {50: 20, 95: 20, 99: 1000}  # requests from which a percentile is told at all
LEVEL = 0.95


class Sent(NamedTuple):
    """One request; seconds on one clock. `gaps`: between pieces of its text; `error`: why none."""

    due: float
    first: float = math.nan
    end: float = math.nan
    tokens: int = 0
    gaps: tuple[float, ...] = ()
    error: str = ""


class Percentile(NamedTuple):
    """A percentile with the ends of its interval; None where the sample cannot tell."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Summary(NamedTuple):
    """Of the requests of one level of load; milliseconds, tokens and requests a second.

    offered: requests a second that were due; achieved: that ended well."""

    n: int
    failed: int
    ttft: dict[int, Percentile]
    tpot: dict[int, Percentile]
    itl: dict[int, Percentile]
    latency: dict[int, Percentile]
    offered: float | None
    achieved: float
    tokens_per_s: float
    mean_tokens: float


def arrivals(rate: float, count: int, seed: str) -> list[float]:
    """Seconds from the start at which `count` requests are due: Poisson, `rate` a second."""
    draw = random.Random(seed)
    now, found = 0.0, []
    for _ in range(count):
        now += draw.expovariate(rate)
        found.append(now)
    return found


@lru_cache(maxsize=512)
def _ranks(n: int, q: float) -> tuple[int, int]:
    """1-based ranks (low, high) between which quantile q lies with 95 %; 0 and n + 1: outside."""
    from scipy.stats import binom  # 0.4 s, which nobody else has to wait

    tail = (1 - LEVEL) / 2
    low, high = int(binom.ppf(tail, n, q)), int(binom.ppf(1 - tail, n, q)) + 1
    return low, high


def percentile(values: Sequence[float], q: int) -> Percentile:
    """The smallest value that q % of all are no greater than, with its 95 % interval; None below
    LEAST values."""
    n = len(values)
    if n < LEAST[q]:
        return Percentile(None)
    ordered = sorted(values)
    low, high = _ranks(n, q / 100)
    return Percentile(
        ordered[math.ceil(q / 100 * n) - 1],
        ordered[low - 1] if low >= 1 else None,
        ordered[high - 1] if high <= n else None,
    )


def _all(values: Iterable[float]) -> dict[int, Percentile]:
    found = [1000 * value for value in values]
    return {q: percentile(found, q) for q in LEAST}


def summary(blocks: Sequence[Sequence[Sent]], offered: float | None = None) -> Summary:
    """Of one level of load, measured in several blocks of time: rates are over the time in which
    requests ran, not the pauses in which another variant did."""
    every = [one for block in blocks for one in block]
    good = [one for one in every if not one.error]
    seconds = sum(_span(block) for block in blocks)
    tokens = sum(one.tokens for one in good)
    return Summary(
        n=len(good),
        failed=len(every) - len(good),
        ttft=_all(one.first - one.due for one in good),
        tpot=_all((one.end - one.first) / (one.tokens - 1) for one in good if one.tokens > 1),
        itl=_all(gap for one in good for gap in one.gaps),
        latency=_all(one.end - one.due for one in good),
        offered=offered,
        achieved=len(good) / seconds if seconds else 0.0,
        tokens_per_s=tokens / seconds if seconds else 0.0,
        mean_tokens=tokens / len(good) if good else 0.0,
    )


def _span(block: Sequence[Sent]) -> float:
    """Seconds from the first request that was due to the last end."""
    ends = [one.end for one in block if not one.error]
    return max(ends) - min(one.due for one in block) if ends else 0.0


def crossed(now: float, before: float, factor: float, worse: str) -> bool:
    """Whether a number got worse than the one before by more than `factor` (≥ 1)."""
    if worse == "lower":
        return now * factor < before
    return now > before * factor
