"""Seconds that `errata evaluate` takes for 1,000 cases of the embedded model, without a cache."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from dataset.report import Run

from errata import jsonl
from errata.evaluate import stage
from errata.init import lay_down
from errata.records import Case
from errata.workspace import Workspace

CASES = 1000


def _thinned(ws: Workspace) -> int:
    """Leave 1,000 held-out cases in the suites, of each file its share, by their hash."""
    files = [ws.suites / f"{name}.jsonl" for name in ("business", "tools", "grounded", "personas")]
    rows = {path: [c for c in jsonl.read(path, Case) if c.split == "heldout"] for path in files}
    total, left = sum(map(len, rows.values())), 0
    for path, cases in rows.items():
        share = len(cases) * CASES // total + (path == files[0]) * 3
        cases = sorted(cases, key=lambda case: case.id.rsplit("-", 1)[-1])[:share]
        jsonl.write(path, cases)
        left += len(cases)
    return left


def seconds(repeats: int) -> list[Run]:
    """Wall seconds of the whole command: asking, scoring, style, report, ledger."""
    runs = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            ws = lay_down(Path(folder) / "ws")
            count = _thinned(ws)
            more = [f"suites/{name}.jsonl" for name in ("tools", "grounded", "personas")]
            wall, cpu = time.perf_counter(), time.process_time()
            stage.main(ws, stage.Config(model="tiny", more=more))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        runs.append({"value": wall * CASES / count, "wall_seconds": wall, "cpu_seconds": cpu,
                     "cases": count})  # fmt: skip
    return runs
