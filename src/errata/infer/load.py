"""Asking a server: so many at once (closed loop), or when they are due (open loop).

Everything goes through HTTP and streams, as users' requests do, whoever serves: a process of our
own or a URL. In a closed loop a user asks again when answered, so a slow server is asked less; in
an open loop requests come by Poisson's law and do not wait for one another.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import aiohttp

from errata.errors import ErrataError
from errata.infer.timing import Sent, arrivals
from errata.language import say

Turns = Sequence[dict[str, str]]
_TRIED = 3  # failing requests that a block goes on after


class Target(NamedTuple):
    """Where requests go. key: the environment variable that holds it; seconds: of an answer."""

    url: str
    model: str
    max_tokens: int
    key: str = ""
    seconds: float = 60.0


class Level(NamedTuple):
    """One load that was put on all variants. `at_once`: users of a closed loop; else `rate`,
    requests a second of an open one."""

    at_once: int = 0
    rate: float = 0.0

    @property
    def name(self) -> str:
        """As tables have it."""
        if self.at_once:
            return say(f"closed, {self.at_once} at once", f"闭环，并发 {self.at_once}")
        return say(f"open, {self.rate:.3g}/s", f"开环，{self.rate:.3g}/秒")


def closed(target: Target, prompts: Sequence[Turns], at_once: int) -> list[Sent]:
    """All prompts by `at_once` users, none of whom waits before the next question."""
    return asyncio.run(_closed(target, prompts, at_once))


def opened(target: Target, prompts: Sequence[Turns], rate: float, seed: str) -> list[Sent]:
    """All prompts, each when it is due: `rate` a second, by Poisson's law."""
    return asyncio.run(_opened(target, prompts, arrivals(rate, len(prompts), seed)))


async def _closed(target: Target, prompts: Sequence[Turns], at_once: int) -> list[Sent]:
    found: list[Sent] = []
    waiting = iter(prompts)

    async def user(session: aiohttp.ClientSession) -> None:
        for prompt in waiting:
            found.append(await _ask(session, target, prompt, time.perf_counter()))

    async with _session(target) as session:
        await asyncio.gather(*(user(session) for _ in range(at_once)))
    return _sound(target, found)


async def _opened(target: Target, prompts: Sequence[Turns], due: Sequence[float]) -> list[Sent]:
    async with _session(target) as session:
        began = time.perf_counter()

        async def one(prompt: Turns, after: float) -> Sent:
            await asyncio.sleep(max(0.0, began + after - time.perf_counter()))
            return await _ask(session, target, prompt, began + after)

        found = await asyncio.gather(*(one(*pair) for pair in zip(prompts, due, strict=True)))
    return _sound(target, found)


def _session(target: Target) -> aiohttp.ClientSession:
    key = os.environ.get(target.key, "") if target.key else ""
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"} if key else {},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=target.seconds),
    )


def _sound(target: Target, found: list[Sent]) -> list[Sent]:
    """ErrataError where a server answers nothing, or hardly: numbers of the rest would flatter."""
    failed = [one.error for one in found if one.error]
    if len(failed) == len(found) or len(failed) > max(_TRIED, len(found) // 10):
        told = f"{len(failed)} of {len(found)} requests had no answer: {failed[0]}"
        raise ErrataError(f"bench: {target.url}: {told}; lower concurrency or load, or mend it")
    return found


async def _ask(session: aiohttp.ClientSession, target: Target, prompt: Turns, due: float) -> Sent:
    """One request, read as it streams."""
    body = {
        "model": target.model, "messages": list(prompt), "max_tokens": target.max_tokens,
        "temperature": 0, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    pieces: list[float] = []
    tokens = 0
    try:
        async with session.post(f"{target.url}/chat/completions", json=body) as reply:
            if reply.status != 200:
                return Sent(due, error=f"HTTP {reply.status} {(await reply.text())[:120]}")
            async for event in _events(reply):
                if (event.get("usage") or {}).get("completion_tokens"):
                    tokens = int(event["usage"]["completion_tokens"])
                if _said(event):
                    pieces.append(time.perf_counter())
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return Sent(due, error=f"{type(error).__name__} {error}".strip())
    end = time.perf_counter()
    first = pieces[0] if pieces else end  # an empty answer begins when it ends
    gaps = tuple(b - a for a, b in itertools.pairwise(pieces))
    return Sent(due, first, end, tokens or len(pieces), gaps)


async def _events(reply: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """JSON of each `data:` line, until `[DONE]`. ValueError for a line that is none."""
    async for raw in reply.content:
        line = raw.decode("utf-8", "replace").strip()
        if line == "data: [DONE]":
            return
        if line.startswith("data:"):
            found = json.loads(line[5:])
            if isinstance(found, dict):
                if "error" in found:
                    raise ValueError(str(found["error"])[:120])
                yield found


def _said(event: dict[str, Any]) -> bool:
    """Whether a piece of an answer came: text, or a call of a tool."""
    choices = event.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return bool(delta.get("content") or delta.get("tool_calls"))
