"""What people decide is kept, redacted, and decides what is trained on."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from errata import jsonl
from errata.build import knobs, made, queue, review, reviews, stage
from errata.errors import BadInput
from errata.records import Failure, PreferencePair, Review, SftExample
from errata.workspace import Workspace

SOURCES = "sources:\n  local: {purpose: [training], consent: made up for tests}\n"
CONFIG = stage.Config(validation=0.0, accept=stage.Accept(min_rows=1, min_pairs=1))
TS = "2026-01-01T00:00:00Z"


def failure(id: str, prompt: str, bad: str = "No idea.", label: str = "factuality", **meta: object):
    fields = {"id": id, "prompt": prompt, "bad_answer": bad, "label": label, "meta": meta}
    return Failure.model_validate(fields)


@pytest.fixture
def ws(suited: Workspace) -> Workspace:
    (suited.configs / "intake.yaml").write_text(SOURCES)
    jsonl.write(suited.data / "failures.jsonl", [
        failure("f-1", "How tall is the copper fan?"),
        failure("f-2", "What does the jade kettle weigh?"),
        failure("f-3", "Which colour has the tent?", reference="The tent is red."),
    ])  # fmt: skip
    return suited


def said(ws: Workspace, monkeypatch: pytest.MonkeyPatch, *lines: str, **knobs: str) -> str:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    return review.main(ws, review.Config.model_validate(knobs)).text


def answers(ws: Workspace) -> dict[str, str]:
    rows = jsonl.read(ws.data / "sft.jsonl", SftExample)
    return {row.made_from[0]: row.messages[-1].content for row in rows if row.messages}


def test_an_answer_written_at_the_terminal_is_trained_on_and_nothing_waits(ws, monkeypatch):
    assert stage.main(ws, CONFIG).data["needs_human"] == 2
    text = said(ws, monkeypatch, "It is 42 cm tall.", "/drop", "/keep")
    assert text.startswith("3 decided, 0 wait")
    outcome = stage.main(ws, CONFIG)
    assert (outcome.data["needs_human"], outcome.data["rejected"]) == (0, 1)
    assert answers(ws) == {"f-1": "It is 42 cm tall.", "f-3": "The tent is red."}
    rows = jsonl.read(ws.data / "sft.jsonl", SftExample)
    assert {row.made_from[0]: row.origin for row in rows} == {"f-1": "human", "f-3": "reference"}


def test_what_a_person_writes_is_redacted_before_it_is_kept(ws, monkeypatch):
    stage.main(ws, CONFIG)
    said(ws, monkeypatch, "Call Ann at 13812345678, it is 42 cm.")
    kept = (ws.root / reviews.FILE).read_text()
    assert "13812345678" not in kept
    assert "<PHONE:" in kept


def test_every_decision_is_kept_at_once_and_an_empty_line_leaves_it_open(ws, monkeypatch):
    stage.main(ws, CONFIG)
    text = said(ws, monkeypatch, "", "/nonsense", "/quit", kind="answer")
    assert text.startswith("0 decided, 3 wait")
    assert not (ws.root / reviews.FILE).exists()
    said(ws, monkeypatch, "It is 42 cm tall.", kind="answer")  # and the terminal is closed
    assert [row.id for row in jsonl.read(ws.root / reviews.FILE, Review)] == ["f-1"]
    assert [row.id for row in queue.left(ws).waiting if row.kind == "answer"] == ["f-2"]


def test_a_sheet_goes_out_and_comes_back(ws, monkeypatch):
    jsonl.write(ws.data / "failures.jsonl", [failure("f-9", "=cmd|'/c calc'!A1 是什么？")])
    with pytest.raises(BadInput, match="errata review"):
        stage.main(ws, CONFIG)  # nothing to train on yet, and a build that says what to do
    jsonl.write(ws.data / "failures.jsonl", [
        failure("f-9", "x", "=cmd|'/c calc'!A1"),
        failure("f-3", "Which colour has the tent?", reference="The tent is red."),
    ])  # fmt: skip
    stage.main(ws, CONFIG)
    assert "1 wait" in said(ws, monkeypatch, sheet="review.csv", kind="answer")
    path = ws.root / "review.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    assert rows[0]["said"] == "'=cmd|'/c calc'!A1", "no spreadsheet may carry it out"
    assert "cites" in rows[0]["good"]
    rows[0]["decision"] = "它是一个公式。"
    _write(path, rows)
    review.main(ws, review.Config(args=["review.csv"]))
    assert reviews.read(ws.root / reviews.FILE).answers["f-9"].text == "它是一个公式。"
    with pytest.raises(BadInput, match=r"review.csv:2: `f-9` does not wait; nothing of the sheet"):
        review.main(ws, review.Config(args=["review.csv"]))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)


@pytest.mark.parametrize(
    ("content", "why"),
    [("id,answer\nf-1,x\n", "no column decision"), ("", "no column"), (b"\xff\xfe\x00", "UTF-8")],
)
def test_a_sheet_that_is_none_is_refused(ws, content, why):
    path = ws.root / "review.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match=why):
        review.main(ws, review.Config(args=["review.csv"]))


def test_a_pair_that_no_judge_tells_apart_waits_until_a_person_looked(ws, monkeypatch):
    stage.main(ws, CONFIG)
    waiting = {row.id: row for row in queue.left(ws).waiting}
    pair = next(row for row in waiting.values() if row.kind == "pair")
    assert (pair.proposal, pair.said) == ("The tent is red.", "No idea.")
    assert said(ws, monkeypatch, "words", "/keep", kind="pair").startswith("1 decided")
    stage.main(ws, CONFIG)
    assert [row.kind for row in queue.left(ws).waiting] == ["answer", "answer"]
    reviews.add(ws, [Review(id=pair.id, verdict="drop", by="li", ts=TS)])
    with_out = CONFIG.model_copy(update={"accept": stage.Accept(min_rows=1, min_pairs=0)})
    assert stage.main(ws, with_out).data["rejected"] == 1
    assert (ws.data / "prefs.jsonl").read_text() == ""


def test_a_doubtful_label_is_asked_about_and_the_build_goes_by_the_answer(ws, monkeypatch):
    rows = [
        failure("f-7", "你是笨蛋吗", "你才是。", "other", label_by="abstained", reference="您好。")
    ]
    jsonl.write(ws.data / "failures.jsonl", rows)
    assert [row.kind for row in queue.left(ws).waiting] == ["label"]
    assert said(ws, monkeypatch, "nonsense", "不礼貌").startswith("1 decided, 0 wait")
    stage.main(ws, CONFIG)
    (pair,) = jsonl.read(ws.data / "prefs.jsonl", PreferencePair)
    assert pair.tags[0] == "politeness"


def test_the_last_line_counts_and_a_person_stands_over_a_teacher(ws):
    def row(text: str, origin: str) -> Review:
        fields = {"id": "f-1", "verdict": "answer", "text": text, "by": origin, "ts": TS}
        return Review.model_validate({**fields, "origin": origin})

    told = [row("a", "human"), row("b", "human"), row("c", "teacher")]
    jsonl.write(ws.root / reviews.FILE, told)
    assert reviews.read(ws.root / reviews.FILE).answers["f-1"].text == "b"


def test_a_review_without_its_words_is_refused(ws):
    (ws.root / reviews.FILE).write_text(
        '{"id": "f-1", "verdict": "answer", "by": "li", "ts": "2026-01-01T00:00:00Z"}\n'
    )
    with pytest.raises(BadInput, match=r"reviews.jsonl:1.*needs `text`"):
        stage.main(ws, CONFIG)


def test_a_pair_that_a_person_drops_takes_the_teachers_answer_with_it():
    asked = [failure("f-1", "How long is it?"), failure("f-2", "How wide is it?")]
    told = reviews.Reviews(answers={one.id: Review(
        id=one.id, verdict="answer", text=f"It is {n + 5} m.", by="teacher:t", origin="teacher",
        ts="2026-11-01T00:00:00Z") for n, one in enumerate(asked)})  # fmt: skip
    first = made.make(asked, [], knobs.Config(), reviews=told)
    out = replace(told, dropped=frozenset([first.pairs[0].id]))
    left = made.make(asked, [], knobs.Config(), reviews=out)
    assert (len(first.sft), len(left.sft), len(left.pairs)) == (2, 1, 1)
    assert left.sft[0].made_from == left.pairs[0].made_from == first.pairs[1].made_from


def test_no_decisions_are_not_a_broken_file(ws):
    assert reviews.add(ws, []) == []
    assert reviews.read(ws.root / reviews.FILE) == reviews.Reviews()
    assert stage.main(ws, CONFIG).data["needs_human"] == 2


def test_what_is_shown_does_not_steer_the_terminal(ws, monkeypatch, capsys):
    hostile = failure("f-9", "How \x1b]0;pwned\x07 \x9b2J \u202e tall?", label_by="abstained")
    jsonl.write(ws.data / "failures.jsonl", [hostile])
    said(ws, monkeypatch, "/quit")
    shown = capsys.readouterr().out
    assert r"\x1b]0;pwned\x07 \x9b2J \u202e" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("marks", "coded"), [(";", "utf-8-sig"), ("\t", "utf-16"), (",", "gb18030")]
)
def test_a_sheet_comes_back_as_spreadsheets_write_it(ws, marks, coded):
    stage.main(ws, CONFIG)
    rows = [["id", "decision", "said"], ["f-1", "三米高", "x" * 200_000]]
    with (ws.root / "r.csv").open("w", encoding=coded, newline="") as file:
        csv.writer(file, delimiter=marks).writerows(rows)
    review.main(ws, review.Config(args=["r.csv"]))
    assert reviews.read(ws.root / reviews.FILE).answers["f-1"].text == "三米高"
