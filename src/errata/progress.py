"""Progress of long work, on a terminal; nothing when piped."""

from __future__ import annotations

import sys
from collections.abc import Callable


def show_progress(label: str, total: int) -> Callable[[int], None]:
    """A line written over; call what is returned with how much is done."""

    def show(done: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done >= total else ""
            sys.stderr.write(f"\r{label} {done}/{total} {end}")
            sys.stderr.flush()

    return show
