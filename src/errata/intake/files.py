"""The files that raw rows come in: JSON lines, JSON, CSV; row by row; no bad one stops the rest.

A file is read in one pass. A line longer than `LONGEST` is passed over and counted, so that memory
stays bounded whatever lies in the inbox.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from errata.errors import BadInput
from errata.jsonl import parse_row

LONGEST = 16 << 20  # bytes of one line; a conversation of a million words has 6 MB
WHOLE = 256 << 20  # bytes of a JSON document, which is read at once


class Bad(NamedTuple):
    """A row that cannot be used, and why."""

    line: int
    field: str
    reason: str


Rows = Iterator[tuple[int, dict[str, Any]] | Bad]


def rows(path: Path) -> Rows:
    """Line number and object of each row, or what is wrong with it. BadInput for a missing file."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file; check the path, or run the stage that writes it")
    return KINDS.get(path.suffix.lower(), json_lines)(path)


def json_lines(path: Path) -> Rows:
    """One object a line."""
    with path.open("rb") as file:
        for number, raw in _lines(file):
            if raw is None:
                yield Bad(number, "", f"longer than {LONGEST >> 20} MiB; split or delete it")
            elif raw:
                yield _parsed(number, raw)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Each line, stripped; None for one that is too long to be held."""
    number = 0
    while piece := file.readline(LONGEST + 1):
        number += 1
        if len(piece) > LONGEST:
            while piece and not piece.endswith(b"\n"):
                piece = file.readline(1 << 20)
            yield number, None
        else:
            yield number, (piece.removeprefix(b"\xef\xbb\xbf") if number == 1 else piece).strip()


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


def json_document(path: Path) -> Rows:
    """A list of objects, one object, or the results that promptfoo writes."""
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


def separated(path: Path) -> Rows:
    """CSV, with commas, semicolons or tabs as its first line has them; UTF-8, UTF-16, or GB 18030
    as spreadsheets in China write it."""
    csv.field_size_limit(LONGEST)
    with path.open("rb") as file:
        encoding = _encoding(file.read(1 << 16))
        file.seek(0)
        with io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="") as stream:
            first = stream.readline()
            if first.lower().startswith("sep="):  # Excel's own way to say it
                marks = first[4:5]
                first = stream.readline()
            else:
                marks = max(",\t;", key=first.count)
            names = [name.strip() for name in next(csv.reader([first], delimiter=marks), [])]
            if twice := [name for name in names if name and names.count(name) > 1]:
                yield Bad(1, twice[0], "a column of this name is there twice")
                return
            yield from _records(csv.reader(stream, delimiter=marks, strict=True), names)


def _records(reader: Any, names: list[str]) -> Rows:
    line = 2
    while True:
        try:
            values: list[str] = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Bad(line, "", f"not CSV: {error}; lines {line} to {reader.line_num + 1} are one")
            line = reader.line_num + 2
            continue
        number, line = line, reader.line_num + 2
        if not any(values):
            continue
        if any(values[len(names) :]):
            yield Bad(number, "", "more fields than the first line names")
        elif any("\ufffd" in value for value in values):
            yield Bad(number, "", "not in the encoding of the rest of the file")
        else:
            yield number, {name: value for name, value in zip(names, values, strict=False)
                           if name and value}  # fmt: skip


def _encoding(head: bytes) -> str:
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
KINDS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": json_document,
    ".csv": separated,
    ".tsv": separated,
}
