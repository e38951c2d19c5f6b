"""How long a client may take over a request's head: a connection that says nothing is closed.

The server closes idle connections between two requests by itself, and bodies have their own time
(chat.py); only a head that comes byte by byte would be waited for without end.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

Base: Any = AutoHTTPProtocol


def protocol(seconds: float) -> type[asyncio.Protocol]:
    """The server's protocol with that patience."""

    class Patient(Base):  # type: ignore[misc]
        waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            if self.waiting is None and _idle(self):
                self._wait()
            super().data_received(data)
            if self.waiting and not _idle(self):
                self.waiting.cancel()
                self.waiting = None

        def connection_lost(self, exc: Exception | None) -> None:
            if self.waiting:
                self.waiting.cancel()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self.waiting = self.loop.call_later(seconds, self._give_up)

        def _give_up(self) -> None:
            self.waiting = None
            if _idle(self) and not self.transport.is_closing():
                self.transport.close()

    return Patient


def _idle(connection: Any) -> bool:
    """Whether no request is being answered on it."""
    return connection.cycle is None or connection.cycle.response_complete
