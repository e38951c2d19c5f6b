"""Mixed load on one gateway for as long as one likes: does its memory grow, does an error come that
nobody made?

    PYTHONPATH=bench python bench/releasework/soak.py --seconds 3600 [--rate 10]

Whole answers, streams, readers who leave, bad requests, feedback, upstreams that fail, and rollouts
that start, move on and are taken back meanwhile. Each request says how it has to end; what ended
otherwise is counted as unexpected. A line a minute; exit 1 where something unexpected came, or the
memory of the last quarter is more than GROWTH over that of the second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import psutil

from errata import candidates
from errata.init import lay_down
from errata.records import Release
from errata.release import rollback, routing
from errata.serve.names import served
from errata.workspace import Workspace
from releasework.gateway import free, gateway_at, process_of
from releasework.streams import released

GROWTH = 1.05
RELEASES = 400  # that the stub knows
MOVE = 3.0  # seconds between two moves of the routing
# Bounded memories are small here, so that they are full before the second quarter begins.
SMALL = ("keep_answers=100", "remember=200", "log_share=0.2", "poll_seconds=0.2")
SAID = "The amber lamp costs 42 yuan and ships within two days. "


@dataclass
class Seen:
    """What came of it."""

    ends: Counter[str] = field(default_factory=Counter)  # as they had to
    unexpected: Counter[str] = field(default_factory=Counter)
    rss: list[float] = field(default_factory=list)  # MiB, each second
    moves: Counter[str] = field(default_factory=Counter)
    answers: deque[str] = field(default_factory=lambda: deque(maxlen=50))

    @property
    def growth(self) -> float:
        """Memory of the last quarter as a share of that of the second."""
        quarter = len(self.rss) // 4
        return median(self.rss[-quarter:]) / median(self.rss[quarter : 2 * quarter])


async def _stub(port: int, models: list[str]) -> None:
    """Fails as the question asks it to."""
    listed = {"data": [{"id": name} for name in models]}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if head.startswith(b"get"):
                _write(writer, 200, listed)
            else:
                size = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                await _answer(writer, json.loads(await reader.readexactly(size)))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


def _write(writer: asyncio.StreamWriter, status: int, told: Any) -> None:
    body = json.dumps(told).encode()
    head = f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


async def _answer(writer: asyncio.StreamWriter, asked: dict[str, Any]) -> None:
    question = asked["messages"][-1]["content"]
    if "broken" in question:
        _write(writer, 500, {"error": {"message": "injected"}})
    elif not asked.get("stream"):
        message = {"role": "assistant", "content": SAID}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        _write(writer, 200, {"choices": [choice], "usage": {"prompt_tokens": 9}})
    else:
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n"
        writer.write(head)
        for number in range(20):
            if number == 9 and "half" in question:
                return
            last = number == 19
            choice = {"index": 0, "delta": {} if last else {"content": SAID},
                      "finish_reason": "stop" if last else None}  # fmt: skip
            writer.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.write(b"data: [DONE]\n\n")


@dataclass
class Users:
    """Who asks, and what they get."""

    session: aiohttp.ClientSession
    url: str
    seen: Seen

    async def post(self, body: Any, path: str = "chat/completions") -> tuple[int, str]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(f"{self.url}/{path}", data=raw) as reply:
            return reply.status, await reply.text()

    async def said(self, user: str, question: str, **more: Any) -> tuple[int, str]:
        turns = [{"role": "user", "content": question}]
        return await self.post({"messages": turns, "user": user, **more})

    async def whole(self, user: str) -> str:
        status, text = await self.said(user, "How much is the amber lamp?")
        if status == 200:
            self.seen.answers.append(json.loads(text)["id"])
        return str(status)

    async def stream(self, user: str) -> str:
        status, text = await self.said(user, "How much is the amber lamp?", stream=True)
        return f"{status} {'done' if '[DONE]' in text else 'not done'}"

    async def half(self, user: str) -> str:
        status, text = await self.said(user, "Say half of it.", stream=True)
        return f"{status} {'broken' if 'upstream_broken' in text else 'as if whole'}"

    async def broken(self, user: str) -> str:
        status, text = await self.said(user, "Be broken.")
        return f"{status} {json.loads(text)['error']['code']}"

    async def leave(self, user: str) -> str:
        body = {"messages": [{"role": "user", "content": "How much?"}], "user": user,
                "stream": True}  # fmt: skip
        async with self.session.post(f"{self.url}/chat/completions", json=body) as reply:
            await reply.content.read(10)
            reply.close()
        return "left"

    async def nonsense(self, _: str) -> str:
        bad = (b"{", '{"messages": [{"role": "user", "content": "价"}]}'.encode("gb18030"),
               b'{"messages": []}')  # fmt: skip
        return " ".join([str((await self.post(body))[0]) for body in bad])

    async def huge(self, user: str) -> str:
        return str((await self.said(user, "x" * 300_000))[0])

    async def unknown(self, user: str) -> str:
        return str((await self.said(user, "How much?", model="another"))[0])

    async def rate(self, _: str) -> str:
        if not self.seen.answers:
            return "200"
        body = {"id": self.seen.answers[0], "rating": random.choice(("up", "down"))}
        return str((await self.post(body, "feedback"))[0])


# What is asked, how often, and how it has to end.
KINDS: tuple[tuple[str, Callable[[Users, str], Any], int, str], ...] = (
    ("whole", Users.whole, 40, "200"),
    ("stream", Users.stream, 25, "200 done"),
    ("half", Users.half, 5, "200 broken"),
    ("broken", Users.broken, 5, "502 upstream_error"),
    ("leave", Users.leave, 5, "left"),
    ("nonsense", Users.nonsense, 5, "400 400 400"),
    ("huge", Users.huge, 2, "413"),
    ("unknown", Users.unknown, 3, "404"),
    ("rate", Users.rate, 10, "200"),
)


async def _one(users: Users, draw: random.Random) -> None:
    kind = draw.choices(KINDS, weights=[weight for _, _, weight, _ in KINDS])[0]
    name, ask, _, due = kind
    try:
        end = await ask(users, f"user-{draw.randrange(2000)}")
    except Exception as error:
        end = type(error).__name__
    if end == due:
        users.seen.ends[name] += 1
    else:
        users.seen.unexpected[f"{name}: {end}"] += 1


async def _move(ws: Workspace, seen: Seen) -> None:
    """Rollouts that go all the way and others that are taken back, in turn."""
    for number in range(RELEASES):
        release, _ = released(ws, number, 5)
        last = ("advance", 100) if number % 2 else ("rollback", 0)
        for action, percent in (("start", 5), ("advance", 50), last):
            await asyncio.to_thread(_moved, ws, release, action, percent)
            seen.moves[action] += 1
            await asyncio.sleep(MOVE)


def _moved(ws: Workspace, release: Release, action: str, percent: int) -> None:
    if action == "start":
        routing.record(ws, "start", release=release, stages=[percent, 50, 100])
    elif action == "advance":
        routing.record(ws, "advance", id=release.id, percent=percent, why="a soak")
    else:
        rollback.roll_back(ws, "a soak", only=release.id)


async def _load(
    ws: Workspace, url: str, gateway: psutil.Process, seconds: float, rate: float,
    tell: Callable[[str], None],
) -> Seen:  # fmt: skip
    seen, draw, began = Seen(), random.Random(7), time.monotonic()
    patience = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=patience) as session:
        users, tasks = Users(session, url, seen), set[asyncio.Task[None]]()
        moving = asyncio.create_task(_move(ws, seen))
        at, told = began, 0
        while (now := time.monotonic()) < began + seconds:
            if now - began >= len(seen.rss):
                seen.rss.append(gateway.memory_info().rss / 2**20)
            if (now - began) // 60 > told:
                told += 1
                tell(f"minute {told}: {seen.rss[-1]:.1f} MiB, {seen.ends.total()} as due, "
                     f"unexpected {dict(seen.unexpected)}")  # fmt: skip
            if now < at:
                await asyncio.sleep(min(at - now, 0.2))
                continue
            task = asyncio.create_task(_one(users, draw))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            at = max(at, now - 1) + draw.expovariate(rate)
        moving.cancel()
        await asyncio.gather(moving, *tasks, return_exceptions=True)
    return seen


def soak(
    seconds: float, rate: float, tell: Callable[[str], None] = lambda line: print(line, flush=True)
) -> Seen:
    """A gateway of its own under load for so long."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        ws, port = lay_down(Path(scratch) / "ws", suites=False), free()
        stub = f"http://127.0.0.1:{port}/v1"
        names = [served(candidates.resolve(ws, "tiny"))]
        names += [released(ws, number)[1] for number in range(RELEASES)]
        listed = Path(scratch) / "models.json"
        listed.write_text(json.dumps(names))
        me = [sys.executable, __file__, "--stub", str(port), str(listed)]
        stack.enter_context(process_of(me, 0, f"{stub}/models"))
        command, url = gateway_at(ws.root, stub, ("max_body_mib=0.25", *SMALL))
        gateway = stack.enter_context(process_of(command, 1, f"{url}/healthz"))
        return asyncio.run(_load(ws, f"{url}/v1", gateway, seconds, rate, tell))


def main() -> int:
    """Exit code: 0 where memory was flat and nothing unexpected came, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--rate", type=float, default=10, help="requests a second")
    parser.add_argument("--stub", nargs=2, metavar=("PORT", "FILE"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.stub:
        asyncio.run(_stub(int(words.stub[0]), json.loads(Path(words.stub[1]).read_text())))
        return 0
    seen = soak(words.seconds, words.rate)
    print(f"as due {dict(seen.ends)}\nunexpected {dict(seen.unexpected)}\nmoves {dict(seen.moves)}")
    print(f"memory {seen.rss[0]:.1f} → {seen.rss[-1]:.1f} MiB, last quarter {seen.growth:.3f} "
          f"of the second")  # fmt: skip
    return int(bool(seen.unexpected) or seen.growth > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
