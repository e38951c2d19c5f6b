"""Requests → rows of the batcher, and what they say back to whoever asked; no HTTP in it.

Everything here runs on one event loop; the batcher's thread reaches it through
`call_soon_threadsafe` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from errata.serve import batching
from errata.serve.batch import Draw
from errata.serve.models import Models
from errata.serve.prometheus import Counter, Histogram, gauge
from errata.serve.prompt import prompt
from errata.serve.refused import Refused
from errata.serve.request import Asked
from errata.serve.settings import Config

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass
class Told:
    """One piece of an answer; `finish` only with the last."""

    text: str
    finish: str | None


class Service:
    """What the HTTP routes ask."""

    def __init__(self, models: Models, config: Config) -> None:
        self.models, self.config = models, config
        self.batcher = models.batcher
        self.tokenizer = self.batcher.tokenizer
        model = self.batcher.batch.model
        room = getattr(model.config, "max_position_embeddings", None) or 2**31
        self.context = min(room, config.max_context or room)
        self.draining = False
        self.open = 0  # answers that somebody waits for
        # Tokenizers are not made for two threads at once; a long prompt must not hold the loop.
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self.requests = Counter("errata_requests_total", "answers begun and refusals, by status")
        self.tokens = Counter("errata_tokens_total", "tokens read and written")
        self.first = Histogram("errata_first_token_seconds", "a stream's first words", SECONDS)
        self.whole = Histogram("errata_answer_seconds", "until the answer was over", SECONDS)

    async def ids(self, asked: Asked) -> list[int]:
        """The prompt's ids. Refused: unknown model, draining, too long."""
        self._up()
        if asked.model not in self.models.known:
            raise _unknown(asked.model)
        loop = asyncio.get_running_loop()
        ids = await loop.run_in_executor(self._encoder, prompt, self.tokenizer, asked)
        wanted = asked.longest or 1
        if len(ids) + wanted > self.context:
            told = f"{len(ids)} prompt tokens and {wanted} of the answer are more than the context"
            code = "context_length_exceeded"
            raise Refused(400, f"{told} of {self.context}", code, "messages")
        return ids

    def start(self, asked: Asked, ids: list[int]) -> Answer:
        """Queue it. Refused when the queue is full; whoever starts an answer has to close it."""
        self._up()  # it may have begun to drain while the prompt was read
        config, base = self.config, self.models.base_name
        heat = config.temperature if asked.temperature is None else asked.temperature
        seed = secrets.randbits(63) if asked.seed is None else asked.seed
        ask = batching.Ask(
            ids=ids,
            max_tokens=min(asked.longest or config.max_tokens, self.context - len(ids)),
            adapter="" if asked.model == base else asked.model,
            draw=Draw(heat, 1.0 if asked.top_p is None else asked.top_p, seed),
            stops=asked.stops,
        )
        answer = Answer(self, asked, len(ids))
        try:
            answer.row = self.batcher.submit(ask, answer.hear)
        except batching.Full as error:
            raise Refused(429, str(error), "queue_full", retry_after=self._wait()) from None
        except batching.Unknown:
            raise _unknown(asked.model) from None
        self.open += 1
        return answer

    def _up(self) -> None:
        if self.draining:
            raise Refused(503, "the server is going down; ask another", "draining", retry_after=1)

    def _wait(self) -> int:
        """Seconds until a place is likely to be free: half of what a whole queue takes."""
        count = sum(sum(counts) for counts in self.whole.counts.values())
        mean = sum(self.whole.sums.values()) / count if count else 1.0
        turns = (self.batcher.max_waiting + 1) / self.batcher.max_rows
        return min(60, max(1, math.ceil(mean * turns / 2)))

    def metrics(self) -> str:
        """Prometheus text."""
        batcher = self.batcher
        lines = [
            *self.requests.lines(), *self.tokens.lines(), *self.first.lines(), *self.whole.lines(),
            *gauge("errata_running", "answers being written", len(batcher.running)),
            *gauge("errata_waiting", "requests in the queue", len(batcher.waiting)),
            *gauge("errata_models", "names that may be asked for", len(self.models.known)),
            *gauge("errata_draining", "1 while the server goes down", int(self.draining)),
            *Counter.of("errata_steps_total", "steps of the model", batcher.steps).lines(),
            *Counter.of("errata_step_rows_total", "rows of them", batcher.row_steps).lines(),
        ]  # fmt: skip
        return "".join(lines)

    async def drain(self) -> None:
        """No new request from now on; returns once all are answered, or time is up."""
        self.draining = True
        until = time.monotonic() + self.config.drain_seconds
        while self.open and time.monotonic() < until:
            await asyncio.sleep(0.02)

    def close(self) -> None:
        """End the batcher and the encoder; what still runs hears an error."""
        self.batcher.stop()
        self._encoder.shutdown()


class Answer:
    """One answer on its way: iterate over its pieces, then close it, which also cancels it."""

    row: batching.Row

    def __init__(self, service: Service, asked: Asked, prompt_tokens: int) -> None:
        self.service, self.asked, self.prompt_tokens = service, asked, prompt_tokens
        self.loop, self.heard = asyncio.get_running_loop(), asyncio.Queue[Told]()
        self.kept: list[str] = []
        self.began = time.perf_counter()
        self.silent, self.closed = True, False

    def hear(self, piece: str, finish: str | None) -> None:
        """Called in the batcher's thread. Who takes the whole answer is not woken for pieces."""
        self.kept.append(piece)
        if self.asked.stream or finish is not None:
            told, self.kept = Told("".join(self.kept), finish), []
            with contextlib.suppress(RuntimeError):  # the loop has ended, and who asked with it
                self.loop.call_soon_threadsafe(self.heard.put_nowait, told)

    async def pieces(self) -> AsyncIterator[Told]:
        """Until the one with `finish`; Refused when the model fails at it."""
        finish = None
        while finish is None:
            told = await self.heard.get()
            if self.silent and self.asked.stream:
                self.silent = False
                took = time.perf_counter() - self.began
                self.service.first.add(took, model=self.asked.model)
            finish = told.finish
            if finish == "error":
                raise Refused(500, "the model failed at this answer; ask again", "model_error")
            yield told

    async def whole(self) -> Told:
        """The one piece of an answer that is no stream."""
        async for told in self.pieces():
            return told
        raise AssertionError("unreachable")

    def usage(self) -> dict[str, int]:
        """Tokens read, and written: the end token is one of these."""
        read, written = self.prompt_tokens, len(self.row.said)
        return {
            "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written
        }  # fmt: skip

    def close(self) -> None:
        """It is over, or nobody listens any more."""
        if self.closed:
            return
        self.closed = True
        service, model = self.service, self.asked.model
        service.open -= 1
        service.batcher.cancel(self.row)
        service.whole.add(time.perf_counter() - self.began, model=model)
        service.tokens.add(self.prompt_tokens, model=model, kind="prompt")
        service.tokens.add(len(self.row.said), model=model, kind="completion")


def _unknown(name: str) -> Refused:
    told = f"the model `{name[:64]}` does not exist here; GET /v1/models lists those that do"
    return Refused(404, told, "model_not_found", "model")
