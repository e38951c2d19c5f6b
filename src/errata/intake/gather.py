"""All failures of a workspace while rows are taken in, on disk: memory does not grow with them.

A scratch database below `.errata/cache/`, gone when the run ends. A known failure keeps its line,
byte for byte; the same row again only adds what it lacked.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from errata import jsonl
from errata.errors import BadInput, ErrataError
from errata.intake.labeller import ABSTAINED, GUESSED
from errata.records import Failure

_TABLE = """
CREATE TABLE failure (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, label TEXT, source TEXT,
                      fresh INTEGER, line TEXT)
"""
_INSERT = "INSERT INTO failure (id, label, source, fresh, line) VALUES (?, ?, ?, ?, ?)"


class Kept(NamedTuple):
    """A failure as it is written."""

    id: str
    label: str
    source: str | None
    line: str


def kept(failure: Failure) -> Kept:
    """The failure and its line."""
    line = json.dumps(jsonl.plain(failure), ensure_ascii=False, allow_nan=False)
    return Kept(failure.id, failure.label, failure.source, line)


class Gathered:
    """Failures by id, in the order in which they came; a context manager."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self.path, self.database = path, sqlite3.connect(path, isolation_level=None)
        for setting in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE"):
            self.database.execute(f"PRAGMA {setting}")
        self.database.execute(_TABLE)
        self.database.execute("BEGIN")

    def __enter__(self) -> Gathered:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.database.close()
        self.path.unlink(missing_ok=True)
        if isinstance(error, sqlite3.OperationalError):  # mostly a disk that is full
            told = f"{self.path.parent}: {error}; nothing was taken in: free some space"
            raise ErrataError(f"{told} and run intake again") from None

    def guessed(self) -> dict[str, int]:
        """Who labelled the new rows that came without a label → how many."""
        ask = "SELECT count(*) FROM failure WHERE fresh AND instr(line, ?)"
        told = {by: self.database.execute(ask, (f'"label_by": "{by}"',)).fetchone()[0]
                for by in (GUESSED, ABSTAINED)}  # fmt: skip
        return {by: count for by, count in told.items() if count}

    def load(self, path: Path) -> None:
        """The failures that were there; BadInput for a row that is none."""
        for number, raw in jsonl.lines(path):
            where = f"{path}:{number}"
            found = jsonl.validate(raw, Failure, where)
            try:
                self._insert(Kept(found.id, found.label, found.source, raw.decode()), fresh=False)
            except sqlite3.IntegrityError:
                raise BadInput(f"{where}: id: {found.id} is there twice; delete one") from None

    def _insert(self, row: Kept, fresh: bool) -> None:
        values = (row.id, row.label, row.source, int(fresh), row.line)
        self.database.execute(_INSERT, values)

    def add(self, row: Kept) -> bool:
        """Whether it is new; a known one learns what it lacked."""
        query = "SELECT line FROM failure WHERE id = ?"
        found = self.database.execute(query, (row.id,)).fetchone()
        if found is None:
            self._insert(row, fresh=True)
            return True
        if found[0] == row.line:
            return False
        old = Failure.model_validate_json(found[0])
        known = learnt(old, Failure.model_validate_json(row.line))
        if known != old:
            self.database.execute(
                "UPDATE failure SET line = ?, source = ? WHERE id = ?",
                (kept(known).line, known.source, known.id),
            )
        return False

    def drop(self, ids: Iterable[str]) -> None:
        """Failures that must not be here."""
        self.database.executemany("DELETE FROM failure WHERE id = ?", ((id,) for id in ids))

    def lines(self) -> Iterator[str]:
        """All of them, as lines of a file."""
        for (line,) in self.database.execute("SELECT line FROM failure ORDER BY seq"):
            yield line

    def by_bucket(self) -> Iterator[tuple[str, str | None, str]]:
        """(label, source, line), bucket after bucket."""
        yield from self.database.execute(
            "SELECT label, source, line FROM failure ORDER BY label, source, seq"
        )

    def all(self) -> Iterator[tuple[Failure, bool]]:
        """All of them, and whether each is new."""
        for line, fresh in self.database.execute("SELECT line, fresh FROM failure ORDER BY seq"):
            yield Failure.model_validate_json(line), bool(fresh)

    def count(self) -> tuple[int, int]:
        """How many there are, and how many of them are new."""
        query = "SELECT count(*), coalesce(sum(fresh), 0) FROM failure"
        total, fresh = self.database.execute(query).fetchone()
        return int(total), int(fresh)


def learnt(old: Failure, new: Failure) -> Failure:
    """A known failure, with what it lacked: its source, its time, its reference, its people."""
    people = {*old.meta.get("subjects", []), *new.meta.get("subjects", [])}
    return old.model_copy(
        update={
            "source": old.source or new.source,
            "ts": old.ts or new.ts,
            "meta": {**new.meta, **old.meta} | ({"subjects": sorted(people)} if people else {}),
            "tags": list(dict.fromkeys([*old.tags, *new.tags])),
        }
    )
