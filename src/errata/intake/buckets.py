"""Failures by label: `data/failures/<label>/<source>.jsonl`, a view for people and for sampling.

`data/failures.jsonl` is the truth; the buckets are written anew from it, and one that has emptied
is removed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from errata import jsonl


def file_name(source: str | None) -> str:
    """A source as a file name; what is not a letter, digit or hyphen becomes one, with a hash."""
    if source is None:
        return "unknown.jsonl"
    slug = re.sub(r"[^\w-]+", "-", source).strip("-")[:40]
    if slug != source or slug == "unknown":
        slug = f"{slug}-{hashlib.sha256(source.encode()).hexdigest()[:6]}".lstrip("-")
    return f"{slug}.jsonl"


def write(folder: Path, rows: Iterable[tuple[str, str | None, str]]) -> list[Path]:
    """Write every bucket from (label, source, line), which come bucket after bucket; the files that
    are there now."""
    written = []
    for (label, source), group in groupby(rows, key=lambda row: row[:2]):
        path = folder / label / file_name(source)
        jsonl.write_lines(path, (line for _, _, line in group))
        written.append(path)
    for stale in sorted(folder.glob("*/*.jsonl")):
        if stale not in written:
            stale.unlink()
    return sorted(written)
