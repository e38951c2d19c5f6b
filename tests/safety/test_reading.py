"""A suite with a case that no answer can pass is refused as it is read, by file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from errata import jsonl
from errata.errors import BadInput
from errata.records import Case, Message, Predicate
from errata.safety import reading
from errata.tiny import suites

RIGHT: dict[str, Any] = {"kind": "polite"}


def row(*wanted: dict[str, Any], documents: bool = False, **more: Any) -> dict[str, Any]:
    turns = [{"role": "documents", "content": "It costs 4[1]."}] if documents else []
    return {
        "id": "x", "category": "misuse", "language": "en", "family": "f", "cluster": "c",
        "split": "heldout", "messages": [*turns, {"role": "user", "content": "?"}],
        "success": wanted[0], "also": list(wanted[1:]), **more,
    }  # fmt: skip


def suite(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "tools.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def say(value: str, **more: Any) -> dict[str, Any]:
    return {"kind": "contains", "value": value, **more}


CALL = {"kind": "only_call", "tool": "order_status", "value": "1"}
# Predicates of one case, and words of the refusal.
REFUSED = [
    ([say("blue"), say("blue", negate=True)], "contains `blue` and not contains `blue`: no answer"),
    ([say("dark blue"), say("Blue", negate=True)], "no answer can"),
    ([{"kind": "cites", "value": "42", "cite": 1}, say("42", negate=True)], "no answer can"),
    ([{"kind": "length", "low": 20, "high": 10}], "at least 20 and at most 10"),
    ([{"kind": "length", "low": 20}, {"kind": "length", "high": 10}], "no answer can"),
    ([say("one two three"), {"kind": "length", "high": 2}], "no answer can"),
    ([{"kind": "language", "value": "zh"}, {"kind": "language", "value": "en"}], "no answer can"),
    ([{"kind": "language", "value": "de"}], "zh or en, not `de`"),
    ([CALL, {"kind": "no_call"}], "only_call order_status `1` and no_call: no answer can"),
    ([{"kind": "no_call"}, {"kind": "calls", "tool": "order_status"}], "no answer can"),
    ([CALL, {**CALL, "value": "2"}], "no answer can"),
    ([CALL, {"kind": "calls", "tool": "return_label"}], "no answer can"),
    ([CALL, {"kind": "calls", "tool": "order_status", "negate": True}], "no answer can"),
    ([{"kind": "number", "value": "5", "low": 10, "high": 20}], "at least 10 and at most 5"),
    ([{"kind": "number", "value": "five"}], "`value` five is no number"),
    ([{"kind": "number"}], "number needs `low` or `high`, or `value`"),
    ([{"kind": "number", "low": 1, "unit": "parsec"}], "unit `parsec` is not known"),
    ([{"kind": "number", "low": 1, "high": 2, "unit": "kg"},
      {"kind": "number", "low": 3, "unit": "kg"}], "no answer can"),
    ([{"kind": "number", "low": 5, "high": 6}, {"kind": "number", "low": 1, "negate": True}],
     "no answer can"),
    ([{"kind": "cites", "value": "4", "cite": 1}, {"kind": "cites", "value": "4", "cite": 2}],
     "no answer can"),
    ([{"kind": "polite"}, {"kind": "insult"}], "no answer can"),
    ([{"kind": "regex", "value": "(?=a)"}], "look-around"),
    ([{"kind": "regex", "value": "("}], "regex"),
    ([{"kind": "json", "expects": {"type": 5}}], "no JSON schema"),
    ([{"kind": "json", "expects": {"pattern": "(a+)+$"}}], "can take for ever"),
    ([{"kind": "json", "expects": {"$ref": "#"}}], "cannot be followed: RecursionError"),
    ([{"kind": "json", "expects": {"$ref": "http://localhost:9/x"}}], "cannot be followed"),
    ([{"kind": "json"}], "json needs `expects`"),
    ([{"kind": "calls_with", "tool": "order_status"}], "calls_with needs `expects`"),
    ([{"kind": "calls"}], "calls needs `tool`"),
    ([say("")], "contains needs `value`"),
    ([say("x", low=3)], "contains does not read `low`"),
    ([{"kind": "supported"}], "looks at the documents, and the case has none"),
    ([{"kind": "smells"}], "no predicate `smells`; known: contains"),
    ([{"kind": "polite"}, {"kind": "complies"}], "it stands alone"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "words"), REFUSED, ids=lambda item: str(item)[:60])
def test_a_case_that_cannot_be_asked_is_refused_with_its_line(
    tmp_path: Path, wanted: list[dict[str, Any]], words: str
):
    path = suite(tmp_path, row(RIGHT), row(*wanted))
    with pytest.raises(BadInput) as caught:
        reading.read(path, "suites/tools.jsonl")
    assert str(caught.value).startswith("suites/tools.jsonl:2: x: ")
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


ALLOWED = [
    [say("blue"), say("blues", negate=True)],
    [say("blue"), say("red", negate=True)],
    [{"kind": "length", "low": 10}, {"kind": "length", "high": 10}],
    [CALL, {"kind": "calls", "tool": "order_status"}],
    [CALL, {"kind": "calls", "tool": "refund_order", "negate": True}],
    [{"kind": "number", "low": 1, "high": 2}, {"kind": "number", "low": 3, "high": 4}],
    [{"kind": "number", "low": 1, "unit": "kg"}, {"kind": "number", "high": 9, "unit": "yuan"}],
    [{"kind": "regex", "value": "a"}, {"kind": "regex", "value": "b", "negate": True}],
    [{"kind": "language", "value": "zh"}, {"kind": "language", "value": "en", "negate": True}],
    [{"kind": "polite"}, {"kind": "insult", "negate": True}],
]


@pytest.mark.parametrize("wanted", ALLOWED, ids=lambda item: str(item)[:60])
def test_what_an_answer_can_do_is_let_through(tmp_path: Path, wanted: list[dict[str, Any]]):
    assert len(reading.read(suite(tmp_path, row(*wanted)))) == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [({"weight": 0}, "weight"), ({"weight": -1}, "weight"),
     ({"persna": "x"}, "persna: unknown field"),
     ({"tags": "x"}, "tags")],
)  # fmt: skip
def test_a_row_that_is_no_case_is_refused_with_its_line(
    tmp_path: Path, more: dict[str, Any], words: str
):
    with pytest.raises(BadInput, match=f"tools.jsonl:1: {words}"):
        reading.read(suite(tmp_path, row(RIGHT, **more)))


def test_the_desks_own_suites_can_all_be_asked():
    for case in [*suites.business(), *suites.attacks(), *suites.desk("tools"),
                 *suites.desk("grounded"), *suites.voices()]:  # fmt: skip
        assert list(reading.slips(case)) == [], case.id


def test_a_case_without_the_new_fields_is_written_as_it_always_was():
    """Suites that are there stay byte for byte."""
    plain = Case(id="x", category="c", language="en", family="f", cluster="c", split="dev",
                 success=Predicate(kind="polite"),
                 messages=[Message(role="user", content="?")])  # fmt: skip
    assert jsonl.plain(plain)["success"] == {"kind": "polite", "value": "", "tool": ""}
    assert not {"also", "weight", "tags", "persona"} & set(jsonl.plain(plain))
    full = plain.model_copy(update={"weight": 2.0, "also": [Predicate(kind="insult", negate=True)]})
    assert Case.model_validate_json(jsonl.canonical(full)) == full
