"""Rows that a run will write when it ends: in memory while they are few, in a file beyond that."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

MOST = 200_000  # rows in memory: about 100 MB of edges


class Spill:
    """A list of JSON rows that is read once or more, in order, in parts."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, list[Any]()

    def extend(self, rows: Iterable[Any]) -> None:
        """Add rows."""
        more = iter(rows)
        while part := list(islice(more, MOST)):
            self.rows += part
            if len(self.rows) >= MOST:
                with self.path.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)
                self.rows = []

    def parts(self, size: int = 20_000) -> Iterator[list[Any]]:
        """All rows, so many at a time."""
        rows = iter(self)
        while part := list(islice(rows, size)):
            yield part

    def __iter__(self) -> Iterator[Any]:
        if self.path.is_file():
            with self.path.open(encoding="utf-8") as file:
                yield from map(json.loads, file)
        yield from self.rows

    def close(self) -> None:
        """Leave no file."""
        self.path.unlink(missing_ok=True)
        self.rows = []
