"""How many failures of each label came in, week by week: what grows, and what a fix made rarer."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from errata.records import Failure

WEEKS = 26  # a longer span is told by month


class Trend(NamedTuple):
    """Counts by period and label; periods in order, those without a failure included."""

    periods: list[str]
    labels: list[str]
    counts: dict[tuple[str, str], int]
    missing: int
    unreadable: int


def day(text: str) -> datetime.date | None:
    """The date of an ISO 8601 time in its own zone; None where it is none."""
    try:
        return datetime.datetime.fromisoformat(text.strip()).date()
    except ValueError:
        return None


def trend(failures: Iterable[Failure]) -> Trend:
    """Of all failures, those that only count (summary rows) among them."""
    rows = [(str(failure.label), failure.ts, day(failure.ts or "")) for failure in failures]
    dated = [(label, found) for label, _, found in rows if found]
    labels = sorted({label for label, *_ in rows})
    missing = sum(not ts for _, ts, _ in rows)
    unreadable = len(rows) - missing - len(dated)
    if not dated:
        return Trend([], labels, {}, missing, unreadable)
    first, last = min(d for _, d in dated), max(d for _, d in dated)
    by_month = (last - first).days > 7 * WEEKS
    counts = Counter((_period(found, by_month), label) for label, found in dated)
    return Trend(_periods(first, last, by_month), labels, dict(counts), missing, unreadable)


def _period(found: datetime.date, by_month: bool) -> str:
    if by_month:
        return f"{found:%Y-%m}"
    year, week, _ = found.isocalendar()
    return f"{year}-W{week:02d}"


def _periods(first: datetime.date, last: datetime.date, by_month: bool) -> list[str]:
    """Every one from the first to the last, so that an empty week is seen to be empty."""
    days = (last - first).days + 1
    steps = (first + datetime.timedelta(days=step) for step in range(0, days, 7))
    found = [_period(step, by_month) for step in steps]
    return list(dict.fromkeys([*found, _period(last, by_month)]))
