"""Files of lines that are only added to: `audit/ledger.jsonl` and the checkpoints.

A process that dies while it writes leaves half a line. That is no line: nobody reads it, and who
writes next takes it away.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

_SPAN = 1 << 16  # bytes read from the end at first; lines are a few hundred


def read(path: Path) -> list[bytes]:
    """All whole lines; [] without a file."""
    return path.read_bytes().rpartition(b"\n")[0].splitlines() if path.is_file() else []


def tail(file: IO[bytes]) -> tuple[int, bytes]:
    """Where the last whole line ends, and that line."""
    size, span = file.seek(0, os.SEEK_END), _SPAN
    while True:
        start = max(0, size - span)
        file.seek(start)
        text = file.read(size - start)
        end = text.rfind(b"\n")
        begin = text.rfind(b"\n", 0, max(end, 0))
        if begin >= 0 or start == 0:
            return start + end + 1, text[begin + 1 : max(end, 0)]
        span *= 4


def add(file: IO[bytes], end: int, text: str) -> None:
    """Write lines after the last whole one, onto the disk; on an error the file is as it was."""
    file.truncate(end)
    try:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    except BaseException:
        os.ftruncate(file.fileno(), end)
        raise
