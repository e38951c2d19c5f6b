"""Percentiles and rates by hand; what a sample cannot tell is None."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.infer.timing import LEAST, Sent, arrivals, crossed, percentile, summary


def test_percentiles_are_order_statistics() -> None:
    hundred = [float(n) for n in range(1, 101)]
    assert percentile(hundred, 50).value == 50
    assert percentile(hundred, 95).value == 95
    # binom.ppf(.025, 100, .5) = 40 and binom.ppf(.975, 100, .5) = 60: ranks 40 and 61
    assert percentile(hundred, 50)[1:] == (40, 61)
    # binom(100, .95): 90 and 99, so ranks 90 and 100
    assert percentile(hundred, 95)[1:] == (90, 100)


def test_a_sample_too_small_has_no_p99_and_no_upper_end_of_a_p95() -> None:
    assert percentile([1.0] * 999, 99).value is None
    assert percentile([1.0] * 1000, 99).value == 1.0
    assert percentile([1.0] * 19, 95).value is None
    found = percentile([float(n) for n in range(40)], 95)
    # 0.95⁴⁰ = 0.129: with that probability all 40 lie below the P95, so no end covers it at 97.5 %
    assert (found.value, found.high) == (37, None)


@given(st.lists(st.floats(0, 1e6), min_size=20, max_size=300), st.sampled_from([50, 95]))
def test_a_percentile_is_a_value_of_the_sample_inside_its_interval(
    values: list[float], q: int
) -> None:
    found = percentile(values, q)
    assert found.value in values
    assert sum(v <= found.value for v in values) >= q / 100 * len(values) - 1e-9
    assert found.low is None or found.low <= found.value
    assert found.high is None or found.high >= found.value


def test_times_of_a_request_by_hand() -> None:
    # due at 1, first piece at 1.5, three more each 0.1 later, five tokens
    one = Sent(1.0, 1.5, 1.9, 5, (0.1, 0.1, 0.2))
    found = summary([[one] * 20])
    assert found.ttft[50].value == pytest.approx(500)
    assert found.tpot[50].value == pytest.approx(400 / 4)
    assert found.latency[95].value == pytest.approx(900)
    assert found.itl[95].value == pytest.approx(200)  # 20 of 60 gaps are the long one
    assert found.mean_tokens == 5


def test_rates_leave_out_the_pauses_in_which_others_were_asked() -> None:
    first = [Sent(0.0, 0.5, 1.0, 10), Sent(1.0, 1.5, 2.0, 10)]
    later = [Sent(100.0, 100.5, 102.0, 20)]
    found = summary([first, later], offered=2.0)
    assert found.achieved == pytest.approx(3 / 4)
    assert found.tokens_per_s == pytest.approx(40 / 4)
    assert found.offered == 2.0


def test_what_failed_is_counted_and_not_timed() -> None:
    found = summary([[Sent(0.0, 0.5, 1.0, 10), Sent(0.0, error="HTTP 500")]])
    assert (found.n, found.failed) == (1, 1)
    nothing = summary([[Sent(0.0, error="gone")]])
    assert (nothing.n, nothing.achieved, nothing.tokens_per_s) == (0, 0, 0)


def test_one_token_has_no_time_per_later_token() -> None:
    found = summary([[Sent(0.0, 0.5, 0.5, 1)] * 20])
    assert found.tpot[50].value is None
    assert found.latency[50].value == pytest.approx(500)


def test_arrivals_are_poisson_of_that_rate_and_the_same_for_a_seed() -> None:
    found = arrivals(5.0, 20_000, "a")
    gaps = [b - a for a, b in zip([0.0, *found], found, strict=False)]
    mean = sum(gaps) / len(gaps)
    spread = math.sqrt(sum((g - mean) ** 2 for g in gaps) / len(gaps))
    # an exponential law: mean and standard deviation are 1/5, here within 5 standard errors
    assert mean == pytest.approx(0.2, abs=5 * 0.2 / math.sqrt(20_000))
    assert spread == pytest.approx(mean, rel=0.05)
    assert found == arrivals(5.0, 20_000, "a")
    assert found != arrivals(5.0, 20_000, "b")


@pytest.mark.parametrize(
    ("now", "before", "worse", "is_crossed"),
    [(131, 100, "higher", True), (130, 100, "higher", False), (76, 100, "lower", True),
     (77, 100, "lower", False), (50, 100, "higher", False), (500, 100, "lower", False)],
)  # fmt: skip
def test_worse_by_more_than_its_factor(
    now: float, before: float, worse: str, is_crossed: bool
) -> None:
    assert crossed(now, before, 1.3, worse) is is_crossed


def test_every_percentile_has_a_least_sample() -> None:
    assert LEAST == {50: 20, 95: 20, 99: 1000}
