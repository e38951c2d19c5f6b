"""Fresh workspaces over an empty database of each kind; gone, files and all, when they are left."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

from errata import git
from errata.store import database
from errata.workspace import Workspace

SQLITE, POSTGRES = "SQLite", "PostgreSQL"
SERVER = "ERRATA_TEST_POSTGRES_URL"  # the variable that the tests read too
_URL = "ERRATA_DATABASE_URL"
_FOLDERS = ("configs", "policies", "suites", "data", "reports", "inbox")


def kinds() -> list[str]:
    """The databases that there are to be measured."""
    return [SQLITE, *([POSTGRES] if os.environ.get(SERVER) else [])]


@contextmanager
def workspace(kind: str) -> Iterator[Workspace]:
    """An empty workspace; the environment names its database to this process and its children."""
    folder = Path(tempfile.mkdtemp(prefix="errata-bench-"))
    try:
        with _schema(kind):
            yield _laid_down(folder / "ws")
    finally:
        shutil.rmtree(folder)


def _laid_down(root: Path) -> Workspace:
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    (root / "configs" / "build.yaml").write_text("seed: 0\n")
    (root / "policies" / "redaction.yaml").write_text("rules: []\n")
    (root / ".gitignore").write_text("inbox/\nruns/\n.errata/\n")
    git.git(root, "init", "--quiet", "--initial-branch=main", ".")
    ws = Workspace.find(root)
    git.commit(ws, ["."], "first")
    return ws


@contextmanager
def _schema(kind: str) -> Iterator[None]:
    """ERRATA_DATABASE_URL as this kind of database needs it, and as it was afterwards."""
    before = os.environ.pop(_URL, None)
    try:
        if kind == SQLITE:
            yield
            return
        url, name = os.environ[SERVER], f"b{uuid4().hex}"
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA {name}"))
            os.environ[_URL] = f"{url}?options=-csearch_path%3D{name}"
            try:
                yield
            finally:
                database._engine.cache_clear()
                connection.execute(sa.text(f"DROP SCHEMA {name} CASCADE"))
    finally:
        os.environ.pop(_URL, None)
        if before is not None:
            os.environ[_URL] = before


def server_version() -> str:
    """Of PostgreSQL, for the stamp; a dash without one."""
    if POSTGRES not in kinds():
        return "–"
    with sa.create_engine(os.environ[SERVER]).connect() as connection:
        return str(connection.execute(sa.text("SHOW server_version")).scalar()).split()[0]
