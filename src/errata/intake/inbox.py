"""Raw rows do not live for ever: each is deleted `inbox_days` after intake first saw it.

When a row was first seen is kept in `.errata/inbox.json` under a keyed hash of the row, so neither
the file's age nor the row's own `ts` matters: a log of last year that was put there today has its
time, and a file that grows loses its oldest rows. Rows that intake could not use have the same time
as the others.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path

from errata import jsonl
from errata.errors import BadInput
from errata.workspace import Workspace


def files(folder: Path) -> list[Path]:
    """What waits in the inbox."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")


def _seen(register: Path) -> dict[str, str]:
    """Hash of a raw row → the day it was first seen."""
    try:
        found = json.loads(register.read_text()) if register.is_file() else {}
        return {key: datetime.date.fromisoformat(day).isoformat() for key, day in found.items()}
    except (ValueError, AttributeError, TypeError):
        raise BadInput(
            ".errata/inbox.json: not as intake wrote it; restore it, or delete it: then the time "
            "of what waits in the inbox begins anew"
        ) from None


def sweep(
    ws: Workspace, folder: Path, days: int, name: Callable[[bytes], str], today: datetime.date
) -> int:
    """Delete what has been there too long, remember what is new; how many rows were deleted.

    `name`: the keyed hash of a raw line. A file without rows left is deleted whole.
    """
    register = ws.state / "inbox.json"
    seen = _seen(register)
    there: dict[str, str] = {}
    gone = 0
    for path in files(folder):
        kept, dropped = [], 0
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.strip():
                continue
            key = name(line.strip())
            since = seen.get(key, today.isoformat())
            if (today - datetime.date.fromisoformat(since)).days >= days:
                dropped += 1
            else:
                kept.append(line)
                there[key] = since
        gone += dropped
        if dropped and not kept:
            path.unlink()
        elif dropped:
            with jsonl.replacing(path) as file:
                file.writelines(kept)
    if there or register.is_file():
        jsonl.write_json(register, there)
    return gone
