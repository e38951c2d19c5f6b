"""`POST /v1/chat/completions`: read, routed, asked of an upstream, filtered, handed over, measured.

An ASGI application of its own: it listens for the client going away while the answer is under way,
and then lets go of the upstream's.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from errata.errors import ErrataError
from errata.gateway import asked as requests
from errata.gateway.answer import Answer
from errata.gateway.asked import Asked
from errata.gateway.routes import Choice
from errata.gateway.upstreams import broken, late
from errata.release import live
from errata.release.probe import HEADER
from errata.serve.refused import GONE, Refused, bad

if TYPE_CHECKING:
    from errata.gateway.app import Gateway

READING = 4  # so many times what may be under way may be read at once: slow senders block nobody
JSON, EVENTS = "application/json", "text/event-stream; charset=utf-8"


async def read_body(
    receive: Receive, headers: Mapping[str, str], most: int, seconds: float
) -> bytes:
    """All of a request; Refused where it is too long or too slow."""
    too_long = bad(f"the body is larger than {most} bytes", status=413)
    size = headers.get("content-length", "")
    if size.isdigit() and int(size) > most:
        raise too_long
    pieces, total = [], 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(GONE, "the client went away", "gone")
                pieces.append(message.get("body", b""))
                total += len(pieces[-1])
                if total > most:
                    raise too_long
                if not message.get("more_body"):
                    return b"".join(pieces)
    except TimeoutError:
        raise bad("the body did not arrive in time", status=408) from None


async def reply(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    """A whole reply."""
    await start(send, status, {**headers, "content-length": str(len(body))}, JSON)
    await send({"type": "http.response.body", "body": body})


async def start(send: Send, status: int, headers: dict[str, str], kind: str) -> None:
    told = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    told.append((b"content-type", kind.encode()))
    await send({"type": "http.response.start", "status": status, "headers": told})


async def refuse(send: Send, problem: Refused, headers: dict[str, str]) -> None:
    """An error."""
    await reply(send, problem.status, problem.body(), {**headers, **problem.headers})


def crowded() -> Refused:
    """There is no queue: who comes back later waits elsewhere."""
    return Refused(429, "too many requests are under way", "overloaded", retry_after=1)


class Chat:
    """The endpoint."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._open = 0  # requests of which something is still to be read or sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        told = {"x-request-id": f"req-{uuid4().hex}"}
        gateway = self.gateway
        self._open += 1
        try:
            gateway.admit(headers)
            if self._open > READING * gateway.config.max_in_flight:
                raise crowded()
            raw = await read_body(receive, headers, gateway.max_body, gateway.config.timeouts.body)
            asked = requests.read(raw, headers, gateway.config.models)
            answer = await self._begun(asked, self._probed(headers))
            told |= {"x-errata-release": answer.release, "x-errata-arm": answer.choice.arm}
            await self._answered(answer, receive, send, told)
        except Refused as problem:
            gateway.meters.refused(problem.status)
            if problem.status != GONE:
                await refuse(send, problem, told)
        finally:
            self._open -= 1

    def _probed(self, headers: Mapping[str, str]) -> Choice | None:
        """The canary, for who has the admin's token: an attack of `errata rollout probe`."""
        told, secret = headers.get(HEADER), os.environ.get("ERRATA_ADMIN_TOKEN", "")
        if told is None:
            return None
        if not secret or not hmac.compare_digest(told.encode(), secret.encode()):
            raise Refused(401, "no valid admin token", "invalid_admin_token")
        found = self.gateway.chooser.probe(self.gateway.watch.view)
        if found is None:
            raise Refused(409, "no rollout is under way", "no_canary")
        return found

    async def _begun(self, asked: Asked, probe: Choice | None = None) -> Answer:
        """Who answers. Nothing is awaited between the choice and the answer's being under way, so
        that a rollback in between finds it."""
        gateway = self.gateway
        choice = probe or await self._chosen(asked)
        if len(gateway.in_flight) >= gateway.config.max_in_flight:
            raise crowded()
        answer = Answer(
            id=f"chatcmpl-{uuid4().hex}",
            asked=asked,
            choice=choice,
            turns=(),
            guard=gateway.guard if gateway.config.filter == "on" else None,
            model=gateway.config.models[0],
            probe=probe is not None,
        )
        gateway.in_flight.enter(answer)
        return answer

    async def _chosen(self, asked: Asked) -> Choice:
        gateway = self.gateway
        conversation = gateway.chooser.conversation(asked)
        began = gateway.chooser.began(conversation)
        if asked.midway and not began and gateway.moved_lately():
            began = await self._remembered(conversation)
        return gateway.chooser.choose(gateway.watch.view, asked, conversation, began)

    async def _remembered(self, conversation: str) -> str | None:
        """Who began a conversation, by the store; nobody where the store is away."""
        try:
            async with asyncio.timeout(1):
                row = await asyncio.to_thread(live.begun, self.gateway.ws, conversation)
        except (ErrataError, SQLAlchemyError, OSError):  # a timeout is an OSError
            return None
        return row.digest if row else None

    async def _answered(
        self, answer: Answer, receive: Receive, send: Send, headers: dict[str, str]
    ) -> None:
        """The work and the client's patience, whichever ends first."""
        work = asyncio.create_task(self._work(answer, send, headers))
        gone = asyncio.create_task(_gone(receive))
        answer.work = work
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not answer.ended:
                answer.status = GONE
                work.cancel()
            await asyncio.wait({work})
        finally:
            work.cancel()
            gone.cancel()
            self._left(answer)

    def _left(self, answer: Answer) -> None:
        answer.ms = (time.perf_counter() - answer.began) * 1000
        gateway = self.gateway
        gateway.in_flight.leave(answer)
        gateway.meters.answered(answer)
        if answer.probe or answer.error == "invalid_request":  # nobody was asked
            return
        if answer.status != GONE:
            gateway.chooser.note(answer.choice.conversation, answer.choice.target.digest)
        if answer.status != GONE or answer.said:  # who leaves early has still got what he got
            gateway.recorder.put(answer)

    async def _work(self, answer: Answer, send: Send, headers: dict[str, str]) -> None:
        """Ask, and hand over; an error becomes the reply, or the last event of the stream."""
        begun = [False]
        try:
            await self._tried(answer, send, headers, begun)
        except Refused as found:
            problem = _harmless(answer, found)
            answer.status, answer.error, answer.ended = problem.status, problem.code or "", True
            if not begun[0]:
                await refuse(send, problem, headers)
            else:
                await send({"type": "http.response.body", "body": problem.event()})

    async def _tried(
        self, answer: Answer, send: Send, headers: dict[str, str], begun: list[bool]
    ) -> None:
        """The answer, or a Refused for whatever kept it from its end."""
        try:
            async with asyncio.timeout(self.gateway.config.timeouts.whole):
                await self._asked(answer, send, headers, begun)
        except Refused:
            raise
        except TimeoutError:
            raise late() from None
        except (aiohttp.ClientError, ConnectionError):
            raise broken() from None
        except asyncio.CancelledError:
            if not answer.cut or answer.status == GONE:
                raise
            told = "the release that was answering was rolled back; ask again"
            raise Refused(503, told, "rolled_back", retry_after=1) from None
        except Exception as error:
            sys.stderr.write(f"errata: gateway: {type(error).__name__}: this is a bug\n")
            raise Refused(500, "the gateway failed", "internal") from None

    async def _asked(
        self, answer: Answer, send: Send, headers: dict[str, str], begun: list[bool]
    ) -> None:
        target, stream = answer.choice.target, answer.asked.stream
        body, answer.turns = requests.prepared(
            answer.asked, target.candidate, target.model, self.gateway.config.documents
        )
        try:
            raw = json.dumps(body, allow_nan=False).encode()
        except (ValueError, RecursionError):  # NaN; as deep as one can read, and not write
            raise bad("the body is not JSON that can be handed on") from None
        async with self.gateway.pool.asked(target.model, raw, stream) as upstream:
            if not stream:
                out = await answer.whole(await _limited(upstream, self.gateway.max_reply))
                answer.ended = begun[0] = True
                await reply(send, 200, out, headers)
                answer.sent()
                return
            begun[0] = True
            await start(send, 200, {**headers, "cache-control": "no-cache"}, EVENTS)
            async for events in self._events(answer, upstream):
                await send({"type": "http.response.body", "body": events, "more_body": True})
                answer.sent()
        answer.ended = True
        await send({"type": "http.response.body", "body": answer.close()})
        answer.sent()

    async def _events(
        self, answer: Answer, upstream: aiohttp.ClientResponse
    ) -> AsyncIterator[bytes]:
        """What may be shown of the upstream's events, as many at a time as came together."""
        rest, between = b"", self.gateway.config.timeouts.between
        while True:
            async with asyncio.timeout(between):
                fresh = await upstream.content.readany()
            *lines, rest = (rest + fresh).split(b"\n")
            out, done = b"", not fresh
            for line in lines:
                told = _event(line)
                if told is None:
                    continue
                if told == "[DONE]":
                    done = True
                    break
                out += await answer.piece(told)
            if out:
                yield out
            if done or answer.stopped:
                return
            if len(rest) > self.gateway.max_reply:
                raise broken()


def _harmless(answer: Answer, problem: Refused) -> Refused:
    """An error whose words the filter lets pass: a server that refuses a request may quote it, with
    the candidate's system turn."""
    if problem.code != "upstream_refused" or answer.guard is None:
        return problem
    hidden = [turn.content[:40] for turn in answer.turns if turn.role == "system"]
    found = answer.guard.check(str(problem), answer.turns).found
    told = any(text and text in str(problem) for text in hidden)
    if not told and not any(one.category in ("secret", "personal") for one in found):
        return problem
    less = f"the model server refused the request with {problem.status}"
    return Refused(problem.status, less, problem.code, retry_after=problem.retry_after)


def _event(line: bytes) -> Any:
    """The value of an event's line; None where it has none."""
    if not line.startswith(b"data:"):
        return None
    data = line[5:].strip()
    if data == b"[DONE]":
        return "[DONE]"
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        raise broken() from None
    if not isinstance(told, dict) or told.get("error"):
        raise broken()
    return told


async def _limited(upstream: aiohttp.ClientResponse, most: int) -> bytes:
    pieces, total = [], 0
    async for piece in upstream.content.iter_any():
        pieces.append(piece)
        total += len(piece)
        if total > most:
            raise broken()
    return b"".join(pieces)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
