"""Win rates with ties, their two intervals, and gains that say what they show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.errors import BadInput
from errata.evaluate import versus, winrate
from errata.records import Case, CaseResult, Message, Predicate
from errata.stats import clopper_pearson


def case(id: str, cluster: str = "") -> Case:
    return Case(
        id=id, category="smalltalk", language="en", family="f", cluster=cluster or id,
        split="heldout", messages=[Message(role="user", content="Hello")],
        success=Predicate(kind="polite"),
    )  # fmt: skip


def test_ties_count_one_half_and_decide_no_cluster() -> None:
    """Two won, one lost, one tied: (2 + 0.5) / 4; the exact interval is that of 2 of 3."""
    cases = [case(str(i)) for i in range(4)]
    good, bad = "Thank you, glad to help.", "You fool"
    won = winrate.points(cases, [good, good, bad, good], [bad, bad, good, good])
    assert won == [1.0, 1.0, 0.0, 0.5]
    found = winrate.interval(won, [c.cluster for c in cases])
    assert (found.value, found.wins, found.losses, found.ties) == (0.625, 2, 1, 1)
    assert found.exact == clopper_pearson(2, 3, 0.95)
    assert found.p == 0.875, "1 - P(no loss of three) = 1 - 1/8"


def test_a_candidate_that_equals_its_reference_wins_half() -> None:
    found = winrate.interval([0.5] * 40, list(range(40)))
    assert (found.value, found.wins, found.losses, found.p) == (0.5, 0, 0, 1.0)
    assert found.low < 0.5 < found.high
    assert found.exact == (0.0, 1.0), "nothing was decided"


def test_a_cluster_is_decided_once_by_its_net_points() -> None:
    """Twenty wordings of one request are one decision, whatever their number."""
    many = winrate.interval([1.0] * 20 + [0.0], ["a"] * 20 + ["b"])
    assert (many.wins, many.losses) == (1, 1)
    with pytest.raises(BadInput, match="no pairs"):
        winrate.interval([], [])


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_swapping_the_sides_mirrors_the_rate(won: list[float]) -> None:
    there = winrate.interval(won, list(range(len(won))))
    back = winrate.interval([1 - w for w in won], list(range(len(won))))
    assert back.value == pytest.approx(1 - there.value)
    assert (back.wins, back.losses) == (there.losses, there.wins)
    assert back.exact.low == pytest.approx(1 - there.exact.high)
    assert 0 <= there.low <= there.value <= there.high <= 1


def coverage(m: int, shares: list[float], draws: int, level: float = 0.95) -> float:
    """How often the interval holds the true rate: clusters of one to four prompts that turn
    together with probability 0.6, won, tied and lost with the given shares."""
    rng, held = np.random.default_rng(7), 0
    truth = shares[0] + shares[1] / 2
    for _ in range(draws):
        won, clusters = list[float](), list[int]()
        for cluster in range(m):
            together = rng.choice([1, 0.5, 0], p=shares)
            for _ in range(rng.integers(1, 5)):
                alone = rng.choice([1, 0.5, 0], p=shares)
                won.append(float(together if rng.random() < 0.6 else alone))
                clusters.append(cluster)
        found = winrate.interval(won, clusters, level)
        held += found.low <= truth <= found.high
    return held / draws


@pytest.mark.slow
@pytest.mark.parametrize("m", [10, 20, 40, 150])
@pytest.mark.parametrize("shares", [[0.5, 0.3, 0.2], [0.8, 0.15, 0.05], [0.1, 0.8, 0.1]])
def test_the_interval_covers_in_simulation(m: int, shares: list[float]) -> None:
    """At least 0.94 of 500 draws. With plain percentiles 10 clusters at 0.5/0.3/0.2 cover 0.89."""
    assert coverage(m, shares, 500) >= 0.94


def result(id: str, hit: bool) -> CaseResult:
    return CaseResult(
        prompt_id=id, category="catalogue", language="en", family="f", cluster=id, answer="a",
        hit=hit,
    )  # fmt: skip


def test_a_gain_is_told_with_its_interval_and_only_where_it_is_shown() -> None:
    base = [result(str(i), i >= 30) for i in range(60)]
    some = [result(str(i), i >= 28) for i in range(60)]
    much = [result(str(i), True) for i in range(60)]
    (few,), (many,), (none,) = (versus.changes(ours, base) for ours in (some, much, base))
    assert few.gain.value == pytest.approx(2 / 60)
    assert few.verdict[0] == "no difference shown", "2 of 60 clusters: p = 1/2"
    assert few.p == 0.5
    assert many.verdict[0] == "better"
    assert many.gain.low > 0.3
    assert (none.gain.value, none.better, none.worse, none.p) == (0.0, 0, 0, 1.0)
    assert versus.changes(base, much)[0].verdict[0] == "worse"
    page = versus.page("tiny", [many], None, None)
    assert "+50.0% \\[" in page
