"""A workspace: one folder that holds one model's failures, data, configs, runs and reports.

data/ reports/ configs/ policies/ suites/ waivers/ audit/  tracked by git
inbox/ runs/ .errata/                                      not: raw text, weights, state
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from errata.errors import BadInput, ErrataError


@dataclass(frozen=True)
class Workspace:
    """Where things are, below one absolute `root`."""

    root: Path

    @classmethod
    def find(cls, start: Path) -> Workspace:
        """The workspace at `start`. No search upwards: a stray configs/ must not become one."""
        root = Path(start).expanduser().resolve()
        if (root / ".errata").is_dir() or (root / "configs").is_dir():
            return cls(root)
        raise BadInput(
            f"{start} is not a workspace; lay one down with `errata init DIR`, or pass -C DIR"
        )

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def configs(self) -> Path:
        return self.root / "configs"

    @property
    def policies(self) -> Path:
        return self.root / "policies"

    @property
    def suites(self) -> Path:
        return self.root / "suites"

    @property
    def waivers(self) -> Path:
        return self.root / "waivers"

    @property
    def audit(self) -> Path:
        return self.root / "audit"

    @property
    def state(self) -> Path:
        return self.root / ".errata"

    @property
    def cache(self) -> Path:
        """What can be computed again."""
        return self.state / "cache"

    def path(self, relative: str | Path) -> Path:
        """A path as written in a config: relative to the root, unless it is absolute."""
        return self.root / Path(relative).expanduser()

    def relative(self, path: str | Path) -> str:
        """How records name a path: relative with `/` when inside the workspace, else absolute."""
        full = self.path(path)
        if full.is_relative_to(self.root):
            return full.relative_to(self.root).as_posix()
        return str(full)

    @contextmanager
    def alone(self, name: str, seconds: float = 0) -> Iterator[None]:
        """Nobody else is between reading a file and writing it anew: what they added would be lost.
        ErrataError where somebody still is after so many seconds. It ends with the process."""
        self.state.mkdir(parents=True, exist_ok=True)
        path = self.state / f"{name}.lock"
        with closing(sqlite3.connect(path, timeout=seconds, isolation_level=None)) as lock:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                step = "free some space, or check the folder, and run the command again"
                if "locked" in str(error):
                    step = "another process writes the same files; run this when that has ended"
                raise ErrataError(f"{self.relative(path)}: {error}; {step}") from None
            yield
