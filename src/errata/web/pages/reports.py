"""Every report of the workspace: Markdown as a page, curves as pictures, all else as text."""

from __future__ import annotations

import glob
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from errata.errors import BadInput
from errata.web.desk import Desk
from errata.web.view import hidden, markdown, page

SHOWN = 300  # files of a folder, the newest first
LONGEST = 4 * 2**20  # bytes that are shown
# A picture that is opened by itself runs nothing and loads nothing.
_PICTURE = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}


def listed(desk: Desk, request: Request) -> Response:
    """`/reports`: by folder."""
    root = desk.ws.reports
    folders: dict[str, list[tuple[str, int, float]]] = {}
    for path in sorted(root.rglob("*")) if root.is_dir() else ():
        if path.is_file() and path.suffix in (".md", ".svg", ".json", ".txt"):
            stat, name = path.stat(), path.relative_to(root).as_posix()
            folder = name.rpartition("/")[0]
            folders.setdefault(folder, []).append((name, stat.st_size, stat.st_mtime))
    shown = {folder: sorted(files, key=lambda one: -one[2])[:SHOWN]
             for folder, files in sorted(folders.items())}  # fmt: skip
    return page(request, "reports.html", folders=shown)


def one(desk: Desk, request: Request) -> Response:
    """`/reports/PATH`: a file below reports/, and of no other folder."""
    root, told = desk.ws.reports.resolve(), request.path_params["path"]
    try:
        path = (root / told).resolve()
        there = path.is_relative_to(root) and path.is_file()
    except (OSError, ValueError):  # no name that a file can have
        there = False
    if not there:
        raise BadInput(f"reports/{told}: no such report")
    if path.suffix == ".svg":
        return Response(path.read_bytes(), media_type="image/svg+xml", headers=_PICTURE)
    with path.open("rb") as file:
        text = file.read(LONGEST).decode("utf-8", "replace")
    (text,) = hidden(desk.ws, [text])
    if path.suffix != ".md":
        return PlainTextResponse(text.encode("utf-8", "backslashreplace"))
    name = path.relative_to(root).as_posix()
    return page(request, "report.html", name=name, body=markdown(text), pictures=_pictures(path))


def _pictures(path: Path) -> list[str]:
    """Curves that stand beside a report under its name, and under no longer name of another."""
    mine = f"{glob.escape(path.stem)}*"
    stems = [other.stem for other in path.parent.glob(f"{mine}.md")]

    def whose(picture: Path) -> str:
        return max((stem for stem in stems if picture.stem.startswith(stem)), key=len)

    return [one.name for one in sorted(path.parent.glob(f"{mine}.svg")) if whose(one) == path.stem]
