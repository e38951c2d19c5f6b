"""Failures by label: `data/failures/<label>/<source>.jsonl`, a view for people and for sampling.

`data/failures.jsonl` is the truth; the buckets are written anew from it, and one that has emptied
is removed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from errata import jsonl
from errata.records import Failure


def file_name(source: str | None) -> str:
    """A source as a file name; what is not a letter, digit or hyphen becomes one, with a hash."""
    if source is None:
        return "unknown.jsonl"
    slug = re.sub(r"[^\w-]+", "-", source).strip("-")[:40]
    if slug != source or slug == "unknown":
        slug = f"{slug}-{hashlib.sha256(source.encode()).hexdigest()[:6]}".lstrip("-")
    return f"{slug}.jsonl"


def write(folder: Path, failures: Sequence[Failure]) -> list[Path]:
    """Write every bucket; the files that are there now."""
    buckets: dict[Path, list[Failure]] = {}
    for failure in failures:
        path = folder / failure.label / file_name(failure.source)
        buckets.setdefault(path, []).append(failure)
    for path, rows in sorted(buckets.items()):
        jsonl.write(path, rows)
    for stale in sorted(folder.glob("*/*.jsonl")):
        if stale not in buckets:
            stale.unlink()
    return sorted(buckets)
