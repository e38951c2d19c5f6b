"""What is left of an erased row: its id, and that it was erased; and who still carries it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from errata.jsonl import canonical
from errata.store import database

KIND = "erased"
LEARNT = ("trained", "prompted")  # row → run
_MADE = ("made", "started", "rewarded", "is")  # what a candidate's weights come from
_CHUNK = 500


class Carried(NamedTuple):
    """A training run that learnt from rows erased since."""

    run: str
    rows: int


def bury(connection: sa.Connection, ids: Iterable[str], ts: str) -> None:
    """Make tombstones of rows; what kind each was stays, nothing else does."""
    table, names = database.node, sorted(ids)
    for start in range(0, len(names), _CHUNK):
        part = names[start : start + _CHUNK]
        kinds = sa.select(table.c.id, table.c.kind).where(table.c.id.in_(part))
        was = {row.id: row.kind for row in connection.execute(kinds)}
        fresh = [id for id in part if was.get(id) != KIND]
        connection.execute(table.delete().where(table.c.id.in_(fresh)))
        stones = [{"was": was.get(id, "row"), "ts": ts} for id in fresh]
        rows = [{"id": id, "kind": KIND, "data": canonical(stone)}
                for id, stone in zip(fresh, stones, strict=True)]  # fmt: skip
        database.insert_new(connection, table, rows)


def buried(connection: sa.Connection) -> set[str]:
    """All tombstones."""
    query = sa.select(database.node.c.id).where(database.node.c.kind == KIND)
    return set(connection.execute(query).scalars())


def carried(connection: sa.Connection, *made: str) -> list[Carried]:
    """The runs behind candidates, or runs, that learnt from rows erased since; [] when none did."""
    edge, node = database.edge, database.node
    seen, frontier = set(made), set(made)
    while frontier:
        query = sa.select(edge.c.src).where(
            edge.c.dst.in_(sorted(frontier)), edge.c.kind.in_(_MADE)
        )
        frontier = set(connection.execute(query).scalars()) - seen
        seen |= frontier
    rows = (
        sa.select(edge.c.dst, sa.func.count(sa.distinct(edge.c.src)))
        .join(node, node.c.id == edge.c.src)
        .where(edge.c.dst.in_(sorted(seen)), edge.c.kind.in_(LEARNT), node.c.kind == KIND)
        .group_by(edge.c.dst)
        .order_by(edge.c.dst)
    )
    found = [Carried(run, count) for run, count in connection.execute(rows)]
    return found or _told(connection, seen)


def _told(connection: sa.Connection, made: set[str]) -> list[Carried]:
    """What events of erasures say of these candidates: a store that was made anew from the ledger
    knows no step of training."""
    event = database.event
    query = sa.select(event.c.data).where(event.c.kind == "erasure").order_by(event.c.seq)
    for text in connection.execute(query).scalars():
        told = json.loads(text)
        for candidate, runs in (told.get("carried") or {}).items():
            if candidate in made:
                return [Carried(*run) for run in runs]
    return []


def successor(connection: sa.Connection, digest: str) -> str:
    """The file that took the place of one from which rows were erased; the file itself if none."""
    edge = database.edge
    while True:
        query = sa.select(edge.c.dst).where(edge.c.src == digest, edge.c.kind == "erased into")
        after = connection.execute(query).scalar()
        if after is None:
            return digest
        digest = after


def replaced(connection: sa.Connection, told: Mapping[str, Any]) -> None:
    """Files that an erasure has rewritten, as its event tells."""
    rows = [{"src": old, "dst": new, "kind": "erased into", "run_id": told["run"]}
            for old, new in told["replaced"].items()]  # fmt: skip
    database.insert_new(connection, database.edge, rows)


def among(connection: sa.Connection, ids: Iterable[str]) -> list[str]:
    """Those of the ids that are tombstones."""
    table, names, found = database.node, sorted(ids), list[str]()
    for start in range(0, len(names), _CHUNK):
        part = table.c.id.in_(names[start : start + _CHUNK])
        found += connection.execute(
            sa.select(table.c.id).where(part, table.c.kind == KIND)
        ).scalars()
    return found
