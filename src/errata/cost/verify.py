"""`errata cost verify`: three real steps of a training stage, predicted against measured.

The stage runs in a process of its own, so that its peak is its own, and in a scratch workspace with
this one's configs and data, so that no run, candidate or report of yours changes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from errata import candidates, jsonl
from errata.errors import BadInput, ErrataError
from errata.language import say
from errata.outcome import Outcome
from errata.report import markdown_table
from errata.workspace import Workspace

STEPS, ROWS = 3, 128
_DATA = {"sft": "sft.jsonl", "dpo": "prefs.jsonl", "rm": "prefs.jsonl", "ppo": "prefs.jsonl"}
_ALONE = ("accept={}", "inputs=[]", "outputs=[]", "resume=never", "eval_dataset=null")
_UNWATCHED = ("audit_cases=0", "score_cases=0", "retention=null")
# A rollout of random weights goes through PPO's limits; here its memory is wanted.
_UNLIMITED = ("kl_ceiling=1000000.0", "entropy_floor=0.0", "repetition_ceiling=1.0")


def verify(ws: Workspace, model: str, objective: str, told: tuple[str, ...] = ()) -> Outcome:
    """Predicted beside measured, with the error; BadInput where the stage cannot run."""
    if objective not in _DATA:
        raise BadInput(f"verify: objective `{objective}` has no stage; one of {', '.join(_DATA)}")
    base = candidates.resolve_base(ws, model or "tiny").path
    with tempfile.TemporaryDirectory(prefix="errata-verify-") as made:
        scratch = Path(made) / "desk"
        _lay_down(ws, scratch, objective)
        here = (f"model={base}", *_ALONE)
        if objective == "ppo":
            _run(scratch, "rm", (*here, *_UNWATCHED, "max_steps=1"))
        more = _UNLIMITED if objective == "ppo" else _UNWATCHED
        found = _run(scratch, objective, (*here, *more, f"max_steps={STEPS}", *told))
        record = scratch / "runs" / found["run_id"] / "run.json"
        memory = json.loads(record.read_text(encoding="utf-8"))["facts"]["memory"]
    return _told(model or "tiny", objective, memory)


def _lay_down(ws: Workspace, scratch: Path, objective: str) -> None:
    (scratch / "data").mkdir(parents=True)
    if ws.configs.is_dir():
        shutil.copytree(ws.configs, scratch / "configs")
    (scratch / ".errata").mkdir()
    name = _DATA[objective]
    file = ws.data / name
    if file.is_file():
        shutil.copyfile(file, scratch / "data" / name)
    else:
        jsonl.write(scratch / "data" / name, _made_up(objective == "sft"))


def _made_up(sft: bool) -> list[dict[str, Any]]:
    """Rows where a workspace has none yet: their words do not matter, their number does."""
    rows = []
    for index in range(ROWS):
        asked = " ".join(f"order {index} item {n}," for n in range(12))
        good, bad = (" ".join(f"{word} {n}" for n in range(16)) for word in ("yes", "no"))
        row = {"instruction": asked, "output": good, "why": "verify", "origin": "template"}
        pair = {"prompt": asked, "chosen": good, "rejected": bad, "reason": "verify"}
        rows.append({"id": f"v{index}", **(row if sft else pair)})
    return rows


def _run(scratch: Path, stage: str, words: tuple[str, ...]) -> dict[str, Any]:
    """One stage in its own process; its `--json` line."""
    command = [sys.executable, "-m", "errata", stage, "-C", str(scratch), "--json", *words]
    where = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (where, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode not in (0, 3) or not lines:
        raise ErrataError(f"verify: {stage} did not run: {done.stderr.strip()[-400:] or 'no word'}")
    found: dict[str, Any] = json.loads(lines[-1])
    if "run_id" not in found:
        raise ErrataError(f"verify: {stage} did not finish: {found.get('error', lines[-1])[:400]}")
    return found


def _told(model: str, objective: str, memory: dict[str, Any]) -> Outcome:
    measured, expected = memory["above_baseline_gib"], memory["predicted_memory_gib"]
    data = {"model": model, "objective": objective, "steps": STEPS, "measured_gib": measured,
            **memory}  # fmt: skip
    if expected is None:
        text = say(f"measured {measured:.3f} GiB; predicted: none, {memory['reason']}",
                   f"实测 {measured:.3f} GiB；无预测：{memory['reason']}")  # fmt: skip
        return Outcome(0, text, {**data, "error": None})
    error = expected / measured - 1 if measured > 0 else None
    head = [say("term", "项"), "GiB"]
    rows = [[name, f"{value:.4f}"] for name, value in memory["terms"].items()]
    rows += [
        [say("predicted", "预测"), f"{expected:.4f}"],
        [say("low to high", "区间"), f"{memory['low_gib']:.4f} – {memory['high_gib']:.4f}"],
        [say("measured above the baseline", "实测（减去基线）"), f"{measured:.4f}"],
        [say("error of the prediction", "预测误差"), "–" if error is None else f"{error:+.1%}"],
    ]
    title = say(f"{STEPS} steps of {objective} on {model}: {memory['of']}",
                f"{model} 上 {objective} 的 {STEPS} 步：{memory['of']}")  # fmt: skip
    return Outcome(0, f"{title}\n\n{markdown_table(head, rows)}", {**data, "error": error})
