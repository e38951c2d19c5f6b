"""Several processes: whatever the rows, they are one process's run, and all stop together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from errata import jsonl
from errata.errors import BadInput
from errata.store import past
from errata.train import dpo, reward, sft
from errata.workspace import Workspace

Adapter = Callable[[Workspace, str], dict[str, Any]]
STAGES = {"sft": sft, "dpo": dpo, "rm": reward}


def command(ws: Workspace, processes: int, stage: str, knobs: dict[str, Any]) -> list[str]:
    """`torchrun … -m errata STAGE`."""
    words = [f"{name}={'null' if value is None else value}" for name, value in knobs.items()]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return [sys.executable, *launcher, "-m", "errata", stage, "-C", str(ws.root), *words]


def launch(ws: Workspace, processes: int, stage: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """The record of the run that it makes."""
    done = subprocess.run(
        command(ws, processes, stage, knobs),
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return past.list_runs(ws, stage)[-1]


def keep(ws: Workspace, name: str, count: int) -> None:
    """The first `count` rows of a data file."""
    rows = (ws.data / name).read_text().splitlines(keepends=True)[:count]
    jsonl.write_text(ws.data / name, "".join(rows))


def close(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(
        torch.allclose(one[name], two[name], atol=2e-5) for name in one
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "processes", "rows"),
    # The last step of an epoch of 13 rows in threes of four has one: two processes get none.
    [("sft", 2, 13), ("dpo", 2, 11), ("rm", 2, 11), ("sft", 3, 13)],
)
def test_an_odd_number_of_rows_is_the_run_of_one_process(
    lessons: Workspace, knobs: dict[str, Any], adapter_of: Adapter,
    stage: str, processes: int, rows: int,
):  # fmt: skip
    keep(lessons, "sft.jsonl", rows)
    keep(lessons, "prefs.jsonl", rows)
    more = {"lr": 1e-3, "log_every": 1, "max_steps": 4, "resume": "never", "micro_batch": 4}
    knobs = {**knobs, **more}
    together = launch(lessons, processes, stage, knobs)
    module = STAGES[stage]
    alone = module.main(lessons, module.Config(**{**knobs, "micro_batch": 4 * processes})).data
    state = lessons.runs / together["id"] / "checkpoints"
    (history,) = state.glob("checkpoint-4/trainer_state.json")
    logged = json.loads(history.read_text())["log_history"]

    assert together["facts"]["processes"] == processes
    assert close(adapter_of(lessons, together["id"]), adapter_of(lessons, alone["run_id"]))
    assert [p["loss"] for p in logged if "loss" in p] == pytest.approx(alone["losses"], abs=2e-4)


def started(ws: Workspace, stage: str) -> str | None:
    """The run that has begun to train: its first checkpoint is there."""
    found = [*ws.runs.glob(f"*-{stage}-*/checkpoints/checkpoint-*/trainer_state.json")]
    return found[0].parents[2].name if found else None


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_and_the_run_goes_on_from_there(
    lessons: Workspace, knobs: dict[str, Any], adapter_of: Adapter
):
    knobs = {**knobs, "max_steps": 400, "epochs": 400, "save_every": 5, "lr": 1e-4}
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        command(lessons, 2, "sft", knobs), env=env, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not (run := started(lessons, "sft")):
            assert time.monotonic() < deadline, "no checkpoint in two minutes"
            time.sleep(0.05)
        workers = {
            child.environ().get("RANK"): child for child in psutil.Process(running.pid).children()
        }
        workers["1"].send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=120)
    finally:
        if running.poll() is None:
            psutil.Process(running.pid).terminate()
    assert running.returncode != 0
    assert "training stopped at step" in said
    assert past.get_run(lessons, run)["status"] == "failed"


@pytest.mark.slow
def test_a_budget_that_ends_between_two_processes_ends_both(
    lessons: Workspace, knobs: dict[str, Any]
):
    """Each has a clock of its own: half a second of training, over after some step of either."""
    knobs = {**knobs, "max_steps": 4000, "epochs": 4000, "lr": 1e-4, "budget_hours": 2e-4}
    found = launch(lessons, 2, "sft", knobs)
    assert found["status"] == "done"
    assert 0 < found["facts"]["steps"] < 4000


@pytest.mark.slow
def test_memory_that_runs_out_in_one_process_changes_nothing(
    lessons: Workspace, knobs: dict[str, Any], adapter_of: Adapter, tmp_path: Path
):
    """The second process alone cannot take more than one row at once."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('RANK') == '1':\n"
        "    import torch\n"
        "    from errata.train.logprobs import Scorer\n"
        "    real = Scorer.__call__\n"
        "    def short(self, trees, model=None):\n"
        "        if torch.is_grad_enabled() and len(trees) > 1:\n"
        "            raise torch.OutOfMemoryError('out of memory')\n"
        "        return real(self, trees, model)\n"
        "    Scorer.__call__ = short\n"
    )
    more = {"lr": 1e-3, "log_every": 1, "max_steps": 3, "resume": "never", "micro_batch": 4}
    knobs = {**knobs, **more}
    straight = launch(lessons, 2, "sft", knobs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
        short = launch(lessons, 2, "sft", knobs)
    assert close(adapter_of(lessons, straight["id"]), adapter_of(lessons, short["id"]))


@pytest.mark.slow
def test_where_every_forward_is_everyones_all_take_as_many(
    lessons: Workspace, knobs: dict[str, Any], adapter_of: Adapter, monkeypatch: pytest.MonkeyPatch
):
    """Shards need GPUs; on a CPU accelerate wraps in DDP instead. The path is that of shards: equal
    numbers of forwards, the sum at the last, weights gathered. 9 rows: shares of 5 and 4."""
    keep(lessons, "sft.jsonl", 9)
    more = {"lr": 1e-3, "max_steps": 3, "resume": "never", "micro_batch": 8, "micro_tokens": 90}
    knobs = {**knobs, **more}
    alone = sft.main(lessons, sft.Config(**{**knobs, "micro_batch": 16})).data
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    together = launch(lessons, 2, "sft", knobs)
    assert close(adapter_of(lessons, together["id"]), adapter_of(lessons, alone["run_id"]))


@pytest.mark.parametrize(
    ("stage", "more", "words"),
    [
        ("rm", {}, "rm: its score is read outside of a sharded forward; use `torchrun`"),
        ("sft", {"eval_dataset": "data/sft.jsonl"}, "a model in shards is not validated"),
        ("dpo", {"retention": "data/sft.jsonl"}, "a model in shards is not validated"),
        ("sft", {"audit_cases": 4}, "audit_cases and score_cases to 0; or use `torchrun`"),
        ("dpo", {"accept": {"win_rate": {"min": 0.5}}}, "`win_rate` is not measured here"),
    ],
)
def test_what_one_process_cannot_do_by_itself_is_refused_where_the_weights_are_in_shards(
    lessons: Workspace, knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
    stage: str, more: dict[str, Any], words: str,
):  # fmt: skip
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    module = STAGES[stage]
    with pytest.raises(BadInput, match=words):
        module.main(lessons, module.Config(**{**knobs, **more}))
