"""What waits for a person, one after the other: answers, pairs, labels, held-out cases.

    errata review                     in the terminal; every decision is kept at once
    errata review sheet=review.csv    a sheet for those who work in a spreadsheet
    errata review review.csv          the sheet, filled in

A decision is the answer that should have been given, a label, or one of `/keep`, `/drop`, `/ok`
(the proposal). Of a held-out case that a gate was blocked on one says whether it is right itself:
it has no answer to train on. Decisions stand in data/reviews.jsonl, redacted; `errata build` goes
by them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from errata import jsonl, sheets
from errata.build import queue, reviews, rubric
from errata.build.queue import Waiting
from errata.config import Section
from errata.errors import BadInput
from errata.intake.fields import RowError, canonical_label
from errata.language import say, visible
from errata.outcome import Outcome
from errata.records import Review
from errata.store import database, people
from errata.text import language
from errata.workspace import Workspace

HEADS = ("id", "kind", "label", "good", "bad", "question", "said", "proposal", "why", "decision")


class Config(Section):
    """Knobs of `errata review`."""

    args: list[str] = Field(default_factory=list, description="a filled sheet (.csv) to take in")
    sheet: str = Field(default="", description="write what waits to this .csv instead of asking")
    kind: queue.Kind | None = Field(
        default=None, description="answer, pair, label or case; empty: all"
    )


def main(ws: Workspace, config: Config) -> Outcome:
    """Ask, or hand out a sheet, or take one in."""
    left = queue.left(ws)
    waiting = [row for row in left.waiting if config.kind in (None, row.kind)]
    if config.args:
        rows = [row for name in config.args for row in _filled(ws, Path(name), left.waiting)]
        reviews.add(ws, rows)
        return _outcome(ws, len(rows))
    if config.sheet:
        path = ws.path(config.sheet)
        jsonl.write_text(path, _sheet(waiting, rubric.load(ws)))
        where = ws.relative(path)
        text = say(f"{len(waiting)} wait; fill the column `decision` of {where}, then "
                   f"`errata review {where}`",
                   f"{len(waiting)} 条待处理；请填写 {where} 的 decision 列，然后运行 "
                   f"`errata review {where}`")  # fmt: skip
        return Outcome(0, text, {"waiting": len(waiting), "sheet": where})
    return _outcome(ws, _asked(ws, waiting, rubric.load(ws)))


def _outcome(ws: Workspace, decided: int) -> Outcome:
    waiting = len(queue.left(ws).waiting)
    step = "errata build" if decided or not waiting else "errata review"
    text = say(f"{decided} decided, {waiting} wait. next: `{step}`",
               f"已处理 {decided} 条，还有 {waiting} 条。下一步：`{step}`")  # fmt: skip
    return Outcome(0, text, {"decided": decided, "waiting": waiting})


def _asked(ws: Workspace, waiting: Sequence[Waiting], words: rubric.Rubric) -> int:
    """Ask at the terminal until nothing waits, or the person stops; how many were decided."""
    decided, by = 0, people.actor(ws).name
    for place, row in enumerate(waiting, 1):
        sys.stdout.write(_shown(row, words, f"{place}/{len(waiting)}"))
        while True:
            sys.stdout.write("> ")
            sys.stdout.flush()
            line = sys.stdin.readline()
            if not line or line.strip() == "/quit":
                return decided
            try:
                found = decision(row, line, by)
            except BadInput as error:
                sys.stdout.write(f"{error}\n")
                continue
            break
        if found:
            reviews.add(ws, [found])
            decided += 1
    return decided


def _shown(row: Waiting, words: rubric.Rubric, place: str) -> str:
    grade, spoken = words.labels[row.label], language(row.question)
    lines = [
        f"\n{place}  {row.id}  {row.kind}  {row.label}: {row.why}",
        row.question,
        say("said: ", "原回答：") + row.said,
        *([say("proposal: ", "建议：") + row.proposal] if row.proposal else []),
        say("good: ", "好答案：") + grade.good.speak(spoken),
        _ways(row),
    ]
    return visible("\n".join(lines)) + "\n"


def _ways(row: Waiting) -> str:
    ok = "/ok " if row.proposal else ""
    if row.kind == "pair":
        return say("/keep /drop, empty: later, /quit", "/keep /drop，回车跳过，/quit 退出")
    if row.kind == "case":
        return say("is the case right? /keep, or /drop: it is wrong; empty: later, /quit",
                   "用例本身正确？/keep；用例有误 /drop；回车跳过，/quit 退出")  # fmt: skip
    what = say("a label", "标签") if row.kind == "label" else say("the answer", "应有的回答")
    return say(f"{what}, {ok}/drop, empty: later, /quit",
               f"{what}，{ok}/drop 删除，回车跳过，/quit 退出")  # fmt: skip


def decision(row: Waiting, said: str, by: str) -> Review | None:
    """What a person's line means for what waits; None: later. BadInput for what it cannot mean."""
    said = said.strip()
    if not said:
        return None

    def make(verdict: str, text: str = "") -> Review:
        return Review(id=row.id, verdict=verdict, text=text, by=by, ts=database.now())  # type: ignore[arg-type]

    if said == "/drop":
        return make("drop")
    if row.kind in ("pair", "case"):
        if said == "/keep":
            return make("keep")
        told = "; a held-out case has no answer to train on" if row.kind == "case" else ""
        raise BadInput(f"{row.id}: a {row.kind} is kept or dropped: /keep or /drop{told}")
    if said == "/ok" and row.proposal:
        said = row.proposal
    elif said.startswith("/"):
        raise BadInput(f"{row.id}: no `{said}` here: {_ways(row)}")
    if row.kind == "answer":
        return make("answer", said)
    try:
        return make("label", canonical_label(said))
    except RowError as error:
        raise BadInput(f"{row.id}: label: {error.reason}") from None


def _sheet(waiting: Sequence[Waiting], words: rubric.Rubric) -> str:
    rows = []
    for row in waiting:
        grade, spoken = words.labels[row.label], language(row.question)
        good, bad = grade.good.speak(spoken), grade.bad.speak(spoken)
        cells = (
            row.id,
            row.kind,
            row.label,
            good,
            bad,
            row.question,
            row.said,
            row.proposal,
            row.why,
        )
        rows.append((*cells, ""))
    return sheets.written(HEADS, rows)


def _filled(ws: Workspace, path: Path, waiting: Sequence[Waiting]) -> Iterator[Review]:
    """The decisions of a sheet; BadInput where one is about nothing that waits."""
    open_, by = {row.id: row for row in waiting}, people.actor(ws).name
    found = path if path.is_file() else ws.path(path)
    for line, cells in sheets.read(found, ("id", "decision"), "errata review sheet="):
        said, where = cells["decision"].strip(), f"{path}:{line}"
        if not said:
            continue
        if cells["id"] not in open_:
            raise BadInput(
                f"{where}: `{cells['id']}` does not wait; nothing of the sheet was taken: empty "
                "its decision if it was taken before"
            )
        try:
            decided = decision(open_[cells["id"]], said, by)
        except BadInput as error:
            raise BadInput(f"{where}: {error}; nothing of the sheet was taken") from None
        if decided:
            yield decided
