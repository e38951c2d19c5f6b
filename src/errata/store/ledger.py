"""The audit ledger: a hash chain of events, kept in the store and in `audit/ledger.jsonl`.

    hash = sha256(canonical({"seq","ts","kind","data","prev"}))        prev of the first: 64 zeros

Each event names the hash of the one before, so changing, dropping or reordering one breaks every
later link; the two copies tell a rewritten chain from a true one.

`errata audit verify` finds and locates tampering: exit 0 when the chain holds, 1 when it does not.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import Field

from errata.config import Section
from errata.errors import BadInput
from errata.jsonl import canonical, plain
from errata.language import say
from errata.outcome import Outcome
from errata.store import database
from errata.workspace import Workspace

ZERO = "0" * 64
_FIELDS = ("seq", "ts", "kind", "data", "prev", "hash")


class Config(Section):
    """`errata audit verify`."""

    args: list[str] = Field(default=["verify"], description="what to do: verify")


def event_hash(seq: int, ts: str, kind: str, data: Any, prev: str) -> str:
    """The hash of one event over its canonical JSON."""
    body = {"seq": seq, "ts": ts, "kind": kind, "data": data, "prev": prev}
    return hashlib.sha256(canonical(body).encode()).hexdigest()


def file_of(ws: Workspace) -> Path:
    """The copy that git tracks."""
    return ws.audit / "ledger.jsonl"


def _stored(connection: sa.Connection) -> list[dict[str, Any]]:
    rows = connection.execute(sa.select(database.event).order_by(database.event.c.seq))
    return [{**row._mapping, "data": json.loads(row.data)} for row in rows]


def _filed(ws: Workspace) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of the tracked copy, and what could not be read of it."""
    rows, problems = [], []
    path = file_of(ws)
    for number, line in enumerate(path.read_bytes().splitlines() if path.is_file() else [], 1):
        try:
            row = json.loads(line)
            rows.append({key: row[key] for key in _FIELDS})
        except (ValueError, KeyError, TypeError):
            problems.append(f"audit/ledger.jsonl:{number}: not an event")
    return rows, problems


def _broken(rows: list[dict[str, Any]], where: str) -> list[str]:
    """Which links of a chain do not hold."""
    problems, prev = [], ZERO
    for place, row in enumerate(rows, 1):
        name = f"{where}: event {row['seq']} ({row['kind']}, {row['ts']})"
        if row["seq"] != place:
            problems.append(f"{name}: expected number {place}; an event is missing or was moved")
        if row["prev"] != prev:
            problems.append(f"{name}: does not follow the event before it")
        if row["hash"] != event_hash(row["seq"], row["ts"], row["kind"], row["data"], row["prev"]):
            problems.append(f"{name}: was changed after it was written")
        if problems:
            return problems  # every later link depends on this one
        prev = row["hash"]
    return problems


def append(ws: Workspace, kind: str, **data: Any) -> str:
    """Add an event; its hash. Both copies have it or neither."""
    with database.writing(ws) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(20251216)"))
        _adopt(ws, connection)
        last = connection.execute(
            sa.select(database.event).order_by(database.event.c.seq.desc()).limit(1)
        ).one_or_none()
        seq, prev = (last.seq + 1, last.hash) if last else (1, ZERO)
        body = {"seq": seq, "ts": database.now(), "kind": kind, "data": plain(data), "prev": prev}
        row = {**body, "hash": event_hash(**body)}
        connection.execute(database.event.insert().values({**row, "data": canonical(row["data"])}))
        _append_line(ws, connection, row)
    return str(row["hash"])


def _adopt(ws: Workspace, connection: sa.Connection) -> None:
    """In a fresh clone the store is empty and the tracked copy is not: go on from that copy."""
    if connection.execute(sa.select(sa.func.count()).select_from(database.event)).scalar():
        return
    rows, problems = _filed(ws)
    problems = problems or _broken(rows, "audit/ledger.jsonl")
    if problems:
        raise BadInput(f"{problems[0]}; restore audit/ledger.jsonl with git before going on")
    database.insert_new(
        connection, database.event, [{**row, "data": canonical(row["data"])} for row in rows]
    )


def _append_line(ws: Workspace, connection: sa.Connection, row: dict[str, Any]) -> None:
    """Add the row to the tracked copy, and before it those that a git checkout took away."""
    path = file_of(ws)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        size = file.tell()
        missing = [row]
        if _last_hash(path) != row["prev"]:
            stored = _stored(connection)
            filed, problems = _filed(ws)
            if not problems and filed == stored[: len(filed)]:
                missing = stored[len(filed) :]
        try:
            file.write("".join(canonical(item) + "\n" for item in missing).encode())
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            os.truncate(path, size)
            raise


def _last_hash(path: Path) -> str:
    """The hash in the last line, read from the end: the file only grows."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16)))
        tail = file.read().splitlines()
    try:
        return str(json.loads(tail[-1])["hash"]) if tail else ZERO
    except (ValueError, KeyError, TypeError):
        return ""


def events(ws: Workspace, kind: str | None = None) -> list[dict[str, Any]]:
    """All events, oldest first, or those of one kind."""
    with database.reading(ws) as connection:
        return [row for row in _stored(connection) if kind in (None, row["kind"])]


def verify(ws: Workspace) -> list[str]:
    """Every problem, located; an empty list means that both copies hold and agree."""
    with database.reading(ws) as connection:
        stored = _stored(connection)
    filed, problems = _filed(ws)
    problems += _broken(stored, "store") + _broken(filed, "audit/ledger.jsonl")
    if problems or not stored:  # a fresh clone has the tracked copy alone
        return problems
    for one, other in zip(stored, filed, strict=False):
        if one != other:
            return [f"event {one['seq']}: the store and audit/ledger.jsonl disagree"]
    if len(filed) < len(stored):
        gone = f"{len(filed) + 1} to {len(stored)}"
        return [f"audit/ledger.jsonl: events {gone} are missing (rolled back, or cut off)"]
    if len(stored) < len(filed):
        return [f"store: events {len(stored) + 1} to {len(filed)} are missing"]
    return []


def main(ws: Workspace, config: Config) -> Outcome:
    """Check the chain and say how long it is."""
    if config.args != ["verify"]:
        raise BadInput("audit: say what to do: `errata audit verify`")
    problems = verify(ws)
    count = max(len(events(ws)), len(_filed(ws)[0]))
    data = {"events": count, "problems": problems}
    if problems:
        head = say("the audit ledger does not hold:", "审计账本不成立：")
        return Outcome(1, "\n".join([head, *problems]), data)
    text = say(f"{count} events, the chain holds", f"共 {count} 条事件，哈希链完整")
    return Outcome(0, text, data)
