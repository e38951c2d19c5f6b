"""One client for every OpenAI-compatible URL that is asked: a teacher's, a judge's, a target's.

    replies(Endpoint(url="https://host/v1", model="big"), conversations) → (place, Reply) …

`at_once` requests are in flight, `per_minute` leave at most. A busy or failing server is asked
again, later each time, and not before it says. What is asked for wrongly is not asked again. After
the first conversation that got no reply no other is begun. The key is in an environment variable
and goes nowhere but into the request.
"""

from __future__ import annotations

import email.utils
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import httpx
from pydantic import Field

from errata.config import Section
from errata.errors import BadInput
from errata.serve.completion import Reply, error_of, read, sound

TRIES = 6
BACKOFF = 0.5  # seconds before the second try, ± a half; twice as long before each further one
LONGEST = 60.0  # seconds that a server's Retry-After is waited for
LARGEST = 4 * 2**20  # bytes of a reply that are read
BUSY = (408, 409, 425, 429, *range(500, 600))
NEAR = {"localhost", "127.0.0.1", "::1"}
# Newer models of OpenAI refuse these: the one has another name there, the other is left out.
RENAMED = {"max_tokens": "max_completion_tokens", "temperature": ""}
FILTERED = ("content_filter", "content_policy_violation")  # HTTP 400: the server's own filter

Turns = Sequence[Mapping[str, str]]


class Reach(Section):
    """How somebody elsewhere is asked; none of it decides an answer."""

    key: str = Field("ERRATA_TARGET_KEY", description="environment variable that holds the key")
    at_once: int = Field(4, ge=1, description="requests in flight")
    per_minute: float = Field(0, ge=0, description="requests that leave in a minute; 0: no limit")
    seconds: float = Field(60, gt=0, description="an answer may take")


class Endpoint(Reach):
    """Who is asked, and with what."""

    url: str = Field("", description="such as https://host/v1")
    model: str = Field("", description="as the server calls it")
    temperature: float = Field(0.0, ge=0, description="0: the same words to all")
    max_tokens: int = Field(512, ge=1, description="of an answer")


class Line:
    """When the next request may leave: evenly over the minute, and when a busy server says."""

    def __init__(
        self,
        per_minute: float = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.over = threading.Event()  # one got no reply: nobody else is asked
        self.clock, self.sleep = clock, sleep or self.over.wait
        self.gap = 60 / per_minute if per_minute else 0.0
        self.free, self.lock = clock(), threading.Lock()

    def turn(self) -> float:
        """Seconds until it is this request's turn."""
        with self.lock:
            now = self.clock()
            leaves = max(now, self.free)
            self.free = leaves + self.gap
        return leaves - now

    def wait(self) -> None:
        """Until it is this request's turn."""
        if (seconds := self.turn()) > 0:
            self.sleep(seconds)

    def hold(self, seconds: float) -> None:
        """Nobody leaves for so long."""
        with self.lock:
            self.free = max(self.free, self.clock() + seconds)


def checked(asked: Endpoint, where: str) -> str:
    """The URL as it may be written down; BadInput where nobody can be asked like this."""
    try:
        parts = urlsplit(asked.url)
        httpx.URL(asked.url)
        host = parts.hostname if parts.port != 0 else None
    except (ValueError, httpx.InvalidURL) as error:
        raise BadInput(
            f"{where}: `{asked.url}` is no URL ({error}); give https://HOST/v1"
        ) from None
    if parts.scheme not in ("http", "https") or not host:
        raise BadInput(f"{where}: `{asked.url}` is no http(s) URL; give https://HOST/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        told = f"no user, password, query or fragment; put the key in ${asked.key}"
        raise BadInput(f"{where}: {told}")
    if parts.scheme == "http" and host not in NEAR:
        raise BadInput(f"{where}: http:// is read by others on its way; use https://")
    if not asked.model:
        raise BadInput(f"{where}: no model is named; see {asked.url}/models")
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def replies(
    asked: Endpoint, conversations: Sequence[Turns], line: Line | None = None
) -> Iterator[tuple[int, Reply]]:
    """(place, reply) of every conversation, as they come; a server's trouble is a reply's `why`.

    Raises BadInput where the URL or the key cannot be used."""
    to, line = checked(asked, "endpoint"), line or Line(asked.per_minute)
    knobs = {"temperature": asked.temperature, "max_tokens": asked.max_tokens}
    limits = httpx.Limits(max_connections=asked.at_once, max_keepalive_connections=asked.at_once)
    with (
        httpx.Client(headers=_headers(asked), timeout=asked.seconds, limits=limits) as client,
        ThreadPoolExecutor(asked.at_once) as pool,
    ):
        one = partial(_one, line, partial(_post, client, f"{to}/chat/completions", asked, knobs))
        places = {pool.submit(one, turns): place for place, turns in enumerate(conversations)}
        try:
            for future in as_completed(places):
                yield places[future], future.result()
        except BaseException:  # interrupted, or nobody listens any more
            line.over.set()
            pool.shutdown(cancel_futures=True)
            raise


def in_order(
    asked: Endpoint, conversations: Sequence[Turns], line: Line
) -> tuple[list[Reply], str]:
    """All replies in the order of the conversations, and what went wrong, if something did."""
    found = [reply for _, reply in sorted(replies(asked, conversations, line))]
    return found, next((reply.why for reply in found if reply.why), "")


def _headers(asked: Endpoint) -> dict[str, str]:
    key = os.environ.get(asked.key, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise BadInput(f"${asked.key}: holds no key: letters that no header can; set it again")
    return {"Authorization": f"Bearer {key}"} if key else {}


class _Tried(NamedTuple):
    """One try: its reply, or how long to wait before the next (None: another try is no use)."""

    reply: Reply
    again: float | None = None


def _one(line: Line, post: Callable[[Turns], _Tried], turns: Turns) -> Reply:
    """The reply, or why none came."""
    reply, tries = Reply(None), 0
    while tries < TRIES and not line.over.is_set():
        line.wait()
        tried, tries = post(turns), tries + 1
        reply = tried.reply
        if reply.text is not None:
            return reply
        if tried.again is None:
            line.over.set()
        elif tried.again:
            line.hold(min(tried.again, LONGEST))
        elif tries < TRIES:
            line.sleep(BACKOFF * 2 ** (tries - 1) * random.uniform(0.5, 1.5))
    if tries == TRIES:
        line.over.set()
        reply = reply._replace(why=f"{reply.why}, {TRIES} times")
    return reply


def _post(
    client: httpx.Client, to: str, asked: Endpoint, knobs: dict[str, float], turns: Turns
) -> _Tried:
    """One request."""
    body = {"model": asked.model, "messages": list(turns), **knobs}
    until = time.monotonic() + asked.seconds
    try:
        with client.stream("POST", to, json=body) as answer:
            raw = _read(answer, until)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _trouble(error, asked)
    if raw is None:
        told = f"a reply of more than {LARGEST / 2**20:g} MiB, which is not read to its end"
        return _Tried(Reply(None, why=told))
    if answer.status_code == 200:
        return _Tried(read(raw))
    return _refused(answer, error_of(raw), asked, knobs, body)


def _read(answer: httpx.Response, until: float) -> bytes | None:
    """The body; None when it is too large. ReadTimeout when it comes too slowly."""
    raw = bytearray()
    for part in answer.iter_bytes():  # of no size: one would be waited for
        raw += part
        if len(raw) > LARGEST:
            return None
        if time.monotonic() > until:
            raise httpx.ReadTimeout("too slow")
    return bytes(raw)


def _refused(
    answer: httpx.Response, error: dict[str, Any], asked: Endpoint, knobs: dict[str, float],
    body: Mapping[str, Any],
) -> _Tried:  # fmt: skip
    """What another status than 200 means: a filter's answer, a name to change, later, or never."""
    status, said = answer.status_code, _short(error.get("message"), asked)
    if status == 400 and error.get("code") in FILTERED:
        return _Tried(Reply(sound(str(error.get("message"))).strip(), "content_filter"))
    name = str(error.get("param"))
    if status == 400 and name in RENAMED and name in body and "unsupported" in str(error["code"]):
        value = knobs.pop(name, None)
        if value is not None and RENAMED[name]:
            knobs[RENAMED[name]] = value
        return _Tried(Reply(None, why=f"HTTP 400: {said}"), 0.0)
    why = f"HTTP {status}" + (f": {said}" if said else "")
    if status in (401, 403):
        why += f" (set ${asked.key})"
    elif status in (400, 404, 422):
        why += f" (does it know model `{asked.model}`?)"
    elif answer.is_redirect:
        to = answer.headers.get("location", "nowhere")
        why += f" to {to[:200]}, which is not followed"
    return _Tried(Reply(None, why=why), _after(answer) if status in BUSY else None)


def _after(answer: httpx.Response) -> float:
    """Seconds of Retry-After, a number or a date; 0 where there is none."""
    told = answer.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _trouble(error: Exception, asked: Endpoint) -> _Tried:
    """A network's error in words, from the innermost cause that has a name."""
    cause: BaseException | None = error
    while cause is not None:
        broken = isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        if isinstance(cause, ssl.SSLError) and not broken:  # a certificate does not mend itself
            return _Tried(Reply(None, why=f"TLS refused: {cause.reason or cause}"))
        if isinstance(cause, socket.gaierror):
            return _Tried(Reply(None, why=f"no host of that name (DNS: {cause.strerror})"), 0.0)
        if isinstance(cause, ConnectionRefusedError):
            return _Tried(Reply(None, why="connection refused: does it run?"), 0.0)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return _Tried(Reply(None, why=f"no answer within {asked.seconds:g} s"), 0.0)
    return _Tried(Reply(None, why=f"{type(error).__name__} {_short(str(error), asked)}"), 0.0)


def _short(said: object, asked: Endpoint) -> str:
    """What a server says, in one line and without the key that it may repeat."""
    text = " ".join(str(said or "").split())
    key = os.environ.get(asked.key, "").strip()
    return sound(text.replace(key, "…") if key else text)[:200]
