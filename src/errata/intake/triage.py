"""Who looks after a failure and how bad it is: data/triage.jsonl, the last line of an id counts.

A failure nobody has sorted is as bad as its class: an attack is critical, anything else normal. It
is also what `errata promote` takes, where it is not told.
"""

from __future__ import annotations

from typing import Literal

from errata import jsonl
from errata.records import ATTACKS, Record
from errata.store import database, people
from errata.workspace import Workspace

FILE = "data/triage.jsonl"
Severity = Literal["critical", "normal"]


class Triage(Record):
    """What was said of one failure, by whom."""

    id: str
    owner: str = ""
    severity: Severity
    by: str
    ts: str


def severity(label: str) -> Severity:
    """Of a failure that nobody has sorted."""
    return "critical" if label in ATTACKS else "normal"


def read(ws: Workspace) -> dict[str, Triage]:
    """By failure, what counts."""
    return {row.id: row for row in _written(ws)}


def _written(ws: Workspace) -> list[Triage]:
    path = ws.root / FILE
    found = jsonl.lines(path) if path.is_file() else ()
    return [jsonl.validate(raw, Triage, f"{FILE}:{number}") for number, raw in found]


def add(ws: Workspace, id: str, owner: str, severe: Severity) -> Triage:
    """Say who looks after it and how bad it is."""
    row = Triage(id=id, owner=owner.strip(), severity=severe, by=people.actor(ws).name,
                 ts=database.now())  # fmt: skip
    with ws.alone("triage", seconds=60):
        jsonl.write(ws.root / FILE, [*_written(ws), row])
    return row
