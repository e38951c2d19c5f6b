"""`errata serve`: an OpenAI-compatible server of this workspace's models, on one base.

Without `model` it serves what releases route to, and follows them: an adapter is loaded when its
release starts, and stays while a rollback could come back to it. Every model is asked for under a
name made of its weights (`errata serve` prints them, `GET /v1/models` lists them), so that a name
never means anything else. The gateway in front knows which release is whose.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from errata import candidates
from errata.errors import ErrataError
from errata.language import say
from errata.outcome import Outcome
from errata.serve import admin, server
from errata.serve.batching import Batcher
from errata.serve.limits import impatient
from errata.serve.models import Models, first
from errata.serve.service import Service
from errata.serve.settings import Config as Config
from errata.serve.sockets import listen, url_of
from errata.workspace import Workspace


def main(ws: Workspace, config: Config) -> Outcome:
    """Load, listen, say where, and go on until SIGTERM or Ctrl-C."""
    secret = admin.token() if config.admin_port else None
    sockets = [listen(config.host, config.port)]
    if secret is not None:
        sockets.append(listen(config.admin_host, config.admin_port, "admin_port"))
    url = url_of(sockets[0])
    service = prepared(ws, config)
    try:
        asyncio.run(Running(service, sockets, secret).until_told())
    finally:
        service.close()
        for one in sockets:
            one.close()
    answered = int(sum(n for key, n in service.requests.values.items() if ("status", "200") in key))
    told = say(f"stopped; {answered} requests were answered", f"已停止，共回答 {answered} 个请求")
    return Outcome(0, told, {"url": url, "answered": answered})


def prepared(ws: Workspace, config: Config) -> Service:
    """The base and the first adapters loaded, nobody listening yet; BadInput for a model that
    cannot be served here."""
    import torch

    from errata.train.model import load

    if config.threads:
        torch.set_num_threads(config.threads)
    candidate = first(ws, config.model)
    base, _ = candidates.verify(ws, candidate)
    model, tokenizer = load(base, config.dtype)
    if torch.cuda.is_available() and not getattr(model, "is_quantized", False):
        model.to("cuda")
    limits = (config.max_rows, config.max_waiting, config.max_cells)
    models = Models(ws, candidate, Batcher(model, tokenizer, *limits))
    try:
        for name in config.model:
            models.named(name)
        models.follow()
    except ErrataError:
        models.batcher.stop()
        raise
    return Service(models, config)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: two of them run here, and drain first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Running:
    """The servers of one process, from ready to drained."""

    def __init__(
        self, service: Service, sockets: Sequence[socket.socket], secret: str | None
    ) -> None:
        self.service, self.sockets = service, sockets
        apps: list[ASGIApp] = [server.app(service)]
        if secret is not None:
            apps.append(admin.app(service, secret))
        self.servers = [_Server(self._config(app)) for app in apps]
        self.stop = asyncio.Event()

    def _config(self, app: ASGIApp) -> uvicorn.Config:
        knobs = self.service.config
        protocol = impatient(knobs.header_seconds, knobs.write_seconds)
        return uvicorn.Config(
            app, http=protocol, ws="none", lifespan="off", access_log=False,
            log_level="warning", timeout_graceful_shutdown=1, timeout_keep_alive=60,
            server_header=False,
        )  # fmt: skip

    async def until_told(self) -> None:
        """Serve; after SIGTERM or SIGINT (or `stop`) drain, then end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(RuntimeError, ValueError):  # in a thread: somebody sets `stop`
                loop.add_signal_handler(number, self.stop.set)
        serving = [
            asyncio.create_task(one.serve([listening]))
            for one, listening in zip(self.servers, self.sockets, strict=True)
        ]
        following = asyncio.create_task(self._follow())
        while not all(one.started for one in self.servers):
            if any(task.done() for task in serving):
                raise ErrataError("serve: the HTTP server did not start; its log says why")
            await asyncio.sleep(0.01)
        self._say_ready()
        await self.stop.wait()
        await self.service.drain()
        following.cancel()
        for one in self.servers:
            one.should_exit = True
        await asyncio.gather(*serving)

    async def _follow(self) -> None:
        """The routing's models, again and again; a store that is away changes nothing."""
        while True:
            await asyncio.sleep(self.service.config.follow_seconds)
            try:
                await asyncio.to_thread(self.service.models.follow)
            except Exception as error:  # whatever the store says, what is loaded is served on
                self.service.models.tell(f"the routing cannot be read: {error}; serving on")

    def _say_ready(self) -> None:
        service, url = self.service, url_of(self.sockets[0])
        told: dict[str, Any] = {"url": url, "models": list(service.models.known)}
        if len(self.sockets) > 1:
            told["admin"] = url_of(self.sockets[1]).removesuffix("/v1") + "/admin"
        words = f"{url} · {', '.join(told['models'])}"
        line = (
            json.dumps(told)
            if service.config.as_json
            else say(f"serving {words}", f"已就绪 {words}")
        )
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
