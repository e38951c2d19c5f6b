"""Processes that are killed in the middle, and what is looked for afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa

from errata import jsonl
from errata.errors import ErrataError
from errata.store import audit, database, ledger, objects, past
from errata.workspace import Workspace
from storage import writer

LIVES = 14  # a victim of the clock lives up to so many runs: a slow machine is given its time
CALLS = 900  # a victim of the count makes up to so many calls that touch something: a few runs
SCRIPT = Path(writer.__file__)


def start(what: str, ws: Workspace, *words: object) -> subprocess.Popen[str]:
    """A writer that is ready."""
    command = [sys.executable, str(SCRIPT), what, str(ws.root), *map(str, words)]
    pipe = subprocess.PIPE
    path = os.pathsep.join(filter(None, sys.path))
    env = {**os.environ, "PYTHONPATH": path}
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def kill(ws: Workspace, rng: Random, number: int, seconds: float) -> list[str]:
    """One process that runs and is killed, by the clock or at a call; the runs it reported."""
    by_clock = number % 2 == 0
    process = start("runs", ws, number, *([] if by_clock else [rng.randrange(CALLS)]))
    if by_clock:
        time.sleep(rng.uniform(0, seconds))
        process.kill()
    told, _ = process.communicate()
    return [line.split()[1] for line in told.splitlines()]


def problems(ws: Workspace, reported: list[str]) -> list[str]:
    """What is wrong right after a kill, before anything mends anything; then what is missing."""
    found = [f"verify: {problem}" for problem in audit.verify(ws)]
    records = {record["id"]: record for record in past.list_runs(ws)}
    ends = _ends(ws)
    rows = _rows(ws)
    found += [f"{id}: reported done and gone" for id in reported if id not in records]
    for id, record in records.items():
        if id in reported and record["status"] != "done":
            found.append(f"{id}: reported done and is {record['status']}")
        if ends.get(id) != [record["status"]]:
            found.append(f"{id}: is {record['status']} and the ledger has {ends.get(id)}")
        whole = 3 * writer.ROWS if record["status"] == "done" else 0
        if rows[id] != whole:
            found.append(f"{id}: is {record['status']} with {rows[id]} rows, not {whole}")
        found += [f"{id}: {wrong}" for wrong in _files(ws, record)]
    return found


def _ends(ws: Workspace) -> dict[str, list[str]]:
    """Run → the ends that the ledger tells of it."""
    found = dict[str, list[str]]()
    for event in ledger.events(ws, "run"):
        found.setdefault(event["data"]["id"], []).append(event["data"]["status"])
    return found


def _rows(ws: Workspace) -> Counter[str]:
    """Run → how many nodes, links and members are there of it."""
    found = Counter[str]()
    with database.reading(ws) as connection:
        for column in (database.node.c.id, database.edge.c.dst, database.member.c.row):
            for id in connection.execute(sa.select(column)).scalars():
                found[id.partition("/")[0]] += 1
    return found


def _files(ws: Workspace, record: dict[str, Any]) -> list[str]:
    """What is wrong with run.json, and with the files of a run that is done."""
    told = ws.runs / record["id"] / "run.json"
    if json.loads(told.read_text()) != record:
        return ["run.json is not what the store has"]
    if record["status"] != "done":
        return []
    found = []
    names = {file["path"]: file["digest"] for file in record["outputs"]}
    if names.keys() != {"data/sft.jsonl", f"reports/{record['id']}.json"}:
        found.append(f"outputs are {sorted(names)}")
    for path, digest in names.items():
        try:
            there = objects.get(ws, digest) if path.startswith("data/") else ws.path(path)
            if jsonl.digest_file(there) != digest:
                found.append(f"{path} has other bytes")
        except (OSError, ErrataError) as error:
            found.append(f"{path}: {error}")
    return found


def killed(ws: Workspace, kills: int, seed: int) -> dict[str, Any]:
    """So many processes killed one after the other, the store looked at after each."""
    (ws.inbox / "raw.jsonl").write_text('{"a": 1}\n')
    rng, reported, wrong = Random(seed), list[str](), list[str]()
    seconds = LIVES * min(_timed(ws, turn) for turn in range(3))
    for number in range(kills):
        reported += kill(ws, rng, number, seconds)
        wrong += [f"kill {number}: {problem}" for problem in problems(ws, reported)]
        if wrong:
            break
    ends = Counter(record["status"] for record in past.list_runs(ws))
    return {
        "kills": number + 1,
        "reported": len(reported),
        "ends": dict(ends),
        "drafts": drafts(ws),
        "problems": wrong,
    }


def _timed(ws: Workspace, turn: int) -> float:
    begun = time.perf_counter()
    writer.one(ws, "first", turn)
    return time.perf_counter() - begun


def drafts(ws: Workspace) -> int:
    """Files that a killed process left half written, beside the whole one."""
    return sum(1 for path in ws.root.rglob(".*.tmp") if path.is_file())


def written(ws: Workspace, writers: int, events: int) -> dict[str, Any]:
    """Processes that append at once; what is lost, twice or out of order afterwards."""
    share = events // writers
    ledger.append(ws, "note", writer="first", n=0)
    processes = [start("events", ws, name, share) for name in range(writers)]
    begun = time.perf_counter()
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    codes = [process.wait() for process in processes]
    seconds = time.perf_counter() - begun
    found = Counter((e["data"]["writer"], e["data"]["n"]) for e in ledger.events(ws, "note"))
    wanted = {(str(name), n) for name in range(writers) for n in range(share)} | {("first", 0)}
    return {"writers": writers, "events": share * writers, "seconds": round(seconds, 3),
            "failed": sum(map(bool, codes)), "lost": len(wanted - found.keys()),
            "twice": sum(n > 1 for n in found.values()), "problems": audit.verify(ws)}  # fmt: skip
