"""All failures in a table of this process's memory, so that a page of a hundred thousand is quick.

The files stay the truth: the table is made anew when one of them changes, and nothing of it is
written anywhere. Of each row it knows where its line begins; what a page shows is read from there.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
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
from errata.intake.labeller import ABSTAINED
from errata.intake.redact import POLICY_FILE, Policy, load_policy, redact_many, workspace_key
from errata.records import Case, Failure
from errata.store import database
from errata.text import language
from errata.workspace import Workspace

FILE = "data/failures.jsonl"
SEARCHED = 20_000  # characters of a row that a search looks at
LONGEST, BATCH = 4000, 2000  # characters of a value; rows that are redacted together
PAGE = 50
LISTS = 32  # orders and filters whose rows are kept sorted
_TABLE = """
CREATE TABLE failure (
  place INTEGER PRIMARY KEY, id TEXT, label TEXT, source TEXT, ts TEXT, week TEXT, language TEXT,
  retention TEXT, owner TEXT, severity TEXT, state TEXT, doubt INTEGER, start INTEGER,
  size INTEGER);
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


class Texts:
    """What a search looks at: all texts as one, where looking for a word is one walk in C. Tried:
    `instr` over a column (340 ms for 100,000 rows where this takes 40)."""

    def __init__(self) -> None:
        self._parts, self._whole = list[bytes](), b""
        self._starts, self._places, self._size = list[int](), list[int](), 0

    def add(self, place: int, said: Iterable[str]) -> None:
        """A row's id and texts, the beginning of each."""
        text = "\0".join(part[:SEARCHED] for part in said).casefold() + "\0"
        raw = text.encode("utf-8", "backslashreplace")
        self._parts.append(raw)
        self._starts.append(self._size)
        self._places.append(place)
        self._size += len(raw)

    def having(self, words: str) -> set[int]:
        """The places whose texts hold each of the words."""
        if self._parts:
            self._whole, self._parts = b"".join(self._parts), []
        found: set[int] | None = None
        for word in sorted(words.casefold().split()[:8], key=len, reverse=True):
            mine = set(self._walk(word.encode("utf-8", "backslashreplace")))
            found = mine if found is None else found & mine
        return found or set()

    def _walk(self, word: bytes) -> Iterator[int]:
        at, row, last = self._whole.find(word), 0, len(self._starts) - 1
        while at >= 0:
            row = bisect_right(self._starts, at, row) - 1
            yield self._places[row]
            if row == last:
                return
            at = self._whole.find(word, self._starts[row + 1])


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat() if path.is_file() else None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else (0, 0, 0)


class Index:
    """The table, and the file stamps and the event of the ledger that it was made at."""

    def __init__(self, ws: Workspace) -> None:
        self.ws, self._lock = ws, Lock()
        self._files: tuple[Any, ...] = ()
        self._seen = -1
        self._table: sqlite3.Connection | None = None
        self._counted: dict[str, list[sqlite3.Row]] = {}
        self._lists: dict[tuple[str, ...], list[int]] = {}
        self._texts = Texts()

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
        paths = (FILE, triage.FILE, reviews.FILE, POLICY_FILE)
        files = tuple(_stamp(self.ws.path(name)) for name in paths)
        table = self._table
        if table is None or files != self._files:
            table = self._table = self._read()
            self._files, self._seen = files, -1
        seen = self._last_event()
        if seen != self._seen:
            self._say_states(table)
            self._seen, self._counted, self._lists = seen, {}, {}
        return table

    def _read(self) -> sqlite3.Connection:
        table = sqlite3.connect(":memory:", check_same_thread=False)
        table.row_factory = sqlite3.Row
        table.executescript(_TABLE)
        self._texts = Texts()
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
        policy = load_policy(self.ws)
        today, older = policy.hash, list[tuple[int, list[str]]]()
        seen, start = set[str](), 0
        with path.open("rb") as file:
            for place, raw in enumerate(file):
                size = len(raw)
                if raw.strip():
                    row = _row(raw, place)
                    if (id := str(row["id"])) not in seen:
                        seen.add(id)
                        if (row.get("redaction") or {}).get("policy") == today:
                            self._texts.add(place, _searched(row))
                        else:
                            older.append((place, _searched(row)))
                        label = said.labels.get(id) or row["label"]
                        yield _told(place, row, label, sorted_.get(id), start, size)
                start += size
        for first in range(0, len(older), BATCH):
            self._search_in(older[first : first + BATCH], policy)

    def _search_in(self, rows: Sequence[tuple[int, list[str]]], policy: Policy) -> None:
        """Let rows of another policy be found by nothing that today's hides of them."""
        texts = [text for _, said in rows for text in said[1:]]
        clean = iter(redact_many(texts, policy.rules, workspace_key(self.ws)))
        for place, (id, *said) in rows:
            self._texts.add(place, [id, *(next(clean).text for _ in said)])

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
        only = {name: value for name, value in asked.only.items() if name in FILTERS and value}
        told = " AND ".join(f"{name} = ?" for name in only) or "1"
        values = ["" if value == "none" else value for value in only.values()]
        order = ORDERS.get(asked.order, ORDERS["newest"])
        fits = self._ordered(told, order, values)
        if asked.words:
            with self._lock:
                having = self._texts.having(asked.words)
            fits = [at for at in fits if at in having]
        pages = max(1, -(-len(fits) // PAGE))
        page = min(max(1, asked.page), pages)
        rows = self._at(fits[(page - 1) * PAGE : page * PAGE])
        return Found(rows, len(fits), page, pages)

    def _ordered(self, told: str, order: str, values: list[str]) -> list[int]:
        """The places of the rows that fit, kept until the table changes. As one JSON text: row by
        row a hundred thousand of them take 200 ms."""
        query = f"SELECT place FROM failure WHERE {told} ORDER BY {order}"
        name = query, *values
        with self._lock:
            table = self._fresh()
            if name not in self._lists:
                one = table.execute(f"SELECT json_group_array(place) FROM ({query})", values)
                self._lists[name] = json.loads(one.fetchone()[0])
            while len(self._lists) > LISTS:
                self._lists.pop(next(iter(self._lists)))
            return self._lists[name]

    def _at(self, places: list[int]) -> list[dict[str, Any]]:
        """The rows of these places, in this order."""
        marks = ",".join("?" * len(places))
        rows = self._ask(f"SELECT * FROM failure WHERE place IN ({marks})", *places)
        found = {row["place"]: dict(row) for row in rows}
        return [found[at] for at in places if at in found]

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

    def in_doubt(self) -> list[Failure]:
        """Those that wait for a label."""
        rows = self._ask("SELECT * FROM failure WHERE doubt AND retention = 'full'")
        return self.records([dict(row) for row in rows])

    def row(self, id: str) -> dict[str, Any]:
        """What the table knows of one; BadInput where there is none."""
        rows = self._ask("SELECT * FROM failure WHERE id = ?", id)
        if not rows:
            raise BadInput(f"{id}: no such failure in {FILE}; it may have been erased")
        return dict(rows[0])

    def records(self, rows: list[dict[str, Any]]) -> list[Failure]:
        """The rows as they stand in the file. Where it was written anew since they were asked for,
        they begin elsewhere, and are asked for again; BadInput for one that is no more."""
        why = f"{FILE}: it is being written; load the page again"
        for _ in range(3):
            raw = self._raw(rows)
            try:
                found = [jsonl.validate(text, Failure, f"{FILE}:{row['place'] + 1}")
                         for row, text in zip(rows, raw, strict=True)]  # fmt: skip
                if [one.id for one in found] == [row["id"] for row in rows]:
                    return found
            except BadInput as error:
                why = str(error)
            rows = [self.row(row["id"]) for row in rows]
        raise BadInput(why)

    def _raw(self, rows: Sequence[dict[str, Any]]) -> list[bytes]:
        if not rows:
            return []
        found = []
        with self.ws.path(FILE).open("rb") as file:
            for row in rows:
                file.seek(row["start"])
                found.append(file.read(row["size"]))
        return found


_KINDS = {"id": str, "label": str, "source": str, "ts": str, "retention": str, "meta": dict,
          "redaction": dict}  # fmt: skip


def _row(raw: bytes, place: int) -> dict[str, Any]:
    """A line as an object whose fields the table can hold. All of a failure is looked at when it
    is shown: for a hundred thousand that takes too long."""
    where = f"{FILE}:{place + 1}"
    row = jsonl.parse_row(raw, where)
    for name, kind in _KINDS.items():
        there = row.get(name)
        if not isinstance(there, kind) and (there is not None or name in ("id", "label")):
            raise BadInput(f"{where}: {name}: not {kind.__name__}; fix or delete the line")
    return row


def _searched(row: dict[str, Any]) -> list[str]:
    texts = (row.get(name) for name in ("prompt", "bad_answer", "summary"))
    return [row["id"], *(str(text or "")[: SEARCHED + LONGEST] for text in texts)]


def _told(
    place: int, row: dict[str, Any], label: str, sorted_: triage.Triage | None, start: int,
    size: int,
) -> tuple[Any, ...]:  # fmt: skip
    asked = str(row.get("prompt") or "")
    when = day(row.get("ts") or "")
    week = "{}-W{:02d}".format(*when.isocalendar()[:2]) if when else ""
    severe = sorted_.severity if sorted_ else triage.severity(label)
    return (
        place, row["id"], label, row.get("source") or "", row.get("ts") or "", week,
        language(asked), row.get("retention") or "full", sorted_.owner if sorted_ else "", severe,
        "open", (row.get("meta") or {}).get("label_by") == ABSTAINED, start, size,
    )  # fmt: skip
