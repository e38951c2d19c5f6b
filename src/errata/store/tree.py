"""What lies in configs/, policies/, suites/ and data/ when a run begins: kept, so that any earlier
state can be brought back, and compared, so that a change of the rules is an event.

A file whose size and time are as the last run of this machine saw them is not hashed again.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from errata.store import database, objects
from errata.workspace import Workspace

# Folder → role in run_file: `rule` is what a run obeys, `data` what it might read.
FOLDERS = {"configs": "rule", "policies": "rule", "suites": "rule", "data": "data"}
ROLES = ("rule", "data")


class File(NamedTuple):
    """One file as it was found."""

    role: str
    path: str
    digest: str
    bytes: int
    mtime_ns: int


class Change(NamedTuple):
    """A rule that differs from the last time; None: it was not there, or is gone."""

    path: str
    old: str | None
    new: str | None


def paths(ws: Workspace, folders: Sequence[str] = tuple(FOLDERS)) -> Iterator[tuple[str, Path]]:
    """Files of the workspace that belong to its state, with their folder; hidden ones do not."""
    for folder in folders:
        for full in sorted((ws.root / folder).rglob("*")):
            if full.is_file() and not full.name.startswith("."):
                yield folder, full


def last(connection: sa.Connection) -> dict[str, File]:
    """What the last run of this machine found, by path."""
    run, table = database.run, database.run_file
    newest = (
        sa.select(run.c.id)
        .where(
            run.c.host == platform.node(),
            sa.exists().where(table.c.run_id == run.c.id, table.c.role.in_(ROLES)),
        )
        .order_by(run.c.began.desc(), run.c.id.desc())
        .limit(1)
    )
    return of_run(connection, newest.scalar_subquery())


def of_run(connection: sa.Connection, run_id: Any) -> dict[str, File]:
    """What a run found, by path."""
    table = database.run_file
    columns = [table.c[name] for name in File._fields]
    query = sa.select(*columns).where(table.c.run_id == run_id, table.c.role.in_(ROLES))
    return {row.path: File(*row) for row in connection.execute(query)}


def look(ws: Workspace, before: Mapping[str, File]) -> dict[str, File]:
    """What is there now, each file kept as an object."""
    found = {}
    for folder, full in paths(ws):
        name, stat = ws.relative(full), full.stat()
        known = before.get(name)
        if known and (known.bytes, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            found[name] = known
        else:
            kept = objects.put(ws, full)
            found[name] = File(FOLDERS[folder], name, kept, stat.st_size, stat.st_mtime_ns)
    return found


def changes(before: Mapping[str, File], now: Mapping[str, File]) -> list[Change]:
    """Rules that were added, changed or removed. Pure."""
    out = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if (old or new).role == "rule" and (old and old.digest) != (new and new.digest):  # type: ignore[union-attr]
            out.append(Change(name, old and old.digest, new and new.digest))
    return out


def store(
    connection: sa.Connection, run_id: str, now: Mapping[str, File], changed: Sequence[Change]
) -> None:
    """Write down what a run found, and of each rule what it was before.

    A rule that went back to what it once was is no successor of what it is taken back from.
    """
    table = database.run_file
    fresh = [change for change in changed if change.old and change.new]
    query = sa.select(table.c.digest).where(table.c.digest.in_([c.new for c in fresh]))
    seen = set(connection.execute(query).scalars()) if fresh else set()
    rows = [{"src": change.old, "dst": change.new, "kind": "changed into", "run_id": run_id}
            for change in fresh if change.new not in seen]  # fmt: skip
    database.insert_new(connection, database.edge, rows)
    if now:
        files = [{**file._asdict(), "run_id": run_id} for file in now.values()]
        connection.execute(table.insert(), files)
