"""Tables and connections: SQLite in the workspace, or the database that ERRATA_DATABASE_URL names.

Five tables are enough: what ran (`run`), what it read and wrote (`run_file`), which thing came of
which (`node`, `edge`), and what happened (`event`, the ledger).
"""

from __future__ import annotations

import datetime
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import NullPool

from errata.errors import ErrataError
from errata.workspace import Workspace

metadata = sa.MetaData()
run = sa.Table(
    "run",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("stage", sa.String, nullable=False, index=True),
    sa.Column("status", sa.String, nullable=False),  # running, done, failed, died
    sa.Column("began", sa.Float, nullable=False, index=True),  # seconds since 1970
    sa.Column("host", sa.String, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("born", sa.Float, nullable=False),  # when that process started: pids are used again
    sa.Column("record", sa.Text, nullable=False),  # run.json
)
run_file = sa.Table(
    "run_file",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String, nullable=False, index=True),
    sa.Column("role", sa.String, nullable=False),  # in, out, restored (by git, noticed by that run)
    sa.Column("path", sa.String, nullable=False, index=True),
    sa.Column("digest", sa.String, nullable=False, index=True),
    sa.Column("name", sa.String, nullable=False, default=""),  # what the file was for
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.Integer),
)
node = sa.Table(
    "node",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
)
edge = sa.Table(
    "edge",
    metadata,
    sa.Column("src", sa.String, primary_key=True),
    sa.Column("dst", sa.String, primary_key=True, index=True),
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("run_id", sa.String, nullable=False),
)
event = sa.Table(
    "event",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("ts", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("prev", sa.String, nullable=False),
    sa.Column("hash", sa.String, nullable=False, unique=True),
)

_PREPARING = threading.Lock()


def now() -> str:
    """UTC to the second, as every record writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def connect(ws: Workspace) -> sa.Engine:
    """The engine of this workspace, its tables made on first use."""
    url = os.environ.get("ERRATA_DATABASE_URL")
    if url:
        return _engine(url)
    path = ws.state / "store.db"
    if not path.exists():
        ws.state.mkdir(parents=True, exist_ok=True)
        _engine.cache_clear()  # a deleted workspace may come back under the same name
    return _engine(f"sqlite:///{path}")


@lru_cache(maxsize=64)
def _engine(url: str) -> sa.Engine:
    if not url.startswith("sqlite"):
        engine = sa.create_engine(url, pool_pre_ping=True)
    else:
        engine = sa.create_engine(url, poolclass=NullPool, connect_args={"timeout": 60})
        sa.event.listen(engine, "connect", _sqlite_connect)
        sa.event.listen(engine, "begin", _sqlite_begin)
    sa.event.listen(engine, "handle_error", _one_line)
    with _PREPARING:
        metadata.create_all(engine)
    return engine


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _sqlite_begin(connection: sa.Connection) -> None:
    # A reader that turns writer fails at once when another writes; a writer says so from the start.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _one_line(context: sa.engine.ExceptionContext) -> None:
    error = context.original_exception
    if isinstance(context.sqlalchemy_exception, sa.exc.OperationalError):
        step = "check disk space and ERRATA_DATABASE_URL, then run the command again"
        raise ErrataError(f"store: {error}; {step}") from None


@contextmanager
def writing(ws: Workspace) -> Iterator[sa.Connection]:
    """One transaction that writes: all of it is kept or none."""
    with connect(ws).execution_options(writes=True).begin() as connection:
        yield connection


@contextmanager
def reading(ws: Workspace) -> Iterator[sa.Connection]:
    """One transaction that reads a single state of the store."""
    with connect(ws).begin() as connection:
        yield connection


def insert_new(
    connection: sa.Connection, table: sa.Table, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Insert rows; one whose primary key is there already is left as it is."""
    batch = [dict(row) for row in rows]
    if not batch:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(table).on_conflict_do_nothing(), batch)


def decode(text: str) -> Any:
    """A JSON column as values."""
    return json.loads(text)
