"""A gateway and the servers behind it: real ones, on ports that the system gives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from errata import candidates, jsonl
from errata.gateway import stage
from errata.gateway.app import Gateway
from errata.gateway.knobs import Config
from errata.records import Candidate, Release
from errata.release import live, routing
from errata.serve.names import served
from errata.workspace import Workspace

Say = Callable[[dict[str, Any]], Any]


def completion(text: str | None, calls: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return {"id": "theirs", "object": "chat.completion", "created": 1, "model": "theirs",
            "choices": [choice], "usage": usage}  # fmt: skip


def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    told = {"id": "theirs", "object": "chat.completion.chunk", "created": 1, "model": "theirs",
            "choices": [choice]}  # fmt: skip
    return f"data: {json.dumps(told)}\n\n"


def call(name: str, argument: str) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps({"id": argument})}
    return {"id": "call-1", "type": "function", "function": function}


class Upstream:
    """An OpenAI-compatible server that says what the test wants. `say` gives a text, a completion,
    a Response, an event to wait for, or a list of pieces of a stream; a number among them is
    seconds to wait, an event is waited for, None is the end of the connection."""

    def __init__(self, say: Say, models: set[str]) -> None:
        self.say, self.models = say, models
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.left = 0  # requests whose asker went away
        app = Starlette(
            routes=[
                Route("/v1/models", self._list),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )
        config = uvicorn.Config(app, port=0, log_level="critical", access_log=False, ws="none",
                                lifespan="off")  # fmt: skip
        self.server = stage.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.005)
        self.url = f"http://127.0.0.1:{self.server.port}/v1"

    async def _list(self, _: Request) -> Response:
        return JSONResponse({"data": [{"id": name} for name in sorted(self.models)]})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append(body)
        self.headers.append(dict(request.headers))
        told = self.say(body)
        if isinstance(told, threading.Event):
            while not told.is_set():
                await asyncio.sleep(0.02)
                if await request.is_disconnected():
                    self.left += 1
                    return Response()
            told = "late"
        if isinstance(told, str) and body.get("stream"):
            told = [*[{"content": piece} for piece in told.split("|")], "stop"]
        if isinstance(told, str):
            told = completion(told)
        if isinstance(told, list):
            return StreamingResponse(self._pieces(told), media_type="text/event-stream")
        return told if isinstance(told, Response) else JSONResponse(told)

    async def _pieces(self, told: list[Any]) -> Any:
        try:
            yield chunk({"role": "assistant", "content": ""})
            for piece in told:
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                elif isinstance(piece, threading.Event):
                    while not piece.is_set():
                        await asyncio.sleep(0.02)
                elif piece is None:
                    return
                elif isinstance(piece, str):
                    yield chunk({}, piece)
                else:
                    yield chunk(piece)
            usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
            yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n"
        except asyncio.CancelledError:
            self.left += 1
            raise

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(5)


@dataclass
class Running:
    """A gateway in a thread."""

    gateway: Gateway
    url: str = ""
    admin: str | None = None
    thread: threading.Thread | None = None
    error: list[BaseException] = field(default_factory=list)

    def ask(self, content: str = "How much is the lamp?", **more: Any) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": content}], **more}
        headers = body.pop("headers", {})
        return httpx.post(f"{self.url}/chat/completions", json=body, headers=headers, timeout=30)

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key="any", max_retries=0, timeout=30)

    def rows(self, n: int = 1, rollout: str = "base") -> list[live.Live]:
        """What was measured, once there are n rows of it."""
        until(lambda: len(live.read(self.gateway.ws, rollout)) >= n)
        return [seen.row for seen in live.read(self.gateway.ws, rollout)]

    def stop(self) -> None:
        self.gateway.stop()
        if self.thread:
            self.thread.join(30)
            assert not self.thread.is_alive()


@pytest.fixture
def upstream() -> Iterator[Callable[..., Upstream]]:
    """Starts servers that answer as a function says, and offer the base model."""
    running: list[Upstream] = []

    def start(say: Say = lambda _: "It costs 42 yuan.", models: set[str] | None = None) -> Upstream:
        running.append(Upstream(say, models if models is not None else {BASE_NAME}))
        return running[-1]

    yield start
    for server in running:
        server.stop()


BASE_NAME = served(candidates.make(Workspace(candidates.TINY), str(candidates.TINY)))


@pytest.fixture
def gate(ws: Workspace, upstream: Callable[..., Upstream]) -> Iterator[Callable[..., Running]]:
    """Starts gateways before one upstream, or several."""
    running: list[Running] = []

    def start(*behind: Upstream, **knobs: Any) -> Running:
        servers = [{"url": one.url} for one in behind or [upstream()]]
        told = {"upstreams": servers, "port": 0, "admin_port": 0, "control": False,
                "health_seconds": 0.2, "poll_seconds": 0.05, "log_share": 0.0, **knobs}  # fmt: skip
        found = Running(Gateway(ws, Config.model_validate_json(json.dumps(told))))
        ready = threading.Event()

        def tell(ports: stage.Ports) -> None:
            found.url = f"http://127.0.0.1:{ports[0]}/v1"
            found.admin = f"http://127.0.0.1:{ports[1]}/admin" if ports[1] else None
            ready.set()

        def run() -> None:
            try:
                asyncio.run(stage.serve(found.gateway, tell))
            except BaseException as error:
                found.error.append(error)
                ready.set()

        found.thread = threading.Thread(target=run, daemon=True)
        found.thread.start()
        assert ready.wait(30)

        def asked() -> bool:
            return all(one.well or one.why != "not asked yet" for one in found.gateway.pool.servers)

        until(lambda: bool(found.error) or asked())
        running.append(found)
        return found

    yield start
    for one in running:
        with contextlib.suppress(RuntimeError):
            one.stop()


def candidate(ws: Workspace, name: str, **settings: Any) -> Candidate:
    """A manifest of an adapter that nobody loads here: the servers have it under its name."""
    base = candidates.resolve(ws, "tiny")
    fields = {**base.model_dump(exclude={"digest"}), "adapter": f"runs/{name}/adapter",
              "adapter_digest": jsonl.digest(name), "run_id": name, **settings}  # fmt: skip
    found = Candidate(**fields, digest=candidates.digest_of(fields))
    jsonl.write_json(ws.runs / name / "candidate.json", found)
    return found


@dataclass
class Rollouts:
    """Releases of manifests that no gate has seen: here it is the routing that is tested."""

    ws: Workspace
    made: int = 0

    def start(self, found: Candidate, percent: int) -> Release:
        self.made += 1
        release = Release(
            id=f"r{self.made}-{found.digest[7:15]}", candidate_digest=found.digest,
            candidate_path=str(found.run_id), verdict_id="v", stage_percent=percent,
            state="rolling", salt=f"salt-{self.made}", ts="2026-01-01T00:00:00Z",
        )  # fmt: skip
        routing.record(self.ws, "start", release=release, stages=[percent, 100])
        return release

    def advance(self, release: Release, percent: int) -> None:
        routing.record(self.ws, "advance", id=release.id, percent=percent, why="enough")


@pytest.fixture
def rollouts(ws: Workspace) -> Rollouts:
    return Rollouts(ws)


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something holds; an AssertionError where it does not come to. The time is that of
    a machine on which much else runs: no claim about speed."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
