"""Streams through the gateway: when the first byte comes, and when the last one after a rollback.

    PYTHONPATH=bench python bench/releasework/streams.py

The stub sends a piece of eight characters each 10 ms, and with each, as `created`, its number and
when it was sent: the gateway hands `created` on, so a client knows how long the piece that let the
first byte out was on its way, and how many characters were said before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import aiohttp
from dataset.report import Run

from errata import candidates, jsonl
from errata.init import lay_down
from errata.records import Candidate, Release
from errata.release import rollback, routing
from errata.safety.guard.filter import Guard
from errata.safety.guard.stream import STEP
from errata.serve.names import served
from errata.store import ledger
from errata.workspace import Workspace
from releasework.gateway import KEY, free, gateway_at, process_of

PIECE, EVERY, SHIFT = "a lamp. ", 0.01, 10**12
STREAMS, AT_ONCE = 40, 8
LONGEST = 60.0  # seconds of a stream


def _now() -> int:
    """Microseconds by a clock that all processes of a machine share."""
    return time.monotonic_ns() // 1000 % SHIFT


def _chunk(number: int, content: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": content} if content else {},
              "finish_reason": None if content else "stop"}  # fmt: skip
    told = {"id": "x", "object": "chat.completion.chunk", "created": number * SHIFT + _now(),
            "model": "x", "choices": [choice]}  # fmt: skip
    return f"data: {json.dumps(told)}\n\n".encode()


async def _stub(port: int, models: list[str]) -> None:
    listed = json.dumps({"data": [{"id": name} for name in models]}).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: ")
            if head.startswith(b"get"):
                writer.write(b"application/json\r\n\r\n" + listed)
            else:
                writer.write(b"text/event-stream\r\n\r\n")
                asked = json.loads(await reader.readexactly(_size(head)))
                pieces, began = asked.get("max_tokens", 100), time.monotonic()
                for number in range(1, pieces + 1):
                    writer.write(_chunk(number, PIECE))
                    await writer.drain()
                    await asyncio.sleep(max(began + number * EVERY - time.monotonic(), 0))
                writer.write(_chunk(pieces, None) + b"data: [DONE]\n\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


def _size(head: bytes) -> int:
    return int(head.split(b"content-length:")[1].split(b"\r\n")[0])


class First(NamedTuple):
    """A stream's first byte: ms since the piece that let it out was sent; characters held then."""

    ms: float
    held: int


async def _first(session: aiohttp.ClientSession, url: str, user: str) -> First:
    body = {"stream": True, "user": user, "max_tokens": 100,
            "messages": [{"role": "user", "content": "What is on the shelf?"}]}  # fmt: skip
    async with session.post(f"{url}/chat/completions", json=body) as reply:
        assert reply.status == 200, await reply.text()
        async for line in reply.content:
            told = json.loads(line[5:]) if line.startswith(b"data: {") else {"choices": []}
            shown = [one["delta"].get("content") for one in told["choices"]]
            if any(shown):
                number, sent = divmod(told["created"], SHIFT)
                held = number * len(PIECE) - sum(map(len, filter(None, shown)))
                return First((_now() - sent) % SHIFT / 1000, held)
    raise RuntimeError("a stream without a piece")


async def _firsts(url: str) -> list[First]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        for _ in range(3):
            await _first(session, url, "warm")
        return [await _first(session, url, f"user-{number}") for number in range(STREAMS)]


@contextlib.contextmanager
def _stand(folder: Path, models: list[str], *words: str) -> Iterator[tuple[str, str]]:
    """The stub and a gateway before it: their URLs."""
    port = free()
    stub = f"http://127.0.0.1:{port}/v1"
    command, url = gateway_at(folder, stub, words)
    with (
        process_of([sys.executable, __file__, "--stub", str(port), *models], 0, f"{stub}/models"),
        process_of(command, 1, f"{url}/healthz"),
    ):
        yield stub, f"{url}/v1"


def first_byte(repeats: int) -> list[Run]:
    """Milliseconds that the gateway, filter on, delays the first byte beyond its hold-back: since
    the piece that fills it was sent, less what the same takes without a gateway. A gateway that
    holds more than the policy says (and a look's worth) is infinitely late."""
    runs: list[Run] = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        with tempfile.TemporaryDirectory() as scratch:
            ws = lay_down(Path(scratch) / "ws", suites=False)
            most = Guard.of(ws).policy.hold + STEP + len(PIECE)
            most += most // 8  # looks grow with what was said
            with _stand(ws.root, [served(candidates.resolve(ws, "tiny"))]) as (stub, url):
                direct, on = asyncio.run(_firsts(stub)), asyncio.run(_firsts(url))
        held = max(one.held for one in on)
        delay = median(one.ms for one in on) - median(one.ms for one in direct)
        runs.append({
            "value": delay if held <= most else float("inf"),
            "wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu,
            "held_characters": held, "may_hold": most,
            "direct_ms": median(one.ms for one in direct), "ms": median(one.ms for one in on),
            "slowest_ms": max(one.ms for one in on),
        })  # fmt: skip
    return runs


def released(ws: Workspace, number: int, percent: int = 99) -> tuple[Release, str]:
    """A canary of an adapter that only the stub has; its name."""
    base = candidates.resolve(ws, "tiny").model_dump(exclude={"digest"})
    fields = {**base, "adapter": f"runs/{number}/adapter",
              "adapter_digest": jsonl.digest(str(number)), "run_id": str(number)}  # fmt: skip
    found = Candidate(**fields, digest=candidates.digest_of(fields))
    jsonl.write_json(ws.runs / str(number) / "candidate.json", found)
    return Release(
        id=f"r{number}", candidate_digest=found.digest, candidate_path=str(number),
        verdict_id="v", stage_percent=percent, state="rolling", salt=f"salt-{number}",
        ts="2026-01-01T00:00:00Z",
    ), served(found)  # fmt: skip


async def _until_cut(url: str, users: int, begun: asyncio.Event) -> list[tuple[float, bool]]:
    """Streams that go on far longer than the test: when the last piece of each came, by
    time.time(), and whether it was told that it was cut."""
    under_way = 0

    async def one(session: aiohttp.ClientSession, user: str) -> tuple[float, bool]:
        nonlocal under_way
        body = {"stream": True, "user": user, "max_tokens": int(LONGEST / EVERY),
                "messages": [{"role": "user", "content": "What is on the shelf?"}]}  # fmt: skip
        async with session.post(f"{url}/chat/completions", json=body) as reply:
            under_way += 1
            if under_way == users:
                begun.set()
            last, cut = 0.0, False
            async for line in reply.content:
                last = time.time() if b'"content"' in line else last
                cut = cut or b"rolled_back" in line
            return last, cut

    async with aiohttp.ClientSession() as session:
        return await asyncio.gather(*(one(session, f"user-{n}") for n in range(users)))


async def _rolled_back(ws: Workspace, url: str, release: Release) -> list[tuple[float, bool]]:
    begun = asyncio.Event()
    streams = asyncio.create_task(_until_cut(url, AT_ONCE, begun))
    await asyncio.wait_for(begun.wait(), 30)
    await asyncio.sleep(1)
    await asyncio.to_thread(rollback.roll_back, ws, "a bench", None, release.id)
    return await streams


def last_token(repeats: int) -> list[Run]:
    """Seconds from the decision to the last piece of the canary that a client got, by the clients;
    streams are cut. With the filter off, so that pieces come all the time."""
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as scratch:
        ws = lay_down(Path(scratch) / "ws", suites=False)
        made = [released(ws, number) for number in range(repeats)]
        models = [served(candidates.resolve(ws, "tiny")), *(name for _, name in made)]
        with _stand(ws.root, models, "inflight=cut", "filter=off") as (_, url):
            for release, _ in made:
                wall, cpu = time.perf_counter(), time.process_time()
                routing.record(ws, "start", release=release, stages=[99, 100])
                time.sleep(1)
                ends = asyncio.run(_rolled_back(ws, url, release))
                told, decided = _done(ws, release.id)
                runs.append({
                    "value": max(0.0, *(last - decided for last, _ in ends)), "gateway_says": told,
                    "cut": sum(cut for _, cut in ends), "streams": len(ends),
                    "wall_seconds": time.perf_counter() - wall,
                    "cpu_seconds": time.process_time() - cpu,
                })  # fmt: skip
    return runs


def _done(ws: Workspace, release: str) -> tuple[float, float]:
    """The seconds that the gateway has measured, and when it was decided."""
    (decided,) = [
        event["data"]["at"] for event in ledger.events(ws, "rollout")
        if event["data"]["action"] == "rollback" and event["data"]["id"] == release
    ]  # fmt: skip
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for event in ledger.events(ws, "rollback done"):
            if event["data"]["release"] == release:
                return float(event["data"]["seconds"]), float(decided)
        time.sleep(0.05)
    raise RuntimeError(f"no gateway says that {release} has ended")


def main() -> None:
    """Serve as the stub, or measure once and print it."""
    if sys.argv[1:2] == ["--stub"]:
        asyncio.run(_stub(int(sys.argv[2]), sys.argv[3:]))
        return
    for measure in (first_byte, last_token):
        print(measure.__name__, measure(1))


if __name__ == "__main__":
    main()
