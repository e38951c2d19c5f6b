"""What a failed trace did otherwise than one that succeeded, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from errata import cli, jsonl
from errata.intake import sources, traces
from errata.intake.files import Bad
from errata.intake.sources import Good

ASK = {"role": "user", "content": "Where is order 48213?"}
DONE = {"role": "assistant", "content": "It was shipped."}


def calls(name: str, value: str) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps({"id": value})}
    return {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}


def says(text: str) -> dict[str, Any]:
    return {"role": "tool", "content": text}


RIGHT = calls("order_status", "48213")
GOOD = {"messages": [ASK, RIGHT, says("shipped"), DONE], "success": True}


def read(tmp_path: Path, *rows: dict[str, Any]) -> list[Any]:
    jsonl.write(tmp_path / "traces.jsonl", rows)
    return list(sources.read(tmp_path / "traces.jsonl"))


@pytest.mark.parametrize(
    ("steps", "kind", "bad", "context"),
    [
        ([calls("refund", "48213")], "wrong tool", "CALL refund(48213)", 0),
        ([calls("order_status", "1")], "wrong argument", "CALL order_status(1)", 0),
        ([calls("shell", "ls")], "forbidden call", "CALL shell(ls)", 0),
        ([{"role": "assistant", "content": "No idea."}], "missing call", "No idea.", 0),
        ([RIGHT, says("shipped"), calls("refund", "1")], "needless call", "CALL refund(1)", 2),
        ([RIGHT, says("shipped"), {"role": "assistant", "content": "Go away."}], "wrong answer",
         "Go away.", 2),
    ],
)  # fmt: skip
def test_the_first_step_that_leaves_the_way_is_what_went_wrong(
    tmp_path: Path, steps: list[dict[str, Any]], kind: str, bad: str, context: int
):
    tools = ["order_status", {"function": {"name": "refund"}}]
    failed = {"messages": [ASK, *steps], "success": False, "tools": tools, "user": "c-1"}
    good, (line, raw) = read(tmp_path, GOOD, failed)
    assert (good, line) == (Good(1), 2)
    assert (raw.bad_answer, raw.tags, raw.label) == (bad, [kind], "tool_misuse")
    assert len(raw.context) == context
    assert raw.prompt == ASK["content"]
    assert raw.meta["reference"] == ("It was shipped." if context else "CALL order_status(48213)")
    assert raw.subject == "c-1"


def test_the_trace_that_goes_along_longest_is_the_one_compared_with(tmp_path: Path):
    other = {"messages": [ASK, calls("find", "48213"), says("found"), DONE], "success": True}
    failed = {"messages": [ASK, RIGHT, says("shipped"), calls("refund", "1")], "success": False}
    *_, (_, raw) = read(tmp_path, other, GOOD, failed)
    assert raw.tags == ["needless call"]


def test_what_nothing_can_be_learnt_from_is_set_aside_with_its_reason(tmp_path: Path):
    alone = {"messages": [{**ASK, "content": "Another task"}, DONE], "success": False}
    world = {"messages": [ASK, RIGHT, says("lost"), DONE], "success": False}
    broken = {"messages": [ASK], "success": False}
    asked = {"messages": [ASK, DONE], "success": "yes"}
    found = [
        row for row in read(tmp_path, GOOD, alone, world, broken, asked) if isinstance(row, Bad)
    ]
    assert [(bad.line, bad.field) for bad in found] == [
        (4, "messages"), (5, "success"), (2, "success"), (3, "messages")]  # fmt: skip


def test_traces_become_pairs_of_calls(tmp_path: Path):
    """From the log to a pair that trains: chosen is the call that led to success."""
    root = tmp_path / "desk"
    assert cli.main(["init", str(root)]) == 0
    rows = []
    for n in range(12):
        ask = {"role": "user", "content": f"Please tell me where order {n * 7919 + 10007} is now"}
        right, wrong = calls("order_status", str(n)), calls("refund", str(n))
        good = {"messages": [ask, right, says("shipped"), DONE], "success": True}
        rows += [good, {"messages": [ask, wrong], "success": False}]
    jsonl.write(root / "inbox" / "traces.jsonl", rows)
    assert cli.main(["intake", "inbox/traces.jsonl", "-C", str(root)]) == 0
    cli.main(["build", "replay=0", "retention=0", "lookalikes=0", "-C", str(root)])
    files = (root / f"data/{name}.jsonl" for name in ("prefs", "prefs.valid"))
    pairs = [row for path in files for _, row in jsonl.rows(path)]
    sides = {(pair["chosen"].split("(")[0], pair["rejected"].split("(")[0]) for pair in pairs}
    assert sides == {("CALL order_status", "CALL refund")}
    assert all("wrong tool" in pair["tags"] for pair in pairs)


def test_too_many_traces_are_counted_and_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(traces, "MOST", 1)
    assert isinstance(read(tmp_path, GOOD, GOOD)[1], Bad)
