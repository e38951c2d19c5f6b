"""What else is known of an audited model: its training, what it was taught, repairs, who gets it.

The audit's page ends with it: numbers alone do not say what to do next.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import sqlalchemy as sa

from errata import jsonl
from errata.records import Candidate, Metric
from errata.release import evidence
from errata.store import database, ledger, past
from errata.store.status import release_in
from errata.workspace import Workspace


class Repair(NamedTuple):
    """A recorded mend: its id, what was changed, in which files, and the labels of its failures."""

    id: str
    change: str
    files: list[str]
    labels: frozenset[str]


class Background(NamedTuple):
    """`taught`: label → rows of the dataset version it was trained on. `state`: of its release."""

    training: dict[str, Any] | None
    version: str | None
    taught: Counter[str]
    evaluated: list[Metric]
    repairs: list[Repair]
    state: str | None
    serving: str | None


def look(ws: Workspace, candidate: Candidate) -> Background:
    """Everything, of the records of this workspace."""
    training = _training(ws, candidate)
    version = _version(ws, training) if training else None
    found = evidence.collect(ws, candidate.digest, ["reports/evaluate"])
    serving = release_in(ws, "serving")
    mine = {str(r["candidate_digest"]): state for state in ("rolling", "serving")
            if (r := release_in(ws, state))}  # fmt: skip
    return Background(
        training, version, _taught(ws, version), [*found.metrics.values()], _repairs(ws),
        mine.get(candidate.digest), str(serving["id"]) if serving else None,
    )  # fmt: skip


def _training(ws: Workspace, candidate: Candidate) -> dict[str, Any] | None:
    runs = {record["id"]: record for record in past.list_runs(ws)}
    return runs.get(candidate.run_id or "")


def _version(ws: Workspace, training: dict[str, Any]) -> str | None:
    """The dataset version that the run read a file of: of the build that wrote it last."""
    read = {item["digest"] for item in training["inputs"]}
    builds = [r for r in past.list_runs(ws, "build") if r["facts"].get("version")]
    made = [r for r in builds if read & {item["digest"] for item in r["outputs"]}]
    return str(made[-1]["facts"]["version"]) if made else None


def _taught(ws: Workspace, version: str | None) -> Counter[str]:
    if version is None:
        return Counter()
    table = database.member
    query = sa.select(table.c.label, sa.func.count()).where(table.c.version == version)
    with database.reading(ws) as connection:
        return Counter(
            {str(label): int(n) for label, n in connection.execute(query.group_by(table.c.label))}
        )


def _repairs(ws: Workspace) -> list[Repair]:
    events = [event["data"] for event in ledger.events(ws, "repair")]
    path = ws.data / "failures.jsonl"
    if not events or not path.is_file():
        return []
    label = {str(row.get("id")): str(row.get("label")) for _, row in jsonl.rows(path)}
    return [
        Repair(str(e["id"]), str(e["change"]), sorted(e["files"]),
               frozenset(label[id] for id in e["of"] if id in label))
        for e in events
    ]  # fmt: skip
