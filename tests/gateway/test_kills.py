"""kill -9 of the gateway, of the engine, of PostgreSQL, under load: whoever asked gets an answer or
an error, no stage changes by itself, and afterwards the buckets are the same."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest
from tests.gateway.conftest import BASE_NAME, Rollouts, Running, Upstream, candidate, until
from tests.gateway.test_processes import Process, start

import errata
from errata.gateway import app
from errata.records import Release
from errata.serve.names import served
from errata.store import audit, database, ledger
from errata.workspace import Workspace

__all__ = ["start"]
Gate = Callable[..., Running]
Start = Callable[..., Upstream]
NAMES = [f"user-{n}" for n in range(12)]
REPOSITORY = Path(__file__).parents[2]


class Load:
    """Users who ask all the time, half of them for streams; `found` counts how it ended. A request
    that comes to no end, or to one that looks like an answer and is none, is `lost`."""

    def __init__(self, url: str, at_once: int = 4) -> None:
        self.url, self.found, self.over = url, Counter[str](), threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(at_once)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request came to no end"

    def _ask(self, number: int) -> None:
        asked = 0
        while not self.over.is_set():
            asked += 1
            self.found[self._one(f"user-{number}-{asked}", stream=asked % 2 == 0)] += 1

    def _one(self, user: str, stream: bool) -> str:
        body = {"messages": [{"role": "user", "content": "How much is the lamp?"}],
                "user": user, "stream": stream, "max_tokens": 24}  # fmt: skip
        try:
            reply = httpx.post(f"{self.url}/chat/completions", json=body, timeout=30)
        except httpx.TimeoutException:
            return "lost"
        except httpx.TransportError:
            self.over.wait(0.05)  # who is refused asks no faster for it
            return "broken off"
        if reply.status_code != 200:
            self.over.wait(0.05)
            return str(reply.json()["error"]["code"])
        if not stream:
            return "answered" if reply.json()["choices"][0]["finish_reason"] else "lost"
        last = reply.text.strip().split("\n\n")[-1]
        if last == "data: [DONE]":
            return "answered"
        return str(json.loads(last.removeprefix("data: ")).get("error", {}).get("code", "lost"))


def releases(running: Running) -> list[str]:
    return [running.ask(user=name).headers["x-errata-release"] for name in NAMES]


def half(ws: Workspace, rollouts: Rollouts) -> Release:
    """A rollout at 50 % of a candidate that any server with the base can answer for."""
    found = candidate(ws, "one", adapter=None, adapter_digest=None, system_prompt="Be brief.")
    return rollouts.start(found, 50)


def unmoved(ws: Workspace) -> bool:
    return [event["data"]["action"] for event in ledger.events(ws, "rollout")] == ["start"]


@pytest.mark.slow
def test_a_gateway_that_is_killed(
    ws: Workspace, rollouts: Rollouts, upstream: Start, start: Callable[[str, str], Process]
):
    found = candidate(ws, "one")
    server = upstream(lambda _: [{"content": "word "}, 0.02] * 5 + ["stop"]
                      if _.get("stream") else "42 yuan.", {BASE_NAME, served(found)})  # fmt: skip
    release = rollouts.start(found, 50)
    gateway = start(server.url, "one")
    before = gateway.releases()
    assert set(before) == {"base", release.id}
    with Load(gateway.url) as load:
        until(lambda: load.found["answered"] > 20)
        assert gateway.end(signal.SIGKILL) == -signal.SIGKILL
        until(lambda: load.found["broken off"] > 4)

    assert set(load.found) == {"answered", "broken off"}
    assert start(server.url, "again").releases() == before
    assert unmoved(ws)
    assert audit.verify(ws) == []


class Engine:
    """`errata serve`, as a process that can be killed and started again on its port."""

    def __init__(self, ws: Workspace, port: int) -> None:
        words = ["-m", "errata", "serve", "-C", str(ws.root), f"port={port}", "threads=1"]
        source = str(Path(errata.__file__).parents[1])
        self.url = f"http://127.0.0.1:{port}/v1"
        self.process = subprocess.Popen(
            [sys.executable, *words], env={**os.environ, "PYTHONPATH": source},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(self.well, 90)

    def well(self) -> bool:
        assert self.process.poll() is None, "errata serve has ended"
        try:
            return httpx.get(f"{self.url}/models").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


@pytest.fixture
def engine(ws: Workspace) -> Iterator[Callable[[], Engine]]:
    running: list[Engine] = []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def begin() -> Engine:
        running.append(Engine(ws, port))
        return running[-1]

    yield begin
    for one in running:
        one.kill()


@pytest.mark.slow
def test_an_engine_that_is_killed(
    ws: Workspace, rollouts: Rollouts, gate: Gate, engine: Callable[[], Engine]
):
    release = half(ws, rollouts)
    one = engine()
    running: Any = gate(SimpleNamespace(url=one.url))
    before = releases(running)
    assert set(before) == {"base", release.id}
    with Load(running.url) as load:
        until(lambda: load.found["answered"] > 20)
        one.kill()
        until(lambda: sum(load.found.values()) > load.found["answered"] + 4)
        answered = load.found["answered"]
        engine()
        until(lambda: load.found["answered"] > answered + 4)

    told = {"upstream_broken", "upstream_unreachable", "model_unavailable"}
    assert set(load.found) - {"answered"} <= told
    assert releases(running) == before
    assert unmoved(ws)
    assert len(running.rows(1, release.id)) > 20


class Postgres:
    """A server of our own, to be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "postgres"
        script = REPOSITORY / ".ci" / "postgres"
        done = subprocess.run(["bash", str(script), str(self.folder)], capture_output=True,
                              text=True, timeout=120)  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.url = done.stdout.strip()
        self.words = shlex.split((self.folder / "db" / "postmaster.opts").read_text())

    def kill(self) -> None:
        """Every process of it, with no word of warning."""
        number = int((self.folder / "db" / "postmaster.pid").read_text().split()[0])
        server = psutil.Process(number)
        family = [server, *server.children(recursive=True)]
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(family, 30)

    def again(self) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([*user, *self.words], stdout=log, stderr=log)

    def stop(self) -> None:
        subprocess.run([str(self.folder / "stop")], check=False, timeout=60, capture_output=True)


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    """Our own; the session's is shared with other tests."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("PostgreSQL's initdb is not installed: nothing to kill")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)  # the server is another user
    server = Postgres(folder)
    monkeypatch.setenv("ERRATA_DATABASE_URL", server.url)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_postgresql_that_is_killed(
    postgres: Postgres, ws: Workspace, rollouts: Rollouts, gate: Gate, upstream: Start,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.setattr(app, "CONTROL", 0.05)
    release, server = half(ws, rollouts), upstream()
    running = gate(server, control=True)
    before = releases(running)
    assert set(before) == {"base", release.id}
    with Load(running.url) as load:
        until(lambda: load.found["answered"] > 20)
        postgres.kill()
        until(lambda: bool(running.gateway.watch.trouble))
        answered = load.found["answered"]
        until(lambda: load.found["answered"] > answered + 20)
        assert releases(running) == before, "by the routing that was last known"
        late = gate(server, name="late")
        assert late.ask().json()["error"]["code"] == "no_routing", "never the baseline for all"
        postgres.again()
        until(lambda: not running.gateway.watch.trouble)

    assert set(load.found) == {"answered"}, "users notice nothing"
    until(lambda: late.gateway.watch.known)
    assert releases(running) == releases(late) == before
    assert unmoved(ws)
    rows = running.rows(load.found["answered"] + 3 * len(NAMES), release.id)
    assert len({row.answer for row in rows}) == len(rows), "each answer once"
    assert audit.verify(ws) == []
    database.connect(ws).dispose()
