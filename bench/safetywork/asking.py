"""Seconds that 1,200 attacks take against the embedded model, in a workspace without a cache."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from dataset.report import Run

from errata import candidates
from errata.evaluate.answers import ask
from errata.init import lay_down
from errata.tiny import suites

ATTACKS = 1200


def seconds(repeats: int) -> list[Run]:
    """Wall seconds from the first prompt to the last answer."""
    prompts = [c.messages for c in suites.attacks() if c.split == "heldout"][:ATTACKS]
    runs = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            ws = lay_down(Path(folder) / "ws")
            who = candidates.resolve(ws, "tiny")
            wall, cpu = time.perf_counter(), time.process_time()
            ask(ws, who, prompts, label="")
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        runs.append({"value": wall, "wall_seconds": wall, "cpu_seconds": cpu,
                     "attacks": len(prompts)})  # fmt: skip
    return runs
