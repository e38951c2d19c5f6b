"""A workspace of 100,000 failures, `errata web` over it, and how long its pages take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import httpx
import psutil

ROWS = 100_000
REQUESTS = 15  # of each page
PAGES = ("/", "/failures", "/failures?page=1900", "/failures?label=privacy&state=open",
         "/failures?order=oldest&language=zh", "/failures/{id}", "/review", "/review/spans",
         "/runs", "/verdicts", "/rollout", "/lineage?id={id}", "/reports")  # fmt: skip
SEARCHES = ("/failures?q=lamp", "/failures?q=台灯", "/failures?q=kettle+99871",
            "/failures?q=nothing+like+it", "/failures?q=lamp&label=other")  # fmt: skip
PARTS = ("/running",)
_THINGS = (("amber lamp", "琥珀台灯"), ("jade kettle", "玉石水壶"), ("solar fan", "太阳能风扇"))
_LABELS = ("jailbreak", "injection", "privacy", "politeness", "factuality", "other")


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Invented failures in both languages, over a year."""
    rng = Random(0)
    for n in range(count):
        en, zh = rng.choice(_THINGS)
        long = rng.randint(1, 12)
        head, more = (
            (f"About my {en}, case {n}: ", "it does not work as it should, please help. ")
            if n % 2
            else (f"关于我的{zh}，编号 {n}：", "它不能正常工作，请帮我看看。")
        )
        yield {
            "prompt": head + more * long,
            "bad_answer": f"No idea, number {n}. " + "Ask somebody else. " * long,
            "label": _LABELS[n % len(_LABELS)], "source": f"shop-{n % 5}",
            "ts": f"2026-{n % 11 + 1:02}-{n % 28 + 1:02}T10:00:00Z",
        }  # fmt: skip


def _errata(root: Path, *words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "errata", *words, "-C", str(root)],
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"errata {' '.join(words)}: {done.stderr or done.stdout}")


def _laid_down(root: Path) -> str:
    """The workspace; the id of one of its failures."""
    from errata.init import lay_down
    from errata.store import database, ledger

    ws = lay_down(root)
    with (ws.inbox / "year.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(ROWS))
    _errata(root, "intake", "inbox/year.jsonl")
    with (ws.data / "failures.jsonl").open(encoding="utf-8") as file:
        ids = [json.loads(line)["id"] for line in file]
    half = ids[::2]
    with database.writing(ws) as connection:
        edges = ({"src": id, "dst": f"s-{id}", "kind": "became", "run_id": "r"} for id in half)
        database.insert_new(connection, database.edge, edges)
        held = ({"version": "v-1", "file": "data/sft.jsonl", "row": f"s-{id}", "leaf": id,
                 "label": "x", "source": "s"} for id in half)  # fmt: skip
        database.insert_new(connection, database.member, held)
    ledger.append(ws, "note")
    return str(ids[0])


@contextmanager
def _served(root: Path) -> Iterator[tuple[str, psutil.Process]]:
    env = {**os.environ, "ERRATA_WEB_TOKEN": "a-token-of-the-bench"}
    server = subprocess.Popen([sys.executable, "-m", "errata", "web", "port=0", "-C", str(root)],
                              stdout=subprocess.PIPE, text=True, env=env)  # fmt: skip
    assert server.stdout
    try:
        yield server.stdout.readline().split()[-1], psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(30)


@cache
def _measured() -> dict[str, list[float]]:
    """Page → milliseconds of each request; all are asked of one desk, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        id = _laid_down(Path(folder) / "desk")
        with _served(Path(folder) / "desk") as (url, process):
            client = httpx.Client(base_url=url, timeout=120)
            found: dict[str, list[float]] = {}
            for turn in range(REQUESTS + 1):
                for page in (*PAGES, *SEARCHES, *PARTS):
                    began = time.perf_counter()
                    reply = client.get(page.format(id=id))
                    took = 1000 * (time.perf_counter() - began)
                    assert reply.status_code == 200, (page, reply.status_code)
                    if turn:
                        found.setdefault(page, []).append(took)
            found["memory_mib"] = [process.memory_info().rss / 2**20]
    return found


def slowest(pages: Sequence[str]) -> Callable[[int], list[dict[str, Any]]]:
    """A measurement whose value is the median of the slowest of these pages."""

    def measure(_: int) -> list[dict[str, Any]]:
        found = _measured()
        worst = max(median(found[page]) for page in pages)
        return [{"page": page, "value": worst, "median_ms": median(found[page]),
                 "max_ms": max(found[page]), "wall_seconds": sum(found[page]) / 1000,
                 "cpu_seconds": 0.0, "desk_mib": found["memory_mib"][0]}
                for page in pages]  # fmt: skip

    return measure
