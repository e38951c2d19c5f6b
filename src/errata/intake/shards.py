"""Which files are meant: one by its name, all of a folder, all that a pattern matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from errata.errors import BadInput
from errata.intake.files import KINDS
from errata.workspace import Workspace


def files(ws: Workspace, names: Sequence[str], inbox: str) -> list[Path]:
    """The files that are named, each once, or else all of the inbox; shards in the order of their
    names. BadInput where a folder or a pattern holds none."""
    if not names:
        return _below(ws.path(inbox), f"{inbox}/")
    return list(dict.fromkeys(path for name in names for path in _meant(ws, name)))


def unread(ws: Workspace, names: Sequence[str], inbox: str) -> list[Path]:
    """What lies in the folders that are meant and is of no kind that is read: a spreadsheet, a link
    to nothing. Not what is hidden."""
    folders = [ws.path(name) for name in names] if names else [ws.path(inbox)]
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*"))
            if not (path.is_dir() and not path.is_symlink())
            and not any(part[0] in "._" for part in path.relative_to(folder).parts)
            and not (_data(path, folder) and path.is_file())]  # fmt: skip


def _meant(ws: Workspace, name: str) -> Iterator[Path]:
    here = Path(name).expanduser()
    path = here.resolve() if here.exists() else ws.path(here)
    if path.is_dir():
        yield from _below(path, name)
    elif path.exists() or not set(name) & set("*?["):
        yield path  # one that is not there is told of by whoever reads it
    else:
        found = [*_matching(here)] or [*_matching(path)]
        shards = sorted(one.resolve() for one in found if one.is_file())
        if not shards:
            raise BadInput(f"{name}: no file of such a name; check the pattern")
        yield from shards


def _matching(pattern: Path) -> Iterator[Path]:
    """The paths that a pattern with `*`, `?`, `[…]` and `**` matches."""
    root = Path(pattern.anchor or ".")
    yield from root.glob(str(pattern.relative_to(root) if pattern.anchor else pattern))


def _below(folder: Path, name: str) -> list[Path]:
    """The files of the kinds that are read, below a folder; not what Spark and others keep for
    themselves: `_delta_log/`, `.part-0.crc`."""
    found = [path for path in sorted(folder.rglob("*")) if _data(path, folder) and path.is_file()]
    if not found:
        kinds = " ".join(f"*{ending}" for ending in KINDS)
        raise BadInput(f"{name}: nothing to take in ({kinds}); name a FILE, or put one there")
    return found


def _data(path: Path, folder: Path) -> bool:
    *parents, own = path.relative_to(folder).parts
    closed = own[0] == "." or any(part[0] in "._" for part in parents)
    return path.suffix.lower() in KINDS and not closed
