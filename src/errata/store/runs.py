"""A Run records whatever a stage opens: nothing is known afterwards that was not recorded here.

    with Run(ws, "build", config) as run:
        rows = jsonl.read(run.input("data/failures.jsonl"), Failure)
        jsonl.write(run.output("data/sft.jsonl"), made)
        run.link(rows[0].id, made[0].id, "became")
        run.note(rows=len(made))

Inputs are hashed when they are opened, outputs when the run ends. A run ends as `done`, `blocked`,
`no_decision` or `failed`; one whose process is gone is marked `died` by the next command.
"""

from __future__ import annotations

import contextlib
import datetime
import platform
import secrets
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import sqlalchemy as sa

from errata import git
from errata.errors import BadInput, Blocked, ErrataError, NoDecision
from errata.jsonl import canonical, digest, digest_file, plain, write_json, write_text
from errata.store import database, experiments, ledger, objects, past, people, rolled_back, tree
from errata.store.setting import finite, hidden, policies, versions
from errata.store.spill import Spill
from errata.workspace import Workspace

# What a later `checkout` must be able to bring back byte for byte.
KEPT = ("data/", "configs/", "policies/", "suites/")
_STATUS: dict[type[BaseException], str] = {Blocked: "blocked", NoDecision: "no_decision"}
_MADE_BY = {
    "data/failures.jsonl": "errata intake FILE…",
    "data/sft.jsonl": "errata build",
    "data/prefs.jsonl": "errata build",
    "suites/": "errata init (a new workspace has the suites)",
    "reports/evaluate/": "errata evaluate",
    "reports/safety/": "errata safety",
    "reports/gate/": "errata gate",
}


class _Beat:
    """Touches a file now and then, until it is told to stop or the process is gone."""

    def __init__(self, path: Path) -> None:
        self.path, self.over = path, threading.Event()
        path.touch()
        self.thread = threading.Thread(target=self._touch, daemon=True)
        self.thread.start()

    def _touch(self) -> None:
        while not self.over.wait(past.BEAT):
            with contextlib.suppress(OSError):
                self.path.touch()

    def stop(self) -> None:
        """No sign of life any more."""
        self.over.set()
        self.thread.join(1)
        with contextlib.suppress(OSError):
            self.path.unlink()


class Run:
    """One execution of a stage; a context manager."""

    def __init__(self, ws: Workspace, stage: str, config: Any) -> None:
        self.ws, self.stage = ws, stage
        self.config = hidden(plain(config))
        self.id, self.dir = "", ws.runs
        self.status = "running"
        self.facts: dict[str, Any] = {}
        self._files: dict[tuple[str, str], dict[str, Any]] = {}
        self._outputs: dict[str, str] = {}
        self._nodes: dict[str, tuple[str, dict[str, Any]]] = {}
        self._members: list[dict[str, str]] = []
        self._events: list[tuple[str, dict[str, Any]]] = []

    def __enter__(self) -> Run:
        past.mark_died(self.ws)
        self._start = time.perf_counter()
        with database.reading(self.ws) as connection:
            before = tree.last(connection)
        now = tree.look(self.ws, before)
        self._make_dir()
        self._edges, self._things = Spill(self.dir / ".edges"), Spill(self.dir / ".nodes")
        who = people.actor(self.ws)
        self._head = {
            "id": self.id,
            "stage": self.stage,
            "config": self.config,
            "config_hash": digest(self.config),
            "seed": self.config.get("seed") if isinstance(self.config, dict) else None,
            "git_commit": git.head(self.ws.root),
            "git_diff": self._keep_diff(),
            "policies": policies(self.ws),
            "actor": who.name,
            "roles": list(who.roles),
            "started": database.now(),
            "env": versions(),
        }
        process = psutil.Process()
        with database.writing(self.ws) as connection:
            connection.execute(
                database.run.insert().values(
                    id=self.id,
                    stage=self.stage,
                    status="running",
                    began=time.time(),
                    host=platform.node(),
                    pid=process.pid,
                    born=process.create_time(),
                    record=canonical(self.record()),
                )
            )
            rolled_back.notice(self.ws, connection, self.id)
            changed = tree.changes(before, now)
            tree.store(connection, self.id, now, changed)
            if changed:
                told = [change._asdict() for change in changed]
                ledger.add(self.ws, connection, [("policy", {"run": self.id, "changes": told})])
        write_json(self.dir / "run.json", self.record())
        self._beat = _Beat(self.dir / past.ALIVE)
        return self

    def _keep_diff(self) -> str | None:
        """What is not committed, but for what the run's tree and reports hold; its digest."""
        kept = (*tree.FOLDERS, "reports", "audit")
        diff = git.diff_text(self.ws.root, [".", *(f":!{folder}" for folder in kept)])
        if not diff:
            return None
        write_text(self.dir / "code.diff", diff)
        return objects.put(self.ws, self.dir / "code.diff")

    def _make_dir(self) -> None:
        self.ws.runs.mkdir(parents=True, exist_ok=True)
        while True:
            stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
            self.id = f"{stamp}-{self.stage}-{secrets.token_hex(2)}"
            self.dir = self.ws.runs / self.id
            with contextlib.suppress(FileExistsError):
                self.dir.mkdir()
                return

    def input(self, path: str | Path, role: str = "") -> Path:
        """Open a file or folder for reading: it must be there, and is hashed now."""
        full = self.ws.path(path)
        name = self.ws.relative(path)
        if not full.exists():
            step = next((s for prefix, s in _MADE_BY.items() if name.startswith(prefix)), None)
            advice = f"run `{step}` first" if step else "check the path"
            raise BadInput(f"{name}: no such file; {advice}")
        self._files["in", name] = self._look(full, name, role)
        return full

    def output(self, path: str | Path, role: str = "") -> Path:
        """A file or folder this run will write; its parent is made, and it is hashed at the end."""
        full = self.ws.path(path)
        full.parent.mkdir(parents=True, exist_ok=True)
        self._outputs[self.ws.relative(path)] = role
        return full

    def link(self, src: str, dst: str, kind: str) -> None:
        """`dst` came of `src`. Either may be the path of an input or output of this run."""
        self._edges.extend([(src, dst, kind)])

    def links(self, edges: Iterable[tuple[str, str, str]]) -> None:
        """Many links at once."""
        self._edges.extend(edges)

    def node(self, id: str, kind: str, /, **data: Any) -> None:
        """Say what an id is, for `errata trace`."""
        self._nodes[id] = (kind, data)

    def nodes(self, things: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
        """The same of many: (id, kind, what is told of it)."""
        self._things.extend((id, kind, finite(plain(data))) for id, kind, data in things)

    def event(self, kind: str, /, **data: Any) -> None:
        """What the ledger is to say when the run has ended well, beside that it ended."""
        self._events.append((kind, {"run": self.id, **data}))

    def members(self, version: str, file: str, rows: Iterable[tuple[str, str, str, str]]) -> None:
        """Say that a dataset version holds rows (id, leaf, label, source) in a file."""
        names = ("row", "leaf", "label", "source")
        shared = {"version": version, "file": file}
        self._members += ({**shared, **dict(zip(names, row, strict=True))} for row in rows)

    def note(self, **facts: Any) -> None:
        """Numbers and words for run.json: metrics, seconds, peak memory."""
        self.facts.update(finite(plain(facts)))

    def _look(self, full: Path, name: str, role: str) -> dict[str, Any]:
        kept = full.is_file() and name.startswith(KEPT)
        stat = full.stat()
        rows = None
        if full.suffix == ".jsonl" and full.is_file():
            with full.open("rb") as file:
                rows = sum(1 for line in file if line.strip())
        return {
            "path": name,
            "digest": objects.put(self.ws, full) if kept else digest_file(full),
            "name": role,
            "bytes": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "rows": rows,
        }

    def _listed(self, role: str) -> list[dict[str, Any]]:
        keys = ("path", "digest", "name", "rows")
        files = (file for (kind, _), file in self._files.items() if kind == role)
        return [{key: file[key] for key in keys if file[key] not in (None, "")} for file in files]

    def record(self) -> dict[str, Any]:
        """run.json."""
        return {
            **self._head,
            "status": self.status,
            "seconds": round(time.perf_counter() - self._start, 3),
            "inputs": self._listed("in"),
            "outputs": self._listed("out"),
            "facts": self.facts,
        }

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._beat.stop()
        if error is None:
            self.status = "done"
        else:
            self.status = _STATUS.get(type(error), "failed")
            self.facts["error"] = f"{type(error).__name__}: {error}"
        try:
            self._finish()
            experiments.render(self.ws)
        except (OSError, ErrataError):
            if error is None:
                with contextlib.suppress(OSError, ErrataError):
                    past.end(self.ws, self.id, "failed")
                raise  # else the first error is the one to report

    def _finish(self) -> None:
        for name, role in self._outputs.items():
            full = self.ws.path(name)
            if full.exists():
                self._files["out", name] = self._look(full, name, role)
        record = self.record()
        with database.writing(self.ws) as connection:
            files = [{**f, "run_id": self.id, "role": role} for (role, _), f in self._files.items()]
            if files:
                connection.execute(database.run_file.insert(), files)
            if self.status != "failed":
                self._store_lineage(connection)
            connection.execute(
                database.run.update()
                .where(database.run.c.id == self.id)
                .values(status=self.status, record=canonical(record))
            )
            keys = ("id", "stage", "status", "config_hash", "inputs", "outputs")
            told = self._events if self.status == "done" else []
            end = ("run", {key: record[key] for key in keys})
            ledger.add(self.ws, connection, [*told, end])
            # Before the commit: a run that dies between the two is marked died in both places.
            write_json(self.dir / "run.json", record)
        self._edges.close()
        self._things.close()
        ledger.seal(self.ws)

    def _store_lineage(self, connection: sa.Connection) -> None:
        digests = {name: file["digest"] for (_, name), file in self._files.items()}
        for part in self._edges.parts():
            database.insert_new(
                connection,
                database.edge,
                (
                    {
                        "src": digests.get(src, src),
                        "dst": digests.get(dst, dst),
                        "kind": kind,
                        "run_id": self.id,
                    }
                    for src, dst, kind in part
                ),
            )
        database.insert_new(connection, database.member, self._members)
        self.nodes((id, kind, data) for id, (kind, data) in self._nodes.items())
        for part in self._things.parts():
            fresh = {id: {"id": id, "kind": kind, "data": canonical(data)}
                     for id, kind, data in part}  # fmt: skip
            ids = list(fresh)
            for start in range(0, len(ids), 500):  # a statement holds a limited number of values
                some = database.node.c.id.in_(ids[start : start + 500])
                connection.execute(database.node.delete().where(some))
            database.insert_new(connection, database.node, fresh.values())
