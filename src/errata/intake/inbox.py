"""Raw rows do not live for ever: each is deleted `inbox_days` after intake first saw it.

When a row was first seen is kept in `.errata/inbox.db` under a keyed hash of the row, so neither
the file's age nor the row's own `ts` matters: a log of last year that was put there today has its
time, and a file that grows loses its oldest rows. One that is no JSON lines (CSV, JSON, Parquet)
goes as a whole, so long after its newest line was first seen. Rows that intake could not use have
the same time as the others.
"""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from errata import jsonl
from errata.errors import BadInput
from errata.workspace import Workspace

REGISTER = "inbox.db"
_WHOLE = {".csv", ".tsv", ".json", ".parquet"}  # whose lines mean nothing by themselves
_PIECE = 1 << 24  # bytes that are held of a line; one that is longer is known by its beginning
_TABLE = "CREATE TABLE IF NOT EXISTS seen (key TEXT PRIMARY KEY, day TEXT NOT NULL, there INTEGER)"
_SEEN = "INSERT INTO seen VALUES (?, ?, 1) ON CONFLICT (key) DO UPDATE SET there = 1 RETURNING day"


def files(folder: Path) -> list[Path]:
    """What waits in the inbox, and what a sweep that was killed left there."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if path.name[0] != "." or path.suffix == ".tmp")


def sweep(
    ws: Workspace, folder: Path, days: int, name: Callable[[bytes], str], today: datetime.date
) -> int:
    """Delete what has been there too long, remember what is new; how many rows were deleted.

    `name`: the keyed hash of a raw line. A file without rows left is deleted whole.
    """
    oldest = (today - datetime.timedelta(days=days)).isoformat()
    waiting = files(folder)
    path = ws.state / REGISTER
    if not waiting and not path.is_file():
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path)) as register, register:
            register.execute(_TABLE)
            register.execute("UPDATE seen SET there = 0")
            gone = sum(_swept(register, file, name, today.isoformat(), oldest) for file in waiting)
            register.execute("DELETE FROM seen WHERE there = 0")
    except sqlite3.DatabaseError as error:
        raise BadInput(
            f".errata/{REGISTER}: {error}; restore it, or delete it: then the time of what waits "
            "in the inbox begins anew"
        ) from None
    return gone


def _swept(
    register: sqlite3.Connection, path: Path, name: Callable[[bytes], str], today: str, oldest: str
) -> int:
    """Rows of one file that are over; the file is written anew only where there are some."""
    over, left = 0, 0
    for line in _lines(path):
        if _day(register, name, line, today) <= oldest:
            over += 1
        else:
            left += bool(line.strip())
    if over and not left:
        path.unlink()
    elif over and path.suffix in _WHOLE:
        return 0
    elif over:
        with jsonl.replacing(path) as file:
            for line in _lines(path):
                if _day(register, name, line, today) > oldest:
                    file.write(line)
    if over:
        register.execute("UPDATE seen SET there = 0 WHERE day <= ?", (oldest,))
    return over


def _day(
    register: sqlite3.Connection, name: Callable[[bytes], str], line: bytes, today: str
) -> str:
    """When a row was first seen; a line that holds none never ends."""
    if not line.strip():
        return "9999"
    found: tuple[Any, ...] = register.execute(_SEEN, (name(line.strip()), today)).fetchone()
    return str(found[0])


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a file; the rest of one that is longer than a piece counts as lines of its own."""
    with path.open("rb") as file:
        while line := file.readline(_PIECE):
            yield line
