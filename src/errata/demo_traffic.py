"""The demo's rollouts: a model server, a gateway, a crowd of users, and what breaks in the second.

Users are simulated, the rest is real: `errata serve` and `errata gateway` are processes, requests
and thumbs go over HTTP, and the gateway's own control loop advances the rollout or takes it back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import aiohttp
import httpx

from errata import candidates, jsonl
from errata.config import read_yaml
from errata.errors import ErrataError
from errata.evaluate.failures import judge
from errata.language import say
from errata.records import ATTACKS, Candidate, Case, Release
from errata.release import alerts, rollback, rollout, routing
from errata.serve.completion import read
from errata.serve.names import served
from errata.store import ledger
from errata.workspace import Workspace

USERS, AT_ONCE = 2000, 16
LONGEST = 1800  # seconds of one rollout
NAME = "demo"  # of the gateway


class Stand(NamedTuple):
    """What runs, and how it is reached."""

    gateway: str
    gateway_admin: str
    engine_admin: str
    token: str

    def admin(self, url: str, path: str, body: dict[str, Any] | None = None) -> None:
        """An order to one of the two."""
        said = httpx.post(f"{url}{path}", json=body or {}, timeout=60,
                          headers={"Authorization": f"Bearer {self.token}"})  # fmt: skip
        if said.is_error:
            raise ErrataError(f"demo: {path}: HTTP {said.status_code}: {said.text[:200]}")


def pool(ws: Workspace) -> list[Case]:
    """What users ask: mostly business, some attacks; tune, for its failures are trained on."""
    cases = jsonl.read(ws.suites / "business.jsonl", Case)
    cases += jsonl.read(ws.suites / "attacks.jsonl", Case)
    tune = sorted((c for c in cases if c.split == "tune"), key=lambda c: c.id.rsplit("-", 1)[-1])
    business = [case for case in tune if case.category not in (*ATTACKS, "agent")]
    attacks = [case for case in tune if case.category in ATTACKS]
    return business[:360] + attacks[:40]


def few_users(ws: Workspace) -> None:
    """A demo's crowd is small: its stages see less than a product's should."""
    path = ws.configs / "monitor.yaml"
    told = {**read_yaml(path), "min_exposure": {1: 10, 5: 30, 25: 120}}
    jsonl.write_json(path, told)


def damage(ws: Workspace, candidate: Candidate, scale: float) -> str:
    """A copy of a candidate whose adapter has noise on its weights, as a botched copy leaves it;
    the path of its manifest."""
    import torch
    from safetensors.torch import load_file, save_file

    base, adapter = candidates.verify(ws, candidate)
    assert adapter is not None
    folder = ws.runs / "damaged" / "adapter"
    shutil.copytree(adapter, folder, dirs_exist_ok=True)
    weights = load_file(folder / "adapter_model.safetensors")
    rng = torch.Generator().manual_seed(0)
    for name, value in weights.items():
        noise = torch.randn(value.shape, generator=rng) * value.std() * scale
        weights[name] = (value + noise).contiguous()
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    manifest = folder.parent / "candidate.json"
    jsonl.write_json(manifest, candidates.make(ws, base, folder))
    return ws.relative(manifest)


@contextlib.contextmanager
def stand(ws: Workspace) -> Iterator[Stand]:
    """A model server and a gateway in front of it, until this ends."""
    ports, token = [_free() for _ in range(4)], secrets.token_hex(16)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    # One thread: the other core is the gateway's and the crowd's.
    engine = [f"port={ports[0]}", f"admin_port={ports[1]}", "max_tokens=48", "threads=1"]
    gateway = [f"upstream={urls[0]}/v1", f"port={ports[2]}", f"admin_port={ports[3]}",
               f"name={NAME}", "log_share=0.2"]  # fmt: skip
    log = ws.state / "serving.log"
    with log.open("ab") as out, contextlib.ExitStack() as running:
        for words, url in ((["serve", *engine], urls[0]), (["gateway", *gateway], urls[2])):
            done = subprocess.Popen(
                [sys.executable, "-m", "errata", "-C", str(ws.root), *words],
                env={**os.environ, "ERRATA_ADMIN_TOKEN": token}, stdout=out, stderr=out,
            )  # fmt: skip
            running.callback(_stopped, done)
            _ready(done, f"{url}/healthz", log)
        yield Stand(f"{urls[2]}/v1", urls[3], urls[1], token)


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise ErrataError(f"demo: nothing serves at {url}; see {log}")


def _stopped(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Crowd:
    """Users who ask through the gateway, and say whether the answer was good."""

    def __init__(self, ws: Workspace, at: Stand, seed: str) -> None:
        self.ws, self.at, self.cases, self.random = ws, at, pool(ws), Random(seed)
        self.requests = self.failed = 0
        self.over = False

    async def ask(self, rolling: Callable[[], bool]) -> None:
        """Ask until the rollout is no longer rolling; raises when it takes too long."""
        end = time.monotonic() + LONGEST
        async with aiohttp.ClientSession() as session:
            users = [asyncio.create_task(self._user(session)) for _ in range(AT_ONCE)]
            try:
                while await asyncio.to_thread(rolling):
                    await asyncio.sleep(0.3)
                    for user in users:
                        if user.done():
                            user.result()
                    if time.monotonic() > end:
                        raise ErrataError("demo: the rollout does not end; see `errata monitor`")
            finally:
                self.over = True
                await asyncio.gather(*users, return_exceptions=True)

    async def _user(self, session: aiohttp.ClientSession) -> None:
        while not self.over:
            case = self.random.choice(self.cases)
            turns = [{"role": turn.role, "content": turn.content} for turn in case.messages]
            body = {"model": "errata", "messages": turns,
                    "user": f"user-{self.random.randrange(USERS)}"}  # fmt: skip
            async with session.post(f"{self.at.gateway}/chat/completions", json=body) as said:
                raw = await said.read()
            self.requests += 1
            if said.status != 200:
                self.failed += 1
                continue
            await self._rate(session, case, raw)

    async def _rate(self, session: aiohttp.ClientSession, case: Case, raw: bytes) -> None:
        seen = judge(case, read(raw).text or "")
        told = {"id": json.loads(raw)["id"], "rating": "down" if seen.failed else "up"}
        if seen.failed:
            told["reason"] = seen.why
            if case.reference:
                told["edited"] = case.reference
        async with session.post(f"{self.at.gateway}/feedback", json=told) as taken:
            await taken.read()


class Rollout:
    """Follows one rollout in the store, tells it, and breaks it where that is asked for."""

    def __init__(self, ws: Workspace, release: Release, at: Stand) -> None:
        self.ws, self.release, self.at = ws, release, at
        self.told, self.damaged, self.damage_at = 0, "", 100

    def rolling(self) -> bool:
        """Tell what is new; whether it is still under way."""
        for event in ledger.events(self.ws, "rollout"):
            data = event["data"]
            mine = data.get("id") == self.release.id and data["action"] in ("advance", "rollback")
            if mine and event["seq"] > self.told:
                where = f"→ {data['percent']} %" if data["action"] == "advance" else "→ 0 %"
                sys.stdout.write(f"    {data['action']} {where}: {data['why'][:110]}\n")
                if self.damaged and data.get("percent", 0) == self.damage_at:
                    self._break()
            self.told = max(self.told, event["seq"])
        for alert in alerts.standing(self.ws, self.release.id):
            if alert.state == "open":
                sys.stdout.write(f"    alert {alert.id}: {alert.why[:100]}; {alert.runbook}\n")
                alerts.change(self.ws, alert.id, "acknowledged")
        now = routing.current(self.ws).releases[self.release.id]
        return now.state == "rolling"

    def _break(self) -> None:
        """Somebody has another adapter answer under the canary's name."""
        canary = candidates.resolve(self.ws, self.release.candidate_path)
        wrong = candidates.resolve(self.ws, self.damaged)
        self.at.admin(self.at.engine_admin, "/admin/models", {"model": self.damaged})
        path = self.ws.configs / "gateway.yaml"
        self.kept = path.read_text(encoding="utf-8")
        jsonl.write_json(path, {**read_yaml(path),
                                "names": {canary.adapter_digest: served(wrong)}})  # fmt: skip
        self.at.admin(self.at.gateway_admin, "/admin/reload")
        sys.stdout.write(say("    -- a damaged adapter answers under the canary's name now --\n",
                             "    -- 此刻以金丝雀之名作答的是一个损坏的适配器 --\n"))  # fmt: skip
        jsonl.write_text(path, self.kept)


def roll_out(ws: Workspace, name: str, damaged: str = "", damage_at: int = 100) -> Release:
    """Serve a crowd through the gateway until the release serves all or is taken back. `damaged`:
    what answers under the canary's name from the stage `damage_at`, in percent, on."""
    with stand(ws) as at:
        told = rollback.drill(ws, 2.0)
        sys.stdout.write(f"    drill: {told['seconds']:.3f} s, gateways: {told['gateways']}\n")
        begun = rollout.start(ws, name, shadows=50)
        watched = Rollout(ws, begun, at)
        watched.damaged, watched.damage_at = damaged, damage_at
        crowd = Crowd(ws, at, begun.id)
        started = time.monotonic()
        asyncio.run(crowd.ask(watched.rolling))
        seconds = time.monotonic() - started
    rate = crowd.requests / max(seconds, 1e-9)
    sys.stdout.write(f"    {crowd.requests} requests in {seconds:.0f} s ({rate:.0f}/s), "
                     f"{crowd.failed} without an answer\n")  # fmt: skip
    return routing.current(ws).releases[begun.id]


def written_back(release: Release) -> str:
    """The inbox file with what users and the filter found wrong in a release's answers."""
    return f"inbox/live-{release.id}-{NAME}.jsonl"
