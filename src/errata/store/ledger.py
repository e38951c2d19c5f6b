"""The audit ledger: what happened, as a hash chain in the store, sealed in `audit/`.

    append(ws, "verdict", id=…)     one event          extend(ws, rows)     many, in one transaction
    seal(ws)                        `audit/ledger.jsonl` brought up to date, its end signed

The chain and what a break in it tells: chain.py. Signed checkpoints: seal.py. A command seals when
it ends; a verdict, a rollout step and the end of a run do at once.
What finds and locates tampering: audit.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from errata.errors import BadInput
from errata.jsonl import canonical
from errata.language import say
from errata.store import database, lines, people, tombstone
from errata.store import seal as seals
from errata.store.chain import Event, breaks, chained, from_line, to_line
from errata.workspace import Workspace

_COLUMNS = sa.select(*(database.event.c[name] for name in Event._fields))
_LAST = _COLUMNS.order_by(database.event.c.seq.desc()).limit(1)
_INSERT = database.event.insert()


def file_of(ws: Workspace) -> Path:
    """The copy that git tracks."""
    return ws.audit / "ledger.jsonl"


class Overtaken(BadInput):
    """Another process has written an event of this kind that the caller does not know."""


def append(
    ws: Workspace,
    kind: str,
    *,
    right: people.Right | None = None,
    seen: int | None = None,
    **data: Any,
) -> str:
    """Add an event; its hash. `right`: what the actor must be entitled to, else Blocked. `seen`:
    the number of the newest event of this kind that the caller knows; BadInput if there is a newer.
    """
    return extend(ws, [(kind, data)], right=right, seen=seen)[0]


def extend(
    ws: Workspace,
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    right: people.Right | None = None,
    seen: int | None = None,
) -> list[str]:
    """Add events (kind, data), all of them or none; their hashes. Each says who acted, in which
    roles. What holds no JSON is an error before anything is written."""
    rows = list(rows)
    with database.writing(ws) as connection:
        if seen is not None:
            _refuse_overtaken(connection, rows[0][0], seen)
        return add(ws, connection, rows, right)


def add(
    ws: Workspace,
    connection: sa.Connection,
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    right: people.Right | None = None,
) -> list[str]:
    """`extend` as part of a transaction that writes other things: all of it is kept, or nothing."""
    who = people.entitled(ws, right) if right else people.actor(ws)
    by = {"actor": who.name, "roles": list(who.roles)}
    ts = database.now()
    told = [(ts, kind, canonical({**by, **data})) for kind, data in rows]
    events = list(chained(_last(connection) or _adopt(ws, connection), told))
    if events:
        connection.execute(_INSERT, [event._asdict() for event in events])
    return [event.hash for event in events]


def _refuse_overtaken(connection: sa.Connection, kind: str, seen: int) -> None:
    query = sa.select(sa.func.max(database.event.c.seq)).where(database.event.c.kind == kind)
    newest = connection.execute(query).scalar() or 0
    if newest > seen:
        raise Overtaken(f"{kind}: another process was faster (event {newest}); look at what it "
                        "did, then run the command again")  # fmt: skip


def select(connection: sa.Connection, after: int = 0, kind: str | None = None) -> Iterable[Event]:
    """Events of the store after one of them, oldest first."""
    query = _COLUMNS.where(database.event.c.seq > after).order_by(database.event.c.seq)
    if kind is not None:
        query = query.where(database.event.c.kind == kind)
    return map(Event._make, connection.execute(query).all())


def _last(connection: sa.Connection) -> Event | None:
    row = connection.execute(_LAST).one_or_none()
    return Event(*row) if row else None


def events(ws: Workspace, kind: str | None = None) -> list[dict[str, Any]]:
    """All events, oldest first, or those of one kind."""
    with database.reading(ws) as connection:
        found = list(select(connection, kind=kind))
    return [{**event._asdict(), "data": json.loads(event.data)} for event in found]


class Written(NamedTuple):
    """The run that wrote a file last: the event's number, the file's digest, when, and which."""

    seq: int
    digest: str
    ts: str
    run: str


def written(ws: Workspace) -> dict[str, Written]:
    """Path → who wrote it last."""
    found: dict[str, Written] = {}
    for event in events(ws, "run"):
        for item in event["data"].get("outputs", []):
            told = (item["digest"], event["ts"], event["data"]["id"])
            found[item["path"]] = Written(event["seq"], *told)
    return found


def adopt(ws: Workspace) -> None:
    """In a fresh clone: take over what the tracked copy says, as the first run there would. Else
    nothing. BadInput where that copy does not hold."""
    with database.reading(ws) as connection:
        if _last(connection) is not None or not file_of(ws).is_file():
            return
    with database.writing(ws) as connection:
        if _last(connection) is None:
            _adopt(ws, connection)


def _adopt(ws: Workspace, connection: sa.Connection) -> Event | None:
    """In a fresh clone the store is empty and the tracked copy is not: go on from that copy."""
    there, problems = filed(ws)
    problems = problems or [f"audit/ledger.jsonl: {problem}" for problem in breaks(there)]
    if problems:
        raise BadInput(f"{problems[0]}; restore audit/ledger.jsonl with git before going on")
    database.insert_new(connection, database.event, (event._asdict() for event in there))
    for event in there:  # who was erased stays so, also where the tombstones themselves are lost
        if event.kind == "erasure":
            tombstone.bury(connection, json.loads(event.data).get("rows", ()), event.ts)
        elif event.kind == "erasure files":
            tombstone.replaced(connection, json.loads(event.data))
    return there[-1] if there else None


def filed(ws: Workspace) -> tuple[list[Event], list[str]]:
    """The events of the tracked copy, and what could not be read of it."""
    return parsed(lines.read(file_of(ws)))


def parsed(written: Iterable[bytes]) -> tuple[list[Event], list[str]]:
    """The events of these lines, and which of the lines are none."""
    found, problems = [], []
    for number, line in enumerate(written, 1):
        try:
            found.append(from_line(line.decode()))
        except ValueError:
            problems.append(f"audit/ledger.jsonl:{number}: not an event")
    return found, problems


def seal(ws: Workspace) -> None:
    """Write what is new to the tracked copy, and sign it. A ledger that does not go on from what
    was sealed before is left as it is, and stderr says so."""
    with database.writing(ws) as connection:  # no other process of this store seals meanwhile
        last = _last(connection)
        if last is None:
            return

        def hash_of(seq: int) -> str | None:
            query = sa.select(database.event.c.hash).where(database.event.c.seq == seq)
            return connection.execute(query).scalar()

        why = _export(ws, connection, hash_of) or seals.sign(ws, last.seq, hash_of)
    if why:
        step = say("run `errata audit verify`", "请运行 `errata audit verify`")
        sys.stderr.write(f"errata: audit: not sealed: {why}; {step}\n")


def _export(
    ws: Workspace, connection: sa.Connection, hash_of: Callable[[int], str | None]
) -> str | None:
    """Append to the tracked copy the events it lacks; why not, if it does not end within them."""
    path = file_of(ws)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        end, line = lines.tail(file)
        try:
            last = from_line(line.decode()) if line else None
        except ValueError:
            return "the last line of audit/ledger.jsonl is not an event"
        if last and hash_of(last.seq) != last.hash:
            return f"the store has not the event {last.seq} that audit/ledger.jsonl has"
        fresh = [to_line(event) + "\n" for event in select(connection, last.seq if last else 0)]
        if not fresh:
            return None
        lines.add(file, end, "".join(fresh))
    return None
