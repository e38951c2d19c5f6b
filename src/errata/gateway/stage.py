"""In front of any OpenAI-compatible server: who gets which release, filtered and measured.

    errata gateway --upstream http://127.0.0.1:8000/v1

Clients ask it for the model `errata`. A user's bucket decides between the serving release and the
canary; answers pass the output filter, also while they stream; each leaves a row of measurements,
without text, in the store. Feedback comes in at /v1/feedback; failures go out to inbox/, redacted.
ERRATA_GATEWAY_KEYS: keys that clients may use, with commas between; without, loopback only.
ERRATA_ADMIN_TOKEN: opens /admin on a port of its own. SIGTERM: answers under way come to their end.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator

import uvicorn

from errata.errors import BadInput
from errata.gateway import admin, app, patience
from errata.gateway.app import Gateway
from errata.gateway.knobs import Config as Config
from errata.language import say
from errata.outcome import Outcome
from errata.workspace import Workspace

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Seconds that a thread may keep the interpreter while the event loop wants it; by default ten times
# as much, and a request that meets the recorder at work waits so long at each of its own steps.
SWITCH = 0.0005
Ports = tuple[int, int | None]  # of clients, and of /admin where that is on


def main(ws: Workspace, config: Config) -> Outcome:
    """Serve until told to stop."""
    sys.setswitchinterval(SWITCH)
    gateway = Gateway(ws, config)

    def tell(ports: Ports) -> None:
        sys.stderr.write(_greeting(gateway, ports) + "\n")

    gc.collect()
    gc.freeze()  # what is loaded by now stays: no later collection need walk over it
    asyncio.run(serve(gateway, tell))
    return Outcome(0, say("gateway: ended; nothing is under way", "网关已停止，没有进行中的请求"))


def _greeting(gateway: Gateway, ports: Ports) -> str:
    config, release = gateway.config, gateway.watch.view.routing.stable
    serving = release.id if release else config.baseline
    lines = [say(f"gateway {gateway.name}: http://{config.host}:{ports[0]}/v1, model "
                 f"`{config.models[0]}`, serving {serving}, filter {config.filter}",
                 f"网关 {gateway.name}：http://{config.host}:{ports[0]}/v1，模型 "
                 f"`{config.models[0]}`，线上 {serving}，过滤器 {config.filter}")]  # fmt: skip
    if ports[1] is None:
        lines.append(say("admin is off: no ERRATA_ADMIN_TOKEN",
                         "管理接口未开启：未设置 ERRATA_ADMIN_TOKEN"))  # fmt: skip
    else:
        lines.append(f"admin: http://{config.admin_host}:{ports[1]}/admin")
    return "\n".join(lines)


class Server(uvicorn.Server):
    """One of two in a process: signals are handled once, for both."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @property
    def port(self) -> int:
        return int(self.servers[0].sockets[0].getsockname()[1])


async def serve(gateway: Gateway, tell: Callable[[Ports], None]) -> None:
    """Both servers until `gateway.stop`, SIGTERM or SIGINT; then what is under way ends first."""
    config, secret = gateway.config, admin.token()
    if config.host not in LOOPBACK and not gateway.keys:
        raise BadInput(f"gateway: host {config.host} is open to others; set ERRATA_GATEWAY_KEYS")
    running = [_server(app.clients(gateway), config.host, config.port, config)]
    if secret:
        own = admin.admin(gateway, secret)
        running.append(_server(own, config.admin_host, config.admin_port, config))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        gateway.draining = True
        for server in running:
            server.should_exit = True

    def asked_to_stop() -> None:  # on any thread
        loop.call_soon_threadsafe(stop)

    gateway.stop = asked_to_stop
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
    tasks = [asyncio.create_task(_guarded(server, stop)) for server in running]
    while not all(server.started for server in running) and not any(t.done() for t in tasks):
        await asyncio.sleep(0.01)
    if all(server.started for server in running):
        tell((running[0].port, running[1].port if secret else None))
    await asyncio.gather(*tasks)


async def _guarded(server: Server, stop: Callable[[], None]) -> None:
    try:
        await server.serve()
    except SystemExit:
        told = f"port {server.config.port} of {server.config.host} is taken"
        raise BadInput(f"gateway: {told}; choose another") from None
    finally:
        stop()


def _server(application: object, host: str, port: int, config: Config) -> Server:
    told = uvicorn.Config(
        application,  # type: ignore[arg-type]
        host=host, port=port, access_log=False, log_level="error", server_header=False,
        http=patience.protocol(config.timeouts.header), ws="none",
        timeout_graceful_shutdown=int(config.timeouts.drain) or 1,
    )  # fmt: skip
    return Server(told)
