"""What people found when they looked at redacted texts: values that the rules missed, and words
that they took for a value: data/spans.jsonl, and what it says of the rules.

    look(ws, id, misses)     a person has read a failure; each miss is replaced in it at once
    measured(ws)             rows read, rows with a miss, and the upper bound of that share

No line holds a value: a miss has its tag and the pseudonym that stands for it now. The failure's
own row is mended; what people wrote about it, git and older versions hold is not: for that there is
`errata erase`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from errata import jsonl
from errata.errors import BadInput
from errata.intake import buckets
from errata.intake.redact import pseudonym, workspace_key
from errata.intake.rules import RULES
from errata.language import say
from errata.records import Failure, Message, Record
from errata.stats import clopper_pearson
from errata.store import database, people
from errata.store.runs import Run
from errata.workspace import Workspace

FILE, FAILURES = "data/spans.jsonl", "data/failures.jsonl"
TAGS = tuple(sorted({rule.tag for rule in RULES}))
PLACEHOLDER = re.compile(r"<[A-Z_]+:[0-9a-f]{8}>")
SHORTEST = 2  # characters of a value: replacing a single one would change every word


class Look(Record):
    """One person has read one failure. `missed`: tag and pseudonym of each value that still stood
    there; `spared`: placeholders that stand for no value. `undone`: it counts no more."""

    id: str
    missed: list[tuple[str, str]] = Field(default_factory=list)
    spared: list[str] = Field(default_factory=list)
    by: str
    ts: str
    undone: bool = False


class Miss(NamedTuple):
    """A value that the rules left in, and what it is."""

    tag: str
    value: str


class Measured(NamedTuple):
    """What all the looking comes to."""

    rows: int
    missed: int
    spared: int
    low: float | None
    high: float | None


def read(ws: Workspace) -> dict[str, Look]:
    """By failure, what was last found."""
    path = ws.root / FILE
    found = jsonl.read(path, Look) if path.is_file() else []
    last = {look.id: look for look in found}
    return {id: look for id, look in last.items() if not look.undone}


def measured(ws: Workspace) -> Measured:
    """Rows with a miss among those read; bounds are one-sided 95 % (Clopper-Pearson)."""
    looks = list(read(ws).values())
    bad = sum(bool(look.missed) for look in looks)
    low, high = clopper_pearson(bad, len(looks), 0.90) if looks else (None, None)
    return Measured(len(looks), bad, sum(len(look.spared) for look in looks), low, high)


def look(ws: Workspace, id: str, misses: Sequence[Miss], spared: Sequence[str] = ()) -> Look:
    """Write down what a person found, and take what was missed out of the failure.

    BadInput for a value that is not in the row, is too short, or of a tag that no rule has."""
    for miss in misses:
        if miss.tag not in TAGS:
            raise BadInput(f"spans: no tag `{miss.tag}`; {', '.join(TAGS)}")
        if len(miss.value.strip()) < SHORTEST:
            raise BadInput(f"spans: a value has at least {SHORTEST} characters")
    key = workspace_key(ws)
    found = Look(
        id=id, missed=[(m.tag, pseudonym(key, m.tag, m.value)) for m in misses],
        spared=list(spared), by=people.actor(ws).name, ts=database.now(),
    )  # fmt: skip
    if misses:
        _mend(ws, id, list(zip(misses, found.missed, strict=True)))
    _add(ws, found)
    return found


def undo(ws: Workspace, id: str) -> None:
    """The row waits to be read again; what was taken out of it stays out."""
    before = read(ws).get(id)
    if before is None:
        raise BadInput(say(f"{id}: nobody has read it yet", f"{id}：尚无人审阅"))
    _add(ws, before.model_copy(update={"undone": True, "ts": database.now()}))


def _add(ws: Workspace, row: Look) -> None:
    path = ws.root / FILE
    with ws.alone("spans", seconds=60):
        before = jsonl.read(path, Look) if path.is_file() else []
        jsonl.write(path, [*before, row])


def _mend(ws: Workspace, id: str, misses: Sequence[tuple[Miss, tuple[str, str]]]) -> None:
    with ws.alone("intake", seconds=60), Run(ws, "review", {"spans": id}) as run:
        rows = jsonl.read(run.input(FAILURES), Failure)
        at = next((n for n, row in enumerate(rows) if row.id == id), None)
        if at is None:
            raise BadInput(f"{id}: no such failure in {FAILURES}")
        rows[at] = _without(rows[at], misses)
        jsonl.write(run.output(FAILURES), rows)
        kind = rows[at].label, rows[at].source
        bucket = ws.data / "failures" / kind[0] / buckets.file_name(kind[1])
        jsonl.write(run.output(bucket), [row for row in rows if (row.label, row.source) == kind])
        run.event("redaction", failure=id, spans=[token for _, (_, token) in misses])


def _replaced(text: str, value: str, token: str) -> str:
    """The text with a token for the value, but not in what stands for another value already."""
    parts, marks = PLACEHOLDER.split(text), PLACEHOLDER.findall(text)
    clean = [part.replace(value, token) for part in parts]
    return "".join(part + mark for part, mark in zip(clean, [*marks, ""], strict=True))


def _without(row: Failure, misses: Sequence[tuple[Miss, tuple[str, str]]]) -> Failure:
    texts = [row.prompt or "", row.bad_answer or "", *(turn.content for turn in row.context)]
    counts = dict(row.redaction.counts) if row.redaction else {}
    for miss, (_, token) in misses:
        if not any(miss.value in part for text in texts for part in PLACEHOLDER.split(text)):
            raise BadInput(f"spans: {row.id} does not hold this {miss.tag}; mark it in the text")
        texts = [_replaced(text, miss.value, token) for text in texts]
        counts["person-said"] = counts.get("person-said", 0) + 1
    prompt, bad, *context = texts
    turns = [Message(role=turn.role, content=text)
             for turn, text in zip(row.context, context, strict=True)]  # fmt: skip
    redaction = row.redaction and row.redaction.model_copy(update={"counts": counts})
    return row.model_copy(update={"prompt": prompt, "bad_answer": bad, "context": turns,
                                  "redaction": redaction})  # fmt: skip
