"""Content-addressed copies of files: the same bytes are kept once, under their digest.

They lie in `.errata/objects/`. A team names a place they share in `ERRATA_OBJECTS_URL` (whatever
fsspec reads: s3://bucket/desk, file:///mnt/desk, …): what is kept goes there too, and what is
missing here is fetched from there. Bytes that do not have their digest are never served.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from errata.errors import BadInput, ErrataError
from errata.jsonl import digest_file, replacing
from errata.workspace import Workspace


def _name(digest: str) -> str:
    name = digest.removeprefix("sha256:")
    if len(name) != 64 or not all(c in "0123456789abcdef" for c in name):
        raise BadInput(f"`{digest}` is not a digest; write sha256: and 64 hex digits")
    return f"{name[:2]}/{name[2:]}"


def _place(ws: Workspace, digest: str) -> Path:
    return ws.state / "objects" / _name(digest)


def put(ws: Workspace, path: str | Path) -> str:
    """Keep a copy of a file; its digest."""
    source = ws.path(path)
    digest = digest_file(source)
    target = _place(ws, digest)
    if not target.exists() or digest_file(target) != digest:  # a damaged copy is mended
        with replacing(target) as copy, source.open("rb") as file:
            shutil.copyfileobj(file, copy, 1 << 20)
        if digest_file(target) != digest:  # the file was written to while it was copied
            target.unlink()
            return put(ws, path)
    _share(ws, digest)
    return digest


def keep(ws: Workspace, content: bytes) -> str:
    """Keep some bytes; their digest."""
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    with replacing(_place(ws, digest)) as copy:
        copy.write(content)
    _share(ws, digest)
    return digest


def there(ws: Workspace, digest: str) -> bool:
    """Whether a copy is here or in the shared place."""
    return _place(ws, digest).is_file() or _fetch(ws, digest)


def get(ws: Workspace, digest: str) -> Path:
    """Where the bytes of a digest are; never write to that path.

    Raises BadInput where they are missing or are not what the digest says.
    """
    path = _place(ws, digest)
    if not path.is_file() and not _fetch(ws, digest):
        raise BadInput(f"{digest}: not in {_where(ws)}; it was never kept, or was erased")
    found = digest_file(path)
    if found != digest:
        raise BadInput(
            f"{digest}: its copy {ws.relative(path)} is damaged (it is {found[:19]}…); "
            "restore it from a backup, or delete it"
        )
    return path


def drop(ws: Workspace, digest: str) -> bool:
    """Delete a copy here and in the shared place; whether there was one."""
    path = _place(ws, digest)
    there = path.is_file()
    path.unlink(missing_ok=True)
    if shared := _shared():
        fs, root = shared
        name = f"{root}/{_name(digest)}"
        if fs.exists(name):
            fs.rm(name)
            there = True
    return there


def _where(ws: Workspace) -> str:
    here = ws.relative(ws.state / "objects")
    return f"{here} nor in ERRATA_OBJECTS_URL" if _shared() else here


def _shared() -> tuple[Any, str] | None:
    """The shared place as fsspec opens it; None where none is named."""
    url = os.environ.get("ERRATA_OBJECTS_URL")
    if not url:
        return None
    import fsspec

    try:
        fs, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise BadInput(f"ERRATA_OBJECTS_URL: {str(error).splitlines()[0]}; name a URL that fsspec "
                       "opens, such as s3://bucket/folder") from None  # fmt: skip
    return fs, str(root).rstrip("/")


def _share(ws: Workspace, digest: str) -> None:
    """Put a copy into the shared place, under another name until it is whole."""
    if not (shared := _shared()):
        return
    fs, root = shared
    name = f"{root}/{_name(digest)}"
    if not fs.exists(name):
        fs.makedirs(name.rsplit("/", 1)[0], exist_ok=True)
        draft = f"{name}.{uuid.uuid4().hex}"
        try:
            fs.put_file(str(_place(ws, digest)), draft)
            fs.mv(draft, name)
        except OSError as error:
            raise ErrataError(f"ERRATA_OBJECTS_URL: {error}; check it, then run again") from None


def _fetch(ws: Workspace, digest: str) -> bool:
    """Bring a copy here from the shared place; whether it had one that is whole."""
    if not (shared := _shared()):
        return False
    fs, root = shared
    name = f"{root}/{_name(digest)}"
    if not fs.exists(name):
        return False
    target = _place(ws, digest)
    with replacing(target) as copy, fs.open(name, "rb") as file:
        shutil.copyfileobj(file, copy, 1 << 20)
    if digest_file(target) != digest:
        target.unlink()
        raise BadInput(f"{digest}: its copy in ERRATA_OBJECTS_URL is damaged; restore it from a "
                       "backup, or delete it")  # fmt: skip
    return True
