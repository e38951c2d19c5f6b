"""What the gateway costs: the same requests to a stub server, directly and through it, in turns.

    PYTHONPATH=bench python bench/releasework/gateway.py [--seconds 20] [--rate 200]

Requests come as a Poisson process, whether or not earlier ones are answered. The stub and the
asker share one core, the gateway has another. LiteLLM's proxy is measured beside it where
ERRATA_LITELLM_PYTHON names the Python of an environment that has it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import psutil
from dataset.report import Run

from errata import candidates
from errata.serve.names import served
from errata.workspace import Workspace

ANSWER = "The amber lamp costs 42 yuan and ships within two days. [1] Is there anything else?"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
BLOCKS = 3  # turns that each takes
CORES = sorted(os.sched_getaffinity(0))
KEY = "sk-of-a-bench-on-loopback"
LITELLM_RATE = 20  # requests a second: it is saturated long before the gateway is
OFF = ("filter=off", "log_share=0", "write_back=false")


class Load(NamedTuple):
    """Milliseconds of each answer, and CPU-seconds of the process asked."""

    ms: list[float]
    cpu: float

    def at(self, share: float) -> float:
        return sorted(self.ms)[min(int(share * len(self.ms)), len(self.ms) - 1)]

    @property
    def cpu_ms(self) -> float:
        """CPU-milliseconds a request."""
        return self.cpu * 1000 / len(self.ms)


def free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def _stub(port: int, model: str) -> None:
    """A server that answers at once, with as little work as HTTP allows."""
    message = {"role": "assistant", "content": ANSWER}
    told = {"id": "x", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 20}}  # fmt: skip
    answer, models = json.dumps(told).encode(), json.dumps({"data": [{"id": model}]}).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.lower().split(b"\r\n")
                size = next(
                    (int(x.split(b":")[1]) for x in lines if x[:15] == b"content-length:"), 0
                )
                await reader.readexactly(size)
                body = models if head.startswith(b"GET") else answer
                writer.write(HEAD % (len(body), body))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


@contextlib.contextmanager
def process_of(words: list[str], core: int, url: str, **more: str) -> Iterator[psutil.Process]:
    """A process bound to a core, once it answers; ended at the end."""
    source = f"{Path(candidates.__file__).parents[1]}:{Path(__file__).parents[1]}"
    env = {**os.environ, "PYTHONPATH": source, **more}
    pinned = ["taskset", "-c", str(CORES[core % len(CORES)])] if shutil.which("taskset") else []
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*pinned, *words], env=env, stdout=quiet, stderr=quiet) as process:
        try:
            asyncio.run(_answers(url, process))
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


async def _answers(url: str, process: subprocess.Popen[bytes]) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(1200):
            if process.poll() is not None:
                raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as reply:
                    if reply.status < 500:
                        return
            await asyncio.sleep(0.1)
    raise RuntimeError(f"{url} does not answer")


async def _asked(url: str, rate: float, seconds: float, model: str) -> list[float]:
    """Milliseconds of each request of a Poisson process."""
    found: list[float] = []
    draw = random.Random(7)
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def one(number: int) -> None:
            asked = [{"role": "user", "content": f"How much is the amber lamp, asks {number}?"}]
            body = {"model": model, "messages": asked, "user": f"user-{number % 500}"}
            began = time.perf_counter()
            async with session.post(f"{url}/chat/completions", json=body) as reply:
                await reply.read()
                assert reply.status == 200, await reply.text()
            found.append((time.perf_counter() - began) * 1000)

        for number in range(20):  # connections, caches
            await one(number)
        found.clear()
        tasks, at = [], time.perf_counter()
        end = at + seconds
        while at < end:
            await asyncio.sleep(max(at - time.perf_counter(), 0))
            tasks.append(asyncio.create_task(one(len(tasks))))
            at += draw.expovariate(rate)
        await asyncio.gather(*tasks)
    return found


def _load(process: psutil.Process, url: str, rate: float, seconds: float, model: str) -> Load:
    def cpu() -> float:
        family = [process, *process.children(recursive=True)]
        return sum(sum(one.cpu_times()[:2]) for one in family)

    began = cpu()
    ms = asyncio.run(_asked(url, rate, seconds, model))
    time.sleep(0.7)  # what is looked at afterwards counts too
    return Load(ms, cpu() - began)


def gateway_at(folder: Path, stub: str, words: tuple[str, ...]) -> tuple[list[str], str]:
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    port = free()
    command = [sys.executable, "-m", "errata", "gateway", "-C", str(folder), f"upstream={stub}",
               f"port={port}", "control=false", *words]  # fmt: skip
    return command, f"http://127.0.0.1:{port}"


@cache
def measured(_: int = 0, seconds: float = 20, rate: float = 200) -> dict[str, float]:
    """Direct, filter off, and all on, in turns; then LiteLLM, where there is one."""
    began = time.perf_counter()
    os.sched_setaffinity(0, CORES[:1])
    model = served(candidates.make(Workspace(candidates.TINY), str(candidates.TINY)))
    port = free()
    stub = f"http://127.0.0.1:{port}/v1"
    asked: dict[str, list[Load]] = {"direct": [], "off": [], "on": []}
    try:
        with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
            me = [sys.executable, __file__, "--stub", str(port), model]
            server = stack.enter_context(process_of(me, 0, f"{stub}/models"))
            places: dict[str, tuple[psutil.Process, str, str]] = {"direct": (server, stub, model)}
            for name, words in (("off", OFF), ("on", ())):
                command, url = gateway_at(Path(scratch) / name, stub, words)
                process = stack.enter_context(process_of(command, 1, f"{url}/healthz"))
                places[name] = (process, f"{url}/v1", "errata")
            for _block in range(BLOCKS):
                for name, (process, url, called) in places.items():
                    asked[name].append(_load(process, url, rate, seconds / BLOCKS, called))
            other = _litellm(Path(scratch), stub, model, seconds)
            return {**_told(asked), **other, "wall_seconds": time.perf_counter() - began}
    finally:
        os.sched_setaffinity(0, CORES)


def _told(asked: dict[str, list[Load]]) -> dict[str, float]:
    whole = {name: Load([ms for load in loads for ms in load.ms], sum(x.cpu for x in loads))
             for name, loads in asked.items()}  # fmt: skip
    told = {}
    for name, load in whole.items():
        told[f"{name}_p50_ms"], told[f"{name}_p99_ms"] = load.at(0.5), load.at(0.99)
        told[f"{name}_cpu_ms"] = load.cpu_ms
    for name in ("off", "on"):
        for at in ("p50", "p99"):
            told[f"{name}_overhead_{at}_ms"] = told[f"{name}_{at}_ms"] - told[f"direct_{at}_ms"]
    load = os.getloadavg()[0]  # much more than our own three: P99 is the machine's
    return {**told, "requests": float(len(whole["on"].ms)), "load_average": load}


def _litellm(folder: Path, stub: str, model: str, seconds: float) -> dict[str, float]:
    python = os.environ.get("ERRATA_LITELLM_PYTHON")
    if not python:
        sys.stderr.write("LiteLLM not measured: ERRATA_LITELLM_PYTHON names none\n")
        return {}
    told: dict[str, Any] = {"model_list": [{"model_name": "errata", "litellm_params": {
        "model": f"openai/{model}", "api_base": stub, "api_key": "k"}}]}  # fmt: skip
    (folder / "litellm.yaml").write_text(json.dumps(told))
    port = free()
    command = [str(Path(python).parent / "litellm"), "--config", str(folder / "litellm.yaml"),
               "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    here = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY, "PYTHONPATH": ""}
    with process_of(command, 1, f"{url}/health/liveliness", **here) as one:
        load = _load(one, f"{url}/v1", LITELLM_RATE, seconds, "errata")
    return {"litellm_p50_ms": load.at(0.5), "litellm_cpu_ms": load.cpu_ms}


def _runs(repeats: int, value: Callable[[dict[str, float]], float]) -> list[Run]:
    runs = []
    for number in range(repeats):
        told = measured(number)
        wall, cpu = told["wall_seconds"], told["on_cpu_ms"] * told["requests"] / 1000
        runs.append({"value": value(told), "wall_seconds": wall, "cpu_seconds": cpu, **told})
    return runs


def overhead_p50(repeats: int) -> list[Run]:
    """Milliseconds that the gateway adds, filter off, at 200 requests/s: the median."""
    return _runs(repeats, lambda told: told["off_overhead_p50_ms"])


def overhead_p99(repeats: int) -> list[Run]:
    """The same at P99."""
    return _runs(repeats, lambda told: told["off_overhead_p99_ms"])


def times_litellm(repeats: int) -> list[Run]:
    """Requests a CPU-second against LiteLLM's proxy; filter, metrics and sampled log on. 0 where
    LiteLLM is not there: not measured is not passed."""
    return _runs(repeats, lambda told: told.get("litellm_cpu_ms", 0.0) / told["on_cpu_ms"])


def main() -> None:
    """Measure once and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--stub", nargs=2, metavar=("PORT", "MODEL"))
    words = parser.parse_args()
    if words.stub:
        asyncio.run(_stub(int(words.stub[0]), words.stub[1]))
        return
    for name, value in measured(0, words.seconds, words.rate).items():
        print(f"{name:24}{value:10.2f}")


if __name__ == "__main__":
    main()
