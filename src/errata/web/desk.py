"""What one desk holds while it runs: the workspace, its keys, the table of failures, its jobs."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from threading import Lock

from errata.web.guard import Keys
from errata.web.index import Index
from errata.web.jobs import Jobs
from errata.web.watched import Watched
from errata.workspace import Workspace


class Said:
    """What a change led to, told once on the page that comes after it."""

    KEPT = 50

    def __init__(self) -> None:
        self._told: OrderedDict[str, tuple[str, bool]] = OrderedDict()
        self._lock = Lock()

    def keep(self, text: str, bad: bool = False) -> str:
        """A name under which `take` finds it."""
        name = secrets.token_hex(8)
        with self._lock:
            self._told[name] = (text, bad)
            while len(self._told) > self.KEPT:
                self._told.popitem(last=False)
        return name

    def take(self, name: str) -> tuple[str, bool] | None:
        """The text and whether it is bad news, and no second time."""
        with self._lock:
            return self._told.pop(name, None)


class Desk:
    """One workspace on show."""

    def __init__(self, ws: Workspace, token: str) -> None:
        self.ws, self.keys = ws, Keys(token)
        self.index, self.watched = Index(ws), Watched(ws)
        self.jobs, self.said = Jobs(ws), Said()
