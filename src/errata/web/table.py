"""data/failures.jsonl as a table of this process's memory: a row a line, where the line begins, and
what a search looks at. What people and the store say of a row is filled in by web/index.py."""

from __future__ import annotations

import hashlib
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from errata import jsonl
from errata.build.trend import day
from errata.errors import BadInput
from errata.intake import triage
from errata.intake.fields import RowError, canonical_label
from errata.intake.labeller import ABSTAINED
from errata.intake.redact import Policy, load_policy, redact_many, workspace_key
from errata.text import language
from errata.workspace import Workspace

FILE = "data/failures.jsonl"
SEARCHED = 20_000  # characters of a row that a search looks at
LONGEST, BATCH = 4000, 2000  # characters of a value; rows that are redacted together
_MARK = b"\xef\xbb\xbf"  # a byte-order mark
# `given` and `stored` are what the file says; `label` is what a person says, and `retention` is
# `withheld` for a row that was kept whole under a policy which today keeps no text of its label.
_TABLE = """
CREATE TABLE failure (
  place INTEGER PRIMARY KEY, id TEXT, given TEXT, label TEXT, source TEXT, ts TEXT, week TEXT,
  language TEXT, stored TEXT, retention TEXT, owner TEXT, severity TEXT, state TEXT, doubt INTEGER,
  start INTEGER, size INTEGER);
CREATE UNIQUE INDEX failure_id ON failure (id);
CREATE INDEX failure_label ON failure (label, ts);
CREATE INDEX failure_ts ON failure (ts);
CREATE INDEX failure_state ON failure (state, ts);
"""


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


class Table(NamedTuple):
    """The rows, their texts, the file's digest, and what is wrong with each line that is no row."""

    rows: sqlite3.Connection
    texts: Texts
    digest: str
    broken: list[str]


def load(ws: Workspace) -> Table:
    """All lines of the file; a line that cannot be read is told of, and left out."""
    rows = sqlite3.connect(":memory:", check_same_thread=False)
    rows.row_factory = sqlite3.Row
    rows.executescript(_TABLE)
    reading = _Reading(ws)
    with rows:
        rows.executemany(f"INSERT INTO failure VALUES ({','.join('?' * 16)})", reading.rows())
    reading.search_older()
    digest = "sha256:" + reading.hash.hexdigest()
    return Table(rows, reading.texts, digest, reading.broken)


class _Reading:
    """The file, line by line."""

    def __init__(self, ws: Workspace) -> None:
        self.ws, self.policy, self.hash = ws, load_policy(ws), hashlib.sha256()
        self.texts, self.broken = Texts(), list[str]()
        self._older, self._seen = list[tuple[int, list[str]]](), set[str]()

    def rows(self) -> Iterator[tuple[Any, ...]]:
        path, start = self.ws.path(FILE), 0
        if not path.is_file():
            return
        with path.open("rb") as file:
            for place, raw in enumerate(file):
                self.hash.update(raw)
                mark = len(_MARK) if place == 0 and raw.startswith(_MARK) else 0
                row = self._row(raw[mark:], place) if raw[mark:].strip() else None
                if row:
                    self._search(row, place)
                    yield _told(place, row, start + mark, len(raw) - mark)
                start += len(raw)

    def _row(self, raw: bytes, place: int) -> dict[str, Any] | None:
        where = f"{FILE}:{place + 1}"
        try:
            row = _checked(raw, where)
        except BadInput as error:
            self.broken.append(str(error))
            return None
        if row["id"] in self._seen:
            self.broken.append(f"{where}: {row['id']} is there twice; delete one of them")
            return None
        self._seen.add(row["id"])
        return row

    def _search(self, row: dict[str, Any], place: int) -> None:
        said = _searched(row)
        if (row.get("redaction") or {}).get("policy") == self.policy.hash:
            self.texts.add(place, said)
        else:
            self._older.append((place, said))

    def search_older(self) -> None:
        """Rows of another policy are found by nothing that today's hides of them."""
        for first in range(0, len(self._older), BATCH):
            _add_hidden(self.texts, self._older[first : first + BATCH], self.policy, self.ws)


def _add_hidden(
    texts: Texts, rows: Sequence[tuple[int, list[str]]], policy: Policy, ws: Workspace
) -> None:
    told = [text for _, said in rows for text in said[1:]]
    clean = iter(redact_many(told, policy.rules, workspace_key(ws)))
    for place, (id, *said) in rows:
        texts.add(place, [id, *(next(clean).text for _ in said)])


_KINDS = {"id": str, "label": str, "source": str, "ts": str, "retention": str, "meta": dict,
          "redaction": dict}  # fmt: skip


def _checked(raw: bytes, where: str) -> dict[str, Any]:
    """A line as an object whose fields the table can hold. All of a failure is looked at when it
    is shown: for a hundred thousand that takes too long."""
    row = jsonl.parse_row(raw, where)
    for name, kind in _KINDS.items():
        there = row.get(name)
        if not isinstance(there, kind) and (there is not None or name in ("id", "label")):
            raise BadInput(f"{where}: {name}: not {kind.__name__}; fix or delete the line")
    try:
        row["label"] = canonical_label(row["label"])
    except RowError as error:
        raise BadInput(f"{where}: label: {error.reason}; fix or delete the line") from None
    return row


def _searched(row: dict[str, Any]) -> list[str]:
    texts = (row.get(name) for name in ("prompt", "bad_answer", "summary"))
    return [row["id"], *(str(text or "")[: SEARCHED + LONGEST] for text in texts)]


def _told(place: int, row: dict[str, Any], start: int, size: int) -> tuple[Any, ...]:
    when, label = day(row.get("ts") or ""), row["label"]
    week = "{}-W{:02d}".format(*when.isocalendar()[:2]) if when else ""
    kept = row.get("retention") or "full"
    return (
        place, row["id"], label, label, row.get("source") or "", row.get("ts") or "", week,
        language(str(row.get("prompt") or "")), kept, kept, "", triage.severity(label), "open",
        (row.get("meta") or {}).get("label_by") == ABSTAINED, start, size,
    )  # fmt: skip
