"""Tables and connections: SQLite in the workspace, or the database that ERRATA_DATABASE_URL names.

Eight tables are enough: what ran (`run`), what it read and wrote (`run_file`), which thing came of
which (`node`, `edge`), which rows a dataset version holds (`member`), what happened (`event`, the
ledger), what was answered while serving (`live`), and the optional `vault`. `schema` says which
release of Errata made them.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from errata.errors import BadInput, ErrataError
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
    # in, out, restored (by git, noticed by that run); what lay there when it began: rule, data
    sa.Column("role", sa.String, nullable=False),
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
member = sa.Table(
    "member",
    metadata,
    sa.Column("version", sa.String, primary_key=True),
    sa.Column("file", sa.String, primary_key=True),
    sa.Column("row", sa.String, primary_key=True, index=True),
    sa.Column("leaf", sa.String, nullable=False),  # hash of the file's name and all of the row
    sa.Column("label", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sqlite_with_rowid=False,
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
    sa.Index("event_kind", "kind", "seq"),
)
vault = sa.Table(
    "vault",
    metadata,
    sa.Column("token", sa.String, primary_key=True),
    sa.Column("owner", sa.String, primary_key=True, index=True),
    sa.Column("box", sa.String, nullable=False),  # the value, under a key that is not in here
)
live = sa.Table(
    "live",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("place", sa.String, nullable=False, unique=True),  # window and number in it
    sa.Column("rollout", sa.String, nullable=False),  # the release it was served in the rollout of
    sa.Column("ts", sa.Float, nullable=False),  # seconds since 1970
    sa.Column("answer", sa.String, nullable=False, index=True),  # id that its user was told
    sa.Column("conversation", sa.String, nullable=False, index=True),  # keyed hash
    sa.Column("data", sa.Text, nullable=False),
    sa.Index("live_rollout", "rollout", "seq"),
)
schema = sa.Table("schema", metadata, sa.Column("number", sa.Integer, primary_key=True))
SCHEMA = 1  # one more with each change that an older release could not read

CONNECT_SECONDS = 10  # before a server that does not answer is given up; the URL may say otherwise
_STEP = "check the disk and ERRATA_DATABASE_URL, then run the command again"
# `immutable`: without a place for its shared memory SQLite reads nothing that is in WAL mode. What
# a process that died left in the log is not seen.
_LOOKED_AT = "sqlite:///file:{path}?mode=ro&immutable=1&uri=true"
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
    return _engine(f"sqlite:///{path}" if writable(ws) else _LOOKED_AT.format(path=path))


def writable(ws: Workspace) -> bool:
    """False where the store can be looked at and no more: a disk that is mounted read-only."""
    return bool(os.environ.get("ERRATA_DATABASE_URL")) or os.access(ws.state, os.W_OK)


@lru_cache(maxsize=64)
def _engine(url: str) -> sa.Engine:
    engine = _made(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _look if "mode=ro" in url else _sqlite_connect)
        sa.event.listen(engine, "begin", _sqlite_begin)
    sa.event.listen(engine, "handle_error", _one_line)
    with _PREPARING:
        _prepare(engine)
    return engine


def _prepare(engine: sa.Engine) -> None:
    """Make the tables where they are missing; refuse what a newer release of Errata has made."""
    there = sa.inspect(engine)
    older = not there.has_table("live") and "mode=ro" not in str(engine.url)
    if not there.has_table("schema") or older:
        with engine.execution_options(writes=True).begin() as connection:
            alone(connection)  # PostgreSQL: two that start at once
            metadata.create_all(connection)
            insert_new(connection, schema, [{"number": SCHEMA}])
    with engine.begin() as connection:
        found = connection.execute(sa.select(sa.func.max(schema.c.number))).scalar() or SCHEMA
    if found > SCHEMA:
        raise BadInput(
            f"store: made by a newer errata (schema {found}, this one reads {SCHEMA}); "
            "`pip install --upgrade errata`"
        )


def _made(text: str) -> sa.Engine:
    """An engine that is not connected yet. What is wrong with a URL is told without showing it: its
    parts may be those of a password."""
    try:
        url = sa.make_url(text)
        if url.get_backend_name() == "sqlite":
            return sa.create_engine(url, connect_args={"timeout": 60})
        if url.get_backend_name() == "postgresql":
            return _server(url)
    except ModuleNotFoundError as error:
        raise BadInput(
            f"ERRATA_DATABASE_URL: needs {error.name}; `pip install 'errata[postgres]'` and write "
            "postgresql+psycopg://…"
        ) from None
    except (ValueError, sa.exc.ArgumentError):
        pass
    raise BadInput(
        "ERRATA_DATABASE_URL: not the URL of a PostgreSQL or SQLite database; "
        "write postgresql+psycopg://USER@HOST/NAME"
    )


def _server(url: sa.URL) -> sa.Engine:
    knows = "psycopg" in url.get_driver_name() and "connect_timeout" not in url.query
    wait = {"connect_timeout": CONNECT_SECONDS} if knows else {}
    engine = sa.create_engine(url, pool_pre_ping=True, connect_args=wait)
    sa.event.listen(engine, "begin", _postgresql_begin)
    return engine


def _look(connection: Any, _record: Any) -> None:
    connection.isolation_level = None


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")  # what is erased is overwritten


def _postgresql_begin(connection: sa.Connection) -> None:
    # A reader sees one state in all it asks; a writer sees what the one before it has written.
    writes = connection.get_execution_options().get("writes", False)
    driver: Any = connection.connection.dbapi_connection
    connection.dialect.set_isolation_level(
        driver, "READ COMMITTED" if writes else "REPEATABLE READ"
    )


def _sqlite_begin(connection: sa.Connection) -> None:
    # A reader that turns writer fails at once when another writes; a writer says so from the start.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _one_line(context: sa.engine.ExceptionContext) -> None:
    """What the disk or the server did, as one line; what a statement did wrong stays as it is."""
    if context.is_pre_ping:  # a connection that the server closed is replaced by a new one
        return
    found = context.sqlalchemy_exception
    outside = isinstance(found, (sa.exc.OperationalError, sa.exc.InternalError))
    damaged = type(found) is sa.exc.DatabaseError  # SQLite: pages that are no database
    if outside or damaged or context.connection is None:
        # The server's next lines repeat the statement.
        said = next(iter(str(context.original_exception).strip().splitlines()), "no answer")
        raise ErrataError(f"store: {said}; {_STEP}") from None


@contextlib.contextmanager
def writing(ws: Workspace) -> Iterator[sa.Connection]:
    """One transaction that writes: all of it is kept or none. One at a time, also on a server, so
    that no two wait for each other's rows and what a writer has looked up stays true."""
    with connect(ws).connect() as connection, connection.execution_options(writes=True).begin():
        alone(connection)
        yield connection


@contextlib.contextmanager
def reading(ws: Workspace) -> Iterator[sa.Connection]:
    """One transaction that reads a single state of the store."""
    with connect(ws).begin() as connection:
        yield connection


def forget(ws: Workspace) -> None:
    """Leave nothing of what was deleted in SQLite's log; a server has its own way (VACUUM)."""
    engine = connect(ws)
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def alone(connection: sa.Connection) -> None:
    """Until this transaction ends nobody else is past this line. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(20251216)"))


_BY_INDEX = sa.text(
    "SELECT set_config('plan_cache_mode', 'force_generic_plan', true), "
    "set_config('enable_seqscan', 'off', true)"
)


def by_index(connection: sa.Connection) -> None:
    """Until this transaction ends, a server looks up each id where its index has it, also in tables
    that it has no statistics of yet, and plans a statement once and not at every call."""
    if connection.dialect.name == "postgresql":
        connection.execute(_BY_INDEX)


def insert_new(
    connection: sa.Connection, table: sa.Table, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Insert rows; one whose primary key is there already is left as it is."""
    batch = list(rows)
    if not batch:
        return
    if connection.dialect.name != "postgresql":
        connection.execute(sqlite.insert(table).on_conflict_do_nothing(), batch)
        return
    names, columns = list(batch[0]), []  # a server takes columns many times faster than rows
    for name in names:
        values = [row[name] for row in batch]
        columns.append(sa.func.unnest(sa.bindparam(name, values, sa.ARRAY(table.c[name].type))))
    fresh = postgresql.insert(table).from_select(names, sa.select(*columns))
    connection.execute(fresh.on_conflict_do_nothing())


def decode(text: str) -> Any:
    """A JSON column as values."""
    return json.loads(text)
