"""One file of raw rows into the failures: batch by batch, what cannot be used set aside."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from errata import jsonl
from errata.intake import sources
from errata.intake.cleaner import Cleaner
from errata.intake.fields import Raw
from errata.intake.files import Bad
from errata.intake.gather import Gathered
from errata.intake.sources import Good, Reading
from errata.privacy import vault
from errata.store import database, tombstone
from errata.workspace import Workspace

BATCH = 1000  # rows that are in memory at once


@dataclass
class Taken:
    """What one file gave."""

    path: Path
    usable: int = 0
    new: int = 0
    quarantined: int = 0
    good: int = 0  # rows that say themselves that the answer was good
    hmac: str = ""
    first_bad: Bad | None = None

    @property
    def rows(self) -> int:
        """All that were there."""
        return self.usable + self.quarantined + self.good


def take(
    ws: Workspace, path: Path, how: Reading, cleaner: Cleaner, source: str | None, into: Gathered
) -> Taken:
    """Read one file; its hash is keyed: a plain one of a short raw file could be guessed."""
    part = Taken(path)
    found = _sorted(ws, part, sources.read(path, how))
    while batch := list(islice(found, BATCH)):
        _add(ws, part, batch, cleaner, source, into)
    with path.open("rb") as file:
        keyed = hmac.new(cleaner.key, digestmod=hashlib.sha256)
        while piece := file.read(1 << 20):
            keyed.update(piece)
        part.hmac = keyed.hexdigest()
    return part


def _sorted(ws: Workspace, part: Taken, rows: Iterable[Any]) -> Iterator[Raw]:
    """The rows that can be used; the others are counted, and noted by place and reason: never the
    row itself, which is not redacted and stays in the inbox."""
    name = part.path.stem if part.path.suffix == ".jsonl" else part.path.name
    quarantine = ws.state / "quarantine" / f"{name}.jsonl"
    told = ws.relative(part.path)
    with jsonl.replacing(quarantine) as file:
        for row in rows:
            if isinstance(row, Bad):
                part.quarantined += 1
                part.first_bad = part.first_bad or row
                line = jsonl.canonical({"file": told, **row._asdict()})
                file.write(line.encode() + b"\n")
            elif isinstance(row, Good):
                part.good += 1
            else:
                part.usable += 1
                yield row[1]
    if not part.quarantined:
        quarantine.unlink()


def _add(
    ws: Workspace,
    part: Taken,
    batch: list[Raw],
    cleaner: Cleaner,
    source: str | None,
    into: Gathered,
) -> None:
    failures = cleaner.failures(batch, source)
    with database.reading(ws) as connection:  # erased once: a copy that turns up stays out
        buried = set(tombstone.among(connection, {failure.id for failure, _ in failures}))
    kept = [(failure, boxes) for failure, boxes in failures if failure.id not in buried]
    part.new += sum(into.add(failure) for failure, _ in kept)
    vault.keep(ws, (box for _, boxes in kept for box in boxes))
