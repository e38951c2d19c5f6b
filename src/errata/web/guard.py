"""Who may ask the desk, and what one of its pages may do.

A page is read on the loopback address without a password; elsewhere, and for every change, the
token that `errata web` prints is needed. It becomes a cookie that no other site can send
(SameSite), and each form carries a second secret (CSRF). Names in the Host header are known ones
alone, so that no foreign name can be pointed at this machine (DNS rebinding).
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "ERRATA_WEB_TOKEN"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Scripts, styles and pictures of the desk alone; text of an attack that became markup does nothing.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Keys(NamedTuple):
    """The token of this desk, and what is derived from it."""

    token: str

    @property
    def cookie(self) -> str:
        """The name of the cookie. Ports of a machine share their cookies: of two desks each needs
        one of its own."""
        return f"errata_desk_{self._of('name')[:8]}"

    @property
    def session(self) -> str:
        """The cookie of somebody who knew the token."""
        return self._of("session")

    @property
    def csrf(self) -> str:
        """What a form of ours carries."""
        return self._of("form")

    def _of(self, what: str) -> str:
        return hmac.digest(self.token.encode(), what.encode(), "sha256").hex()

    def enters(self, told: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(told.encode(), self.token.encode())

    def inside(self, headers: Headers) -> bool:
        """Whether a request comes from somebody who knew the token."""
        told = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        return hmac.compare_digest(told.encode(), self.session.encode())

    def ours(self, told: str) -> bool:
        """Whether a form is one of ours."""
        return hmac.compare_digest(told.encode("utf-8", "replace"), self.csrf.encode())


def host_of(headers: Headers) -> str:
    """The name a request was sent to, without the port."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


class Guard:
    """Around the whole application: hosts, readers, origins, headers."""

    FREE = ("/enter", "/static/")  # what is shown to somebody without the token anywhere

    def __init__(self, app: ASGIApp, keys: Keys, hosts: Collection[str], open_to_read: bool):
        self.app, self.keys, self.hosts = app, keys, frozenset(hosts)
        self.open_to_read = open_to_read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if scope["path"].startswith("/static/"):
                    headers["cache-control"] = "no-cache"  # asked again, sent when it changed
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self.refusal(scope["method"], scope["path"], Headers(scope=scope))
        await (refusal or self.app)(scope, receive, answer)

    def refusal(self, method: str, path: str, headers: Headers) -> PlainTextResponse | None:
        """Why a request is not answered; None where it is."""
        if host_of(headers) not in self.hosts:
            return PlainTextResponse("unknown host; add it with `errata web hosts=[…]`\n", 421)
        if path.startswith(self.FREE):
            return None
        inside = self.keys.inside(headers)
        if method in ("GET", "HEAD"):
            if inside or self.open_to_read:
                return None
            return PlainTextResponse("", 303, {"location": "/enter"})
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return PlainTextResponse("a form of another site\n", 403)
        if not inside:
            return PlainTextResponse("", 303, {"location": "/enter"})
        return None
