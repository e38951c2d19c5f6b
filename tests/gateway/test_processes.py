"""Gateways as processes of their own, on one PostgreSQL: they agree, and one may be killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.gateway.conftest import BASE_NAME, Rollouts, Upstream, candidate, until
from tests.store.conftest import store

import errata
from errata import jsonl
from errata.release import live, rollback
from errata.serve.names import served
from errata.workspace import Workspace

__all__ = ["store"]
NAMES = [f"user-{n}" for n in range(12)]


@pytest.fixture
def ws(store: Workspace) -> Workspace:
    return store


class Process:
    """`errata gateway`, started as a user would."""

    def __init__(self, ws: Workspace, upstream: str, name: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        words = ["-m", "errata", "gateway", "-C", str(ws.root), f"upstream={upstream}",
                 f"port={self.port}", f"name={name}", "control=false"]  # fmt: skip
        source = str(Path(errata.__file__).parents[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.process = subprocess.Popen(
            [sys.executable, *words], env={**os.environ, "PYTHONPATH": source},
            stderr=subprocess.PIPE,
        )  # fmt: skip
        self.answered: set[str] = set()
        until(self.well, 60)

    def well(self) -> bool:
        assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, user: str) -> httpx.Response:
        body = {"user": user, "messages": [{"role": "user", "content": "How much?"}]}
        reply = httpx.post(f"{self.url}/chat/completions", json=body, timeout=30)
        self.answered.add(reply.json()["id"])
        return reply

    def releases(self) -> list[str]:
        return [self.ask(name).headers["x-errata-release"] for name in NAMES]

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def start(ws: Workspace) -> Iterator[Callable[[str, str], Process]]:
    running: list[Process] = []

    def one(upstream: str, name: str) -> Process:
        running.append(Process(ws, upstream, name))
        return running[-1]

    yield one
    for process in running:
        process.process.kill()
        process.process.wait()


def test_two_gateways_on_one_store_agree_and_one_may_be_killed(
    ws: Workspace, upstream: Callable[..., Upstream], start: Callable[[str, str], Process]
):
    found = candidate(ws, "one")
    server = upstream(models={BASE_NAME, served(found)})
    one, other = start(server.url, "one"), start(server.url, "other")
    assert set(one.releases() + other.releases()) == {"base"}

    rollouts = Rollouts(ws)
    release = rollouts.start(found, 50)
    until(lambda: {"base", release.id} == set(one.releases()) == set(other.releases()))
    shared = one.releases()
    assert other.releases() == shared
    assert one.end(signal.SIGKILL) == -signal.SIGKILL
    assert other.releases() == shared, "and nobody notices"
    again = start(server.url, "again")
    assert again.releases() == shared, "the buckets are the same after a restart"

    rollback.roll_back(ws, "a test")
    until(lambda: set(other.releases() + again.releases()) == {"base"})
    assert [other.end(signal.SIGTERM), again.end(signal.SIGTERM)] == [0, 0]
    rows = [seen.row for rollout in ("base", release.id) for seen in live.read(ws, rollout)]
    of_other = {row.answer for row in rows if row.gateway == "other"}
    assert of_other == other.answered, "all that was answered is written before the end"
    assert len({row.answer for row in rows}) == len(rows)
    assert jsonl.plain(rows[0])["kind"] == "answer"


def test_a_port_that_is_taken_is_said_in_one_line(ws: Workspace, upstream: Callable[..., Upstream]):
    server = upstream()
    port = server.url.split(":")[2].split("/")[0]
    words = ["gateway", "-C", str(ws.root), f"upstream={server.url}", f"port={port}", "--json"]
    source = str(Path(errata.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "errata", *words], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip

    assert done.returncode == 2
    assert "is taken; choose another" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["code"] == 2
