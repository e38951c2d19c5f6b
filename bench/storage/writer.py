"""One process that writes: what the kills and the concurrent writers of the bench are.

    python writer.py runs ROOT NAME [CALLS]     runs until it is killed, or kills itself after CALLS
    python writer.py events ROOT NAME COUNT     COUNT events, every other one with nine more

`ready` comes first; `done <run id>` when a run has ended, and not before.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from errata import jsonl
from errata.store import ledger
from errata.store.runs import Run
from errata.workspace import Workspace

ROWS = 20
BATCH = 10
# Calls that leave something behind.
TOUCHING = {"open", "write", "truncate", "flush", "fsync", "close", "chmod", "mkdir", "replace",
            "rename", "link", "unlink", "fork_exec", "execute", "executemany",
            "commit"}  # fmt: skip


def ids(run_id: str) -> list[str]:
    """The rows that a run writes; they name it, so that what is missing shows."""
    return [f"{run_id}/{number}" for number in range(ROWS)]


def one(ws: Workspace, name: str, turn: int) -> str:
    """A run that does all that runs do; its id."""
    with Run(ws, "build", {"writer": name, "turn": turn}) as run:
        run.input("inbox/raw.jsonl")
        rows = [{"id": id, "text": f"{name} {turn} 越狱"} for id in ids(run.id)]
        jsonl.write(run.output("data/sft.jsonl"), rows)
        jsonl.write_json(run.output(f"reports/{run.id}.json"), {"rows": ROWS})
        for id in ids(run.id):
            run.node(id, "sft", run=run.id)
            run.link(f"f-{id}", id, "became")
        run.members(f"v-{run.id}", "data/sft.jsonl", [(id, id, "l", "s") for id in ids(run.id)])
        run.note(rows=ROWS)
    return run.id


def runs(ws: Workspace, name: str) -> None:
    """Until it is killed."""
    for turn in count():
        print("done", one(ws, name, turn), flush=True)


def die_after(calls: int) -> None:
    """SIGKILL before the nth call from now of those that are TOUCHING: between any two
    of them, however short the time is."""
    left = calls

    def look(frame: FrameType, event: str, what: Any) -> None:
        nonlocal left
        name = what.__name__ if event == "c_call" else frame.f_code.co_name
        if event in ("c_call", "call") and name in TOUCHING:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(look)


def events(ws: Workspace, name: str, number: int) -> None:
    """So many events: one in a transaction, then BATCH in one, and so on."""
    made = 0
    while made < number:
        size = min(BATCH if made % (BATCH + 1) else 1, number - made)
        ledger.extend(ws, [("note", {"writer": name, "n": made + at}) for at in range(size)])
        made += size
    ledger.seal(ws)


def main() -> None:
    what, root, name, number = [*sys.argv[1:], ""][:4]
    ws = Workspace.find(Path(root))
    print("ready", flush=True)
    if what == "events":
        sys.stdin.readline()  # all begin at once
        events(ws, name, int(number))
        return
    if number:
        die_after(int(number))
    runs(ws, name)


if __name__ == "__main__":
    main()
