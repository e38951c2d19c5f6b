"""Read raw rows, whatever file and shape they come in; a bad one is set aside, never fatal.

files.py reads rows, `columns` renames what another system calls its fields, forms.py reads a row by
its shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from errata.errors import BadInput
from errata.intake import files, forms, names
from errata.intake.fields import NoFailure, Raw, RowError, canonical_label, subject
from errata.intake.pieces import Bad, Piece
from errata.intake.traces import MARKS, Traces


class Good(NamedTuple):
    """A row whose answer was good, as it says itself."""

    line: int


class Held(NamedTuple):
    """A trace: what it says of a failure is known when all of its file have been read."""

    line: int
    row: dict[str, Any]


class Reading(NamedTuple):
    """How the rows of a source are to be read."""

    label: str | None = None  # of rows that have none
    columns: Mapping[str, str] = {}  # our field → theirs, `a.b` for one inside another
    labels: Mapping[str, str] = {}  # their word → one of our labels
    guess: bool = False  # a row without a label is none that is refused


def read(path: Path, how: Reading | None = None) -> Iterator[tuple[int, Raw] | Bad | Good]:
    """Every row of a file in order, as (line, row), as `Bad`, or as `Good`.

    A missing file, and a first row without the columns that are asked for, raise BadInput.
    """
    check(path, how or Reading())
    traces = Traces()
    for found in each(Piece(path), how or Reading()):
        if isinstance(found, Held):
            yield from _held(traces, found)
        else:
            yield found
    yield from traces.failures()


def each(piece: Piece, how: Reading) -> Iterator[tuple[int, Raw] | Bad | Good | Held]:
    """Every row of a stretch of a file, by itself."""
    for found in files.rows(piece):
        if isinstance(found, Bad):
            yield found
            continue
        number, row = found
        row = _renamed(row, how.columns)
        if all(mark in row for mark in MARKS):
            yield Held(number, row)
        else:
            yield _one(number, row, how)


def traced(pieces: Iterable[Piece], how: Reading) -> Iterator[tuple[int, Raw] | Bad]:
    """What the traces in some stretches of one file give, when the other rows were read before."""
    traces = Traces()
    for piece in pieces:
        for found in each(piece, how):
            if isinstance(found, Held):
                with suppress(RowError):  # was told of when the row was read first
                    traces.add(*found)
    yield from traces.failures()


def check(path: Path, how: Reading) -> None:
    """BadInput where the first row lacks all columns that are asked for."""
    found = files.rows(Piece(path))
    if how.columns and (first := next((row for row in found if not isinstance(row, Bad)), None)):
        _refuse_missing(path, first[1], how.columns)


def _held(traces: Traces, found: Held) -> Iterator[Bad | Good]:
    """A trace waits for the others of its task; one that succeeded is no failure."""
    try:
        traces.add(*found)
    except RowError as error:
        yield Bad(found.line, error.field, error.reason)
        return
    if found.row["success"]:
        yield Good(found.line)


def _one(number: int, row: dict[str, Any], how: Reading) -> tuple[int, Raw] | Bad | Good:
    try:
        raw = forms.read(row)
        given = raw.label or how.label
        rated = row.get("label") is False  # KTO's, in TRL and LLaMA-Factory: bad, not of what kind
        named = given if rated else row.get("label", given)
        bare = named is None and how.guess
        label = None if bare else canonical_label(named, how.labels)
        return number, raw._replace(label=label, subject=subject(row))
    except NoFailure:
        return Good(number)
    except RowError as error:
        return Bad(number, error.field, error.reason)


def _look(row: Mapping[str, Any], name: str) -> Any:
    """A field by its name, or by its way into nested objects."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _renamed(row: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    if not columns:
        return row
    taken = {ours: _look(row, theirs) for ours, theirs in columns.items()}
    rest = {name: value for name, value in row.items() if name not in columns.values()}
    return {**rest, **{name: value for name, value in taken.items() if value is not None}}


def _refuse_missing(path: Path, row: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    if any(_look(row, theirs) is not None for theirs in columns.values()):
        return
    wanted, there = ", ".join(columns.values()), ", ".join(map(str, row))
    step = f"it has {there}: mend `columns`"
    if any(map(names.personal, map(str, row))):  # a row where the names should be
        step = f"its {len(row)} columns have data for names: add a first line with names"
    name = f"a {path.suffix} file" if names.personal(path.name) else path.name
    raise BadInput(f"{name}: no column {wanted}; {step}")
