"""Whatever stands in whichever field of a row: it is taken, or set aside with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from errata.intake import sources
from errata.intake.cleaner import Cleaner
from errata.intake.forms import FORMS
from errata.intake.redact import Policy, Redacted, apply
from errata.intake.sources import Bad, Good, Reading
from errata.intake.take import parts

DEEP: Any = 1
for _ in range(500):
    DEEP = [DEEP]
JUNK: tuple[Any, ...] = (
    None,
    True,
    5,
    1.5,
    10**400,
    "",
    " ",
    "\0",
    "x",
    "[" * 5_000,
    '{"a": "\\ud83d"}',
    [],
    [5],
    [{}],
    {},
    {"role": "user", "content": ""},
    {"reference": 5},
    DEEP,
)
SHARED = {
    "ts": "2025-12-16",
    "source": "online",
    "tags": ["a"],
    "user": "u",
    "label": "other",
    "meta": {"reference": "Yes.", "note": {"by": "me"}},
    "context": [],
    "created": 1765843200,
}
ASK = {"role": "user", "content": "Where is order 48213?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"function": {"name": "order_status", "arguments": '{"id": "48213"}'}}],
}
DONE = {"role": "assistant", "content": "It was shipped."}
WON = {"messages": [ASK, CALL, DONE], "success": True}
LOST = {
    **SHARED,
    "messages": [ASK, DONE],
    "success": False,
    "task": "Where is order 48213?",
    "tools": ["order_status", {"function": {"name": "refund"}}],
}
EXAMPLES = [
    *(form.example for form in FORMS),
    LOST,
    {**WON, "success": False},
    {"messages": [ASK], "response": "r", "feedback": {"rating": "down", "reason": "no"}},
]


def cleaner() -> Cleaner:
    def redact(text: str) -> Redacted:
        return apply(text, Policy().rules, b"k" * 32)

    return Cleaner(Policy(), b"k" * 32, redact)


def with_junk(value: Any) -> Iterator[Any]:
    """The value with each of its parts replaced by each piece of junk."""
    yield from JUNK
    places = value if isinstance(value, dict) else range(len(value)) if type(value) is list else ()
    for place in places:
        for other in with_junk(value[place]):
            copy = value.copy()
            copy[place] = other
            yield copy


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda row: "-".join(row)[:40])
def test_no_field_of_a_row_stops_the_rest(example: dict[str, Any], tmp_path: Path) -> None:
    rows = [row for row in with_junk({**SHARED, **example}) if isinstance(row, dict)]
    path = tmp_path / "junk.jsonl"
    path.write_text("\n".join(map(json.dumps, [*rows, WON])))
    found = list(sources.read(path, Reading("other")))
    assert len(found) == len(rows) + 1
    assert all(isinstance(row, (Bad, Good)) or len(row) == 2 for row in found)
    usable = [row for row in found if not isinstance(row, (Bad, Good))]
    kept = [row for part in parts(found, cleaner(), None) for row in part.failures]
    assert len(kept) == len(usable)
    json.dumps([kept for kept, _ in kept], ensure_ascii=False).encode()


TRACE = {"messages": [ASK, {"role": "assistant", "content": "No idea."}], "success": False}
GREETED = [{"role": "assistant", "content": "Hi."}, ASK, DONE]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({**TRACE, "ts": "yesterday"}, "ts"),
        ({**TRACE, "source": 5}, "source"),
        ({**TRACE, "tags": "x"}, "tags"),
        ({**TRACE, "meta": {"reference": 5}}, "meta.reference"),
        ({"messages": [ASK, {"role": "assistant", "content": ""}], "success": False}, "step"),
        (
            {
                "task": ASK["content"],
                "success": False,
                "messages": [{"role": "user", "content": ""}, TRACE["messages"][1]],
            },
            "messages",
        ),
        ({"messages": [ASK, {**DONE, "tool_calls": 5}], "label": "other"}, "messages.1.content"),
        *(
            ({"messages": junk, "response": "r", "feedback": {"rating": "down"}}, "messages")
            for junk in (None, 5)
        ),
        *(
            ({"task": "t", "tool_call": {"name": "f", "arguments": junk}}, "tool_call")
            for junk in ("[" * 100_000, '{"a": "\\ud83d"}')
        ),
    ],
)
def test_a_bad_row_says_which_field(row: dict[str, Any], field: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, [WON, row])))
    (bad,) = [found for found in sources.read(path, Reading("other")) if isinstance(found, Bad)]
    assert (bad.line, bad.field) == (2, field)


def test_two_greetings_before_a_task_are_no_difference_to_learn_from(tmp_path: Path) -> None:
    other = [{"role": "assistant", "content": "Hello."}, ASK, DONE]
    rows = [{"messages": GREETED, "success": True}, {"messages": other, "success": False}]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    _, bad = sources.read(path)
    assert isinstance(bad, Bad)
