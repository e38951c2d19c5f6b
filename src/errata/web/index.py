"""All failures, so that a page of a hundred thousand is quick.

The files stay the truth: the table is made anew when failures or the policy change, what people and
the store say is brought in row by row, and nothing of it is written anywhere. Of each row it knows
where its line begins; what a page shows is read from there.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import sqlalchemy as sa

from errata import jsonl
from errata.build import reviews
from errata.errors import BadInput
from errata.evaluate import promoted
from errata.evaluate.promote import Config as Promote
from errata.intake import triage
from errata.intake.redact import POLICY_FILE, load_policy
from errata.language import say
from errata.records import Case, Failure
from errata.store import database
from errata.web.table import FILE, Table, load
from errata.workspace import Workspace

PAGE = 50
IDS = 500  # that one question to the store names
LISTS = 32  # orders and filters whose rows are kept sorted
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


class _Word(NamedTuple):
    """What people say of a row; None where it is as the file has it."""

    label: str | None
    owner: str
    severity: str | None


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat() if path.is_file() else None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else (0, 0, 0)


class Index:
    """The table, and what it was made of: files, the word of people, an event of the ledger."""

    def __init__(self, ws: Workspace) -> None:
        self.ws, self._lock = ws, Lock()
        self._files: tuple[Any, ...] = ()
        self._heard: tuple[Any, ...] = ()
        self._people: dict[str, _Word] = {}
        self._seen = -1
        self._table: Table | None = None
        self._counted: dict[str, list[sqlite3.Row]] = {}
        self._lists: dict[tuple[str, ...], list[int]] = {}

    @property
    def table(self) -> Table:
        """As the files are now: its digest, and what is wrong with lines of it."""
        with self._lock:
            return self._fresh()

    def _ask(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._fresh().rows.execute(query, values).fetchall()

    def _count(self, query: str) -> list[sqlite3.Row]:
        """Counts of the whole table, which only change with it."""
        with self._lock:
            rows = self._fresh().rows
            if query not in self._counted:
                self._counted[query] = rows.execute(query).fetchall()
            return self._counted[query]

    def _fresh(self) -> Table:
        table, files = self._table, self._stamps(FILE, POLICY_FILE)
        if table is None or files != self._files:
            new = load(self.ws)
            if table is not None:
                table.rows.close()
            table = self._table = new
            self._files, self._heard, self._seen, self._people = files, (), -1, {}
        if (heard := self._stamps(triage.FILE, reviews.FILE)) != self._heard:
            self._say_people(table.rows)
            self._heard, self._counted, self._lists = heard, {}, {}
        if (seen := self._last_event()) != self._seen:
            self._say_states(table.rows)
            self._seen, self._counted, self._lists = seen, {}, {}
        return table

    def _stamps(self, *names: str) -> tuple[Any, ...]:
        return tuple(_stamp(self.ws.path(name)) for name in names)

    def _say_people(self, rows: sqlite3.Connection) -> None:
        """Labels, owners and severities: of the rows alone whose word has changed."""
        labels = reviews.read(self.ws.path(reviews.FILE)).labels
        sorted_ = triage.read(self.ws)
        none = _Word(None, "", None)
        told = {id: _Word(labels.get(id), row.owner if row else "", row.severity if row else None)
                for id in {*labels, *sorted_} for row in [sorted_.get(id)]}  # fmt: skip
        gone = {id: none for id in self._people if id not in told}
        new = [(id, word) for id, word in {**told, **gone}.items()
               if self._people.get(id, none) != word]  # fmt: skip
        with rows:
            for id, word in new:
                given = rows.execute("SELECT given FROM failure WHERE id = ?", (id,)).fetchone()
                if given:
                    label = word.label or given[0]
                    severe = word.severity or triage.severity(label)
                    rows.execute("UPDATE failure SET label = ?, owner = ?, severity = ? "
                                 "WHERE id = ?", (label, word.owner, severe, id))  # fmt: skip
            self._withhold(rows)
        self._people = told

    def _withhold(self, rows: sqlite3.Connection) -> None:
        """A row that was kept whole is not shown while the policy keeps no text of its label, be
        it the label that it came with or the one that a person gave it."""
        short = sorted(load_policy(self.ws).summarised)
        marks = ",".join("?" * len(short))
        rows.execute("UPDATE failure SET retention = stored WHERE retention = 'withheld'")
        rows.execute("UPDATE failure SET retention = 'withheld' WHERE stored <> 'summary' AND "
                     f"(given IN ({marks}) OR label IN ({marks}))", short * 2)  # fmt: skip

    def _last_event(self) -> int:
        with database.reading(self.ws) as connection:
            return connection.execute(sa.select(sa.func.max(database.event.c.seq))).scalar() or 0

    def _say_states(self, rows: sqlite3.Connection) -> None:
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
        with rows:
            rows.execute("UPDATE failure SET state = 'open'")
            rows.executemany("UPDATE failure SET state = 'in version' WHERE id = ?", inside)
            rows.executemany("UPDATE failure SET state = ? WHERE id = ?", told)

    # what pages ask ------------------------------------------------------------------------------

    def search(self, asked: Asked) -> Found:
        """One page of the rows that fit."""
        only = {name: value for name, value in asked.only.items() if name in FILTERS and value}
        told = " AND ".join(f"{name} = ?" for name in only) or "1"
        values = ["" if value == "none" else value for value in only.values()]
        order = ORDERS.get(asked.order, ORDERS["newest"])
        fits = self._ordered(told, order, values)
        if asked.words:
            fits = self._having(fits, asked.words)
        pages = max(1, -(-len(fits) // PAGE))
        page = min(max(1, asked.page), pages)
        rows = self._at(fits[(page - 1) * PAGE : page * PAGE])
        return Found(rows, len(fits), page, pages)

    def _having(self, fits: list[int], words: str) -> list[int]:
        """Those whose texts hold the words; what is withheld is found by its id alone."""
        with self._lock:
            table = self._fresh()
            having = table.texts.having(words)
            withheld = table.rows.execute(
                "SELECT place FROM failure WHERE retention = 'withheld' AND id <> ?",
                (words.strip().casefold(),),
            )
            having.difference_update(row[0] for row in withheld)
        return [at for at in fits if at in having]

    def _ordered(self, told: str, order: str, values: list[str]) -> list[int]:
        """The places of the rows that fit, kept until the table changes. As one JSON text: row by
        row a hundred thousand of them take 200 ms."""
        query = f"SELECT place FROM failure WHERE {told} ORDER BY {order}"
        name = query, *values
        with self._lock:
            rows = self._fresh().rows
            if name not in self._lists:
                one = rows.execute(f"SELECT json_group_array(place) FROM ({query})", values)
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

    def made_of_withheld(self, ids: Sequence[str]) -> set[str]:
        """Of these ids those of withheld failures, and of what was made of one."""
        withheld = {row["id"] for row in
                    self._ask("SELECT id FROM failure WHERE retention = 'withheld'")}  # fmt: skip
        if not withheld:
            return set()
        edge = database.edge
        with database.reading(self.ws) as connection:
            made = [(row.src, row.dst) for first in range(0, len(ids), IDS)
                    for row in connection.execute(sa.select(edge.c.src, edge.c.dst).where(
                        edge.c.dst.in_(ids[first : first + IDS])))]  # fmt: skip
        return {id for id in ids if id in withheld} | {dst for src, dst in made if src in withheld}

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
        """The rows as they stand in the file, without the texts of those that are withheld. Where
        it was written anew since they were asked for, they begin elsewhere, and are asked for
        again; BadInput for one that is no more."""
        why = f"{FILE}: it is being written; load the page again"
        for _ in range(3):
            raw = self._raw(rows)
            try:
                found = [jsonl.validate(text, Failure, f"{FILE}:{row['place'] + 1}")
                         for row, text in zip(rows, raw, strict=True)]  # fmt: skip
                if [one.id for one in found] == [row["id"] for row in rows]:
                    return [_withheld(one) if row["retention"] == "withheld" else one
                            for row, one in zip(rows, found, strict=True)]  # fmt: skip
            except BadInput as error:
                why = str(error)
            rows = [self.row(row["id"]) for row in rows]
        raise BadInput(why)

    def readable(self, rows: list[dict[str, Any]]) -> list[Failure | str]:
        """As `records`; for a line that is no failure, what is wrong with it."""
        try:
            return [*self.records(rows)]
        except BadInput:
            return [self._one(row) for row in rows]

    def _one(self, row: dict[str, Any]) -> Failure | str:
        try:
            return self.records([row])[0]
        except BadInput as error:
            return str(error)

    def _raw(self, rows: Sequence[dict[str, Any]]) -> list[bytes]:
        if not rows:
            return []
        found = []
        with self.ws.path(FILE).open("rb") as file:
            for row in rows:
                file.seek(row["start"])
                found.append(file.read(row["size"]))
        return found


def _withheld(record: Failure) -> Failure:
    told = say("kept whole before; of its label today's policy keeps no text",
               "此前保留了全文；现行策略不保留该标签的文本")  # fmt: skip
    return record.model_copy(update={"prompt": None, "bad_answer": None, "context": [],
                                     "retention": "summary", "summary": told})  # fmt: skip
