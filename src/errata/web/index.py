"""All failures in a table of this process's memory, so that a page of a hundred thousand is quick.

The files stay the truth: the table is made anew when one of them changes, and nothing of it is
written anywhere. Of each row it knows where its line begins; what a page shows is read from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import sqlalchemy as sa

from errata import jsonl
from errata.build import reviews
from errata.build.trend import day
from errata.errors import BadInput
from errata.evaluate import promoted
from errata.evaluate.promote import Config as Promote
from errata.intake import triage
from errata.records import Case, Failure
from errata.store import database
from errata.text import language
from errata.workspace import Workspace

FILE = "data/failures.jsonl"
SEARCHED = 20_000  # characters of a row that a search looks at
PAGE = 50
_TABLE = """
CREATE TABLE failure (
  place INTEGER PRIMARY KEY, id TEXT, label TEXT, source TEXT, ts TEXT, week TEXT, language TEXT,
  retention TEXT, owner TEXT, severity TEXT, state TEXT, words TEXT, start INTEGER, size INTEGER);
CREATE UNIQUE INDEX failure_id ON failure (id);
CREATE INDEX failure_label ON failure (label, ts);
CREATE INDEX failure_ts ON failure (ts);
CREATE INDEX failure_state ON failure (state, ts);
"""
FILTERS = ("label", "state", "severity", "owner", "source", "language", "retention")
ORDERS = {"newest": "ts DESC, place DESC", "oldest": "ts, place", "file": "place"}


class Asked(NamedTuple):
    """What is looked for."""

    words: str = ""
    only: dict[str, str] = {}  # noqa: RUF012 - never changed
    order: str = "newest"
    page: int = 1


class Found(NamedTuple):
    """One page of it, and how many there are."""

    rows: list[dict[str, Any]]
    total: int
    page: int
    pages: int


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


class Index:
    """The table, and the file stamps and the event of the ledger that it was made at."""

    def __init__(self, ws: Workspace) -> None:
        self.ws, self._lock = ws, Lock()
        self._files: tuple[Any, ...] = ()
        self._seen = -1
        self._table: sqlite3.Connection | None = None
        self._counted: dict[str, list[sqlite3.Row]] = {}

    def _ask(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._fresh().execute(query, values).fetchall()

    def _count(self, query: str) -> list[sqlite3.Row]:
        """Counts of the whole table, which only change with it."""
        with self._lock:
            table = self._fresh()
            if query not in self._counted:
                self._counted[query] = table.execute(query).fetchall()
            return self._counted[query]

    def _fresh(self) -> sqlite3.Connection:
        paths = (FILE, triage.FILE, reviews.FILE)
        files = tuple(_stamp(self.ws.path(name)) for name in paths)
        table = self._table
        if table is None or files != self._files:
            table = self._table = self._read()
            self._files, self._seen = files, -1
        seen = self._last_event()
        if seen != self._seen:
            self._say_states(table)
            self._seen, self._counted = seen, {}
        return table

    def _read(self) -> sqlite3.Connection:
        table = sqlite3.connect(":memory:", check_same_thread=False)
        table.row_factory = sqlite3.Row
        table.executescript(_TABLE)
        with table:
            table.executemany(f"INSERT INTO failure VALUES ({','.join('?' * 14)})", self._rows())
        if self._table is not None:
            self._table.close()
        return table

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        path = self.ws.path(FILE)
        if not path.is_file():
            return
        sorted_, said = triage.read(self.ws), reviews.read(self.ws.path(reviews.FILE))
        seen, start = set[str](), 0
        with path.open("rb") as file:
            for place, raw in enumerate(file):
                size = len(raw)
                if raw.strip():
                    row = jsonl.parse_row(raw, f"{FILE}:{place + 1}")
                    if (id := str(row["id"])) not in seen:
                        seen.add(id)
                        label = said.labels.get(id) or str(row["label"])
                        yield _told(place, row, label, sorted_.get(id), start, size)
                start += size

    def _last_event(self) -> int:
        with database.reading(self.ws) as connection:
            return connection.execute(sa.select(sa.func.max(database.event.c.seq))).scalar() or 0

    def _say_states(self, table: sqlite3.Connection) -> None:
        """open → in version → fixed → reopened, as `errata promote` tells of promoted ones."""
        edge, member = database.edge, database.member
        query = sa.select(edge.c.src).join(member, member.c.row == edge.c.dst)
        query = query.where(edge.c.kind == "became").distinct()
        with database.reading(self.ws) as connection:
            inside = [(id,) for id in connection.execute(query).scalars()]
        suites = [path for path in (Promote().attacks, Promote().business)
                  if self.ws.path(path).is_file()]  # fmt: skip
        cases = [case for path in suites for case in jsonl.read(self.ws.path(path), Case)]
        told = [(state.name, state.failure) for state in promoted.states(self.ws, cases)]
        with table:
            table.execute("UPDATE failure SET state = 'open'")
            table.executemany("UPDATE failure SET state = 'in version' WHERE id = ?", inside)
            table.executemany("UPDATE failure SET state = ? WHERE id = ?", told)

    # what pages ask ------------------------------------------------------------------------------

    def search(self, asked: Asked) -> Found:
        """One page of the rows that fit."""
        where, values = ["1"], list[Any]()
        for name, value in asked.only.items():
            if name in FILTERS and value:
                where.append(f"{name} = ?")
                values.append("" if value == "none" else value)
        for word in asked.words.casefold().split()[:8]:
            where.append("instr(words, ?) > 0")
            values.append(word)
        told, order = " AND ".join(where), ORDERS.get(asked.order, ORDERS["newest"])
        query = f"SELECT place FROM failure WHERE {told} ORDER BY {order}"
        fits: list[int] = []
        if asked.words:  # the texts are gone through once, for the count and for the page
            fits = [at for (at,) in self._ask(query, *values)]
            total = len(fits)
        else:
            total = self._ask(f"SELECT count(*) FROM failure WHERE {told}", *values)[0][0]
        pages = max(1, -(-total // PAGE))
        page = min(max(1, asked.page), pages)
        first = (page - 1) * PAGE
        places = fits[first : first + PAGE]
        if not asked.words:
            some = self._ask(f"{query} LIMIT {PAGE} OFFSET {first}", *values)
            places = [at for (at,) in some]
        marks = ",".join("?" * len(places))
        rows = self._ask(f"SELECT * FROM failure WHERE place IN ({marks})", *places)
        by_place = {row["place"]: dict(row) for row in rows}
        return Found([by_place[at] for at in places if at in by_place], total, page, pages)

    def values(self, name: str) -> list[tuple[str, int]]:
        """The values of a column and how many rows have each, the commonest first."""
        if name not in FILTERS:
            raise BadInput(f"failures: no column {name}")
        rows = self._count(
            f"SELECT {name}, count(*) AS n FROM failure GROUP BY 1 ORDER BY n DESC, 1"
        )
        return [(row[0] or "", row[1]) for row in rows]

    def weeks(self) -> dict[str, dict[str, int]]:
        """Label → week → how many; rows without a date are in no week."""
        found: dict[str, dict[str, int]] = {}
        rows = self._count(
            "SELECT label, week, count(*) FROM failure WHERE week <> '' GROUP BY 1, 2"
        )
        for label, week, count in rows:
            found.setdefault(label, {})[week] = count
        return found

    def drawn(self, count: int) -> list[dict[str, Any]]:
        """Rows with their texts, in the order of their ids, which are hashes: a random sample."""
        rows = self._ask(
            "SELECT * FROM failure WHERE retention = 'full' ORDER BY id LIMIT ?", count
        )
        return [dict(row) for row in rows]

    def row(self, id: str) -> dict[str, Any]:
        """What the table knows of one; BadInput where there is none."""
        rows = self._ask("SELECT * FROM failure WHERE id = ?", id)
        if not rows:
            raise BadInput(f"{id}: no such failure in {FILE}; it may have been erased")
        return dict(rows[0])

    def records(self, rows: list[dict[str, Any]]) -> list[Failure]:
        """The rows as they stand in the file."""
        if not rows:
            return []
        with self.ws.path(FILE).open("rb") as file:
            raw = []
            for row in rows:
                file.seek(row["start"])
                raw.append(file.read(row["size"]))
        return [jsonl.validate(text, Failure, FILE) for text in raw]


def _told(
    place: int, row: dict[str, Any], label: str, sorted_: triage.Triage | None, start: int,
    size: int,
) -> tuple[Any, ...]:  # fmt: skip
    asked, bad = str(row.get("prompt") or ""), str(row.get("bad_answer") or "")
    words = f"{row['id']}\n{asked[:SEARCHED]}\n{bad[:SEARCHED]}\n{row.get('summary') or ''}"
    when = day(row.get("ts") or "")
    week = "{}-W{:02d}".format(*when.isocalendar()[:2]) if when else ""
    severe = sorted_.severity if sorted_ else triage.severity(label)
    return (
        place, row["id"], label, row.get("source") or "", row.get("ts") or "", week,
        language(asked), row.get("retention") or "full", sorted_.owner if sorted_ else "", severe,
        "open", words.casefold(), start, size,
    )  # fmt: skip
