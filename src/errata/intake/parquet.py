"""Parquet files: a row is the object that it would be as a JSON line.

    nulls are fields that are not there        times become ISO 8601, in the zone they have
    bytes are the text that they are           maps are objects

A file is read a few rows at a time, whatever the size of its row groups. pyarrow is an optional
dependency, of the extra `scale`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from errata.errors import BadInput
from errata.intake.pieces import LONGEST, PIECE, TOO_LONG, Bad, Piece, Rows
from errata.jsonl import replacing

_ROWS = 100  # that are decoded at once


def read(piece: Piece) -> Rows:
    """The rows of some row groups, or of all; a damaged group is one bad row."""
    file = _opened(piece.path)
    if isinstance(file, Bad):
        yield file
        return
    with file:
        number = piece.line
        stop = file.num_row_groups if piece.stop is None else piece.stop
        for group in range(piece.start, stop):
            yield from _group(file, group, number)
            number += file.metadata.row_group(group).num_rows


def cut(path: Path) -> Iterator[Piece]:
    """The file's row groups, small ones together."""
    file = _opened(path)
    if isinstance(file, Bad) or not file.num_row_groups:
        yield Piece(path)
        return
    with file:
        line = number = 1
        start = size = 0
        for group in range(file.num_row_groups):
            facts = file.metadata.row_group(group)
            number, size = number + facts.num_rows, size + facts.total_byte_size
            if size >= PIECE or group == file.num_row_groups - 1:
                yield Piece(path, line, start, group + 1)
                line, start, size = number, group + 1, 0


def drop(path: Path, mine: Callable[[dict[str, Any]], bool]) -> int:
    """Write a file anew without the rows that `mine` says yes to; how many there were. A row that
    is no object stays, a damaged row group does not; a file without rows goes."""
    file = _opened(path)
    if isinstance(file, Bad):
        return 0
    with file:
        kept = [[isinstance(row, Bad) or not mine(row[1]) for row in _group(file, group, 1)]
                for group in range(file.num_row_groups)]  # fmt: skip
        gone = sum(group.count(False) for group in kept)
        if gone and any(map(any, kept)):
            _write_kept(path, file, kept)
        elif gone:
            path.unlink()
    return gone


def _write_kept(path: Path, file: Any, kept: list[list[bool]]) -> None:
    from pyarrow import ArrowException, array, parquet

    with replacing(path) as out, parquet.ParquetWriter(out, file.schema_arrow) as writer:
        for group, rows in enumerate(kept):
            with suppress(ArrowException, OSError):  # damaged
                writer.write_table(file.read_row_group(group).filter(array(rows)))


def _opened(path: Path) -> Any:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise BadInput(f"{path.name}: Parquet needs pyarrow; pip install 'errata[scale]'") from None
    try:
        # A buffered stream holds a page of each column, not a whole row group.
        file = parquet.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False)
    except (ArrowException, OSError):
        return Bad(0, "", "not Parquet, or not all of it; write it again")
    names = file.schema_arrow.names
    if twice := [name for name in names if names.count(name) > 1]:
        file.close()
        return Bad(0, twice[0], "a column of this name is there twice")
    return file


def _group(file: Any, group: int, number: int) -> Rows:
    from pyarrow import ArrowException

    end = number + file.metadata.row_group(group).num_rows - 1
    try:
        for batch in file.iter_batches(_ROWS, row_groups=[group]):
            yield from _batch(batch, number)
            number += batch.num_rows
    except (ArrowException, OSError):
        yield Bad(number, "", f"rows {number} to {end} cannot be read: damaged; write them again")


def _batch(batch: Any, number: int) -> Rows:
    try:
        rows = None if batch.nbytes > LONGEST else batch.to_pylist(maps_as_pydicts="lossy")
    except (ValueError, OverflowError):  # one of them is not what its column says
        rows = None
    for place in range(batch.num_rows):
        yield _row(number + place, rows[place] if rows else batch.slice(place, 1))


def _row(number: int, row: Any) -> tuple[int, dict[str, Any]] | Bad:
    """A row as an object, from one or from a batch of one row."""
    field = ""
    try:
        if not isinstance(row, dict):
            if row.nbytes > LONGEST:
                return Bad(number, "", TOO_LONG)
            (row,) = row.to_pylist(maps_as_pydicts="lossy")
        plain = {}
        for field, value in row.items():
            if value is not None:
                plain[field] = _plain(value)
    except UnicodeDecodeError:
        return Bad(number, field, "bytes that are not text (UTF-8)")
    except (TypeError, ValueError, OverflowError):
        return Bad(number, field, "holds a value that JSON has no form for")
    return number, plain


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError
