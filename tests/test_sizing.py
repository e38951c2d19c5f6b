"""The power of the paired test and the hits of a limit, against sums by hand."""

from __future__ import annotations

import math

import pytest

from errata.sizing import mcnemar_power, most_hits, smallest_regression
from errata.stats import clopper_pearson, mcnemar_exact


@pytest.mark.parametrize(("n", "worse", "better"), [(10, 0.3, 0.1), (30, 0.1, 0.02), (5, 1.0, 0.0)])
def test_power_is_the_sum_over_all_that_may_turn(n: int, worse: float, better: float) -> None:
    total = sum(
        math.comb(n, x) * math.comb(n - x, y) * worse**x * better**y
        * (1 - worse - better) ** (n - x - y)
        for x in range(n + 1) for y in range(n + 1 - x) if mcnemar_exact(x, y) <= 0.05
    )  # fmt: skip
    assert mcnemar_power(n, worse, better) == pytest.approx(total)


def test_four_clusters_are_no_proof_and_five_are() -> None:
    """All of four turned: p = 1/16; of five: 1/32."""
    assert smallest_regression(4) is None
    assert mcnemar_power(5, 1.0, 0.0) == 1.0
    seen = smallest_regression(100, churn=0.02)
    assert seen
    assert mcnemar_power(100, 0.01 + seen, 0.01) == pytest.approx(0.8, abs=0.001)


@pytest.mark.parametrize(("n", "limit", "most"), [(18, 0.15, None), (19, 0.15, 0), (60, 0.15, 4)])
def test_most_hits_is_the_last_whose_bound_fits(n: int, limit: float, most: int | None) -> None:
    assert most_hits(n, limit) == most
    if most is not None:
        assert (
            clopper_pearson(most, n, 0.90).high <= limit < clopper_pearson(most + 1, n, 0.90).high
        )
