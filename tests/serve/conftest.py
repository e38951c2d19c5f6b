"""A small model with random weights, and two adapters that change what it says."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from openai import OpenAI

from errata.init import lay_down
from errata.serve.service import Service
from errata.serve.settings import Config
from errata.serve.sockets import listen, url_of
from errata.serve.stage import Running, prepared
from errata.train.model import add_lora, load, save_adapter
from errata.workspace import Workspace


def adapted(path: str, folder: Path, seed: int, rank: int = 2) -> Path:
    """An adapter of random matrices, large enough to be heard."""
    torch.manual_seed(seed)
    model = add_lora(load(path)[0], rank, 8, 0.0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
    save_adapter(model, folder)
    return folder


@pytest.fixture(scope="session")
def two_adapters(
    tiny_models: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Of different ranks, on the random llama."""
    folder = tmp_path_factory.mktemp("two-adapters")
    path = tiny_models("llama")
    return [adapted(path, folder / str(seed), seed, rank) for seed, rank in ((1, 2), (2, 4))]


@pytest.fixture
def adapter(tmp_path: Path) -> Callable[[str], Path]:
    """One more, on the checkpoint at a path."""
    return lambda path: adapted(path, tmp_path / "adapter", 5)


class Live:
    """`errata serve` in a thread of this process, on a port of the system's choice."""

    def __init__(self, ws: Workspace, secret: str | None = None, **knobs: Any) -> None:
        config = Config(**{"port": 0, "follow_seconds": 0.05, "drain_seconds": 20.0, **knobs})
        sockets = [listen("127.0.0.1", 0) for _ in range(1 if secret is None else 2)]
        self.url, self.admin = url_of(sockets[0]), url_of(sockets[-1]).removesuffix("/v1")
        self.port = sockets[0].getsockname()[1]
        self.service: Service = prepared(ws, config)
        self.base = self.service.models.base_name
        self.ready = threading.Event()

        async def run() -> None:
            self.loop = asyncio.get_running_loop()
            self.running = Running(self.service, sockets, secret)
            self.ready.set()
            await self.running.until_told()

        self.thread = threading.Thread(target=lambda: asyncio.run(run()))
        self.thread.start()
        assert self.ready.wait(20)
        while not all(one.started for one in self.running.servers):
            time.sleep(0.01)
        self.client = OpenAI(base_url=self.url, api_key="none", max_retries=0, timeout=30)

    def post(self, body: Any, **more: Any) -> httpx.Response:
        """A chat completion as it is: bytes, or something that is written as JSON."""
        kind = {"content": body} if isinstance(body, bytes) else {"json": body}
        return httpx.post(f"{self.url}/chat/completions", timeout=30, **kind, **more)

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for what has to come; a test that waits for ever has failed."""
        for _ in range(1000):
            if true():
                return
            time.sleep(0.02)
        raise AssertionError("it did not come")

    def end(self) -> None:
        """As SIGTERM does."""
        self.loop.call_soon_threadsafe(self.running.stop.set)
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def start(ws: Workspace) -> Iterator[Callable[..., Live]]:
    """Starts servers; the workspace is the test's."""
    running: list[Live] = []

    def begin(*words: Any, **knobs: Any) -> Live:
        running.append(Live(ws, *words, **knobs))
        return running[-1]

    yield begin
    for live in running:
        if live.thread.is_alive():
            live.end()
        live.service.close()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The embedded model, for the tests that only ask."""
    live = Live(lay_down(tmp_path_factory.mktemp("serve") / "desk", suites=False))
    yield live
    live.end()
    live.service.close()
