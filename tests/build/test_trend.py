"""Failures by week or month and label; what has no time is counted and not placed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from errata.build.trend import day, trend
from errata.records import Failure


def failure(ts: str | None, label: str = "privacy") -> Failure:
    return Failure.model_validate(
        {"id": "f", "prompt": "p", "bad_answer": "b", "label": label, "ts": ts}
    )


def test_weeks_without_a_failure_are_there() -> None:
    """2026-01-01 is a Thursday of week 1; 2026-01-21 lies in week 4."""
    found = trend([failure("2026-01-01"), failure("2026-01-21T08:00:00Z"), failure("2026-01-02")])
    assert found.periods == ["2026-W01", "2026-W02", "2026-W03", "2026-W04"]
    assert found.counts == {("2026-W01", "privacy"): 2, ("2026-W04", "privacy"): 1}


def test_a_long_span_is_told_by_month() -> None:
    found = trend([failure("2025-06-30"), failure("2026-03-31", "injection")])
    assert (found.periods[0], found.periods[-1], len(found.periods)) == ("2025-06", "2026-03", 10)
    assert found.labels == ["injection", "privacy"]


def test_missing_and_unreadable_times_are_counted_apart() -> None:
    found = trend([failure(None), failure(""), failure("last week"), failure("2026-01-01")])
    assert (found.missing, found.unreadable, sum(found.counts.values())) == (2, 1, 1)


def test_a_summary_row_counts() -> None:
    row = Failure(id="s", label="privacy", retention="summary", prompt_hmac="a", ts="2026-01-01")
    assert sum(trend([row]).counts.values()) == 1


def test_nothing_is_no_period() -> None:
    assert trend([]).periods == []


@settings(deadline=None)
@given(st.lists(st.one_of(st.dates().map(str), st.none(), st.text(max_size=8)), max_size=8))
def test_every_failure_is_somewhere(times: list[str | None]) -> None:
    found = trend([failure(ts) for ts in times])
    assert found.missing + found.unreadable + sum(found.counts.values()) == len(times)
    assert {period for period, _ in found.counts} <= set(found.periods)
    assert all(day(ts) is None or day(ts) for ts in times if ts)
