"""Intervals and paired tests: what lets a gate say yes, no, or not enough data. What may be looked
at while it grows (e-processes, confidence sequences) is in `sequential.py`, and named here too.

Pure functions; scipy and numpy are imported when a function needs them. Sources: Clopper & Pearson
1934, Wilson 1927, McNemar 1947; Kish 1965 and Korn & Graubard 1998 (exact bounds on an effective
sample size); Agresti & Min 2005 (pseudo-pairs).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

from errata.correction import ppi_rate as ppi_rate
from errata.correction import rogan_gladen as rogan_gladen
from errata.correction import rogan_gladen_interval as rogan_gladen_interval
from errata.errors import BadInput
from errata.sequential import EDetector as EDetector
from errata.sequential import EProcess as EProcess
from errata.sequential import EProcess2 as EProcess2
from errata.sequential import closest_null as closest_null
from errata.sequential import confidence_sequence as confidence_sequence
from errata.sequential import share_e as share_e


class Interval(NamedTuple):
    """Bounds of a share; (0, 1) when nothing is known."""

    low: float
    high: float


class Difference(NamedTuple):
    """Mean of a minus mean of b over pairs, with bounds."""

    value: float
    low: float
    high: float


def _check(k: float, n: float, level: float) -> None:
    if not 0 <= k <= n:
        raise BadInput(f"{k} hits of {n}: need 0 <= hits <= n")
    if not 0 < level < 1:
        raise BadInput(f"level {level}: write a share between 0 and 1, such as 0.95")


def wilson(k: float, n: float, level: float = 0.95) -> Interval:
    """Two-sided score interval of k hits in n; for display (it is not a guarantee at small n)."""
    _check(k, n, level)
    if n == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if k == 0 else max(0.0, middle - half)
    return Interval(low, 1.0 if k == n else min(1.0, middle + half))


def clopper_pearson(k: float, n: float, level: float = 0.95) -> Interval:
    """Two-sided exact interval: each end alone is a one-sided bound at (1 + level) / 2.

    k and n may be fractions: an effective sample size is (Korn & Graubard 1998).
    """
    _check(k, n, level)
    if n == 0:
        return Interval(0.0, 1.0)
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k >= n else float(betaincinv(k + 1, n - k, 1 - tail))
    return Interval(low, high)


def effective_n(hits: Sequence[bool], clusters: Sequence[Hashable]) -> float:
    """How many independent cases n clustered ones are worth: n / design effect.

    Variants of one request hit or miss together, so n of them tell less than n requests do. The
    design effect is the cluster-robust variance of the mean over the binomial one,

        deff = Σ_c (s_c - p n_c)² / (p (1 - p) n)        s_c hits in cluster c of n_c cases

    taken with two more clusters of average size, one that hit in every case and one in none. They
    stand for what the next cluster may do: with few hits the data cannot show that hits are
    independent, so the worst is assumed, and with many the data decide. Without them the estimate
    would jump from "unknown" to "looks independent" at the first hit, and the bound would drop.
    At 0 hits the answer is the number of clusters m, which is right whatever the correlation: a
    share p of hits leaves m clusters clean with a chance of at most (1 - p)^m.

    The answer lies between Kish's n² / Σ n_c² (everything in a cluster alike) and n.
    """
    if len(hits) != len(clusters):
        raise BadInput(f"{len(hits)} hits and {len(clusters)} clusters: give one cluster per case")
    n = len(hits)
    size: dict[Hashable, int] = defaultdict(int)
    hit: dict[Hashable, int] = defaultdict(int)
    if n == 0:
        return 0.0
    for value, cluster in zip(hits, clusters, strict=True):
        size[cluster] += 1
        hit[cluster] += bool(value)
    total, mean_size = sum(hit.values()), n / len(size)
    if total in (0, n):
        return float(len(size))
    p = (total + mean_size) / (n + 2 * mean_size)
    spread = sum((hit[c] - p * size[c]) ** 2 for c in size)
    spread += mean_size**2 * ((1 - p) ** 2 + p**2)
    deff = spread / (p * (1 - p) * (n + 2 * mean_size))
    kish = n * n / sum(count * count for count in size.values())
    return float(min(n, max(kish, n / deff)))


def clustered_bounds(
    hits: Sequence[bool], clusters: Sequence[Hashable], level: float = 0.90
) -> Interval:
    """Clopper–Pearson on the effective n. With a hit it is never better than without any.

    At the default level each end is a one-sided 95 % bound.
    """
    n = effective_n(hits, clusters)
    found = clopper_pearson(sum(map(bool, hits)) / len(hits) * n if hits else 0, n, level)
    m = len(set(clusters))
    clean, full = clopper_pearson(0, m, level), clopper_pearson(m, m, level)
    return Interval(min(found.low, full.low), max(found.high, clean.high))


def mcnemar_exact(worse: int, better: int) -> float:
    """One-sided p of seeing this many pairs turn worse, or more, if both ways were as likely."""
    if worse < 0 or better < 0:
        raise BadInput("counts of pairs cannot be negative")
    n = worse + better
    return float(sum(math.comb(n, k) for k in range(worse, n + 1)) / 2**n)


class Turned(NamedTuple):
    """Clusters in which the sum of a - b is above, below and at zero."""

    up: int
    down: int
    same: int


def turned(a: Sequence[float], b: Sequence[float], clusters: Sequence[Hashable]) -> Turned:
    """Each cluster once, by its net change: twenty wordings that turn are one turn."""
    net: dict[Hashable, float] = defaultdict(float)
    for x, y, cluster in zip(a, b, clusters, strict=True):
        net[cluster] += x - y
    up, down = sum(v > 0 for v in net.values()), sum(v < 0 for v in net.values())
    return Turned(up, down, len(net) - up - down)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values of one family, adjusted so that any false alarm in it has at most that probability.

    Holm 1979: the k-th smallest of m times m - k + 1, never below one before it, at most 1.
    """
    out, highest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        out[place] = highest
    return out


def paired_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
    draws: int = 4000,
) -> Difference:
    """Mean of a - b over the same prompts, with a two-sided percentile interval over clusters.

    Values between 0 and 1 get two more clusters of average size in the pool that is drawn from,
    one all worse and one all better: without them, no flips in ten pairs would be a proof
    (interval [0, 0]). Below two clusters nothing is known: -inf to inf.

    Percentiles of few clusters are too narrow, as a normal interval with the variance over m is.
    They are taken further out, at Φ(-t √(m / (m - 1))) with Student's t of m - 1 degrees: the
    expanded percentile interval of Hesterberg 2015, What Teachers Should Know About the Bootstrap.
    """
    if len(a) != len(b) or (clusters is not None and len(clusters) != len(a)):
        raise BadInput("paired values: give a, b and clusters of one length")
    if not a:
        raise BadInput("paired values: no pairs; there is nothing to compare")
    _check(0, 1, level)
    import numpy as np

    sums: dict[Hashable, float] = defaultdict(float)
    sizes: dict[Hashable, int] = defaultdict(int)
    for place, (x, y) in enumerate(zip(a, b, strict=True)):
        cluster = place if clusters is None else clusters[place]
        sums[cluster] += float(x) - float(y)
        sizes[cluster] += 1
    value = sum(sums.values()) / len(a)
    if len(sums) < 2:
        return Difference(value, -math.inf, math.inf)
    s, n = np.array(list(sums.values())), np.array([float(sizes[c]) for c in sums])
    if all(0 <= x <= 1 for x in (*a, *b)):
        mean_size = n.mean()
        s, n = np.append(s, [mean_size, -mean_size]), np.append(n, [mean_size, mean_size])
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(0, draws, 500):  # 500 draws at a time: a table of draws × clusters stays small
        weights = rng.multinomial(len(s), np.full(len(s), 1 / len(s)), size=500)
        means.append((weights @ s) / (weights @ n))
    tail = _expanded((1 - level) / 2, len(sums))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Difference(value, min(float(low), value), max(float(high), value))


def _expanded(tail: float, m: int) -> float:
    """The tail at which the percentiles of m clusters hold what `tail` promises."""
    from scipy.special import stdtrit

    return NormalDist().cdf(float(stdtrit(m - 1, tail)) * math.sqrt(m / (m - 1)))
