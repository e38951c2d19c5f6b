"""The files that raw rows come in: JSON lines, JSON, CSV, Parquet; row by row; no bad one stops the
rest.

A line longer than `LONGEST` is passed over and counted, so that memory stays bounded whatever lies
in the inbox. JSON lines and Parquet can be cut into pieces that are read beside each other.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from errata.errors import BadInput
from errata.intake import parquet
from errata.intake.pieces import LONGEST, PIECE, TOO_LONG, Bad, Piece, Rows
from errata.jsonl import parse_row

WHOLE = 128 << 20  # bytes of a JSON document, which is read at once and takes four times as much


class Kind(NamedTuple):
    """How a kind of file is read, and cut into pieces where it can be."""

    read: Callable[[Piece], Rows]
    cut: Callable[[Path], Iterable[Piece]]


def rows(piece: Piece) -> Rows:
    """Line number and object of each row, or what is wrong with it. BadInput for a missing file."""
    return _kind(piece.path).read(piece)


def cut(path: Path) -> list[Piece]:
    """A file as pieces, in order: at least one. BadInput for a missing file."""
    return list(_kind(path).cut(path))


def _kind(path: Path) -> Kind:
    if not path.is_file():
        raise BadInput(f"{path}: no such file; check the path, or run the stage that writes it")
    return KINDS.get(path.suffix.lower(), KINDS[".jsonl"])


def json_lines(piece: Piece) -> Rows:
    """One object a line."""
    with piece.path.open("rb") as file:
        for number, raw in _lines(file, piece):
            if raw is None:
                yield Bad(number, "", TOO_LONG)
            elif raw:
                yield _parsed(number, raw)


def _lines(file: BinaryIO, piece: Piece) -> Iterator[tuple[int, bytes | None]]:
    """Each line, stripped; None for one that is too long to be held."""
    file.seek(piece.start)
    number, at = piece.line - 1, piece.start
    while (piece.stop is None or at < piece.stop) and (line := file.readline(LONGEST + 1)):
        number, at = number + 1, at + len(line)
        if len(line) > LONGEST:
            at += 0 if line.endswith(b"\n") else _rest(file)
            yield number, None
        else:
            yield number, (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip()


def _rest(file: BinaryIO) -> int:
    """Pass over the rest of a line; its bytes."""
    size = 0
    while part := file.readline(1 << 20):
        size += len(part)
        if part.endswith(b"\n"):
            break
    return size


def _cut_lines(path: Path) -> Iterator[Piece]:
    """Stretches that begin where a line does."""
    line, start = 1, 0
    with path.open("rb") as file:
        while block := file.read(PIECE):
            whole = block.endswith(b"\n")
            stop = start + len(block) + (0 if whole else _rest(file))
            yield Piece(path, line, start, stop)
            line, start = line + block.count(b"\n") + (not whole), stop
    if not start:
        yield Piece(path)


def _whole(path: Path) -> Iterator[Piece]:
    yield Piece(path)


_HUGE = re.compile(rb"[0-9][eE]\+?[0-9]{3}")  # 1e999 is read as a number that JSON cannot write


def _parsed(number: int, raw: bytes) -> tuple[int, dict[str, Any]] | Bad:
    try:
        row = parse_row(raw, "")
    except BadInput as error:
        return Bad(number, "", str(error).removeprefix(": ").split(";")[0])
    return _sound(number, row) if _HUGE.search(raw) else (number, row)


def _sound(number: int, row: Any) -> tuple[int, dict[str, Any]] | Bad:
    """A row that can be written again as it was read."""
    try:
        json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return Bad(number, "", "holds a number or a character that JSON has no form for")
    return (number, row) if isinstance(row, dict) else Bad(number, "", "not an object")


def json_document(piece: Piece) -> Rows:
    """A list of objects, one object, or the results that promptfoo writes."""
    path = piece.path
    if path.stat().st_size > WHOLE:
        yield Bad(0, "", f"more than {WHOLE >> 20} MiB of JSON; write one object a line (.jsonl)")
        return
    try:
        found = json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except UnicodeDecodeError as error:
        yield Bad(0, "", f"not UTF-8 (byte {error.start + 1})")
        return
    except (ValueError, RecursionError) as error:
        yield Bad(getattr(error, "lineno", 0), "", f"not JSON: {str(error).split(':')[0]}")
        return
    while isinstance(found, dict) and isinstance(found.get("results"), (dict, list)):
        found = found["results"]
    for number, row in enumerate(found if isinstance(found, list) else [found], 1):
        yield _sound(number, row)


def separated(piece: Piece) -> Rows:
    """CSV, with commas, semicolons or tabs as its first line has them; UTF-8, UTF-16, or GB 18030
    as spreadsheets in China write it."""
    csv.field_size_limit(LONGEST)
    with piece.path.open("rb") as file:
        coded = encoding(file.read(1 << 16))
        file.seek(0)
        with io.TextIOWrapper(file, encoding=coded, errors="replace", newline="") as stream:
            first = stream.readline()
            if first.lower().startswith("sep="):  # Excel's own way to say it
                marks = first[4:5]
                first = stream.readline()
            else:
                marks = max(",\t;", key=first.count)
            names = [name.strip() for name in next(csv.reader([first], delimiter=marks), [])]
            if twice := [name for name in names if name and names.count(name) > 1]:
                # By its number: without a first line of names, this is somebody's data.
                yield Bad(1, f"column {names.index(twice[0]) + 1}", "its name is there twice")
                return
            yield from _records(stream, names, marks)


class _Again:
    """Lines of a file, of which those of a broken record can be read once more."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.rest, self.back, self.taken = iter(lines), deque[str](), list[str]()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.back.popleft() if self.back else next(self.rest)
        self.taken.append(line)
        return line

    def go_back(self) -> None:
        """To the line after the first of those that were taken."""
        self.back.extendleft(reversed(self.taken[1:]))


def _records(stream: Iterable[str], names: list[str], marks: str) -> Rows:
    """Rows of values. A quote that nobody closes costs its own line: those behind it are read by
    themselves, and of these only whole rows are taken, for they may be parts of one."""
    lines, number, doubtful = _Again(stream), 2, 0
    while True:
        lines.taken.clear()
        try:
            values: list[str] = next(csv.reader(lines, delimiter=marks, strict=True))
        except StopIteration:
            return
        except csv.Error as error:
            yield Bad(number, "", f"not CSV: {error}")
            doubtful = max(doubtful, number + len(lines.taken))
            lines.go_back()
            number += 1
            continue
        here, number = number, number + len(lines.taken)
        if not any(values):
            continue
        if any(values[len(names) :]):
            yield Bad(here, "", "more fields than the first line names")
        elif here < doubtful and len(values) < len(names):
            yield Bad(here, "", "fewer fields than the first line names, behind a broken line")
        elif any("\ufffd" in value for value in values):
            yield Bad(here, "", "not in the encoding of the rest of the file")
        else:
            yield here, {name: value for name, value in zip(names, values, strict=False)
                         if name and value}  # fmt: skip


def encoding(head: bytes) -> str:
    """What a table is written in, by its first 64 KiB: UTF-16 by its mark, UTF-8, or GB 18030."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        head[: len(head) - 4 if len(head) > 1 << 15 else None].decode("utf-8-sig")
        return "utf-8-sig"
    except UnicodeDecodeError as error:
        # One broken byte in a text that is else UTF-8 is one bad row, not another encoding.
        sound = len(head[: error.start].decode("utf-8", "ignore"))
        return "utf-8-sig" if sound > 200 and not head[: error.start].isascii() else "gb18030"


# By the ending of a file's name; any other is taken for JSON lines.
KINDS: dict[str, Kind] = {
    ".jsonl": Kind(json_lines, _cut_lines),
    ".ndjson": Kind(json_lines, _cut_lines),
    ".json": Kind(json_document, _whole),
    ".csv": Kind(separated, _whole),
    ".tsv": Kind(separated, _whole),
    ".parquet": Kind(parquet.read, parquet.cut),
}
