"""The gateway as one object, and its two applications: for clients and, on another port, /admin."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from errata.errors import ErrataError
from errata.gateway import feedback
from errata.gateway.chat import Chat
from errata.gateway.inflight import InFlight
from errata.gateway.journal import Journal
from errata.gateway.knobs import Config
from errata.gateway.meters import Meters
from errata.gateway.recorder import Recorder
from errata.gateway.routes import Chooser, View, Watch
from errata.gateway.upstreams import Pool, servers
from errata.intake import redact
from errata.release import control
from errata.safety.guard import policy
from errata.safety.guard.filter import Guard
from errata.serve.prometheus import Labels
from errata.serve.refused import Refused
from errata.store import ledger
from errata.workspace import Workspace

STALE = 5.0  # seconds without the store before healthz calls the routing old
CONTROL = 1.0  # seconds between two looks of the control loop


class Gateway:
    """What both applications share."""

    def __init__(self, ws: Workspace, config: Config) -> None:
        self.ws, self.config = ws, config
        self.name = config.name or re.sub(r"[^\w.-]", "-", f"{socket.gethostname()}-{os.getpid()}")
        self.keys = keys()
        self.max_body = int(config.max_body_mib * 2**20)
        self.max_reply = int(config.max_reply_mib * 2**20)
        self.meters = Meters()
        self.guard, self._stamp = Guard.of(ws), _stamp(ws)
        self.pool = Pool(servers(config), config.timeouts, config.retries)
        self.watch = Watch(ws, config.names, config.baseline, self._changed)
        self.chooser = Chooser(redact.workspace_key(ws), self.pool.offers, config.remember)
        self.in_flight = InFlight(config.inflight, self._gone)
        journal = Journal(ws, config.outputs, self.name, config.log_days)
        self.recorder = Recorder(ws, config, self.name, journal, self.meters,
                                 lambda: self.guard, self._salt)  # fmt: skip
        self.draining, self.policy_trouble = False, ""
        self.stop: Callable[[], None] = lambda: None  # set by who runs the servers
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = threading.Event()
        self._done: deque[tuple[str, dict[str, Any]]] = deque()  # events to be written down
        self.watch.look()

    # --- what a request asks of it

    def admit(self, headers: Mapping[str, str]) -> None:
        """Refused for who has no key, and for everybody while it drains or knows no routing: who
        started while the store was away would give everybody the baseline."""
        if self.keys:
            told = headers.get("authorization", "").removeprefix("Bearer ").strip()
            if hashlib.sha256(told.encode()).digest() not in self.keys:
                raise Refused(401, "no valid API key; send it as Authorization: Bearer …",
                              "invalid_api_key")  # fmt: skip
        if self.draining:
            raise Refused(503, "this gateway is going down; ask again", "draining", retry_after=1)
        if not self.watch.known:
            raise Refused(503, "the routing is not known yet; ask again", "no_routing",
                          retry_after=1)  # fmt: skip

    def moved_lately(self) -> bool:
        """Whether a conversation may have begun with a release that is no longer its user's, and
        the store is there to say so."""
        changed = self.watch.view.changed
        lately = bool(changed) and time.time() - changed < self.config.sticky_hours * 3600
        return lately and self.stored()

    def stored(self) -> bool:
        """Whether the store has answered the last looks."""
        return not self.watch.trouble and time.monotonic() - self.watch.looked < STALE

    def _salt(self, rollout: str) -> str:
        release = self.watch.view.routing.releases.get(rollout)
        return release.salt if release else ""

    # --- what happens beside them

    def _changed(self, before: View, after: View) -> None:
        """On the watch's thread: releases that were rolled back since are told to the loop's."""
        fresh = [(name, at) for name, at in after.gone.items() if name not in before.gone]
        if self._loop and not self._loop.is_closed():
            for name, at in fresh:
                self._loop.call_soon_threadsafe(self.in_flight.rolled_back, name, at)
            for name in after.drills.keys() - before.drills.keys():
                seconds = round(max(time.time() - after.drills[name], 0.0), 4)
                told = {"drill": name, "gateway": self.name, "seconds": seconds}
                self._done.append(("drill heard", told))

    def _gone(self, release: str, seconds: float) -> None:
        told = {"release": release, "gateway": self.name, "seconds": round(seconds, 4)}
        self._done.append(("rollback done", told))

    def _housekeeping(self) -> None:
        """At each look at the store: the policy's files, and rollbacks that have come to an end."""
        try:
            self.reload()
            self.policy_trouble = ""
        except (ErrataError, OSError) as error:  # the policy that was read before stays in force
            self.policy_trouble = str(error)
        while self._done:
            try:
                ledger.extend(self.ws, [self._done[0]])
            except (ErrataError, OSError):
                return  # the store is away: the next look tries again
            self._done.popleft()

    def reload(self, again: bool = False) -> None:
        """Take over the filter's policy if one of its files has changed."""
        stamp = _stamp(self.ws)
        if again or stamp != self._stamp:
            self.guard, self._stamp = Guard.of(self.ws), stamp

    def _control(self) -> None:
        """Move the rollout on or back, as its evidence says."""
        told, loop = "", control.Control(self.ws)
        while not self._over.wait(CONTROL):
            try:
                loop.tick()
                told = ""
            except Exception as error:  # it is tried again, and the rollout holds meanwhile
                line = f"errata: gateway: control: {type(error).__name__}: {error}"
                if line != told:
                    sys.stderr.write(" ".join(line.split()) + "\n")
                told = line

    def health(self) -> dict[str, object]:
        """What works, without names of servers."""
        age = time.monotonic() - self.watch.looked if self.watch.looked else float("inf")
        well = sum(server.well for server in self.pool.servers)
        told = "ok" if well else "no upstream"
        if self.draining or not self.watch.known:
            told = "draining" if self.draining else "no routing"
        return {"status": told, "store": "ok" if self.stored() else "away, the last routing serves",
                "routing_age": round(min(age, 1e9), 2), "upstreams": well}  # fmt: skip

    def gauges(self) -> dict[str, dict[Labels, float]]:
        age = time.monotonic() - self.watch.looked
        found: dict[str, dict[Labels, float]] = {
            "in_flight": {(): len(self.in_flight)},
            "retries_total": {(): self.pool.retried},
            "routing_age_seconds": {(): round(age, 3)},
            "store_ok": {(): float(self.stored() and self.recorder.store_ok)},
            "upstream_ok": {}, "upstream_in_flight": {},
        }  # fmt: skip
        for number, server in enumerate(self.pool.servers):
            which = (("upstream", str(number)),)
            found["upstream_ok"][which] = float(server.well)
            found["upstream_in_flight"][which] = server.in_flight
        return found

    @asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """All that runs while the application does."""
        self._loop = asyncio.get_running_loop()
        health = asyncio.create_task(self.pool.watch(self.config.health_seconds))
        look = threading.Thread(
            target=self.watch.run, daemon=True, name="watch",
            args=(self._over, self.config.poll_seconds, self._housekeeping),
        )  # fmt: skip
        look.start()
        if self.config.control:
            threading.Thread(target=self._control, daemon=True, name="control").start()
        self.recorder.start()
        try:
            yield
        finally:
            health.cancel()
            self._over.set()
            await asyncio.to_thread(self.recorder.stop)
            await asyncio.to_thread(look.join, 2)
            await self.pool.close()


def keys() -> frozenset[bytes]:
    """Hashes of the keys that clients may use, so that comparing them tells nothing."""
    told = os.environ.get("ERRATA_GATEWAY_KEYS", "").split(",")
    return frozenset(hashlib.sha256(key.strip().encode()).digest() for key in told if key.strip())


def _stamp(ws: Workspace) -> tuple[object, ...]:
    """Changes when a file of the filter's policy does."""
    found = []
    for name in (policy.FILE, policy.MODEL, policy.KILL):
        path = ws.root / name
        found.append((path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None)
    return tuple(found)


def clients(gateway: Gateway) -> Starlette:
    """The application for clients."""

    async def models(request: Request) -> Response:
        gateway.admit(request.headers)
        told = [{"id": name, "object": "model", "created": 0, "owned_by": "errata"}
                for name in gateway.config.models]  # fmt: skip
        return JSONResponse({"object": "list", "data": told})

    async def rate(request: Request) -> Response:
        gateway.admit(request.headers)
        return JSONResponse(await feedback.take(gateway, request))

    async def healthz(_: Request) -> Response:
        told = gateway.health()
        return JSONResponse(told, 200 if told["status"] == "ok" else 503)

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(gateway.meters.text(gateway.gauges()))

    return Starlette(
        routes=[
            Route("/v1/chat/completions", Chat(gateway), methods=["POST"]),
            Route("/v1/feedback", rate, methods=["POST"]),
            Route("/v1/models", models),
            Route("/healthz", healthz),
            Route("/metrics", metrics),
        ],
        exception_handlers=HANDLERS,
        lifespan=gateway.running,
    )


async def _problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Refused)
    return problem.response()


async def _not_here(request: Request, _: Exception) -> Response:
    what = f"nothing at {request.method} {request.url.path[:80]}"
    return Refused(404, what, "not_found").response()


async def _not_so(request: Request, _: Exception) -> Response:
    return Refused(405, f"{request.method} is not taken here", "method_not_allowed").response()


async def _bug(_: Request, error: Exception) -> Response:
    sys.stderr.write(f"errata: gateway: {type(error).__name__}: this is a bug\n")
    return Refused(500, "the gateway failed", "internal").response()


HANDLERS = {Refused: _problem, 404: _not_here, 405: _not_so, 500: _bug}
