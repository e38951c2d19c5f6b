"""The files that raw rows come in: JSON lines, JSON, CSV; row by row; no bad one stops the rest.

A file is read in one pass. A line longer than `LONGEST` is passed over and counted, so that memory
stays bounded whatever lies in the inbox.
"""

from __future__ import annotations

import csv
import io
import json
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


def _parsed(number: int, raw: bytes) -> tuple[int, dict[str, Any]] | Bad:
    try:
        return number, parse_row(raw, "")
    except BadInput as error:
        return Bad(number, "", str(error).removeprefix(": ").split(";")[0])


def json_document(path: Path) -> Rows:
    """A list of objects, one object, or the results that promptfoo writes."""
    if path.stat().st_size > WHOLE:
        raise BadInput(
            f"{path}: more than {WHOLE >> 20} MiB of JSON; write one object a line (.jsonl)"
        )
    try:
        found = json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 (byte {error.start + 1}); convert it") from None
    except (ValueError, RecursionError) as error:
        said = str(error).split(":")[0]
        raise BadInput(f"{path}: not JSON: {said}; mend it, or name it .jsonl") from None
    while isinstance(found, dict) and isinstance(found.get("results"), (dict, list)):
        found = found["results"]
    for number, row in enumerate(found if isinstance(found, list) else [found], 1):
        yield (number, row) if isinstance(row, dict) else Bad(number, "", "not an object")


def separated(path: Path) -> Rows:
    """CSV or, by what stands between the names of its first line, TSV; UTF-8, UTF-16, or GB 18030
    as spreadsheets in China write it."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
        file.seek(0)
        stream = io.TextIOWrapper(file, encoding=_encoding(head), errors="replace", newline="")
        first = head.splitlines()[0] if head.strip() else b""
        marks = "\t" if first.count(b"\t") > first.count(b",") else ","
        reader = csv.DictReader(stream, delimiter=marks, restkey="", strict=True)
        csv.field_size_limit(LONGEST)
        yield from _records(reader)


def _records(reader: csv.DictReader[str]) -> Rows:
    while True:
        try:
            row: dict[str, Any] = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Bad(reader.line_num, "", f"not a line of CSV: {error}")
            continue
        if "" in row:
            yield Bad(reader.line_num, "", "more fields than the first line names")
        elif any("\ufffd" in str(value) for value in row.values()):
            yield Bad(reader.line_num, "", "not in the encoding of the rest of the file")
        else:
            yield reader.line_num, {name.strip(): value for name, value in row.items()
                                    if name and value not in (None, "")}  # fmt: skip


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
