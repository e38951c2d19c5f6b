"""What a database allows: the statements of one appended event, by its driver alone."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from datawork.clock import clock

from errata.workspace import Workspace
from storage import places
from storage.claim import Run
from storage.measures import SINGLES, fsync_ms

_TABLE = (
    "CREATE TABLE floor (seq INTEGER PRIMARY KEY, ts TEXT, kind TEXT, data TEXT, hash TEXT UNIQUE)"
)
_NEWEST = "SELECT seq, hash FROM floor ORDER BY seq DESC LIMIT 1"
_FLOOR = {
    places.SQLITE: [_TABLE, _NEWEST, "INSERT INTO floor VALUES (?, ?, ?, ?, ?)"],
    places.POSTGRES: [_TABLE, "SELECT pg_advisory_xact_lock(1)", _NEWEST,
                      "INSERT INTO floor VALUES (%s, %s, %s, %s, %s)"],
}  # fmt: skip


def floor(kind: str, repeats: int) -> list[Run]:
    """The same statements by the bare driver, with no code of ours: what the database allows."""
    statements = _FLOOR[kind]
    with places.workspace(kind) as ws:
        connection = _driver(kind, ws)
        cursor = connection.cursor()
        cursor.execute(statements[0])
        connection.commit()
        runs = [_floor(connection, cursor, statements[1:], turn) for turn in range(repeats)]
        connection.close()
    return runs


def _floor(connection: Any, cursor: Any, statements: list[str], turn: int) -> Run:
    with clock() as run:
        for number in range(turn * SINGLES, (turn + 1) * SINGLES):
            for statement in statements[:-1]:
                cursor.execute(statement)
                cursor.fetchone()
            cursor.execute(statements[-1], (number, "t", "note", "x" * 200, f"{number:064}"))
            connection.commit()
    return {**run, "value": round(SINGLES / run["wall_seconds"]), "fsync_ms": fsync_ms()}


def _driver(kind: str, ws: Workspace) -> Any:
    if kind == places.SQLITE:
        connection = sqlite3.connect(ws.root / "floor.db")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection
    import psycopg

    return psycopg.connect(os.environ["ERRATA_DATABASE_URL"].replace("+psycopg", ""))
