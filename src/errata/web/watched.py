"""What a release's traffic calls for, kept as far as it was read: a page reads what came since."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import NamedTuple

from errata import jsonl
from errata.records import Release
from errata.release import live, monitor, routing
from errata.release.decide import Watch
from errata.release.live import Live
from errata.workspace import Workspace

POINTS = 240  # of a curve at most; then every second one goes
RECENT = 5000  # rows of which both arms are summed up
Points = list[tuple[float, float]]


class Told(NamedTuple):
    """The watch after all rows, e-values on the way there, and the newest rows."""

    watch: Watch
    curves: dict[str, Points]
    recent: list[Live]


class _Rollout:
    """One release's rows as far as they were read."""

    def __init__(self, ws: Workspace, knobs: monitor.Config, release: Release) -> None:
        self.watch = monitor.watch_of(ws, knobs, release)
        self.curves: dict[str, Points] = {name: [(0.0, 1.0)] for name in knobs.accept.hard}
        self.recent = deque[Live](maxlen=RECENT)
        self.seq, self._every = 0, 1

    def read(self, ws: Workspace, id: str) -> None:
        """Add what came since; the watch sees the rows one by one, in their order."""
        for seen in live.read(ws, id, self.seq):
            self.watch.add([seen.row])
            self.recent.append(seen.row)
            self.seq = seen.seq
            if self.watch.rows % self._every == 0:
                self._mark()
        if self.watch.rows % self._every:
            self._mark()

    def _mark(self) -> None:
        for name, points in self.curves.items():
            points.append((float(self.watch.rows), self.watch.duels[name].e))
            if len(points) > POINTS:
                del points[1:-1:2]
        if len(next(iter(self.curves.values()), [])) > POINTS / 2:
            self._every = max(self._every, self.watch.rows // (POINTS // 2))


class Watched:
    """All releases that were looked at, by what they are judged by."""

    def __init__(self, ws: Workspace) -> None:
        self.ws, self._lock = ws, Lock()
        self._known: dict[tuple[str, str], _Rollout] = {}

    def of(self, knobs: monitor.Config, release: Release) -> Told:
        """The state of a release's rollout, as `monitor.replay` would have it."""
        stable = routing.current(self.ws).stable
        key = release.id, jsonl.digest([jsonl.plain(knobs), stable.id if stable else None])
        with self._lock:
            if key not in self._known:
                mine = {known: found for known, found in self._known.items()
                        if known[0] != release.id}  # fmt: skip
                self._known = {**mine, key: _Rollout(self.ws, knobs, release)}
            found = self._known[key]
            found.read(self.ws, release.id)
            curves = {name: list(points) for name, points in found.curves.items()}
            return Told(found.watch, curves, list(found.recent))
