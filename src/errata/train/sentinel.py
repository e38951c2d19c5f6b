"""The callback that measures, asks the watch, and acts: stop, keep the best, restore it.

`runs/<id>/watch.json` holds the history and the decisions, `runs/<id>/best/<step>.safetensors` the
trained tensors of the best validation so far. Both outlive an interruption: a resumed run takes
over what was known at the step of its checkpoint.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from errata import jsonl
from errata.cost.money import PRICES
from errata.cost.time import gpu
from errata.errors import BadInput
from errata.records import Record
from errata.store.setting import finite
from errata.train.audit import Look
from errata.train.processes import shared
from errata.train.watch import Decision, Measurement, Watching, best, decide

STATE = "watch.json"


class State(Record):
    """What a resumed run must know of the one it goes on with; `hours` were spent by then."""

    history: list[Measurement] = Field(default_factory=list)
    decisions: list[Decision] = Field(default_factory=list)
    hours: float = 0.0


def before(checkpoint: Path | None) -> State:
    """The watch's state when `checkpoint` was written; empty for a new run."""
    if checkpoint is None or not (checkpoint.parents[1] / STATE).is_file():
        return State()
    found = jsonl.read_json(checkpoint.parents[1] / STATE, State)
    step = int(checkpoint.name.split("-")[1])
    return State(
        history=[m for m in found.history if m.step <= step],
        decisions=[d for d in found.decisions if d.step <= step],
        hours=found.hours,
    )


def allowed_hours(config: Any) -> float | None:
    """Hours until the budget of time or of money is used, whichever comes first; None: no limit."""
    hours: list[float] = [] if config.budget_hours is None else [config.budget_hours]
    if isinstance(config, Watching) and config.budget_money is not None:
        hours.append(config.budget_money / price(config))
    return min(hours, default=None)


def price(config: Watching) -> float:
    """Of an hour here: as given, else the upper common price of the GPU, so that a budget holds."""
    if config.price_per_hour is not None:
        return config.price_per_hour
    known = gpu(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    if known is None or known[0] not in PRICES:
        raise BadInput("budget_money: what an hour of this machine costs is not known; "
                       "add price_per_hour=…")  # fmt: skip
    return PRICES[known[0]][1]


class Sentinel(TrainerCallback):
    """Feeds the watch from a `Trainer`.

    measure: model → Look, or None when neither audit nor retention is asked for; every: look every
    so many steps when the Trainer itself does not validate; max_steps: the budget of steps, 0 for
    none; over_budget and hours: of time and money; rows: ids of the step's rows, to name them.
    """

    def __init__(
        self,
        config: Watching,
        folder: Path,
        measure: Callable[[Any], Look] | None = None,
        checkpoint: Path | None = None,
        every: int = 0,
        max_steps: int = 0,
        over_budget: Callable[[], bool] = lambda: False,
        hours: Callable[[], float] = lambda: 0.0,
        rows: Callable[[], list[str]] = list,
    ) -> None:
        self.config, self.folder, self.measure, self.every = config, folder, measure, every
        self.max_steps, self.over_budget, self.hours = max_steps, over_budget, hours
        self.rows, self.training, self.main = rows, False, True
        state = before(checkpoint)
        self.history, self.decisions = state.history, state.decisions
        kept = best(self.history, config)
        if checkpoint and kept and (file := checkpoint.parents[1] / self._file(kept)).is_file():
            self._path(kept).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, self._path(kept))

    def _file(self, found: Measurement) -> str:
        return f"best/{found.step}.safetensors"

    def _path(self, found: Measurement) -> Path:
        return self.folder / self._file(found)

    def save(self) -> None:
        """Write the state, whole or not at all."""
        if self.main:
            state = State(history=self.history, decisions=self.decisions, hours=self.hours())
            jsonl.write_json(self.folder / STATE, finite(jsonl.plain(state)))

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.training, self.main = True, state.is_world_process_zero
        if self.measure and not self.history:
            self.look(state.global_step, {}, more["model"], control)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
        """A gradient that is not finite is not applied: the weights stay those of the last step."""
        held = [p for p in more["model"].parameters() if p.grad is not None]
        if args.fp16 or not held:  # fp16's scaler skips such steps itself, and means to
            return control
        norm = torch.nn.utils.get_total_norm([p.grad for p in held])
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if not bool(torch.isfinite(norm)):
            for parameter in held:
                parameter.grad = None  # the optimiser passes over a parameter without one
            values: dict[str, float | None] = {"loss": float("nan")}
            self._act(Measurement(step=state.global_step + 1, values=values), control)
        return control

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
        """Whether the budget is used; and a look, where the Trainer does not validate."""
        step = state.global_step
        share = step / self.max_steps if self.max_steps else 0.0
        used: dict[str, float | None] = {"budget_used": max(share, float(self.over_budget()))}
        self._act(Measurement(step=step, values=used), control)
        if self.measure and self.every and step % self.every == 0:
            self.look(step, {}, more["model"], control)
        # Also where the attempt before this one was interrupted as it decided.
        if any(found.action != "alert" for found in self.decisions):
            control.should_training_stop = True
        return control

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **more: Any
    ) -> Any:
        """Add the audit to the metrics that early stopping and best checkpoints go by."""
        self.look(state.global_step, metrics, more["model"], control)
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.save()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.training = False
        self.save()

    def look(self, step: int, metrics: dict[str, float], model: Any, control: Any = None) -> None:
        """Measure once a step: the Trainer's `metrics` gain `eval_…`, and the watch decides."""
        if not self.history or self.history[-1].step != step:
            seen = self.measure(model) if self.measure else Look({}, {})
            found = Measurement(
                step=step, values={**_measured(metrics), **seen.values}, flags=seen.flags
            )
            # One process's numbers decide for all: a last digit must not stop one alone.
            self.history.append(shared(found) if self.training else found)
            self._act(self.history[-1], control)
            self._keep_best(model)
            self.save()
        for name, value in self.history[-1].values.items():
            if value is not None and name != "eval_loss":
                metrics.setdefault(f"eval_{name}", value)

    def _act(self, now: Measurement, control: Any) -> None:
        """Record each signal once; all but an alert stop the run."""
        history = [*(m for m in self.history if m.step < now.step), now]
        for found in decide(history, self.config):
            if found.signal not in {old.signal for old in self.decisions}:
                if found.action == "keep":
                    found = found.model_copy(update={"rows": list(self.rows())})
                self.decisions.append(found)
                if control is not None and found.action != "alert":
                    control.should_training_stop = True

    def _keep_best(self, model: Any) -> None:
        """Keep the tensors when this validation is the best, and none that nobody can ask for."""
        found = best(self.history, self.config)
        if found is None or not self.main or not self.training:
            return
        if found is self.history[-1]:
            path = self._path(found)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(_trained(model), path.with_suffix(".new"))
            path.with_suffix(".new").replace(path)
        # A resume from a checkpoint on disk goes back to the best before that checkpoint.
        steps = [int(f.name.split("-")[1]) for f in self.folder.glob("checkpoints/checkpoint-*")]
        asked = [best([m for m in self.history if m.step <= s], self.config) for s in steps]
        wanted = {self._path(m).name for m in (found, *asked) if m}
        for old in (self.folder / "best").glob("*.safetensors"):
            if old.name not in wanted:
                old.unlink()

    @property
    def unfit(self) -> list[str]:
        """Why the candidate may not be released; empty: nothing was seen against it."""
        return [said(found) for found in self.decisions if found.action == "unfit"]

    @property
    def audited(self) -> list[str]:
        """The metrics of the audit, in order."""
        return list(dict.fromkeys(name for m in self.history for name in m.flags))

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of a metric, where it has one."""
        return [(m.step, v) for m in self.history if (v := m.values.get(name)) is not None]

    def settle(self, model: Any) -> Measurement | None:
        """After the last look: give back the best weights if a decision asks for them.

        Returns the measurement of what the model is then; None when nothing was restored."""
        if not any(found.action in ("best", "unfit") for found in self.decisions):
            return None
        found = best(self.history, self.config)
        if found is None or not self._path(found).is_file():
            return None
        tensors = load_file(self._path(found))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in tensors:
                    parameter.copy_(tensors[name])
        return found


def said(found: Decision) -> str:
    """One line about a decision."""
    return f"{found.signal} {found.value:.3g} at step {found.step}, at the start {found.limit:.3g}"


def _measured(metrics: dict[str, float]) -> dict[str, float | None]:
    """The Trainer's metrics without its prefix, and without its timings."""
    return {
        name if name == "eval_loss" else name.removeprefix("eval_"): value
        for name, value in metrics.items()
        if name.startswith("eval_") and not name.endswith(("_second", "_time", "_runtime"))
    }


def _trained(model: Any) -> dict[str, torch.Tensor]:
    named = model.named_parameters()
    return {name: p.detach().cpu().contiguous() for name, p in named if p.requires_grad}
