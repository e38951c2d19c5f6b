"""Read and write records: JSON, JSON lines, and the digests that name them.

A bad row is reported as `file:line: field: what; next step`. A write is atomic: the old file or the
new one is there, never half of one, also when the disk is full.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from errata.errors import BadInput

M = TypeVar("M", bound=BaseModel)
_NUMBER = re.compile("[0-9]{7}")


def plain(obj: Any) -> Any:
    """Only dicts, lists, strings, numbers, booleans and None.

    An optional field that is None is left out, a required one stays: `value: null` says that a
    metric had no data, and must be written. A field in `UNSAID` came later than the files that are
    there: at its default it is left out, and they stay byte for byte.
    """
    if obj is None or isinstance(obj, (str, int, float)):  # nearly all that a row holds
        return obj
    if isinstance(obj, BaseModel):
        out, unsaid = {}, getattr(obj, "UNSAID", ())
        for name, field in type(obj).model_fields.items():
            value = getattr(obj, name)
            if name in unsaid and value == field.get_default(call_default_factory=True):
                continue
            if value is not None or field.is_required():
                out[field.serialization_alias or field.alias or name] = plain(value)
        return out
    if isinstance(obj, dict):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [plain(value) for value in obj]
    if isinstance(obj, (set, frozenset)):
        return sorted(plain(value) for value in obj)
    return str(obj) if isinstance(obj, Path) else obj


def canonical(obj: Any) -> str:
    """One text for one value: sorted keys, no spaces, Unicode as it is. NaN has no JSON form."""
    return json.dumps(
        plain(obj), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def digest(obj: Any) -> str:
    """`sha256:` and the hash of the canonical text."""
    return "sha256:" + hashlib.sha256(canonical(obj).encode()).hexdigest()


def short_id(obj: Any, length: int = 16) -> str:
    """The first hex digits of the hash, hashed again until no seven decimals stand in a row: else
    one id in six would look like a telephone or a card to whoever reads a report for leaks."""
    name = digest(obj)
    while _NUMBER.search(name[7 : 7 + length]):
        name = digest(name)
    return name[7 : 7 + length]


def digest_file(path: str | Path) -> str:
    """`sha256:` and the hash of the bytes; of a folder, that of its files' names and digests."""
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        return digest([[p.relative_to(path).as_posix(), digest_file(p)] for p in files])
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse_row(raw: bytes, where: str) -> dict[str, Any]:
    """One line as an object; BadInput names `where` (file:line) and what is wrong with it."""
    try:
        text = raw.decode("utf-8")
        row = json.loads(text, parse_constant=_refuse_constant)
        json.dumps(row, ensure_ascii=False).encode() if "\\u" in text else None
    except UnicodeDecodeError as error:
        byte = error.start + 1
        raise BadInput(f"{where}: not UTF-8 (byte {byte}); convert or delete it") from None
    except UnicodeEncodeError:
        raise BadInput(f"{where}: half a surrogate pair (\\ud8…); fix or delete the line") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: not JSON: {error}; fix or delete the line") from None
    if not isinstance(row, dict):
        raise BadInput(f"{where}: not an object but {type(row).__name__}; write {{…}} on one line")
    return row


def stdin_rows() -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of standard input as they come; BadInput ends it at a row that is none."""
    for number, raw in enumerate(sys.stdin.buffer, 1):
        if raw.strip():
            where = f"stdin:{number}"
            yield where, parse_row(raw.removeprefix(b"\xef\xbb\xbf"), where)


def lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Line number (from 1) and bytes of each line that is not blank, a byte-order mark removed."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file; check the path, or run the stage that writes it")
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            raw = raw.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else raw.strip()
            if raw:
                yield number, raw


def rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each row; the first bad one raises BadInput."""
    for number, raw in lines(path):
        yield number, parse_row(raw, f"{path}:{number}")


def first_problem(error: ValidationError, show_text: bool = False) -> str:
    """`field: what; next step` of the first thing wrong, in words for the person who wrote it.

    The text of a row is not shown unless `show_text`: it may be what redaction has not seen yet.
    """
    item = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return f"{field}: missing; add it"
    if item["type"] == "extra_forbidden":
        return f"{field}: unknown field; delete it or correct its name"
    what = item["msg"].removeprefix("Value error, ")
    got = item.get("input")
    safe = isinstance(got, (int, float)) or (
        isinstance(got, str) and (show_text or item["type"] == "literal_error")
    )
    shown = f" (got {str(got)[:40]!r})" if safe else ""
    return (f"{field}: " if field else "") + f"{what}{shown}; correct the row"


def validate(raw: bytes, model: type[M], where: str) -> M:
    """One line as a record."""
    parse_row(raw, where)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise BadInput(f"{where}: {first_problem(error)}") from None


def read(path: str | Path, model: type[M]) -> list[M]:
    """All rows as records. A missing file, a bad row and a file without rows are BadInput."""
    found = [validate(raw, model, f"{path}:{number}") for number, raw in lines(path)]
    if not found:
        raise BadInput(f"{path}: no rows; run the stage that writes it, or add some")
    return found


def read_json(path: str | Path, model: type[M]) -> M:
    """A whole file as one record."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file; check the path, or run the stage that writes it")
    return validate(path.read_bytes(), model, str(path))


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Any]:
    """A binary file that takes the place of `path` when the block ends well, and else is gone."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:60]}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes the file private; what git tracks is as readable as any new file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write(path: str | Path, rows: Iterable[BaseModel | dict[str, Any]]) -> None:
    """Rows as JSON lines, keys in the order of the record, in one atomic step."""
    with replacing(path) as file:
        for row in rows:
            line = json.dumps(plain(row), ensure_ascii=False, allow_nan=False)
            file.write(line.encode() + b"\n")


def write_lines(path: str | Path, lines_: Iterable[str]) -> None:
    """Lines that are JSON already, in one atomic step."""
    with replacing(path) as file:
        for line in lines_:
            file.write(line.encode() + b"\n")


def write_text(path: str | Path, text: str) -> None:
    """A text file in one atomic step."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: str | Path, obj: Any) -> None:
    """One indented JSON document in one atomic step."""
    text = json.dumps(plain(obj), ensure_ascii=False, indent=2, allow_nan=False)
    write_text(path, text + "\n")
