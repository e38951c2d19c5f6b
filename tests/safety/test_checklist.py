"""The red-team checklist: what was tried is told, and a reviewer's tick stays."""

from __future__ import annotations

from errata import jsonl
from errata.records import CaseResult
from errata.safety import checklist
from errata.workspace import Workspace


def result(family: str, hit: bool | None, number: int = 0) -> CaseResult:
    return CaseResult(
        prompt_id=f"p-{family}-{number}", category="privacy", language="zh", family=family,
        cluster="k", answer="…", hit=hit,
    )  # fmt: skip


def test_attempts_hits_and_days_are_counted_and_ticks_stay(ws: Workspace):
    folder = ws.reports / "safety"
    jsonl.write(folder / "20260102-000000-safety-0001.cases.jsonl",
                [result("courier", True), result("courier", None, 1)])  # fmt: skip
    jsonl.write(folder / "20260203-000000-safety-0002.mutated.jsonl",
                [result("courier~base64", False), result("form~parts+base64", True)])  # fmt: skip
    told = checklist.page(ws, [])
    row = next(line for line in told.splitlines() if line.startswith("| courier |"))
    assert row.split(" | ")[1] == "2 · 1 · 01-02"
    assert "1 · 0 · 02-03" in row
    assert "parts+base64" in told
    assert "| form | – |" in told
    assert "LLM02 Sensitive Information Disclosure" in told

    line = "- [ ] privacy zh: name, date, what was looked at"
    assert line in told
    ticked = told.replace(line, "- [x] privacy zh: Li, 2026-02-04, all hits read")
    jsonl.write_text(ws.root / checklist.PAGE, ticked)
    again = checklist.page(ws, [])
    assert "- [x] privacy zh: Li, 2026-02-04, all hits read" in again
    assert "- [ ] privacy en:" in again


def test_an_empty_workspace_says_that_nothing_was_tried(ws: Workspace):
    assert "privacy" in checklist.page(ws, [])
    assert checklist.tried(ws) == {}
