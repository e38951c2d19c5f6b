"""Answers under way, and what becomes of those whose release is rolled back.

`drain` lets them end, `cut` ends them with an error. Either way it is measured: the seconds from
the decision to the last piece that a client got from that release.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal, Protocol


class Answering(Protocol):
    """One answer under way."""

    @property
    def release(self) -> str: ...

    last: float  # time.time() of the last piece that was sent
    cut: bool
    work: asyncio.Task[None] | None


class InFlight:
    """By release; lives on the event loop's thread."""

    def __init__(self, policy: Literal["drain", "cut"], gone: Callable[[str, float], None]) -> None:
        self.policy, self.gone = policy, gone
        self._under_way: set[Answering] = set()
        self._last: dict[str, float] = {}  # release → its last piece, of answers that ended
        self._decided: dict[str, float] = {}  # rolled back, and some still under way

    def __len__(self) -> int:
        return len(self._under_way)

    def enter(self, answer: Answering) -> None:
        self._under_way.add(answer)

    def leave(self, answer: Answering) -> None:
        self._under_way.discard(answer)
        release = answer.release
        self._last[release] = max(self._last.get(release, 0.0), answer.last)
        self._settle(release)

    def rolled_back(self, release: str, decided: float) -> None:
        """A release was taken back at this time (time.time(); 0: now)."""
        self._decided[release] = decided or time.time()
        if self.policy == "cut":
            for answer in [one for one in self._under_way if one.release == release]:
                answer.cut = True
                if answer.work:
                    answer.work.cancel()
        self._settle(release)

    def _settle(self, release: str) -> None:
        if release in self._decided and not any(a.release == release for a in self._under_way):
            decided = self._decided.pop(release)
            self.gone(release, max(self._last.get(release, 0.0) - decided, 0.0))
