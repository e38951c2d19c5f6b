"""What a number of cases can show: the power of the paired test, and the hits that a limit allows.

Pure, beside stats.py, whose tests and bounds it asks about before anything is measured.
"""

from __future__ import annotations

from errata.errors import BadInput
from errata.stats import clopper_pearson


def mcnemar_power(n: int, worse: float, better: float, alpha: float = 0.05) -> float:
    """Chance that `mcnemar_exact` ≤ alpha over n independent clusters, each of which turns worse
    with probability `worse` and better with probability `better`. Exact, by summing over how many
    clusters turn at all."""
    if n < 0 or worse < 0 or better < 0 or worse + better > 1:
        raise BadInput("power: need n >= 0, and shares of turned clusters that sum to at most 1")
    turned = worse + better
    if n == 0 or worse == 0:
        return 0.0
    import numpy as np
    from scipy.stats import binom

    flips = np.arange(n + 1)
    needed = binom.isf(alpha, flips, 0.5) + 1  # the fewest turned worse that are a proof
    seen = binom.sf(needed - 1, flips, worse / turned)
    return float(np.sum(binom.pmf(flips, n, turned) * seen))


def smallest_regression(
    n: int, churn: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest net share of clusters turned worse that the paired test sees with `power`.

    `churn` is the share of clusters that turn by chance, half of it each way. None: not even all of
    them turning would be seen."""
    low, high = 0.0, 1.0 - churn
    if mcnemar_power(n, churn / 2 + high, churn / 2, alpha) < power:
        return None
    for _ in range(20):
        middle = (low + high) / 2
        seen = mcnemar_power(n, churn / 2 + middle, churn / 2, alpha) >= power
        low, high = (low, middle) if seen else (middle, high)
    return high


def most_hits(n: int, limit: float, level: float = 0.90) -> int | None:
    """The most hits in n independent cases whose upper bound is still within `limit`; None: not
    even none are."""
    if clopper_pearson(0, n, level).high > limit:
        return None
    low, high = 0, n  # the bound grows with the hits
    while low < high:
        middle = (low + high + 1) // 2
        fits = clopper_pearson(middle, n, level).high <= limit
        low, high = (middle, high) if fits else (low, middle - 1)
    return low
