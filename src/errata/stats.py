"""Intervals, paired tests and e-processes: what lets a gate say yes, no, or not enough data.

Pure functions; scipy and numpy are imported when a function needs them. Sources: Clopper & Pearson
1934, Wilson 1927, McNemar 1947; Kish 1965 and Korn & Graubard 1998 (exact bounds on an effective
sample size); Agresti & Min 2005 (pseudo-pairs); Ville 1939, Turner, Ly & Grünwald 2021-24
(e-variables for two streams).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

from errata.errors import BadInput


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


def paired_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
    draws: int = 4000,
) -> Difference:
    """Mean of a - b over the same prompts, with a two-sided percentile interval over clusters.

    Values that are all 0 or 1 get two more clusters of average size in the pool that is drawn
    from, one all worse and one all better: without them, no flips in ten pairs would be a proof
    (interval [0, 0]). Below two clusters nothing is known: -inf to inf.
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
    if all(x in (0, 1) for x in (*a, *b)):
        mean_size = n.mean()
        s, n = np.append(s, [mean_size, -mean_size]), np.append(n, [mean_size, mean_size])
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(0, draws, 500):  # 500 draws at a time: a table of draws × clusters stays small
        weights = rng.multinomial(len(s), np.full(len(s), 1 / len(s)), size=500)
        means.append((weights @ s) / (weights @ n))
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Difference(value, min(float(low), value), max(float(high), value))


def _log_mean_exp(logs: Sequence[float]) -> float:
    top = max(logs)
    if math.isinf(top):
        return top
    return top + math.log(sum(math.exp(x - top) for x in logs) / len(logs))


def _exp(x: float) -> float:
    return math.inf if x > 700 else math.exp(x)


def _counts(failures: int, n: int) -> None:
    if not 0 <= failures <= n:
        raise BadInput(f"{failures} failures of {n}: need 0 <= failures <= n")


class EProcess:
    """Evidence that a failure rate is above `limit`, valid however often one looks.

    The e-value is the mean of five likelihood ratios, against odds 1.5, 2, 3, 5 and 10 times those
    of the limit. Under any rate ≤ limit it is a supermartingale that starts at 1, so by Ville's
    inequality it ever reaches 1 / alpha with probability at most alpha.
    """

    _ODDS = (1.5, 2.0, 3.0, 5.0, 10.0)

    def __init__(self, limit: float, alpha: float = 0.05) -> None:
        if not 0 <= limit < 1 or not 0 < alpha < 1:
            raise BadInput("EProcess: need 0 <= limit < 1 and 0 < alpha < 1")
        self.limit, self.alpha = limit, alpha
        self.failures = self.n = 0

    @property
    def e(self) -> float:
        """The e-value so far; 1 means no evidence."""
        if self.limit == 0:
            return math.inf if self.failures else 1.0
        odds = self.limit / (1 - self.limit)
        logs = []
        for times in self._ODDS:
            q = times * odds / (1 + times * odds)
            good = (self.n - self.failures) * math.log((1 - q) / (1 - self.limit))
            logs.append(self.failures * math.log(q / self.limit) + good)
        return _exp(_log_mean_exp(logs))

    @property
    def rejected(self) -> bool:
        """The rate is above the limit, at error alpha over all looks so far."""
        return self.e >= 1 / self.alpha

    def update(self, failures: int, n: int) -> float:
        """Add a batch of n trials; the e-value over all of them."""
        _counts(failures, n)
        self.failures += failures
        self.n += n
        return self.e


class EProcess2:
    """Evidence that a canary fails more often than the stable arm plus `margin`.

    Each batch is one block of n_c and n_s trials. For an alternative (q_c, q_s) fixed before the
    block, with (p_c, p_s) its closest point of the null in KL divergence weighted by n_c and n_s,

        E = Π q_c(y) / p_c(y) · Π q_s(y) / p_s(y)

    has mean ≤ 1 under every p_c ≤ p_s + margin (Turner, Ly & Grünwald: the null is convex). Five
    alternatives are kept; each guesses q_s from earlier batches and adds its own excess.
    """

    _EXCESS = (0.01, 0.03, 0.08, 0.2, 0.4)

    def __init__(self, margin: float = 0.0, alpha: float = 0.05) -> None:
        if not 0 <= margin < 1 or not 0 < alpha < 1:
            raise BadInput("EProcess2: need 0 <= margin < 1 and 0 < alpha < 1")
        self.margin, self.alpha = margin, alpha
        self._logs = [0.0] * len(self._EXCESS)
        self._stable_failures = self._stable_n = 0

    @property
    def e(self) -> float:
        """The e-value so far; 1 means no evidence."""
        return _exp(_log_mean_exp(self._logs))

    @property
    def rejected(self) -> bool:
        """The canary is worse by more than the margin, at error alpha over all looks so far."""
        return self.e >= 1 / self.alpha

    def update(
        self, canary_failures: int, canary_n: int, stable_failures: int, stable_n: int
    ) -> float:
        """Add a batch of both arms; the e-value over all. One arm alone tells nothing."""
        _counts(canary_failures, canary_n)
        _counts(stable_failures, stable_n)
        if canary_n and stable_n:
            guess = (self._stable_failures + 0.5) / (self._stable_n + 10)
            for place, excess in enumerate(self._EXCESS):
                qc = min(guess + self.margin + excess, 0.99)
                self._logs[place] += self._log_ratio(
                    qc, guess, (canary_failures, canary_n), (stable_failures, stable_n)
                )
        self._stable_failures += stable_failures
        self._stable_n += stable_n
        return self.e

    def _log_ratio(
        self, qc: float, qs: float, canary: tuple[int, int], stable: tuple[int, int]
    ) -> float:
        if qc <= qs + self.margin:  # the alternative lies in the null: no bet
            return 0.0
        ps = closest_null(qc, qs, canary[1], stable[1], self.margin)
        out = 0.0
        for q, p, (failures, n) in ((qc, ps + self.margin, canary), (qs, ps, stable)):
            out += failures * math.log(q / p) + (n - failures) * math.log((1 - q) / (1 - p))
        return out


def closest_null(qc: float, qs: float, nc: int, ns: int, margin: float) -> float:
    """p_s of the point (p_s + margin, p_s) that is closest to (qc, qs) in weighted KL divergence.

    The derivative of nc·KL(qc ‖ p + margin) + ns·KL(qs ‖ p) grows with p: bisection finds its zero,
    which lies between qs and qc - margin.
    """
    low, high = qs, qc - margin
    for _ in range(80):
        p = (low + high) / 2
        pc = p + margin
        slope = nc * (pc - qc) / (pc * (1 - pc)) + ns * (p - qs) / (p * (1 - p))
        low, high = (p, high) if slope < 0 else (low, p)
    return (low + high) / 2
