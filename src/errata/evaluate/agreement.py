"""Do those who judge agree more than chance would? Krippendorff's alpha, Cohen's kappa.

    alpha([["yes", "yes"], ["no", "yes", None]])    any number of raters, ratings may be missing
    kappa([("A", "A"), ("B", "tie")])               a judge against labels

Alpha is 1 − observed / expected disagreement (Krippendorff 2004, chapter 11; nominal form: 2011,
"Computing Krippendorff's Alpha-Reliability"): 1 is agreement in everything, 0 is chance. Where all
say one thing about everything it is undefined, not 1: whoever never looks says the same. Intervals
are a bootstrap over what was rated, not Krippendorff's over single deviations.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from errata.evaluate import weighted
from errata.stats import Interval, clopper_pearson

Unit = Sequence[Hashable]  # what the raters said of one thing; None: nothing
DRAWS = 2000
MOST_UNDEFINED = 0.5  # of the draws; with more the interval would be about the rest


class Alpha(NamedTuple):
    """Alpha with its interval; `doubles` things were rated by two or more."""

    value: float | None
    low: float | None
    high: float | None
    doubles: int
    same: float | None  # share of pairs of ratings that are equal: what alpha corrects


class Kappa(NamedTuple):
    """Raw agreement and Cohen's kappa over n pairs, with their intervals."""

    n: int
    raw: float | None
    raw_low: float | None
    raw_high: float | None
    kappa: float | None
    low: float | None
    high: float | None


class Rater(NamedTuple):
    """How often one rater agrees with the others, beside how often these agree with each other."""

    name: str
    same: int
    pairs: int
    others: float | None
    off: bool


def _told(unit: Unit) -> list[Hashable]:
    return [value for value in unit if value is not None]


def alpha_of(units: Sequence[Unit]) -> float | None:
    """Nominal alpha: 1 − (n − 1)(n − Σ o_cc) / (n² − Σ n_c²), with o_cc = Σ_u n_uc (n_uc − 1) /
    (m_u − 1) over the things that m_u ≥ 2 rated. None where nothing varies, or nothing is double.
    """
    totals: Counter[Hashable] = Counter()
    agreed = 0.0
    for unit in units:
        told = _told(unit)
        if len(told) > 1:
            counts = Counter(told)
            totals.update(counts)
            agreed += sum(k * (k - 1) for k in counts.values()) / (len(told) - 1)
    n = sum(totals.values())
    spread = n * n - sum(k * k for k in totals.values())
    return 1 - (n - 1) * (n - agreed) / spread if spread else None


def alpha(units: Sequence[Unit], level: float = weighted.LEVEL, seed: int = 0) -> Alpha:
    """`alpha_of` with a percentile interval over resampled things; no interval where most
    resamples have no variation."""
    double = [told for unit in units if len(told := _told(unit)) > 1]
    value = alpha_of(double)
    pairs = [(sum(k * (k - 1) for k in Counter(u).values()), len(u) * (len(u) - 1)) for u in double]
    every = sum(of for _, of in pairs)
    same = sum(k for k, _ in pairs) / every if every else None
    if value is None:
        return Alpha(None, None, None, len(double), same)
    import numpy as np

    names = {name: at for at, name in enumerate(dict.fromkeys(v for u in double for v in u))}
    table = np.zeros((len(double), len(names)))
    for row, unit in enumerate(double):
        for rating in unit:
            table[row, names[rating]] += 1
    agreed = (table * (table - 1)).sum(1) / (table.sum(1) - 1)
    drawn = np.random.default_rng(seed).multinomial(
        len(double), np.full(len(double), 1 / len(double)), size=DRAWS
    )
    totals = drawn @ table
    n = totals.sum(1)
    spread = n * n - (totals**2).sum(1)
    known = spread > 0
    if known.mean() < MOST_UNDEFINED:
        return Alpha(value, None, None, len(double), same)
    found = 1 - (n - 1)[known] * (n - drawn @ agreed)[known] / spread[known]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Alpha(value, min(float(low), value), max(float(high), value), len(double), same)


def kappa_of(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen 1960: (p_o − p_e) / (1 − p_e); None without pairs, or where both say only one thing."""
    n = len(pairs)
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    by_chance = sum(left[name] * right[name] for name in left)  # times n²
    if n * n == by_chance:
        return None
    return (n * sum(a == b for a, b in pairs) - by_chance) / (n * n - by_chance)


def kappa(
    pairs: Sequence[tuple[Hashable, Hashable]], clusters: Sequence[Hashable], seed: int = 0
) -> Kappa:
    """Raw agreement and kappa, each with bounds over clusters (one-sided 95 % at either end)."""
    raw = weighted.mean([float(a == b) for a, b in pairs], [1.0] * len(pairs), clusters)
    value = kappa_of(pairs)
    if raw is None or value is None:
        seen = raw or (None, None, None)
        return Kappa(len(pairs), seen[0], seen[1], seen[2], value, None, None)
    import numpy as np

    groups: dict[Hashable, list[tuple[Hashable, Hashable]]] = defaultdict(list)
    for pair, cluster in zip(pairs, clusters, strict=True):
        groups[cluster].append(pair)
    piles, rng, found = list(groups.values()), np.random.default_rng(seed), []
    for _ in range(DRAWS):
        picked = rng.integers(len(piles), size=len(piles))
        one = kappa_of([pair for at in picked for pair in piles[at]])
        found += [] if one is None else [one]
    if len(found) < MOST_UNDEFINED * DRAWS or len(piles) < 2:
        return Kappa(len(pairs), *raw, value, None, None)
    low, high = np.quantile(found, [0.05, 0.95])
    return Kappa(len(pairs), *raw, value, min(float(low), value), max(float(high), value))


def raters(units: Sequence[Mapping[str, Hashable]]) -> list[Rater]:
    """Each rater against the others; `units` have rater → rating.

    `off`: what the rater agrees in is, at the good end of its interval, less than the others agree
    in with each other. Two alone cannot be told apart: with fewer than three nobody is off."""
    same: Counter[frozenset[str]] = Counter()
    both: Counter[frozenset[str]] = Counter()
    for unit in units:
        told = sorted((name, value) for name, value in unit.items() if value is not None)
        for at, (one, mine) in enumerate(told):
            for other, theirs in told[at + 1 :]:
                both[frozenset((one, other))] += 1
                same[frozenset((one, other))] += mine == theirs
    names = sorted({name for pair in both for name in pair})
    return [_rater(name, same, both) for name in names]


def _rater(name: str, same: Counter[frozenset[str]], both: Counter[frozenset[str]]) -> Rater:
    own, of = (sum(c[pair] for pair in both if name in pair) for c in (same, both))
    rest, among = (sum(c[pair] for pair in both if name not in pair) for c in (same, both))
    others = rest / among if among else None
    high = clopper_pearson(own, of, weighted.LEVEL).high
    return Rater(name, own, of, others, others is not None and high < others)


def share(rater: Rater) -> Interval:
    """Bounds of a rater's agreement with the others."""
    return clopper_pearson(rater.same, rater.pairs, weighted.LEVEL)
