"""Notice that git took data/ or reports/ back: `git checkout -- data/ reports/` is the rollback.

The store knows the digest of each file a run wrote last. A file that differs from it, and is as
the last commit has it, was rolled back; one that differs from both was changed by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from errata import git
from errata.jsonl import digest_file
from errata.language import say
from errata.store import database
from errata.workspace import Workspace

_FOLDERS = ("data", "reports")


class Drift(NamedTuple):
    """Paths below data/ and reports/ that are not as the last run left them."""

    rolled_back: list[str]
    edited: list[str]
    missing: list[str]

    def __bool__(self) -> bool:
        return any(self)


def _last_written(connection: sa.Connection) -> list[tuple[str, str, int, int]]:
    table = database.run_file
    below = sa.or_(*(table.c.path.startswith(f"{folder}/") for folder in _FOLDERS))
    newest = (
        sa.select(sa.func.max(table.c.seq))
        .where(table.c.role.in_(("out", "restored")), below)
        .group_by(table.c.path)
    )
    columns = (table.c.path, table.c.digest, table.c.bytes, table.c.mtime_ns)
    rows = connection.execute(sa.select(*columns).where(table.c.seq.in_(newest)))
    return [(row.path, row.digest, row.bytes, row.mtime_ns) for row in rows]


def look(ws: Workspace, connection: sa.Connection) -> Drift:
    """Compare what is there with what was written; unchanged size and time need no hashing."""
    differ, missing = [], []
    for path, digest, size, mtime_ns in _last_written(connection):
        full = ws.path(path)
        if not full.exists():
            missing.append(path)
            continue
        stat = full.stat()
        same = full.is_file() and (stat.st_size, stat.st_mtime_ns) == (size, mtime_ns)
        if not same and digest_file(full) != digest:
            differ.append(path)
    if not differ:
        return Drift([], [], sorted(missing))
    changed = git.changed(ws.root, _FOLDERS)
    back = {
        path
        for path in differ
        if path not in changed and not any(name.startswith(f"{path}/") for name in changed)
    }
    return Drift(sorted(back), sorted(set(differ) - back), sorted(missing))


def sentence(paths: list[str]) -> str:
    """The one line about files that were rolled back, and what to do."""
    shown = ", ".join(paths[:3]) + (f" (+{len(paths) - 3})" if len(paths) > 3 else "")
    return say(
        f"git rolled back {len(paths)} file(s) since the last run: {shown}; "
        "going on from the committed state (run the stage again for the newer one)",
        f"自上次运行以来，git 回滚了 {len(paths)} 个文件：{shown}；"
        "将从已提交的状态继续（如需新内容，请重跑对应阶段）",
    )


def notice(ws: Workspace, connection: sa.Connection, run_id: str) -> None:
    """Say it once on stderr, and record the restored files as what is there now."""
    drift = look(ws, connection)
    if not drift.rolled_back:
        return
    sys.stderr.write(f"errata: {sentence(drift.rolled_back)}\n")
    restored(ws, connection, run_id, drift.rolled_back)


def restored(ws: Workspace, connection: sa.Connection, run_id: str, paths: Iterable[str]) -> None:
    """Record what is at these paths now as what was left there last."""
    rows = []
    for path in paths:
        stat = ws.path(path).stat()
        rows.append(
            {
                "run_id": run_id,
                "role": "restored",
                "path": path,
                "digest": digest_file(ws.path(path)),
                "bytes": stat.st_size,
                "mtime_ns": stat.st_mtime_ns,
            }
        )
    if rows:
        connection.execute(database.run_file.insert(), rows)
