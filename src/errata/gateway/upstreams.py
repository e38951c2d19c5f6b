"""The servers behind: which are well, which models each offers, and one of them asked.

A request is tried again only where no server has begun to answer it: the connection was refused or
broke before the first byte, or the server said 503.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from errata.errors import BadInput
from errata.gateway.knobs import Config, Timeouts, Upstream
from errata.serve import completion
from errata.serve.refused import Refused

RETRY = 0.05  # seconds before the second try, doubled before each further one
REFRESH = 1.0  # at most so often are servers asked out of turn


@dataclass(eq=False)
class Server:
    """One upstream as it is now."""

    url: str
    key: str = field(repr=False, default="")
    offers: frozenset[str] = frozenset()
    well: bool = False
    why: str = "not asked yet"
    in_flight: int = 0

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


def servers(config: Config) -> list[Server]:
    """Those of the config, with their keys from the environment; BadInput without any."""
    told = config.upstreams
    if config.upstream:
        told = [Upstream(url=config.upstream, key_env="ERRATA_UPSTREAM_KEY")]
    if not told:
        raise BadInput("gateway: in front of which server? --upstream http://127.0.0.1:8000/v1")
    for one in told:
        if not one.url.startswith(("http://", "https://")):
            raise BadInput("gateway: an upstream's URL begins with http:// or https://")
    return [Server(one.url.rstrip("/"), os.environ.get(one.key_env, "")) for one in told]


class Pool:
    """All upstreams."""

    def __init__(self, found: Sequence[Server], timeouts: Timeouts, retries: int) -> None:
        self.servers, self.timeouts, self.retries = list(found), timeouts, retries
        self.retried = 0
        self._session: aiohttp.ClientSession | None = None
        self._refreshed = 0.0

    @property
    def session(self) -> aiohttp.ClientSession:
        """Made on the event loop that uses it."""
        if self._session is None:
            limits = aiohttp.ClientTimeout(total=None, sock_connect=self.timeouts.connect)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15), timeout=limits,
                cookie_jar=aiohttp.DummyCookieJar(),
            )  # fmt: skip
        return self._session

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    def offers(self, model: str) -> bool:
        """Whether a server that is well has this model."""
        return any(server.well and model in server.offers for server in self.servers)

    async def watch(self, seconds: float) -> None:
        """Ask all of them what they offer, again and again."""
        while True:
            await self.refresh()
            await asyncio.sleep(seconds)

    async def refresh(self) -> None:
        self._refreshed = time.monotonic()
        await asyncio.gather(*map(self._ask, self.servers))

    async def _ask(self, server: Server) -> None:
        try:
            async with asyncio.timeout(self.timeouts.connect + 2):
                url = f"{server.url}/models"
                async with self.session.get(url, headers=server.headers) as reply:
                    if reply.status != 200:
                        server.well, server.why = False, f"GET /models: {reply.status}"
                        return
                    told = await reply.json(content_type=None)
            server.offers = frozenset(model["id"] for model in told["data"])
            server.well, server.why = True, ""
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            server.well, server.why = False, type(error).__name__
        except (ValueError, KeyError, TypeError, RecursionError):
            server.well, server.why = False, "GET /models: not a list of models"

    async def _choose(self, model: str, tried: Sequence[Server]) -> Server:
        """One that offers the model: not tried yet, well, and with the least to do."""
        if not self.offers(model) and time.monotonic() - self._refreshed > REFRESH:
            await self.refresh()
        able = [server for server in self.servers if model in server.offers]
        if not able:
            raise Refused(503, "no server offers the model of your release at the moment",
                          "model_unavailable", retry_after=2)  # fmt: skip
        return min(able, key=lambda one: (tried.count(one), not one.well, one.in_flight))

    @asynccontextmanager
    async def asked(
        self, model: str, body: bytes, stream: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that has begun, with status 200; Refused for anything else."""
        tried: list[Server] = []
        while True:
            server = await self._choose(model, tried)
            tried.append(server)
            server.in_flight += 1
            reply = None
            try:
                reply = await self._post(server, body, stream)
                last = len(tried) > self.retries
                if reply is not None and (reply.status != 503 or last):
                    if reply.status != 200:
                        raise _refused(server, reply.status, await reply.content.read(4096),
                                       reply.headers.get("Retry-After"))  # fmt: skip
                    yield reply
                    return
                if reply is None and last:
                    raise Refused(502, "the model server cannot be reached", "upstream_unreachable")
            finally:
                server.in_flight -= 1
                if reply is not None:
                    reply.close() if not reply.content.at_eof() else reply.release()
            self.retried += 1
            await asyncio.sleep(RETRY * 2 ** (len(tried) - 1))

    async def _post(
        self, server: Server, body: bytes, stream: bool
    ) -> aiohttp.ClientResponse | None:
        """The head of an answer; None where the server cannot have begun one."""
        headers = {"Content-Type": "application/json", **server.headers}
        seconds = self.timeouts.first_byte if stream else self.timeouts.whole
        try:
            async with asyncio.timeout(seconds):
                url = f"{server.url}/chat/completions"
                return await self.session.post(url, data=body, headers=headers)
        except aiohttp.ConnectionTimeoutError:
            server.well, server.why = False, "does not take connections"
        except TimeoutError:
            raise late() from None
        except (aiohttp.ClientConnectionError, ConnectionError) as error:
            if not isinstance(error, aiohttp.ServerDisconnectedError):
                server.well, server.why = False, type(error).__name__
        except aiohttp.ClientError:
            raise broken() from None
        return None


def late() -> Refused:
    """A server that does not answer in time."""
    return Refused(504, "the model server did not answer in time", "upstream_timeout")


def broken() -> Refused:
    """An answer that ended before its end, or is none."""
    return Refused(502, "the model server's answer broke off", "upstream_broken")


def _refused(server: Server, status: int, raw: bytes, after: str | None) -> Refused:
    """What a server said instead of an answer, without what only the gateway may know."""
    if status >= 500 or status in (401, 403, 404):  # the last: the gateway's key, URL and model
        return Refused(502, f"the model server answered {status}", "upstream_error")
    said = str(completion.error_of(raw).get("message") or f"the model server answered {status}")
    for secret in filter(None, (server.key, server.url)):
        said = said.replace(secret, "…")
    wait = int(after) if after and after.isdigit() else (1 if status == 429 else None)
    return Refused(status, said[:500], "upstream_refused", retry_after=wait)
