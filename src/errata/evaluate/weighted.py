"""A weighted mean of values between 0 and 1, with bounds over clusters.

    mean([1, 0, 1], [2, 2, 5], ["a", "a", "b"]) → Difference(value, low, high)

Weights are how many cases of the whole a sampled one stands for (N / n of its stratum): the ratio
Σ w x / Σ w is the Hájek form of the Horvitz–Thompson estimate. The bounds are a bootstrap over
clusters with two more in the pool, one all 0 and one all 1: without them, thirty answers that all
got the same grade would be known exactly. All 0 or all 1 have no narrower bound than the exact one
(Clopper–Pearson on the clusters, Kish's number of them where weights differ). Strata are not kept
apart in it, which makes it wider.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from errata.errors import BadInput
from errata.language import say
from errata.stats import Difference, clopper_pearson

LEVEL = 0.90  # two-sided: each end is a one-sided 95 % bound
DRAWS, AT_ONCE = 4000, 500  # a table of draws × clusters stays small


def mean(
    values: Sequence[float],
    weights: Sequence[float],
    clusters: Sequence[Hashable],
    level: float = LEVEL,
    seed: int = 0,
) -> Difference | None:
    """Σ w x / Σ w and its bounds; None without a value.

    BadInput where a value is not between 0 and 1 or a weight not above 0."""
    if not len(values) == len(weights) == len(clusters):
        raise BadInput("weighted mean: give values, weights and clusters of one length")
    if any(not 0 <= x <= 1 for x in values) or any(w <= 0 for w in weights):
        raise BadInput("weighted mean: values lie between 0 and 1, weights above 0")
    if not values:
        return None
    import numpy as np

    names = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    place = np.array([names[name] for name in clusters])
    w, x = np.array(weights, dtype=float), np.array(values, dtype=float)
    size = np.bincount(place, w)
    exact = clopper_pearson(0, float(size.sum() ** 2 / (size**2).sum()), level).high
    hits = np.bincount(place, w * x)
    value, usual = float((w * x).sum() / w.sum()), size.mean()
    size, hits = np.append(size, [usual, usual]), np.append(hits, [0.0, usual])
    rng, means = np.random.default_rng(seed), []
    for _ in range(0, DRAWS, AT_ONCE):
        drawn = rng.multinomial(len(size), np.full(len(size), 1 / len(size)), size=AT_ONCE)
        means.append((drawn @ hits) / (drawn @ size))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    low, high = min(float(low), value), max(float(high), value)
    return Difference(value, min(low, 1 - exact) if value == 1 else low,
                      max(high, exact) if value == 0 else high)  # fmt: skip


def ends(
    found: Difference | None, least: float = 0.0, most: float = 1.0
) -> dict[str, float | None]:
    """`value`, `low` and `high` for a record, told from `least` to `most`; None without any."""
    if found is None:
        return dict.fromkeys(("value", "low", "high"))
    names = zip(("value", "low", "high"), found, strict=True)
    return {name: least + (most - least) * end for name, end in names}


def withheld(doubts: Sequence[tuple[str, str]]) -> str:
    """Names of numbers and why each is none (`en / zh`), as one line: the first reason, and whose
    it is; of the others the names."""
    name, why = doubts[0]
    others = ", ".join(other for other, _ in doubts[1:])
    more = say(f"; withheld too: {others}", f"；同样不公布：{others}") if others else ""
    return f"{name}: {say(*why.split(' / ', 1))}{more}"
