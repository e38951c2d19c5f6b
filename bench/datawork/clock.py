"""Wall and CPU-seconds of a piece of work; a run as bench/data.py reads it."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Run = dict[str, Any]  # value, wall_seconds, cpu_seconds, and what else there is to say


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)  # os.times() counts in hundredths


@contextmanager
def clock() -> Iterator[Run]:
    """Wall and CPU-seconds of this process and of those it waited for."""
    run: Run = {}
    wall, cpu = time.perf_counter(), _cpu()
    yield run
    run["wall_seconds"] = round(time.perf_counter() - wall, 4)
    run["cpu_seconds"] = round(_cpu() - cpu, 4)
