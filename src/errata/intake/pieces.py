"""A stretch of a file that is read by itself, and what is read from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

LONGEST = 16 << 20  # bytes of one row; a conversation of a million words has 6 MB
PIECE = 16 << 20  # bytes of a stretch: seconds of work, so that cores end together


class Piece(NamedTuple):
    """Bytes of JSON lines, row groups of Parquet; of any other kind of file all of it."""

    path: Path
    line: int = 1  # number of its first row
    start: int = 0
    stop: int | None = None  # None: to the end


class Bad(NamedTuple):
    """A row that cannot be used, and why."""

    line: int
    field: str
    reason: str


Rows = Iterator[tuple[int, dict[str, Any]] | Bad]
TOO_LONG = f"longer than {LONGEST >> 20} MiB; split or delete it"
