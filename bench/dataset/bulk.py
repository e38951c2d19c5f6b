"""Intake of files that are large: peak memory, its slope, and what a second core is worth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from dataset.values import SEED

Run = dict[str, Any]
SIZES = [64, 256, 1024]  # MiB of input; `--mib 10240` measures it whole
WHOLE = 10 * 1000**3 / (1 << 20)  # MiB of the 10 GB that are claimed
_ENGLISH = "order parcel refund invoice courier account late broken again please answer when money "
_CHINESE = "订单 快递 退款 发票 账户 客服 没有 回复 什么 时候 到账 产品 太差 请问 怎么 处理 你们"
# The child tells its own peak: what `wait4` says of it begins with the pages of this process.
_CHILD = """
import re, sys
from errata.cli import main
code = main(sys.argv[1:])
with open("/proc/self/status") as file:
    print("peak", re.search(r"VmHWM:\\s+(\\d+)", file.read())[1], file=sys.stderr)
sys.exit(code)
"""


def write(path: Path, mib: int) -> int:
    """So many MiB of JSON lines, no two the same; how many. One in a hundred holds a number of a
    telephone, one in a thousand is no row."""
    random, size, count = Random(SEED), 0, 0
    told = [" ".join(random.choices(_ENGLISH.split(), k=40)) for _ in range(2000)]
    told += ["".join(random.choices(_CHINESE.split(), k=30)) for _ in range(2000)]
    with path.open("wb") as file:
        while size < mib << 20:
            row = {
                "prompt": f"{count}: {random.choice(told)}",
                "bad_answer": f"{random.choice(told)} {count}",
                "label": "politeness" if count % 3 else "factuality",
                "source": "online",
                "ts": "2026-01-02T03:04:05Z",
                "user": f"u{count % 1_000_003}",
            }
            if count % 100 == 50:
                row["bad_answer"] += f" call 138{count % 10**8:08d}"
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            size += file.write(line if count % 1000 != 999 else b"{broken\n")
            count += 1
    return count


def intake(mib: int, engine: str = "local") -> Run:
    """One intake in a process and a workspace of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("configs", "inbox"):
            (root / name).mkdir()
        rows = write(root / "inbox" / "rows.jsonl", mib)
        size = (root / "inbox" / "rows.jsonl").stat().st_size / 1e6
        words = ["-C", folder, "--json", "intake", f"engine={engine}"]
        wall, cpu = time.perf_counter(), os.times()
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, *words], capture_output=True, text=True
        )
        wall, after = time.perf_counter() - wall, os.times()
        if done.returncode:
            raise RuntimeError(done.stderr.strip()[-500:])
        told = json.loads(done.stdout.splitlines()[-1])
    spent = after.children_user + after.children_system - cpu.children_user - cpu.children_system
    assert (told["rows"], told["duplicates"]) == (rows, 0)
    peak = int(done.stderr.rsplit("peak", 1)[1]) / 1024
    speed = {"MB": size, "MB/s": size / wall, "wall": wall, "cpu": spent}
    return {"MiB": mib, "peak": peak, **speed}


def memory(_: int) -> list[Run]:
    """Peak memory at 10 GB: as measured where that was run, else along the last slope."""
    found = [intake(mib) for mib in sorted(SIZES)]
    slopes = [(b["peak"] - a["peak"]) / (b["MiB"] - a["MiB"]) for a, b in pairwise(found)]
    last, slope = found[-1], max([*slopes[-1:], 0.0])
    return [
        {
            "value": last["peak"] + slope * max(WHOLE - last["MiB"], 0),
            "wall_seconds": sum(run["wall"] for run in found),
            "cpu_seconds": sum(run["cpu"] for run in found),
            "last slope, MiB a GiB": slope * 1024,
            "MB a CPU-second": sum(run["MB"] for run in found) / sum(run["cpu"] for run in found),
            "peak MiB by MiB": {str(run["MiB"]): round(run["peak"], 1) for run in found},
            "MB/s by MiB": {str(run["MiB"]): round(run["MB/s"], 2) for run in found},
        }
    ]


def ray(_: int) -> list[Run]:
    """Seconds of one process over those of Ray on this machine's cores, Ray's start included."""
    one, many = (intake(sorted(SIZES)[len(SIZES) // 2], engine) for engine in ("local", "ray"))
    return [
        {
            "value": one["wall"] / many["wall"],
            "wall_seconds": one["wall"] + many["wall"],
            "cpu_seconds": one["cpu"] + many["cpu"],
            "MiB of input": one["MiB"],
            "MB/s local": one["MB/s"],
            "MB/s with Ray": many["MB/s"],
            "driver's peak MiB": many["peak"],
        }
    ]
