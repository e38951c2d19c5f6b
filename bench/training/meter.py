"""One ruler for TRL's sides: CPU-seconds with children, wall, and the process's peak memory.

The same as the product's own clock (docs/training.md): it starts at the first reference forward,
or where training starts, and stops after the last optimiser step.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any


def peak_gib() -> float:
    """Highest resident memory of this process so far (Linux counts KiB, macOS bytes)."""
    unit = 1024**3 if sys.platform == "darwin" else 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _cpu() -> float:
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


class Meter:
    """`start()` counts only the first time, so that it may be called from several places."""

    def __init__(self) -> None:
        self.begun: tuple[float, float] | None = None
        self.imports_gib = peak_gib()  # make the Meter right after the imports

    def start(self) -> None:
        if self.begun is None:
            self.begun = time.perf_counter(), _cpu()

    def stop(self, **facts: Any) -> None:
        """Print the result as one JSON line."""
        assert self.begun is not None
        wall, cpu = time.perf_counter() - self.begun[0], _cpu() - self.begun[1]
        result = {
            "cpu_seconds": round(cpu, 3),
            "wall_seconds": round(wall, 3),
            "peak_rss_gib": round(peak_gib(), 4),
            "imports_gib": round(self.imports_gib, 4),
            **facts,
        }
        torch = sys.modules.get("torch")
        if torch and torch.cuda.is_available():
            result["peak_gpu_gib"] = round(torch.cuda.max_memory_allocated() / 1024**3, 4)
        print(json.dumps(result))
