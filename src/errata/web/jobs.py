"""Training that the desk starts and stops: the same commands as a terminal's, as processes that
outlive it; and what a run tells of itself while it goes on."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import sqlalchemy as sa

from errata.errors import BadInput
from errata.store import database, past
from errata.web.guard import TOKEN
from errata.workspace import Workspace

STAGES = ("sft", "dpo", "rm", "ppo")
PROGRESS = "progress.jsonl"  # as errata.train.log writes it; to import that would import torch
_NOT_CURVES = ("step", "steps", "time", "epoch", "total_flos", "num_input_tokens_seen")
_TAIL = 4000  # bytes of a job's output that a page shows


class Job(NamedTuple):
    """One command that this desk began."""

    number: int
    words: list[str]
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def code(self) -> int | None:
        """Its exit code; None while it goes on."""
        return self.process.poll()

    @property
    def tail(self) -> str:
        """The end of what it printed."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL))
            return file.read().decode(errors="replace")
        return ""


class Jobs:
    """What this desk began, the newest first."""

    def __init__(self, ws: Workspace) -> None:
        self.ws, self.all, self._lock = ws, list[Job](), Lock()

    def start(self, stage: str, words: list[str]) -> Job:
        """`errata STAGE key=value …` in a process of its own session: closing the desk ends it not.

        BadInput for a stage that trains nothing, and while another training of this desk goes on.
        """
        if stage not in STAGES:
            raise BadInput(f"{stage}: the desk starts {', '.join(STAGES)}; use the terminal")
        with self._lock:
            return self._start(stage, words)

    def _start(self, stage: str, words: list[str]) -> Job:
        if busy := [job for job in self.all if job.code is None]:
            raise BadInput(f"{busy[0].words[0]} goes on; stop it, or wait until it has ended")
        folder = self.ws.cache / "desk"
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / f"{time.time_ns()}-{stage}.log"
        command = [sys.executable, "-m", "errata", stage, "-C", str(self.ws.root), *words]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                env={name: told for name, told in os.environ.items() if name != TOKEN},
            )  # fmt: skip
        job = Job(len(self.all) + 1, [stage, *words], log, process)
        self.all.insert(0, job)
        return job


def stop(ws: Workspace, id: str) -> None:
    """Ask a run's process to save its state and end; BadInput where it is not this machine's."""
    table = database.run
    columns = (table.c.status, table.c.host, table.c.pid, table.c.born)
    with database.reading(ws) as connection:
        found = connection.execute(sa.select(*columns).where(table.c.id == id)).first()
    if found is None or found.status != "running":
        raise BadInput(f"{id}: it does not run")
    if found.host != platform.node():
        raise BadInput(f"{id}: it runs on {found.host}; stop it there")
    if not past.alive(found.pid, found.born):
        raise BadInput(f"{id}: its process is gone; `errata runs` marks it died")
    try:
        os.kill(found.pid, signal.SIGTERM)
    except OSError as error:  # somebody else's process, or it has just ended
        raise BadInput(f"{id}: {error.strerror}; stop it where it was started") from None


class Progress(NamedTuple):
    """Curves so far, how far it is, and how many seconds are left by the pace until now."""

    curves: dict[str, list[tuple[float, float]]]
    step: int
    steps: int
    left: float | None

    @property
    def share(self) -> float:
        """Of the steps that are done."""
        return self.step / self.steps if self.steps else 0.0


def progress(ws: Workspace, id: str) -> Progress:
    """What a run has logged; nothing for one that logs nothing. A line that is being written, or
    that is no JSON, is none."""
    curves: dict[str, list[tuple[float, float]]] = {}
    times: list[tuple[float, float]] = []
    steps = last = 0
    path = ws.runs / Path(id).name / PROGRESS
    for raw in path.read_bytes().splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError):
            point = json.loads(raw)
            of, step = int(point.pop("steps")), float(point["step"])
            if point["time"] is not None:  # else of before the run was gone on with
                times.append((step, float(point["time"])))
            steps, last = of, int(step)
            for name, value in point.items():
                if name not in _NOT_CURVES:
                    curves.setdefault(name, []).append((step, float(value)))
    return Progress(curves, last, steps, _left(times, steps))


def _left(times: list[tuple[float, float]], steps: int) -> float | None:
    """Seconds to go, by the last twenty points: the first steps of a run are its slowest."""
    recent = times[-20:]
    done = recent[-1][0] - recent[0][0] if recent else 0.0
    if done <= 0 or not steps:
        return None
    return max(0.0, (steps - recent[-1][0]) * (recent[-1][1] - recent[0][1]) / done)


def running(ws: Workspace) -> list[dict[str, Any]]:
    """Records of the runs that go on now, the newest first."""
    table = database.run
    query = sa.select(table.c.record).where(table.c.status == "running")
    with database.reading(ws) as connection:
        rows = connection.execute(query.order_by(table.c.began.desc())).scalars()
        return [json.loads(text) for text in rows]
