"""Times as people and systems write them, as ISO 8601.

What leaves open which is the month (03/04/2025) is not read: nothing is made up, no zone either.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_CLOCK = r"(\d{1,2})[时:：](\d{1,2})(?:[分:：](\d{1,2})?秒?)?"
_PARTS = (
    re.compile(rf"(\d{{4}})年(\d{{1,2}})月(\d{{1,2}})日\s*(?:{_CLOCK})?"),
    re.compile(rf"(\d{{4}})[/.](\d{{1,2}})[/.](\d{{1,2}})(?:[ T]{_CLOCK})?"),
)
_YEAR_LAST = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})((?:[ T].*)?)")
_USUAL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ]|$)")
_NAMED = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%Y%m%d", "%Y%m%d%H%M%S",
          "%d %b %Y %H:%M", "%d %b %Y %H:%M:%S", "%b %d, %Y %H:%M",
          "%b %d, %Y %I:%M %p")  # fmt: skip
_EARLIEST, _LATEST = 946_684_800, 4_102_444_800  # 2000 and 2100, in seconds since 1970


def read(value: Any) -> str | None:
    """A time of any of these forms; None where it is none, or would have to be guessed."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _epoch(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if re.fullmatch(r"\d{10}|\d{13}|\d{16}", text):
        return _epoch(int(text))
    return (
        _iso(text)
        or _in_parts(text)
        or _day_first_or_last(text)
        or _mailed(text)
        or _in_words(text)
    )


def _epoch(value: float) -> str | None:
    if not _EARLIEST <= value <= _LATEST * 1_000_000:  # an int of 400 digits is no float
        return None
    for unit in (1, 1_000, 1_000_000):  # seconds, milliseconds, microseconds
        if _EARLIEST <= value / unit <= _LATEST:
            moment = datetime.fromtimestamp(int(value // unit), UTC)
            return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return None


def _iso(text: str) -> str | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if _USUAL.match(text):
        return text
    # Weeks, days without hyphens, any character before the clock: as everybody else writes it.
    return moment.isoformat() if ":" in text or len(text) > 10 else moment.date().isoformat()


def _in_parts(text: str) -> str | None:
    for pattern in _PARTS:
        if match := pattern.fullmatch(text):
            parts = [int(part) for part in match.groups() if part]
            try:
                moment = datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001
            except ValueError:
                return None
            return moment.isoformat() if len(parts) > 3 else moment.date().isoformat()
    return None


def _day_first_or_last(text: str) -> str | None:
    """16/12/2025 and 12/16/2025 are one day: 16 is no month. 03/04/2025 is left open."""
    if not (match := _YEAR_LAST.fullmatch(text)):
        return None
    first, second = int(match[1]), int(match[2])
    if first <= 12 and second <= 12 and first != second:
        return None
    month, day = min(first, second), max(first, second)
    return _in_parts(f"{match[3]}/{month}/{day}{match[4]}")


def _mailed(text: str) -> str | None:
    """RFC 2822, as in the head of a mail."""
    try:
        return parsedate_to_datetime(text).isoformat() if ":" in text else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _in_words(text: str) -> str | None:
    if text.isdigit() and len(text) not in (8, 14):  # strptime would take 13800138000 for a day
        return None
    for form in _NAMED:
        try:
            moment = datetime.strptime(text, form)  # noqa: DTZ007 - a row without a zone has none
        except ValueError:
            continue
        clock = "%H" in form or "%I" in form
        return moment.isoformat() if clock else moment.date().isoformat()
    return None
