"""What every training stage does around its loss: the start model, signals, the clock, resuming."""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainingArguments

from errata import candidates, jsonl
from errata.candidates import Base
from errata.errors import BadInput, ErrataError
from errata.records import Candidate
from errata.store import past
from errata.train.processes import anywhere
from errata.train.settings import Panel, Training
from errata.workspace import Workspace


class Interrupted(ErrataError):
    """Training was told to stop, and left a checkpoint."""


class Start:
    """The model a run starts from: a base, and perhaps an adapter that it goes on with."""

    def __init__(self, ws: Workspace, name: str) -> None:
        self.candidate: Candidate = candidates.resolve(ws, name)
        self.base, self.adapter = candidates.verify(ws, self.candidate)
        resolved = (
            candidates.resolve_base(ws, name) if self.adapter is None and not name.endswith(".json")
            and not (ws.runs / name).is_dir() else Base(self.base, None)
        )  # fmt: skip
        self.alias = resolved.alias


class Watch(TrainerCallback):
    """Stops on SIGTERM or SIGINT and at the end of the budget, after saving a checkpoint.

    `signalled` and `over_deadline` are this process's; `interrupted` and `over`, by which a
    `Trainer` stops, are what all processes agreed on at the end of the last step.
    """

    def __init__(self, budget_hours: float | None) -> None:
        self.deadline = None if budget_hours is None else time.monotonic() + budget_hours * 3600
        self.signalled = self.interrupted = self.over = False
        self._old: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old[number] = signal.signal(number, self._stop)

    def _stop(self, *_: Any) -> None:
        self.signalled = True

    def over_deadline(self) -> bool:
        """Whether the budget of hours is used up."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self.interrupted, self.over = anywhere(self.signalled, self.over_deadline())
        if self.interrupted or self.over:
            control.should_save = control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.restore()

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, old in self._old.items():
            signal.signal(number, old)
        self._old = {}


class Clock:
    """CPU and wall seconds since `start`, and the process's peak memory."""

    def __init__(self) -> None:
        self.start()
        self.started = False

    def start(self) -> None:
        """Begin (again): the contract counts from the first reference forward."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self.started = True

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside is no training: an audit of the watch."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self._wall += time.perf_counter() - wall
        self._cpu += time.process_time() - cpu

    def read(self) -> dict[str, float]:
        """Seconds, and GiB."""
        return {
            "cpu_seconds": round(time.process_time() - self._cpu, 2),
            "wall_seconds": round(time.perf_counter() - self._wall, 2),
            "peak_rss_gib": round(peak_rss_gib(), 3),
        }


def peak_rss_gib() -> float:
    """Resident memory at its highest so far, GiB. On Linux by /proc: there ru_maxrss begins with
    what the parent held when it forked."""
    with suppress(OSError, TypeError):
        told = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(told[1]) / 1024**2  # type: ignore[index]
    unit = 1024**3 if sys.platform == "darwin" else 1024**2
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / unit


def whole_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in order of their steps; the file written last says that one is whole."""
    found = {
        file.parent
        for name in ("trainer_state.json", "state.pt")
        for file in folder.glob(f"checkpoint-*/{name}")
    }
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def cut_off_run(ws: Workspace, stage: str, config: Panel, inputs: str) -> Path | None:
    """The newest checkpoint of an unfinished run of this config and data, or of a named run.

    `inputs` is the digest of all that the run reads. BadInput when the named run has no
    checkpoint, or began with another config or other inputs."""
    if config.resume == "never":
        return None
    named = None if config.resume == "auto" else past.get_run(ws, config.resume)["id"]
    wanted = jsonl.digest(config.model_dump(exclude={"resume"}))
    for record in reversed(past.list_runs(ws, stage)):
        state = ws.runs / record["id"] / "resume.json"
        same = state.is_file() and json.loads(state.read_text()) == {
            "config": wanted,
            "inputs": inputs,
        }
        if not same or (named and record["id"] != named):
            continue
        found = whole_checkpoints(ws.runs / record["id"] / "checkpoints")
        finished = record["status"] not in ("died", "failed")
        if found and (named or not finished):
            return found[-1]
        if finished:
            break
        # One cut off before its first checkpoint says nothing: look further back.
    if named:
        raise BadInput(f"resume={named}: no checkpoint of this config and data; use resume=never")
    return None


def arguments(config: Training, folder: Path, validate: bool, **extra: Any) -> TrainingArguments:
    """TrainingArguments from the panel. Nothing is sent anywhere; the tracker is our own report."""
    import torch

    cpu = not torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        # A step's examples come at once; step.py cuts them.
        per_device_train_batch_size=config.micro_batch * config.grad_accum,
        max_steps=config.max_steps or -1,
        num_train_epochs=config.epochs,
        learning_rate=config.lr,
        lr_scheduler_type=config.lr_scheduler,
        warmup_steps=config.warmup if config.warmup < 1 else int(config.warmup),
        weight_decay=config.weight_decay,
        bf16=config.mixed,
        use_cpu=cpu,
        seed=config.seed,
        data_seed=config.seed,
        logging_steps=config.log_every,
        logging_first_step=True,
        save_strategy="steps",
        save_steps=config.save_every,
        save_total_limit=2,
        eval_strategy="steps" if config.eval_every and validate else "no",
        eval_steps=config.eval_every or None,
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=not sys.stderr.isatty(),
        dataloader_pin_memory=not cpu,
        train_sampling_strategy=config.order,
        **extra,
    )


def fit(trainer: Trainer, watch: Watch, checkpoint: Path | None) -> None:
    """Train (on); Interrupted when a signal ended it, with the step that brings it to its end."""
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        watch.restore()
    if watch.interrupted and trainer.state.global_step < trainer.state.max_steps:
        step = trainer.state.global_step
        raise Interrupted(
            f"training stopped at step {step}; run the same command again to go on from there"
        )
