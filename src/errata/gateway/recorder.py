"""A thread that looks at what was answered and writes it down, so that no request waits for it.

What comes while the store is away is kept and written later, up to a bound; beyond it is dropped
and counted. What must never happen is written at once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa

from errata.errors import ErrataError
from errata.gateway import journal as journals
from errata.gateway.answer import Answer
from errata.gateway.journal import Journal, Said
from errata.gateway.knobs import Config
from errata.gateway.measure import judged, measured
from errata.gateway.meters import Meters
from errata.release import live
from errata.release.live import Live
from errata.safety.guard.filter import Guard
from errata.serve.refused import GONE
from errata.workspace import Workspace

LOOK = 0.02  # seconds between two looks at what waits: few at a time, so that requests get through
WAIT = 0.5  # seconds between two writes
QUEUE = 4096  # answers that wait to be looked at
PAUSE = 0.0005  # seconds before each, in which the event loop has the interpreter to itself
BUSY = 500  # answers that wait beyond which there is no pause


class Feedback(NamedTuple):
    """What was said of an answer, and the answer's row where that is in the store."""

    row: Live
    told: dict[str, str]


class Recorder:
    """Takes answers on any thread; looks at them on its own."""

    def __init__(
        self,
        ws: Workspace,
        config: Config,
        gateway: str,
        journal: Journal,
        meters: Meters,
        guard: Callable[[], Guard],
        salt: Callable[[str], str],
    ) -> None:
        self.ws, self.config, self.gateway = ws, config, gateway
        self.journal, self.meters, self.guard, self.salt = journal, meters, guard, salt
        self.store_ok = True
        self._queue: deque[Answer | Feedback] = deque()
        self._rows: deque[Live] = deque()
        self._words: list[Callable[[], None]] = []  # what is to be written in words
        self._recent: OrderedDict[str, tuple[Live, Said | None]] = OrderedDict()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._window, self._born = 0, f"{time.time_ns() // 10**6:x}"
        self._alone = threading.Lock()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write down what is left, and end."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=15)

    def put(self, found: Answer | Feedback) -> None:
        """Take an answer, or what was said of one."""
        if len(self._queue) >= QUEUE:
            self.meters.add("dropped_total", kind="answer")
            return
        self._queue.append(found)
        grave = isinstance(found, Answer) and found.decision and found.decision.level >= 3
        if grave:
            self._wake.set()

    def known(self, answer: str) -> Live | None:
        """The row of an answer that this gateway gave lately."""
        with self._alone:
            found = self._recent.get(answer)
        return found[0] if found else None

    def _run(self) -> None:
        written = time.monotonic()
        while not self._stop.is_set():
            grave = self._wake.wait(LOOK)
            self._wake.clear()
            self._look()
            if grave or time.monotonic() - written >= WAIT:
                self._write()
                written = time.monotonic()
        self._look()
        self._write()

    def _look(self) -> None:
        """Look at what waits, one by one."""
        while self._queue:
            if len(self._queue) < BUSY:
                time.sleep(PAUSE)
            found = self._queue.popleft()
            try:
                if isinstance(found, Answer):
                    self._answer(found)
                else:
                    self._feedback(found)
            except Exception as error:  # one answer that cannot be looked at stops no other
                self._lost("measurement", error)

    def _lost(self, kind: str, error: Exception) -> None:
        self.meters.add("dropped_total", kind=kind)
        sys.stderr.write(f"errata: gateway: {kind} lost: {type(error).__name__}\n")

    def _answer(self, answer: Answer) -> None:
        guard, config = self.guard(), self.config
        row, decision = measured(answer, guard, config, self.gateway)
        if answer.status == GONE and not row.hard:
            return  # half an answer says nothing but that
        self._rows.append(row)
        self.meters.measured(row)
        if row.hard:
            self._wake.set()
        said = journals.said_in(answer, self.salt(row.release), decision)
        self._keep(row, said)
        if journals.sampled(row.answer, config.log_share):
            self._words.append(lambda: self.journal.log(said, row, guard))
            self._judge(answer, row, said, guard)
        if config.write_back and (decision.level >= 2 or row.hard):
            why = row.hard or f"filter: {decision.name}"
            self._words.append(lambda: self.journal.failure(said, row, guard, why))

    def _judge(self, answer: Answer, row: Live, said: Said, guard: Guard) -> None:
        found = judged(answer, row)
        if found is None:
            return
        self._rows.append(found)
        if found.flags["judged_bad"] and self.config.write_back:
            why = "claims what no document holds"
            told = found.model_copy(update={"label": "factuality"})
            self._words.append(lambda: self.journal.failure(said, told, guard, why))

    def _feedback(self, found: Feedback) -> None:
        row = found.row
        self._rows.append(row)
        self.meters.measured(row)
        with self._alone:
            _, said = self._recent.get(row.answer, (None, None))
        worth = found.told.get("rating") != "up" or found.told.keys() & {"edited", "preferred"}
        if said and worth and self.config.write_back:
            guard = self.guard()
            self._words.append(lambda: self.journal.feedback(said, row, guard, found.told))

    def _keep(self, row: Live, said: Said) -> None:
        with self._alone:
            self._recent[row.answer] = (row, said if journals.small(said) else None)
            while len(self._recent) > self.config.keep_answers:
                self._recent.popitem(last=False)

    def _write(self) -> None:
        """The rows, as one window; then the words."""
        while len(self._rows) > self.config.keep_rows:
            self._rows.popleft()
            self.meters.add("dropped_total", kind="row")
        window = f"{self.gateway}-{self._born}-{self._window}"
        batch = [row.model_copy(update={"window": window}) for row in self._rows]
        try:
            live.append(self.ws, batch)
            self.store_ok = True
            self._rows.clear()  # only this thread adds to them
            self._window += 1
        except (ErrataError, sa.exc.SQLAlchemyError, OSError):
            self.store_ok = False
        words, self._words = self._words, []
        for write in words:
            try:
                write()
            except (OSError, ErrataError, ValueError) as error:
                self._lost("words", error)
