"""What waits for a person: an unwritten answer, a pair no judge tells apart, a doubtful label, and
held-out cases that a gate was blocked on: whether the case is right, for none of them may train."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from errata import jsonl
from errata.build import lint
from errata.build.made import Made
from errata.build.reviews import FILE, Reviews, read
from errata.build.sft import turns
from errata.intake.fields import LABELS
from errata.intake.labeller import ABSTAINED
from errata.records import Failure, Label, Message, PreferencePair, Record
from errata.store import past
from errata.workspace import Workspace

QUEUE = "review.jsonl"  # of a build or a blocked gate, in its run's folder
Kind = Literal["answer", "pair", "label", "case"]


class Waiting(Record):
    """One question to a person; `said` is the bad answer, or the side of a pair that would lose."""

    id: str
    kind: Kind
    label: Label
    question: str
    said: str
    proposal: str = ""  # what a teacher wrote, the chosen side of a pair, or the label in doubt
    why: str = ""


class Left(NamedTuple):
    """What waits, and how much of it was decided since."""

    waiting: list[Waiting]
    decided: int


def of_build(made: Made, report: lint.Report, said: Reviews) -> Iterator[Waiting]:
    """What a build leaves to people."""
    for failure in made.needs_human:
        poor = said.poor.get(failure.id, "")
        why = "a judge failed what the teacher wrote" if poor else "nobody wrote its answer"
        yield _failure(failure, "answer", poor, why)
    check = next(check for check in lint.CHECKS if check.id == "chosen-is-better")
    pairs = {pair.id: pair for pair in report.kept}
    for hit in lint.of_action(check, report.hits[check.id], "review"):
        if pair := pairs.get(hit.id):
            yield _pair(pair, hit.why)


def left(ws: Workspace, in_doubt: Iterable[Failure] | None = None) -> Left:
    """The queue of the last build and of the last gate, and the labels in doubt, without what was
    decided since. `in_doubt`: the failures of the workspace that wait for a label, where somebody
    has them at hand; else they are looked for in the file."""
    said = read(ws.root / FILE)
    done = {*said.answers, *said.dropped, *said.kept} - _teachers(said)
    rows = [row for stage in ("build", "gate") for row in _of_last(ws, stage)]
    open_ = [row for row in rows if row.id not in done]
    found = _in_doubt(ws) if in_doubt is None else in_doubt
    doubtful = [_failure(one, "label", str(one.meta.get("likeliest") or ""), "no label was sure")
                for one in found]  # fmt: skip
    doubts = [row for row in doubtful if row.id not in said.labels and row.id not in said.dropped]
    mine, cases = ([row for row in open_ if (row.kind == "case") == last] for last in (False, True))
    return Left([*mine, *doubts, *cases], len(rows) - len(open_) + len(doubtful) - len(doubts))


def _of_last(ws: Workspace, stage: str) -> list[Waiting]:
    last = past.last_run(ws, stage)
    path = ws.runs / str(last["id"]) / QUEUE if last else None
    return jsonl.read(path, Waiting) if path and path.is_file() else []


def _teachers(said: Reviews) -> set[str]:
    return {id for id, row in said.answers.items() if row.origin == "teacher"}


def doubted(failure: Failure) -> bool:
    """Whether no label was sure, and there is a text to give one to."""
    return failure.meta.get("label_by") == ABSTAINED and failure.retention == "full"


def _in_doubt(ws: Workspace) -> Iterable[Failure]:
    path = ws.data / "failures.jsonl"
    return filter(doubted, jsonl.read(path, Failure)) if path.is_file() else ()


def _failure(failure: Failure, kind: Kind, proposal: str, why: str) -> Waiting:
    return Waiting(
        id=failure.id, kind=kind, label=failure.label, question=_told(turns(failure)),
        said=failure.bad_answer or "", proposal=proposal, why=why,
    )  # fmt: skip


def _pair(pair: PreferencePair, why: str) -> Waiting:
    name = lint.label(pair)
    return Waiting(
        id=pair.id, kind="pair", label=name if name in LABELS else "other",  # type: ignore[arg-type]
        question=_told(lint.as_turns(pair.prompt)), said=lint.plain(pair.rejected),
        proposal=lint.plain(pair.chosen), why=why,
    )  # fmt: skip


def _told(turns: Sequence[Message]) -> str:
    return "\n".join(f"[{turn.role}] {turn.content}" for turn in turns)
