"""Content-addressed copies of files: the same bytes are kept once, under their digest."""

from __future__ import annotations

import shutil
from pathlib import Path

from errata.errors import BadInput
from errata.jsonl import digest_file, replacing
from errata.workspace import Workspace


def _place(ws: Workspace, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    if len(name) != 64 or not all(c in "0123456789abcdef" for c in name):
        raise BadInput(f"`{digest}` is not a digest; write sha256: and 64 hex digits")
    return ws.state / "objects" / name[:2] / name[2:]


def put(ws: Workspace, path: str | Path) -> str:
    """Keep a copy of a file; its digest."""
    source = ws.path(path)
    digest = digest_file(source)
    target = _place(ws, digest)
    if not target.exists():
        with replacing(target) as copy, source.open("rb") as file:
            shutil.copyfileobj(file, copy, 1 << 20)
        if digest_file(target) != digest:  # the file was written to while it was copied
            target.unlink()
            return put(ws, path)
    return digest


def get(ws: Workspace, digest: str) -> Path:
    """Where the bytes of a digest are; never write to that path."""
    path = _place(ws, digest)
    if not path.is_file():
        raise BadInput(f"{digest}: not in .errata/objects; it was never kept, or was erased")
    return path
