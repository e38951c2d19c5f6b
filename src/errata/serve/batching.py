"""Continuous batching: one thread owns the model, requests join and leave between two steps.

    batcher = Batcher(model, tokenizer, max_rows=16, max_waiting=64)
    row = batcher.submit(Ask(ids, max_tokens=48), hear)     # hear(piece, finish) in that thread
    batcher.cancel(row)
    batcher.load("a-1f…", folder).result()                  # between two steps as well

A queue that is full refuses at once (`Full`): who waits for minutes has gone when his turn comes.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from errata.errors import ErrataError
from errata.evaluate.generate import end_token_ids
from errata.serve.batch import Batch, Draw
from errata.serve.saying import Saying

PREFILL = 4096  # ids, padding with them, that newcomers may have together in one pass
Hear = Callable[[str, str | None], None]  # what may be shown now, and how it ended once it has


class Full(ErrataError):
    """As many wait as may."""


class Unknown(ErrataError):
    """No such adapter is loaded, or it is leaving."""


@dataclass(frozen=True)
class Ask:
    """One answer wanted: prompt ids, how to draw, when to stop; `adapter` "" is the base."""

    ids: Sequence[int]
    max_tokens: int
    adapter: str = ""
    draw: Draw = field(default_factory=Draw)
    stops: tuple[str, ...] = ()


class Row:
    """An answer on its way; `said` are its ids so far, the end token with them."""

    def __init__(self, ask: Ask, saying: Saying, hear: Hear) -> None:
        self.ask, self.saying, self.hear = ask, saying, hear
        self.said: list[int] = []
        self.gone = False

    def take(self, token: int, ends: set[int]) -> bool:
        """One token more, told to who asked; whether it was the last."""
        self.said.append(token)
        ended = token in ends
        piece = "" if ended else self.saying.feed(token)
        cut = not ended and len(self.said) >= self.ask.max_tokens
        if ended or cut or self.saying.stopped:
            finish = "length" if cut and not self.saying.stopped else "stop"
            self.hear(piece + self.saying.end(finish == "length"), finish)
            return True
        if piece:
            self.hear(piece, None)
        return False


class Batcher:
    """The thread, its queue, and the rows that it runs."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        max_rows: int = 16,
        max_waiting: int = 64,
        max_cells: int = 1 << 20,
    ) -> None:
        self.tokenizer, self.max_rows, self.max_waiting = tokenizer, max_rows, max_waiting
        self.max_cells = max_cells  # rows times the longest of them: what the cache may hold
        self.ends = end_token_ids(model, tokenizer)
        pad = tokenizer.pad_token_id
        self.batch = Batch(model, min(self.ends) if pad is None else pad, max_rows)
        self.running: list[Row] = []
        self.waiting: deque[Row] = deque()
        self.orders: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self.loaded: set[str] = set()
        self.leaving: set[str] = set()
        self.steps = self.row_steps = 0
        self.stopping = False
        self.wake = threading.Condition()
        self.thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self.thread.start()

    def submit(self, ask: Ask, hear: Hear) -> Row:
        """Queue it; `hear` is called in the batcher's thread and must not wait for anything.
        Raises Full, or Unknown."""
        row = Row(ask, Saying(self.tokenizer, ask.stops), hear)
        with self.wake:
            if ask.adapter and ask.adapter not in self.loaded - self.leaving:
                raise Unknown(f"{ask.adapter}: not loaded")
            idle = self.max_rows - len(self.running)  # a free row is no waiting
            if self.stopping or len(self.waiting) >= self.max_waiting + max(0, idle):
                raise Full(f"{len(self.waiting)} requests wait already; ask again later")
            self.waiting.append(row)
            self.wake.notify()
        return row

    def cancel(self, row: Row) -> None:
        """Who asked has gone: the row leaves before the next step, and hears no more."""
        with self.wake:
            row.gone = True
            self.wake.notify()

    def load(self, name: str, folder: Path) -> Future[None]:
        """Add an adapter between two steps; the future raises BadInput when it does not fit."""

        def work() -> None:
            if name not in self.loaded:
                self.batch.adapters.load(name, folder)
                self.loaded.add(name)
            self.leaving.discard(name)

        return self._order(work)

    def unload(self, name: str) -> None:
        """No new request gets it from now on; it goes when the last row that has it is done."""
        with self.wake:
            self.leaving |= {name} & self.loaded
            self.wake.notify()

    @property
    def busy(self) -> int:
        """Requests that run or wait."""
        return len(self.running) + len(self.waiting)

    def stop(self) -> None:
        """End the thread; rows that still run hear `error`."""
        with self.wake:
            self.stopping = True
            self.wake.notify()
        self.thread.join()

    def _order(self, work: Callable[[], None]) -> Future[None]:
        done: Future[None] = Future()
        with self.wake:
            if self.stopping:
                done.cancel()
            else:
                self.orders.append((work, done))
                self.wake.notify()
        return done

    def _run(self) -> None:
        while not self.stopping:
            with self.wake:
                self.wake.wait_for(self._anything)
            try:
                self._obey()
                self._drop()
                self._admit()
                self._step()
            except Exception:  # out of memory, most likely: these rows are lost, the next are not
                traceback.print_exc(file=sys.stderr)
                self._fail(self.running)
                self.running = []
                self.batch.clear()
        self._fail([*self.running, *self.waiting])
        with self.wake:
            for _, done in self.orders:
                done.cancel()

    def _anything(self) -> bool:
        """Whether there is something to do."""
        return bool(self.stopping or self.running or self.waiting or self.orders or self.leaving)

    def _fail(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if not row.gone:
                row.hear("", "error")

    def _obey(self) -> None:
        """Orders; and adapters that nobody has any more leave."""
        while self.orders:
            work, done = self.orders.popleft()
            try:
                work()
                done.set_result(None)
            except Exception as error:  # who ordered it hears of it
                done.set_exception(error)
        with self.wake:
            used = {row.ask.adapter for row in (*self.running, *self.waiting)}
            for name in self.leaving - used:
                self.loaded.discard(name)
                self.leaving.discard(name)
                self.batch.adapters.unload(name)

    def _drop(self) -> None:
        """Rows of who has gone."""
        with self.wake:
            self.waiting = deque(row for row in self.waiting if not row.gone)
        self._keep([not row.gone for row in self.running])

    def _keep(self, stays: Sequence[bool]) -> None:
        if not all(stays):
            self.running = [self.running[row] for row in self.batch.keep(stays)]

    def _admit(self) -> None:
        """Newcomers as long as there is room: their prompts are read in one pass."""
        new: list[Row] = []
        with self.wake:
            while self.waiting and self._room(new, self.waiting[0]):
                new.append(self.waiting.popleft())
            self.running += new
        if new:
            asks = [row.ask for row in new]
            tokens = self.batch.join(
                [ask.ids for ask in asks], [ask.adapter for ask in asks], [ask.draw for ask in asks]
            )
            self._take(len(self.running) - len(new), tokens)

    def _room(self, new: Sequence[Row], row: Row) -> bool:
        """Whether one more fits in; one alone always does."""
        rows = [*self.running, *new, row]
        if len(rows) == 1:
            return True
        if new and max(len(one.ask.ids) for one in [*new, row]) * (len(new) + 1) > PREFILL:
            return False
        longest = max(len(one.ask.ids) + one.ask.max_tokens for one in rows)
        return len(rows) <= self.max_rows and len(rows) * longest <= self.max_cells

    def _step(self) -> None:
        if self.running:
            tokens = self.batch.step([row.ask.draw for row in self.running])
            self.steps += 1
            self.row_steps += len(tokens)
            self._take(0, tokens)

    def _take(self, start: int, tokens: Sequence[int]) -> None:
        """A token each to the rows from `start` on; those that end leave at once."""
        stays = [True] * start
        for row, token in zip(self.running[start:], tokens, strict=True):
            stays.append(not row.gone and not row.take(token, self.ends))
        self._keep(stays)
