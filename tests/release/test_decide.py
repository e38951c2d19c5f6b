"""What live rows call for: rollback, hold, advance; however they are cut or looked at."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.release.decide import SLOW, Accept, Hard, Watch
from errata.release.live import Arm, Live

ONE = Accept(hard={"failure": Hard()}, soft={})


def row(arm: Arm, failed: bool | None = False, stage: int = 5, **more: Any) -> Live:
    return Live(stage=stage, arm=arm, release="r", digest="d", failed=failed, **more)


def watch(accept: Accept = ONE, needed: int = 1, fair: bool = True) -> Watch:
    return Watch(accept, {1: needed}, fair)


def traffic(random: Random, n: int, canary: float, stable: float, stage: int = 5) -> Iterator[Live]:
    """Requests of users of their own, in both arms by the stage's share."""
    for i in range(n):
        arm: Arm = "canary" if random.random() < stage / 100 else "stable"
        rate = canary if arm == "canary" else stable
        yield row(arm, random.random() < rate, stage, subject=f"u{i}")


def found_after(seed: int, canary: float, stable: float, accept: Accept = ONE) -> int | None:
    """Canary requests until the rollback; None in 10,000 requests."""
    seen, random = watch(accept), Random(seed)
    for n, one in enumerate(traffic(random, 10_000, canary, stable)):
        seen.add([one])
        if n % 50 == 0 and seen.decide(5).action == "rollback":
            return seen.duels["failure"].canary.n
    return None


def test_a_canary_like_stable_is_rarely_rolled_back_however_often_one_looks():
    """Both fail 4 %, 200 looks each."""
    assert sum(found_after(seed, 0.04, 0.04) is not None for seed in range(60)) <= 3


def test_three_times_the_failures_are_found_within_some_hundred_requests():
    """2 % → 6 %. `bench/release.py --only canary` has the numbers: median 116, 200 of eight."""
    eight = Accept(hard={"failure": Hard(), **{f"m{i}": Hard() for i in range(7)}}, soft={})
    for accept, most in ((ONE, 180), (eight, 280)):
        found = [found_after(seed, 0.06, 0.02, accept) or 10_000 for seed in range(30)]
        assert median(found) <= most


@given(st.lists(st.booleans(), max_size=60), st.data())
def test_it_is_the_same_however_the_rows_are_cut(flags: list[bool], data: st.DataObject):
    rows = [row("canary" if i % 3 else "stable", flag) for i, flag in enumerate(flags)]
    at = data.draw(st.integers(0, len(rows)))
    whole, cut = watch(), watch()
    whole.add(rows)
    cut.add(rows[:at])
    cut.decide(5)
    cut.add(rows[at:])
    assert whole.decide(5) == cut.decide(5)


def test_no_data_holds():
    empty = watch(needed=7)
    assert empty.decide(5).action == "hold"
    empty.add([row("stable")] * 500)
    assert empty.decide(5) == ("hold", "0 of 7 canary requests seen at 5 %", "")
    alone = watch()
    alone.add([row("canary")] * 40)
    assert "nothing to compare" in alone.decide(5).why


def test_an_answer_that_could_not_be_scored_is_no_success():
    unscored, flagless = watch(), watch(Accept(hard={"citation_missing": Hard()}, soft={}))
    unscored.add([row("canary", None)])
    flagless.add([row("canary", flags={"citation_missing": None})])
    assert unscored.duels["failure"].canary == (1, 1)
    assert flagless.duels["citation_missing"].canary == (0, 0)


@pytest.mark.parametrize("stage", [5, 100])
def test_what_must_never_happen_rolls_back_at_once(stage: int):
    seen = watch()
    seen.add([row("canary" if stage < 100 else "stable", stage=stage, hard="forbidden_call")])
    assert seen.decide(stage) == ("rollback", "forbidden_call: 1, at most 0", "forbidden_call")


def test_what_stable_does_during_a_rollout_is_no_reason_against_the_canary():
    seen = watch()
    seen.add([row("stable", hard="leak")])
    assert seen.decide(5).action == "hold"


def test_a_difference_too_small_to_matter_rolls_nothing_back():
    """1 % against 0.3 % is beyond chance, and less than a point."""
    seen = watch(Accept(hard={"failure": Hard(least=0.01)}, soft={}))
    for i in range(20_000):
        seen.add([row("canary", i % 100 == 0, 25)])
        seen.add(row("stable", j == 0 and i % 66 == 0, 25) for j in range(5))
    assert seen.duels["failure"].rejected
    assert seen.decide(25).action == "advance"


def test_in_doubt_no_more_users_come_and_none_go():
    """3 of 10 against 5 of 200: e is 15, of the 20 that would take it back."""
    seen = watch()
    for i in range(10):
        seen.add([row("canary", i % 4 == 0, subject=f"c{i}")])
        seen.add(row("stable", i % 2 == 0 and j == 0, subject=f"s{i}-{j}") for j in range(20))
    assert 5 <= seen.duels["failure"].e < 20
    assert (seen.decide(5).action, seen.decide(5).why[:18]) == ("hold", "in doubt: failure:")
    for i in range(400):
        seen.add([row("canary", subject=f"d{i}")])
        seen.add(row("stable", subject=f"t{i}-{j}") for j in range(20))
    assert seen.decide(5).action == "advance"


def test_one_user_is_no_crowd():
    """Of one who always fails two answers count; a hundred users who do are beyond doubt."""
    crowd, user = watch(), watch()
    for i in range(100):
        fine = [row("stable", subject=f"s{i}-{j}") for j in range(20)]
        crowd.add([row("canary", True, subject=f"c{i}"), *fine])
        user.add([row("canary", True, subject="c"), *fine])
    assert crowd.decide(5).action == "rollback"
    assert user.duels["failure"].canary == (2, 2)
    assert user.decide(5).action != "rollback"


def test_one_user_who_fails_on_purpose_takes_back_no_canary_that_is_like_stable():
    """Both fail 2 %, and one user of the canary sends ten requests that must fail."""
    back = 0
    for seed in range(40):
        seen, random = watch(Accept(soft={})), Random(seed)
        seen.add(traffic(random, 4000, 0.02, 0.02))
        seen.add([row("canary", True, subject="one")] * 10)
        seen.add(traffic(random, 1000, 0.02, 0.02))
        back += seen.decide(5).action == "rollback"
    assert back <= 2


def test_an_answer_has_one_thumb():
    """Whoever knows the answer's id, and however often it is sent."""
    seen = watch(Accept(soft={}))
    thumb = {"kind": "feedback", "flags": {"thumbs_down": True}}
    seen.add([row("canary", answer="a", **thumb)] * 9 + [row("canary", answer="b", **thumb)])
    assert seen.duels["thumbs_down"].canary == (2, 2)


def test_servers_that_are_away_take_nothing_back_that_serves_everybody():
    away, bad = watch(), watch()
    for i in range(200):
        away.add([row("stable", True, 100, subject=f"u{i}", error="upstream_unreachable")])
        bad.add([row("stable", True, 100, subject=f"u{i}")])
    assert away.decide(100).action == "hold"
    assert bad.decide(100).action == "rollback"


def test_at_100_percent_who_comes_every_day_counts_every_day():
    seen = watch()
    for day in range(30):
        fails = day == 29
        seen.add(
            row("stable", fails, 100, subject=f"u{i}", ts=86400.0 * day) for i in range(20)
            for _ in range(10)
        )  # fmt: skip
    assert seen.alone["failure"].n == 29 * 200 + 20 * 2
    assert seen.decide(100).action == "rollback"


def test_users_that_do_not_come_in_the_due_ratio_hold_it():
    """200 canary users in 2,000 at 5 %: a hundred were due."""
    seen, fine = watch(), watch()
    seen.add(row("canary" if i % 10 == 0 else "stable", subject=f"u{i}") for i in range(2000))
    fine.add(row("canary" if i % 20 == 0 else "stable", subject=f"u{i}") for i in range(2000))
    decision = seen.decide(5)
    assert (decision.action, decision.metric) == ("hold", "sample_ratio")
    assert fine.decide(5).action == "advance"


def test_few_users_that_ask_most_hold_it():
    seen = watch()
    for i in range(1000):
        seen.add([row("stable", subject=f"u{i}")])
        if i % 20 == 0:
            seen.add([row("canary", subject=f"c{i}")] * 10)
    assert seen.decide(5).metric == "exposure"


def test_a_soft_metric_that_turned_worse_holds_until_somebody_has_seen_it():
    seen = watch(Accept(hard={"failure": Hard()}, soft={"refusal": 0.05}))
    for i in range(400):
        seen.add([row("canary", flags={"refusal": i % 2 == 0}, subject=f"c{i}")])
        seen.add(row("stable", flags={"refusal": False}, subject=f"s{i}-{j}") for j in range(19))
    assert seen.decide(5).metric == "refusal"
    assert seen.decide(5, {"refusal"}).action == "advance"
    low, high = seen.soft("refusal")
    assert 0.3 < low < 0.5 < high


@pytest.mark.parametrize(("fair", "metric"), [(True, "slow"), (False, "")])
def test_latency_is_compared_adapter_with_adapter_only(fair: bool, metric: str):
    seen = watch(Accept(hard={"failure": Hard()}, soft={"slow": 0.1}), fair=fair)
    for i in range(SLOW + 300):
        sizes = {"ms": 10.0 + i % 7, "tokens_out": 1.0}
        seen.add(row("stable", sizes=sizes, subject=f"s{i}-{j}") for j in range(19))
        seen.add([row("canary", sizes={**sizes, "ms": 40.0}, subject=f"c{i}")])
    assert seen.decide(5).metric == metric


def test_at_100_percent_a_rate_above_its_limit_takes_it_back():
    accept = Accept(hard={"citation_missing": Hard(limit=0.05), "failure": Hard()}, soft={})
    for every, action in ((5, "rollback"), (40, "hold")):
        seen = watch(accept)
        for i in range(400):
            flags = {"citation_missing": i % every == 0}
            seen.add([row("stable", stage=100, subject=f"u{i}", flags=flags)])
        assert seen.decide(100).action == action


def test_attacks_put_through_the_canary_are_waited_for_and_bounded():
    seen = watch(Accept(hard={"failure": Hard()}, soft={}, probes=59, hits=0.05))
    seen.add([*[row("canary")] * 5, row("stable"), *[row("canary", kind="probe")] * 58])
    assert "58 of 59" in seen.decide(5).why
    seen.add([row("canary", kind="probe")])
    assert seen.decide(5).action == "advance"
    seen.add([row("canary", True, kind="probe")])
    assert "upper bound" in seen.decide(5).why


def test_the_same_attacks_put_again_are_no_more_attacks():
    seen = watch(Accept(soft={}, probes=4))
    for hit in (True, False):
        seen.add(
            [row("canary", hit, kind="probe", case="a"), row("canary", kind="probe", case="b")]
        )
    assert seen.probes == (1, 2)


def test_feedback_counts_for_its_own_metric_alone():
    seen = watch(Accept(soft={}))
    seen.add([row("canary", kind="feedback", flags={"thumbs_down": True})])
    assert seen.duels["thumbs_down"].canary == (1, 1)
    assert seen.duels["failure"].canary == (0, 0)
    assert seen.exposure[5] == 0


def test_a_canary_that_breaks_late_is_found_soon():
    """5,000 good answers at 25 %, then it fails at 50 %: found within 40 of its answers."""
    seen, random = watch(), Random(3)
    for i in range(5000):
        seen.add([row("canary", random.random() < 0.02, 25, subject=f"c{i}")])
        seen.add(row("stable", random.random() < 0.02, 25, subject=f"s{i}-{j}") for j in range(3))
    assert seen.decide(25).action == "advance"
    for i in range(40):
        seen.add([row("canary", random.random() < 0.6, 50, subject=f"d{i}")])
        seen.add([row("stable", random.random() < 0.02, 50, subject=f"t{i}")])
    assert seen.decide(50).action == "rollback"


def test_what_has_served_well_for_long_is_still_taken_back():
    seen = watch(Accept(hard={"failure": Hard(limit=0.1)}, soft={}))
    seen.add(row("stable", i % 100 == 0, 100, subject=f"u{i}") for i in range(20_000))
    assert seen.decide(100).action == "hold"
    seen.add(row("stable", i % 3 == 0, 100, subject=f"v{i}") for i in range(150))
    assert seen.decide(100).action == "rollback"
