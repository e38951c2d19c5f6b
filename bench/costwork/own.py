"""Predicted and measured memory of our own training stages, and how long `errata cost` takes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from training import work

MODELS = {"61m": work.MODELS["61m"], "110m": (768, 12, 12, 4, 2048, 32_768)}
# Stage → what its panel is told besides.
STAGES: dict[str, tuple[str, ...]] = {
    "sft": (), "sft-full": ("method=full", "lr=1e-5"), "dpo": (), "rm": (),
    "ppo": ("rollout_batch=16", "max_new_tokens=32", "epochs=1", "micro_batch=8"),
}  # fmt: skip


def _errata(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "errata", *words], capture_output=True, text=True)
    if done.returncode not in (0, 3):
        raise SystemExit(f"errata {' '.join(words)}: {done.stderr or done.stdout}")
    return done.stdout


def verified(_: int) -> list[dict[str, Any]]:
    """|predicted / measured − 1| of three steps a stage and model, resident memory above baseline;
    the claim's value is the largest."""
    runs = []
    for model, shape in MODELS.items():
        work.MODELS[model] = shape
        with tempfile.TemporaryDirectory() as made:
            root = Path(made) / "desk"
            _errata("init", str(root))
            work.make_model(model, root / "m")
            _write(root / "data" / "sft.jsonl", work.packed(24, shape[-1]))
            _write(root / "data" / "prefs.jsonl", work.pairs("prompt-heavy", 32, shape[-1]))
            for name, told in STAGES.items():
                began = time.perf_counter()
                runs.append(_one(root, model, name, told, began))
            shutil.rmtree(root)
    worst = max(run["error"] for run in runs)
    return [{**run, "value": worst} for run in runs]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _one(root: Path, model: str, name: str, told: tuple[str, ...], began: float) -> dict[str, Any]:
    stage = name.partition("-")[0]
    words = ("micro_batch=4", "grad_accum=2", *told)
    out = _errata("cost", "verify", "-C", str(root), "--json", f"model={root / 'm'}",
                  f"objective={stage}", f"steps={' '.join(words)}")  # fmt: skip
    found = json.loads(out.splitlines()[-1])
    return {
        "case": {model: name},
        "predicted_gib": found["predicted_memory_gib"],
        "measured_gib": found["measured_gib"],
        "error": abs(found["error"]),
        "wall_seconds": time.perf_counter() - began,
        "cpu_seconds": 0.0,
    }


def seconds(repeats: int) -> list[dict[str, Any]]:
    """CPU-seconds of `errata cost`, all of it, in a fresh process."""
    runs = []
    for _ in range(max(3, repeats)):
        began = time.perf_counter()
        code = "import resource, sys; from errata import cli; cli.main(['cost']); " \
               "assert 'torch' not in sys.modules; u = resource.getrusage(0); " \
               "print('CPU', u.ru_utime + u.ru_stime)"  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        spent = float(done.stdout.split("CPU")[-1])
        runs.append({"value": round(spent, 3), "cpu_seconds": spent,
                     "wall_seconds": time.perf_counter() - began})  # fmt: skip
    return runs
