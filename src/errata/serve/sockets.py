"""A place to listen at, and where clients find it; without a model, and so without torch."""

from __future__ import annotations

import socket

from errata.errors import BadInput


def listen(host: str, port: int, knob: str = "port") -> socket.socket:
    """A socket that listens; BadInput when the place is taken or is none."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=512)
        # Connections inherit it. asyncio sets it only where the protocol number is given, and
        # without it the second piece of a stream waits for the client's delayed ACK: 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{host}:{port}: {reason}; choose another with {knob}=") from None


def url_of(listening: socket.socket) -> str:
    """Where clients find it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
