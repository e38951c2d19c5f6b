"""Raw rows into failures: part by part, what cannot be used set aside.

`parts` is the work on the rows of one stretch of a file: it knows no database and may run in any
process. `take` brings what came of a file into the workspace, in the order of the file.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from errata import jsonl
from errata.intake import names
from errata.intake.cleaner import Box, Cleaner, texts
from errata.intake.fields import Raw, RowError
from errata.intake.gather import Gathered, Kept, kept
from errata.intake.pieces import Bad
from errata.intake.redact import keyed_hash
from errata.intake.sources import Good, Held
from errata.intake.traces import length, steps
from errata.privacy import vault
from errata.store import database, tombstone
from errata.workspace import Workspace

BATCH = 1000  # rows that are in memory at once,
SAID = 2 << 20  # and characters of their texts


class Trace(NamedTuple):
    """A trace that waits: a row that was read elsewhere, and what must be known of it here."""

    line: int
    success: bool
    said: int  # characters


@dataclass
class Part:
    """What a batch of rows became, in their order; no raw text, but for what the vault keeps."""

    failures: list[tuple[Kept, list[Box]]] = field(default_factory=list)
    noted: list[Bad | Trace] = field(default_factory=list)
    good: int = 0  # rows that say themselves that the answer was good


def parts(
    found: Iterable[tuple[int, Raw] | Bad | Good | Held], cleaner: Cleaner, source: str | None
) -> Iterator[Part]:
    """Rows as they were read, batch by batch; the last part may be empty."""
    part, rows, said = Part(), list[Raw](), 0
    for row in found:
        if isinstance(row, Bad):
            part.noted.append(row)
        elif isinstance(row, Good):
            part.good += 1
        elif isinstance(row, Held):
            part.noted.append(_noted(row))
        else:
            rows.append(row[1])
            said += sum(map(len, texts(row[1])))
        if len(rows) >= BATCH or len(part.noted) >= BATCH or said >= SAID:
            part.failures = _cleaned(rows, cleaner, source)
            yield part
            part, rows, said = Part(), [], 0
    part.failures = _cleaned(rows, cleaner, source)
    yield part


def _noted(held: Held) -> Bad | Trace:
    try:
        return Trace(held.line, held.row["success"], length(steps(held.row)))
    except RowError as error:
        return Bad(held.line, error.field, error.reason)


def _cleaned(rows: list[Raw], cleaner: Cleaner, source: str | None) -> list[tuple[Kept, list[Box]]]:
    return [(kept(failure), boxes) for failure, boxes in cleaner.failures(rows, source)]


@dataclass
class Taken:
    """What one file gave."""

    path: Path
    name: str  # as it may be told
    usable: int = 0
    new: int = 0
    quarantined: int = 0
    good: int = 0
    hmac: str = ""
    first_bad: Bad | None = None

    @property
    def rows(self) -> int:
        """All that were there."""
        return self.usable + self.quarantined + self.good


def take(
    ws: Workspace, path: Path, found: Iterable[Part], cleaner: Cleaner, into: Gathered
) -> Taken:
    """What came of one file; its hash is keyed: a plain one of a short raw file could be guessed.

    What cannot be used is noted by place and reason: never the row itself, which is not redacted
    and stays in the inbox.
    """
    taken = Taken(path, names.told(ws.relative(path), cleaner.redact, cleaner.key))
    quarantine = _quarantine(ws, path, taken.name, cleaner.key)
    with jsonl.replacing(quarantine) as file:
        for part in found:
            taken.usable += len(part.failures)
            taken.good += part.good
            for bad in part.noted:
                assert isinstance(bad, Bad)
                _note(file, taken.name, bad)
                taken.quarantined += 1
                taken.first_bad = taken.first_bad or bad
            taken.new += _keep(ws, part, into)
    if not taken.quarantined:
        quarantine.unlink()
    with path.open("rb") as raw:
        keyed = hmac.new(cleaner.key, digestmod=hashlib.sha256)
        while piece := raw.read(1 << 20):
            keyed.update(piece)
        taken.hmac = keyed.hexdigest()
    return taken


def _quarantine(ws: Workspace, path: Path, told: str, key: bytes) -> Path:
    """Where the bad rows of a file are noted. Two shards of one name in two folders, `a.csv` and
    `a.csv.jsonl`: a hash tells them apart, keyed, for a folder may be named for a person."""
    name = Path(told).stem if path.suffix == ".jsonl" else Path(told).name
    usual = path.parent == ws.inbox and path.name.count(".") == 1 and len(name.encode()) < 200
    if not usual:
        where = ws.relative(path).encode(errors="backslashreplace").decode()
        name = f"{name[:60]}-{keyed_hash(key, 'quarantine', where)[:6]}"
    return ws.state / "quarantine" / f"{name}.jsonl"


def _note(file: BinaryIO, name: str, bad: Bad) -> None:
    file.write(jsonl.canonical({"file": name, **bad._asdict()}).encode() + b"\n")


def _keep(ws: Workspace, part: Part, into: Gathered) -> int:
    """Put failures and values where they belong; how many failures are new."""
    ids = {row.id for row, _ in part.failures}
    with database.reading(ws) as connection:  # erased once: a copy that turns up stays out
        buried = set(tombstone.among(connection, ids))
    those = [(row, boxes) for row, boxes in part.failures if row.id not in buried]
    vault.keep(ws, (box for _, boxes in those for box in boxes))
    return sum(into.add(row) for row, _ in those)
