"""What ran: the records of runs, and which of them died."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from typing import Any

import psutil
import sqlalchemy as sa

from errata.errors import BadInput
from errata.jsonl import canonical, write_json
from errata.store import database, experiments, ledger
from errata.workspace import Workspace

ALIVE = "alive"  # in a run's folder: touched while the run goes on
BEAT, SILENCE = 60.0, 900.0  # seconds between two touches; without any, after which a run is dead


def alive(pid: int, born: float) -> bool:
    """Whether the process that began then is still there: numbers are used again."""
    try:
        return bool(abs(psutil.Process(pid).create_time() - born) < 2)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _silent(ws: Workspace, run_id: str) -> bool:
    """Whether a run whose folder is here has given no sign of life for long."""
    for name in (ALIVE, ""):  # without one: it was killed before, or is of an earlier errata
        with contextlib.suppress(FileNotFoundError):
            return time.time() - (ws.runs / run_id / name).stat().st_mtime > SILENCE
    return False


def end(ws: Workspace, run_id: str, status: str) -> bool:
    """Say how a run ended that could not say so itself. False: it had ended by then, and it stays
    as it said."""
    table = database.run
    with database.writing(ws) as connection:
        query = sa.select(table.c.record).where(table.c.id == run_id, table.c.status == "running")
        text = connection.execute(query).scalar()
        if text is None:
            return False
        record = {**json.loads(text), "status": status}
        values = {"status": status, "record": canonical(record)}
        connection.execute(table.update().where(table.c.id == run_id).values(**values))
        ledger.add(ws, connection, [("run", {"id": run_id, "status": status})])
        if (ws.runs / run_id).is_dir():
            write_json(ws.runs / run_id / "run.json", record)
    return True


def mark_died(ws: Workspace) -> list[str]:
    """Runs that say `running` and whose process is gone. What another machine began (a container is
    a new one at each start) is known by its sign of life, where its folder lies here."""
    if not database.writable(ws):
        return []
    table = database.run
    columns = (table.c.id, table.c.host, table.c.pid, table.c.born)
    with database.reading(ws) as connection:
        running = connection.execute(sa.select(*columns).where(table.c.status == "running")).all()
    here = platform.node()
    dead = [
        id
        for id, host, pid, born in running
        if (not alive(pid, born) if host == here else _silent(ws, id))
    ]
    died = [id for id in dead if end(ws, id, "died")]
    for left in (path for id in died for path in ws.cache.glob(f"{id}*")):
        left.unlink(missing_ok=True)  # its scratch: redacted rows that nobody reads again
    if died:
        ledger.seal(ws)
        experiments.render(ws)
    return died


def list_runs(ws: Workspace, stage: str | None = None) -> list[dict[str, Any]]:
    """All run records, oldest first."""
    mark_died(ws)
    table = database.run
    query = sa.select(table.c.record).order_by(table.c.began, table.c.id)
    if stage:
        query = query.where(table.c.stage == stage)
    with database.reading(ws) as connection:
        return [json.loads(text) for text in connection.execute(query).scalars()]


def get_run(ws: Workspace, id: str) -> dict[str, Any]:
    """One run record; a beginning of the id is enough when only one run has it."""
    mark_died(ws)
    table = database.run
    with database.reading(ws) as connection:
        query = sa.select(table.c.record).where(table.c.id.startswith(id, autoescape=True))
        found = [json.loads(text) for text in connection.execute(query).scalars()]
    exact = [record for record in found if record["id"] == id]
    if len(exact or found) == 1:
        return dict((exact or found)[0])
    several = f"fits {len(found)} runs; write more of it"
    raise BadInput(f"{id}: {several if found else 'no such run; see `errata runs`'}")


def last_run(ws: Workspace, stage: str, status: str = "done") -> dict[str, Any] | None:
    """The newest run of a stage that ended so."""
    found = [record for record in list_runs(ws, stage) if record["status"] == status]
    return found[-1] if found else None


def began(ws: Workspace, id: str) -> float:
    """When a run began, in seconds since 1970."""
    table = database.run
    with database.reading(ws) as connection:
        return float(
            connection.execute(sa.select(table.c.began).where(table.c.id == id)).scalar_one()
        )
