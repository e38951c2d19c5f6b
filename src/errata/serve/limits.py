"""What keeps a slow or greedy client from others: sizes, and seconds for headers and bodies."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import ClientDisconnect, Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from errata.serve.refused import Refused


async def body_of(request: Request, most: int, seconds: float) -> bytes:
    """The whole body; Refused when it is too large (413), told beforehand or not, or too slow."""
    told = request.headers.get("content-length", "0")
    if told.isdigit() and int(told) > most:
        raise _too_large(most)
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > most:
                    raise _too_large(most)
    except TimeoutError:
        raise Refused(408, f"the body took more than {seconds:g} s", "request_timeout") from None
    except ClientDisconnect:
        raise Refused(400, "the connection closed amid the body", "invalid_json") from None
    return b"".join(parts)


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body is larger than {most} bytes; send less", "request_too_large")


class Impatient(H11Protocol):
    """uvicorn's HTTP protocol, which closes a connection whose headers have not come whole within
    `header_seconds`, or that takes nothing of an answer for `write_seconds`: uvicorn itself waits
    for ever."""

    header_seconds = write_seconds = 10.0
    timer: asyncio.TimerHandle | None = None
    stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unwatch()
        self._flows()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stuck = self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._flows()

    def _flows(self) -> None:
        if self.stuck is not None:
            self.stuck.cancel()
            self.stuck = None

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        """The clock runs from the first byte until the headers are whole."""
        if self._answering():
            self._unwatch()
        elif self.timer is None:
            self.timer = self.loop.call_later(self.header_seconds, self._late)

    def _unwatch(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _late(self) -> None:
        self.timer = None
        if not self._answering():
            self.transport.close()


def impatient(header_seconds: float, write_seconds: float) -> type[H11Protocol]:
    """That protocol with so many seconds."""
    knobs = {"header_seconds": header_seconds, "write_seconds": write_seconds}
    return type("Impatient", (Impatient,), knobs)
