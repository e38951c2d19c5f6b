"""Where everything stands: what came in, what it became, what trains, what was decided, what
serves."""

from __future__ import annotations

import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from errata.intake import names
from errata.intake.redact import load_policy, redactor, workspace_key
from errata.records import Verdict
from errata.release import alerts, routing, verdicts
from errata.store import database, ledger, past, rolled_back, status
from errata.web import chart, jobs
from errata.web.desk import Desk
from errata.web.table import FILE
from errata.web.view import page
from errata.workspace import Workspace

WEEKS = 12


class Waiting(NamedTuple):
    """A file of the inbox, and whether an intake has read it as it is."""

    name: str
    size: int
    taken: bool


def standing(desk: Desk, request: Request) -> Response:
    """`/`."""
    ws = desk.ws
    runs = past.list_runs(ws)
    last = {record["stage"]: record for record in runs}
    with database.reading(ws) as connection:
        drift = rolled_back.look(ws, connection)
    now = routing.current(ws)
    return page(
        request, "loop.html", inbox=inbox(ws), buckets=buckets(desk), dataset=dataset(desk, runs),
        verdict=_verdict(ws), now=now, next=status.next_action(last, drift),
        alerts=[one for one in alerts.known(ws).values() if one.state != "resolved"][::-1],
        recent=runs[:-9:-1], going=_going(ws), jobs=desk.jobs.all[:3],
        broken=desk.index.table.broken,
    )  # fmt: skip


def running(desk: Desk, request: Request) -> Response:
    """`/running`: the part of the page that is asked again every two seconds."""
    return page(request, "part_running.html", going=_going(desk.ws), jobs=desk.jobs.all[:3])


def _going(ws: Workspace) -> list[tuple[dict[str, Any], jobs.Progress]]:
    return [(record, jobs.progress(ws, record["id"])) for record in jobs.running(ws)]


def inbox(ws: Workspace) -> list[Waiting]:
    """The files of the inbox, those first that no intake has read as they are. Their names as the
    ledger has them: one may be somebody's."""
    if not ws.inbox.is_dir():
        return []
    intakes = _began(ws)
    redact, key = redactor(ws, load_policy(ws)), workspace_key(ws)
    found = []
    for path in sorted(ws.inbox.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            stat, name = path.stat(), names.told(ws.relative(path), redact, key)
            taken = any(stat.st_mtime < began and any(fnmatch(name, told) for told in args)
                        for began, args in intakes)  # fmt: skip
            found.append(Waiting(name, stat.st_size, taken))
    return sorted(found, key=lambda one: one.taken)


def _began(ws: Workspace) -> list[tuple[float, list[str]]]:
    """When each intake that ended well began, and the files it was told; without any, all of the
    inbox."""
    return [(past.began(ws, str(run["id"])), run["config"].get("args") or ["*"])
            for run in past.list_runs(ws, "intake") if run["status"] == "done"]  # fmt: skip


def buckets(desk: Desk) -> list[tuple[str, int, int, Any]]:
    """Label, how many there are, how many of them this week, and the last weeks as a picture."""
    weeks = desk.index.weeks()
    names = _weeks(datetime.datetime.now(datetime.UTC).date())
    found = []
    for label, count in desk.index.values("label"):
        counts = [weeks.get(label, {}).get(name, 0) for name in names]
        title = f"{label}: {names[0]} … {names[-1]}: {', '.join(map(str, counts))}"
        found.append((label, count, counts[-1], chart.spark(counts, title)))
    return found


def _weeks(today: datetime.date) -> list[str]:
    days = (today - datetime.timedelta(weeks=back) for back in range(WEEKS - 1, -1, -1))
    return ["{}-W{:02d}".format(*day.isocalendar()[:2]) for day in days]


def dataset(desk: Desk, runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The version that the last build made, and whether other failures are there by now; None
    before the first."""
    built = [run for run in runs if run["stage"] == "build" and run["facts"].get("version")]
    if not built:
        return None
    made = built[-1]
    rows = {Path(file["path"]).name: file.get("rows") for file in made["outputs"]}
    seen = [file["digest"] for file in made["inputs"] if file["path"] == FILE]
    return {"version": made["facts"]["version"], "rows": rows, "run": made,
            "stale": bool(seen) and seen[0] != desk.index.table.digest}  # fmt: skip


def _verdict(ws: Workspace) -> tuple[dict[str, Any], Verdict | None] | None:
    """The event of the newest verdict, and the verdict where its file holds what was said."""
    events = ledger.events(ws, "verdict")
    return (events[-1]["data"], verdicts.read(ws, events[-1])) if events else None
