"""Whatever is wrong with the database is one line and an exit code, and no password is in it."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from errata import cli
from errata.errors import BadInput
from errata.store import database, ledger
from errata.store.past import list_runs
from errata.store.runs import Run
from errata.workspace import Workspace

Say = Callable[..., tuple[int, str]]


@pytest.fixture
def say(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> Say:
    """A command on the workspace; its exit code and the one line it wrote to stderr."""

    def run(*words: str) -> tuple[int, str]:
        database._engine.cache_clear()  # as a new process
        capsys.readouterr()
        code = cli.main([*words, "-C", str(ws.root)])
        line = capsys.readouterr().err
        assert line.count("\n") == 1, line
        assert line.startswith("errata: ")
        assert "Traceback" not in line
        assert "bug" not in line
        return code, line

    return run


def untouched(ws: Workspace) -> sa.Engine:
    """The database of a workspace, whatever release made it."""
    return database._made(os.environ.get("ERRATA_DATABASE_URL") or f"sqlite:///{ws.state}/store.db")


# schema ------------------------------------------------------------------------------------------


def test_a_store_that_a_newer_release_made_is_refused_and_left_as_it_is(store: Workspace, say: Say):
    with Run(store, "build", {}):
        pass
    with database.writing(store) as connection:
        connection.execute(sa.insert(database.schema).values(number=database.SCHEMA + 1))
    for words in (["status"], ["runs"], ["audit", "verify"], ["trace", "f-1"]):
        code, line = say(*words)
        assert code == 2
        assert f"made by a newer errata (schema {database.SCHEMA + 1}, this one reads" in line
        assert "pip install --upgrade errata" in line
    with pytest.raises(BadInput, match="made by a newer errata"), Run(store, "build", {}):
        pass
    with untouched(store).begin() as connection:
        assert connection.execute(sa.select(sa.func.count(database.run.c.id))).scalar() == 1
        connection.execute(sa.delete(database.schema).where(database.schema.c.number > 1))


def test_processes_that_start_at_once_make_the_tables_once(store: Workspace):
    code = (
        "import sys; from pathlib import Path; from errata.store import ledger;"
        "from errata.workspace import Workspace; ledger.append(Workspace(Path(sys.argv[1])), 'n')"
    )
    words = [sys.executable, "-c", code, str(store.root)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    several = [subprocess.Popen(words, **pipes) for _ in range(4)]
    said = [one.communicate()[1] for one in several]

    assert [one.returncode for one in several] == [0] * 4, said
    assert [event["seq"] for event in ledger.events(store)] == [1, 2, 3, 4]


# URLs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "me:s3cret@host/db",
        "postgres://me:s3cret@host/db",  # a dialect that SQLAlchemy does not know
        "postgresql+nosuch://me:s3cret@host/db",
        "postgresql+psycopg://me:s3cret@host:port/db",
        "postgresql+psycopg://me:s3@cret:s3cret@host/db",  # an @ that is not escaped
        "mysql+pymysql://me:s3cret@host/db",
        "sqlite:s3cret",
        "://",
        " ",
    ],
)
def test_a_url_that_is_none_is_not_shown(url: str, say: Say, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ERRATA_DATABASE_URL", url)
    code, line = say("status")
    assert code == 2
    assert "not the URL of a PostgreSQL or SQLite database; write postgresql+psycopg://" in line
    assert "cret" not in line


def test_a_missing_driver_is_named_with_what_to_install(say: Say, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ERRATA_DATABASE_URL", "postgresql+psycopg://me:s3cret@127.0.0.1:1/x")
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as where it is not installed
    code, line = say("status")
    assert code == 2
    assert "needs psycopg; `pip install 'errata[postgres]'`" in line
    assert "s3cret" not in line


# servers that do not answer ----------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("127.0.0.1:1/x", "Connection refused"),
        ("nosuch.invalid/x", "nosuch.invalid"),
        ("127.0.0.1:1/x?nosuch=1", 'invalid connection option "nosuch"'),
    ],
)
def test_an_unreachable_server_is_one_line_without_the_password(
    rest: str, words: str, say: Say, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ERRATA_DATABASE_URL", f"postgresql+psycopg://me:s3cret@{rest}")
    started = time.monotonic()
    code, line = say("status")
    assert time.monotonic() - started < 10
    assert code == 1
    assert words in line
    assert "check the disk and ERRATA_DATABASE_URL, then run the command again" in line
    assert "s3cret" not in line


@pytest.mark.parametrize("asked", ["", "?connect_timeout=2"])
def test_a_server_that_is_silent_is_given_up(
    asked: str, silent: int, say: Say, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database, "CONNECT_SECONDS", 60 if asked else 2)
    url = f"postgresql+psycopg://me:s3cret@127.0.0.1:{silent}/x{asked}"
    monkeypatch.setenv("ERRATA_DATABASE_URL", url)
    started = time.monotonic()
    code, line = say("status")
    assert time.monotonic() - started < 20
    assert code == 1
    assert "timeout" in line
    assert "s3cret" not in line


def test_a_server_that_went_away_is_one_line_and_the_run_is_not_lost(
    store: Workspace, say: Say, monkeypatch: pytest.MonkeyPatch
):
    """A connection of the pool that the server has closed is replaced, not handed out."""
    if not os.environ.get("ERRATA_DATABASE_URL"):
        pytest.skip("SQLite has no server")
    with Run(store, "build", {}), database.reading(store) as connection:
        pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar()
    with untouched(store).begin() as other:
        other.execute(sa.text(f"SELECT pg_terminate_backend({pid})"))
    assert [record["status"] for record in list_runs(store)] == ["done"]


# SQLite files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"garbage that is no database at all",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:5000],
        lambda whole: whole[:8192] + b"\xff" * (len(whole) - 8192),
    ],
)
def test_a_damaged_store_is_one_line(local: Workspace, say: Say, damage: Callable[[bytes], bytes]):
    with Run(local, "build", {}):
        pass
    database.connect(local).dispose()
    path = local.state / "store.db"
    path.write_bytes(damage(path.read_bytes()))
    code, line = say("runs")
    assert code == 1
    assert "errata: store: " in line
    assert "check the disk and ERRATA_DATABASE_URL" in line


def test_a_database_in_a_folder_that_is_not_there_is_one_line(
    local: Workspace, say: Say, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ERRATA_DATABASE_URL", f"sqlite:///{local.root}/no/x.db")
    assert say("runs") == (1, "errata: store: unable to open database file; check the disk and "
                              "ERRATA_DATABASE_URL, then run the command again\n")  # fmt: skip


def test_an_error_of_ours_is_not_called_one_of_the_disk(store: Workspace):
    with pytest.raises(sa.exc.IntegrityError), database.writing(store) as connection:
        connection.execute(sa.insert(database.schema).values(number=database.SCHEMA))


# a disk that is read-only ------------------------------------------------------------------------


def _obey() -> None:
    """Root, too, is held to the permissions of files (PR_CAPBSET_DROP, CAP_DAC_OVERRIDE)."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


@pytest.fixture
def read_only(local: Workspace) -> Iterator[Callable[[Path], None]]:
    """Make everything below a folder read-only until the test ends."""
    if sys.platform != "linux":
        pytest.skip("root is held to permissions on Linux only")
    modes: list[tuple[Path, int]] = []

    def freeze(folder: Path) -> None:
        for path in (folder, *folder.rglob("*")):
            modes.append((path, path.stat().st_mode))
            path.chmod(path.stat().st_mode & ~0o222)

    yield freeze
    for path, mode in reversed(modes):
        path.chmod(mode)


def run_as_reader(ws: Workspace, *words: str) -> subprocess.CompletedProcess[str]:
    """A command by somebody whom permissions bind."""
    return subprocess.run(
        [sys.executable, "-m", "errata", *words, "-C", str(ws.root)],
        capture_output=True, text=True, preexec_fn=_obey,
    )  # fmt: skip


def refused(ws: Workspace, *words: str) -> str:
    """A command that cannot write: exit code 1, and its one line."""
    done = run_as_reader(ws, *words)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr + done.stdout
    return done.stderr


ROW = '{"prompt": "a", "bad_answer": "b", "label": "other"}\n'


def test_a_workspace_on_a_read_only_disk_is_one_line(
    local: Workspace, read_only: Callable[[Path], None]
):
    (local.inbox / "a.jsonl").write_text(ROW)
    read_only(local.root)
    for words in (["status"], ["intake", "inbox/a.jsonl"]):
        said = refused(local, *words)
        assert ".errata: Permission denied; check the path and its permissions" in said


def test_a_store_on_a_read_only_disk_can_be_looked_at(
    local: Workspace, read_only: Callable[[Path], None]
):
    (local.inbox / "a.jsonl").write_text(ROW)
    with Run(local, "build", {}) as run:
        pass
    database.connect(local).dispose()
    read_only(local.state)
    for words in (["runs"], ["trace", run.id], ["status"], ["audit", "verify"]):
        assert run_as_reader(local, *words).returncode == 0
    assert "Permission denied" in refused(local, "intake", "inbox/a.jsonl")


@pytest.mark.parametrize("folder", ["data", "reports", "runs", "audit"])
def test_a_folder_that_cannot_be_written_fails_the_run_and_says_which(
    folder: str, local: Workspace, read_only: Callable[[Path], None]
):
    (local.inbox / "a.jsonl").write_text(ROW)
    with Run(local, "build", {}):
        pass
    read_only(local.root / folder)
    assert f"/{folder}/" in refused(local, "intake", "inbox/a.jsonl")
    assert not (local.data / "failures.jsonl").exists() or folder in ("audit", "reports")
    assert all(record["status"] != "running" for record in list_runs(local))
