"""What is measured of the store. Each function: a database and a number of repeats → runs."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from random import Random
from statistics import median
from typing import Any

from datawork.clock import clock

from errata.build import stage
from errata.store import audit, ledger, lineage
from errata.store.runs import Run as StoreRun
from errata.workspace import Workspace
from storage import crash, desk, places
from storage.claim import Run

VERSIONS, ROWS = 20, 50_000
TRACES = 200
BATCHES, BATCH, SINGLES = 20, 1_000, 2_000
CHAIN, SEALS = 100_000, 100
WRITERS, EVENTS = 8, 10_000
STORES, KILLS = 4, 50


def fsync_ms() -> float:
    """What the disk takes to keep 4 KiB, the floor of every commit; the median of 200."""
    spent = []
    with tempfile.TemporaryFile() as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - begun)
    return round(median(spent) * 1e3, 3)


def note(number: int) -> tuple[str, dict[str, Any]]:
    """An event of usual size."""
    return "note", {"id": f"f-{number:016x}", "n": number, "why": "越狱: refused the wrong thing"}


def _rate(work: Callable[[Workspace], None], ws: Workspace, events: int) -> Run:
    with clock() as run:
        work(ws)
    return {**run, "value": round(events / run["wall_seconds"]), "fsync_ms": fsync_ms()}


def batched(kind: str, repeats: int) -> list[Run]:
    """Events a second, many in a transaction."""

    def work(ws: Workspace) -> None:
        for batch in range(BATCHES):
            ledger.extend(ws, [note(batch * BATCH + n) for n in range(BATCH)])

    with places.workspace(kind) as ws:
        ledger.append(ws, "begin")
        return [_rate(work, ws, BATCHES * BATCH) for _ in range(repeats)]


def one_by_one(kind: str, repeats: int) -> list[Run]:
    """Events a second, each in a transaction that is on the disk when it ends."""

    def work(ws: Workspace) -> None:
        for number in range(SINGLES):
            kind_, data = note(number)
            ledger.append(ws, kind_, **data)

    with places.workspace(kind) as ws:
        ledger.append(ws, "begin")
        return [_rate(work, ws, SINGLES) for _ in range(repeats)]


def verified(kind: str, repeats: int) -> list[Run]:
    """Events a second through `audit.verify`: both copies, all links, all checkpoints."""

    def work(ws: Workspace) -> None:
        if problems := audit.verify(ws):
            raise AssertionError(problems[0])

    with places.workspace(kind) as ws:
        for part in range(SEALS):
            share = CHAIN // SEALS
            ledger.extend(ws, [note(part * share + n) for n in range(share)])
            ledger.seal(ws)
        return [_rate(work, ws, CHAIN) for _ in range(repeats)]


def version(kind: str, repeats: int) -> list[Run]:
    """Seconds until a version of ROWS rows is written, by the door that `errata build` uses."""
    config = stage.Config()
    out, runs = config.outputs, []
    for turn in range(repeats):
        rows = [desk.example(turn * ROWS + n) for n in range(ROWS)]
        held = ROWS // 10
        files: stage.Files = {out.sft: rows[held:], out.prefs: [], out.sft_valid: rows[:held],
                              out.prefs_valid: []}  # fmt: skip
        with places.workspace(kind) as ws:
            ledger.append(ws, "begin")
            with clock() as run, StoreRun(ws, "build", config) as build:
                stage._write(build, config, files)
        runs.append({**run, "value": run["wall_seconds"]})
    return runs


def traces(kind: str, repeats: int) -> dict[str, list[Run]]:
    """Milliseconds until a failure is traced, both ways: of any failure, and of those whose row
    stays in every version."""
    with places.workspace(kind) as ws:
        last = desk.history(ws, VERSIONS, ROWS)
        lasting = int(ROWS * desk.LASTING)
        pools = {"usual": range(lasting, last[-1] + 1), "lasting": range(lasting)}
        rng = Random(0)
        return {
            name: [_trace(ws, rng.sample(pool, TRACES)) for _ in range(repeats)]
            for name, pool in pools.items()
        }


def _trace(ws: Workspace, numbers: list[int]) -> Run:
    spent, steps = [], []
    with clock() as run:
        for number in numbers:
            begun = time.perf_counter()
            found = lineage.lineage(ws, desk.failure_id(number))
            spent.append(time.perf_counter() - begun)
            steps.append(len(found.up) + len(found.down))
    kinds = {thing.kind for thing in found.things.values()}
    assert {"failure", "sft", "version", "run", "candidate", "release"} <= kinds, kinds
    p95 = sorted(spent)[int(len(spent) * 0.95)]
    return {**run, "value": round(median(spent) * 1e3, 3), "p95": round(p95 * 1e3, 3),
            "steps": median(steps)}  # fmt: skip


_KNOWN: dict[str, dict[str, list[Run]]] = {}


def traced(pool: str) -> Callable[[str, int], list[Run]]:
    """One of the two; the store that both need is made once."""

    def measure(kind: str, repeats: int) -> list[Run]:
        if kind not in _KNOWN:
            _KNOWN[kind] = traces(kind, repeats)
        return _KNOWN[kind][pool]

    return measure


def writers(kind: str, repeats: int) -> list[Run]:
    """Events that are lost, twice or out of the chain after WRITERS processes wrote at once."""
    runs = []
    for _ in range(repeats):
        with places.workspace(kind) as ws, clock() as run:
            found = crash.written(ws, WRITERS, EVENTS)
        wrong = found["lost"] + found["twice"] + found["failed"] + len(found["problems"])
        runs.append({**run, **found, "value": wrong})
    return runs


def kills(kind: str, _repeats: int) -> list[Run]:
    """What is missing or wrong after `kill -9`: STORES stores, KILLS processes each."""
    runs = []
    for seed in range(STORES):
        with places.workspace(kind) as ws, clock() as run:
            found = crash.killed(ws, KILLS, seed)
        runs.append({**run, **found, "value": len(found["problems"])})
    return runs
