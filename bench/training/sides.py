"""Start one side as a child process, and measure it from outside too.

Both sides get the same threads, no network, and a fresh folder: nothing is reused between runs,
neither our cached reference log-probabilities nor TRL's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from training import opponents
from training.duel import COMMON, Duel, Run

BENCH = Path(__file__).resolve().parents[1]
SCRATCH = BENCH / ".scratch"


class SideFailed(Exception):
    """A side did not come to its end; the text is its last words."""


def environment(threads: int, folder: Path, *paths: Path) -> dict[str, str]:
    """GOMP_SPINCOUNT: threads that wait must not be counted as threads that work."""
    before = [p for p in [os.environ.get("PYTHONPATH")] if p]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*map(str, paths), str(BENCH), *before]),
        "OMP_NUM_THREADS": str(threads),
        "GOMP_SPINCOUNT": "20000",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(folder / "hub"),
        "ERRATA_LANG": "en",
    }


def child(words: list[str], env: dict[str, str], folder: Path) -> Run:
    """Run to the end; its last line of JSON, and the peak and CPU that the system counted."""
    begun = time.perf_counter()
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(words, env=env, cwd=folder, stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    said = (folder / "out").read_text().strip()
    if process.returncode:
        said += (folder / "err").read_text()
        raise SideFailed(f"exit {process.returncode}: {said.strip()[-600:]}")
    unit = 1024**3 if sys.platform == "darwin" else 1024**2
    return {
        **json.loads(said.splitlines()[-1]),
        "peak_gib": round(used.ru_maxrss / unit, 4),
        "process_cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "process_wall_seconds": round(time.perf_counter() - begun, 2),
    }


def rows_of(duel: Duel) -> Path:
    """The model and rows of a duel, made by a child so that torch stays out of this process."""
    SCRATCH.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "training.work", str(SCRATCH), duel.model, duel.data]
    done = subprocess.run([*words, str(duel.rows)], cwd=BENCH, text=True, capture_output=True)
    if done.returncode:
        raise SideFailed(f"work: {done.stderr[-600:]}")
    return Path(done.stdout.splitlines()[-1])


def settings(duel: Duel, rows: Path, folder: Path, side: int) -> dict[str, Any]:
    """What a side that is a script is told. `side`: 0 ours, 1 TRL's."""
    told = {
        "stage": duel.stage,
        "model": str(SCRATCH / duel.model),
        "dataset": str(rows),
        "steps": duel.steps,
        "batch": duel.batch,
        "dtype": duel.dtype[side],
        "scratch": str(folder / "scratch"),
    }
    return {**COMMON, **told, **duel.settings, **(duel.trl if side else {})}


def trl(duel: Duel, rows: Path, threads: int) -> Run:
    """TRL's side, in its own environment."""
    script = "training.trl_ppo_side" if duel.stage == "ppo" else "training.trl_side"
    with tempfile.TemporaryDirectory(dir=SCRATCH) as made:
        folder = Path(made)
        first = [opponents.PPO_FOLDER] if duel.stage == "ppo" else []
        told = json.dumps(settings(duel, rows, folder, 1))
        words = [str(opponents.PYTHON), "-m", script, told]
        return child(words, environment(threads, folder, *first), folder)


def knobs(duel: Duel, folder: Path, rows: Path) -> dict[str, Any]:
    """The panel of `errata`: equal settings, and no thresholds, for nothing is accepted here."""
    s = settings(duel, rows, folder, 0)
    told = {
        "model": s["model"],
        "dataset": s["dataset"],
        "max_steps": duel.steps,
        "micro_batch": duel.batch,
        "seed": s["seed"],
        "seq_len": s["seq_len"],
        "lr": s["lr"],
        "lr_scheduler": "constant",
        "warmup": 0,
        "weight_decay": 0,
        "dtype": s["dtype"],
        "bf16": s["dtype"] == "bfloat16",
        "order": "sequential",
        "save_every": 100_000,
        "eval_dataset": None,
        "accept": {},
        "inputs": [],
        "outputs": [],
    }
    if duel.stage != "ppo":  # TRL's side watches and audits nothing
        told |= {"log_every": 1, "audit_cases": 0, "score_cases": 0, "patience": 0}
        told |= {"retention": None}
    if duel.stage == "dpo":
        told |= {"beta": s["beta"], "loss": "sigmoid", "label_smoothing": 0, "sft_weight": 0}
    if duel.stage == "ppo":
        shared = ("epochs", "max_new_tokens", "kl_coef", "answers_per_prompt")
        told |= {key: s[key] for key in shared}
        # Random weights say anything: no answer of theirs is a collapse.
        told |= {"rollout_batch": duel.batch, "kl_ceiling": 1e3, "entropy_floor": 0}
        told |= {"repetition_ceiling": 1}
    if duel.stage in ("dpo", "ppo"):
        told |= {"versus_cases": 0}
    return {**told, **duel.ours}


def errata(duel: Duel, rows: Path, threads: int) -> Run:
    """Our side is the product: `errata STAGE` in a new workspace. PPO first needs a reward model,
    which is trained before and not counted."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as made:
        folder = Path(made)
        env = environment(threads, folder)
        product = [sys.executable, "-m", "errata"]
        child([*product, "init", str(folder / "ws"), "--json"], env, folder)
        if duel.stage == "ppo":
            # A reward that tells nothing apart moves no policy, and then there is no KL to hold.
            steps, batch = (100, 16) if duel.alone else (4, 4)
            reward = Duel("", "", "rm", duel.model, duel.data, steps, batch, settings={"lr": 1e-3})
            child(_command(product, "rm", folder, knobs(reward, folder, rows)), env, folder)
        run = child(_command(product, duel.stage, folder, knobs(duel, folder, rows)), env, folder)
        found = {"imports_gib": imports(duel.stage, env, folder)}
        return {**run, **found, **kept(folder / "ws", run)}


def _command(product: list[str], stage: str, folder: Path, told: dict[str, Any]) -> list[str]:
    words = [f"{key}={json.dumps(value)}" for key, value in told.items()]
    return [*product, stage, "-C", str(folder / "ws"), "--json", *words]


def kept(ws: Path, run: Run) -> Run:
    """What the product left in its workspace: the KL after warm-up, which is the mean of the second
    half of the rollouts, and the reference's log-probabilities of every pair."""
    found: Run = {}
    record = json.loads((ws / "runs" / run["run_id"] / "run.json").read_text())
    curve = [point["kl"] for point in record["facts"].get("curve", []) if "kl" in point]
    if curve:
        found["kl"] = fmean(curve[len(curve) // 2 :])
    for file in (ws / ".errata" / "cache" / "reference").glob("*.json"):
        found["logps"] = json.loads(file.read_text())
    return found


def imports(stage: str, env: dict[str, str], folder: Path) -> float:
    """GiB after our side's imports and nothing else."""
    module = {"rm": "reward"}.get(stage, stage)
    program = f"import torch, transformers, peft, accelerate, errata.train.{module}; print('{{}}')"
    return float(child([sys.executable, "-c", program], env, folder)["peak_gib"])
