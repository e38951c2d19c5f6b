"""Content-addressed copies of files: the same bytes are kept once, under their digest.

They lie in `.errata/objects/`. A team names a place they share in `ERRATA_OBJECTS_URL` (whatever
fsspec reads: s3://bucket/desk, file:///mnt/desk, …): what is kept goes there too, and what is
missing here is fetched from there. Bytes that do not have their digest are never served.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from errata.errors import BadInput, ErrataError
from errata.jsonl import digest_file, replacing
from errata.store.setting import hidden
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

    Raises BadInput where they are missing or are not what the digest says. A copy that is damaged
    here is replaced by the one in the shared place.
    """
    path = _place(ws, digest)
    found = digest_file(path) if path.is_file() else None
    if found == digest or _fetch(ws, digest):
        return path
    if found is None:
        raise BadInput(f"{digest}: not in {_where(ws)}; it was never kept, or was erased")
    raise BadInput(
        f"{digest}: its copy {ws.relative(path)} is damaged (it is {found[:19]}…); "
        "restore it from a backup, or delete it"
    )


def drop(ws: Workspace, digest: str) -> bool:
    """Delete a copy here and in the shared place; whether there was one."""
    path = _place(ws, digest)
    there = path.is_file()
    path.unlink(missing_ok=True)
    if shared := _shared():
        fs, root = shared
        name = f"{root}/{_name(digest)}"
        with _one_line():
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


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """What goes wrong with the shared place, told without a password in its URL."""
    try:
        yield
    except OSError as error:
        said = hidden(str(error))
        raise ErrataError(f"ERRATA_OBJECTS_URL: {said}; check it, then run again") from None


def _share(ws: Workspace, digest: str) -> None:
    """Put a copy into the shared place, under another name until it is whole.

    One that is there is left, but for one of another size: half of an upload is mended.
    """
    if not (shared := _shared()):
        return
    fs, root = shared
    name, ours = f"{root}/{_name(digest)}", _place(ws, digest)
    with _one_line():
        if fs.exists(name) and fs.size(name) == ours.stat().st_size:
            return
        fs.makedirs(name.rsplit("/", 1)[0], exist_ok=True)
        draft = f"{name}.{uuid.uuid4().hex}"
        fs.put_file(str(ours), draft)
        fs.mv(draft, name)


def _fetch(ws: Workspace, digest: str) -> bool:
    """Bring a copy here from the shared place; whether it had one. BadInput if that is damaged."""
    if not (shared := _shared()):
        return False
    fs, root = shared
    name = f"{root}/{_name(digest)}"
    with _one_line():
        if not fs.exists(name):
            return False
        with replacing(_place(ws, digest)) as copy, fs.open(name, "rb") as file:
            seen = hashlib.sha256()
            while part := file.read(1 << 20):
                seen.update(part)
                copy.write(part)
            if seen.hexdigest() != digest.removeprefix("sha256:"):  # nothing is put in place
                raise BadInput(f"{digest}: its copy in ERRATA_OBJECTS_URL is damaged; restore it "
                               "from a backup, or delete it")  # fmt: skip
    return True
