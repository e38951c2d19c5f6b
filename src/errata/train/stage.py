"""The frame of a training stage: everything but the model, the data and the loss.

    def main(ws, config):
        return train(ws, "sft", config, prepare)

`prepare(job)` returns a ready `Trainer`; the frame fits it, saves the adapter and its candidate,
writes the report with its curves, adds to the experiment log, and holds the result to `accept`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from errata import candidates, jsonl, report
from errata.errors import BadInput, Blocked
from errata.language import say
from errata.outcome import Outcome
from errata.store.runs import Run
from errata.train import log
from errata.train.job import Clock, Start, Watch, cut_off_run, fit
from errata.train.settings import Bound, Panel, Training
from errata.workspace import Workspace

# What a Trainer's evaluation calls a number, and what we do.
VALIDATION = {
    "eval_loss": "eval_loss",
    "eval_preference_score": "preference_score",
    "eval_margin": "margin",
}


class Job:
    """One training run in progress."""

    def __init__(self, ws: Workspace, stage: str, config: Panel, run: Run) -> None:
        self.ws, self.stage, self.config, self.run = ws, stage, config, run
        for path in config.inputs:
            run.input(path)
        self.dataset = run.input(config.dataset, "dataset")
        self.validation: Path | None = None
        self.notes: list[str] = []
        if config.eval_dataset and ws.path(config.eval_dataset).is_file():
            self.validation = run.input(config.eval_dataset, "validation")
        elif config.eval_dataset:
            self.notes.append(f"no {config.eval_dataset}: validation loss is not measured")
        self.start = Start(ws, config.model)
        self.watch, self.clock = Watch(config.budget_hours), Clock()
        self.extra: dict[str, Any] = {}
        if self.start.alias:
            self.notes.append(f"`{self.start.alias}` is an alias of the embedded model")
        files = [jsonl.digest_file(self.dataset), self.start.candidate.digest]
        self.fingerprint = jsonl.digest(files)
        self.checkpoint = cut_off_run(ws, stage, config, self.fingerprint)
        wanted = jsonl.digest(config.model_dump(exclude={"resume"}))
        jsonl.write_json(run.dir / "resume.json", {"config": wanted, "inputs": self.fingerprint})
        if self.checkpoint:
            self.notes.append(f"resumed from {ws.relative(self.checkpoint)}")

    @property
    def checkpoints(self) -> Path:
        """Where the Trainer saves."""
        return self.run.dir / "checkpoints"


def train(
    ws: Workspace,
    stage: str,
    config: Training,
    prepare: Callable[[Job], Trainer],
    after: Callable[[Job, Trainer], None] = lambda *_: None,
) -> Outcome:
    """Run a stage that a `Trainer` carries out; `after` may add pages to its report."""
    with Run(ws, stage, config) as run:
        job = Job(ws, stage, config, run)
        trainer = prepare(job)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(job.watch)
        trainer.add_callback(log.Progress(stage))
        fit(trainer, job.watch, job.checkpoint)
        curve = [point for point in trainer.state.log_history if "loss" in point]
        losses = [float(point["loss"]) for point in curve]
        metrics: dict[str, float | None] = {
            "loss": statistics.fmean(losses[-5:]) if losses else None
        }
        if job.validation:
            found = trainer.evaluate()
            metrics.update({VALIDATION[k]: float(v) for k, v in found.items() if k in VALIDATION})
        after(job, trainer)
        steps = trainer.state.global_step
        curves = {
            name: [(int(p["step"]), float(p[name])) for p in trainer.state.log_history if name in p]
            for name in ("loss", "eval_loss")
        }
        return finish(job, trainer.model, steps, losses, metrics, curves)


def finish(
    job: Job,
    model: Any,
    steps: int,
    losses: list[float],
    metrics: dict[str, float | None],
    curves: dict[str, list[tuple[int, float]]],
) -> Outcome:
    """Save, report, and judge what a training run reached."""
    ws, run, config = job.ws, job.run, job.config
    from errata.train.model import save_adapter

    used = job.clock.read()
    folder = run.output(run.dir / "adapter", "adapter")
    save_adapter(model, folder)
    data: dict[str, Any] = {"run_id": run.id, "steps": steps, "losses": losses, **used}
    data["adapter"] = ws.relative(folder)
    if job.stage in ("sft", "dpo", "ppo"):
        base = job.start.candidate
        settings = base.model_dump(include={"system_prompt", "filter_policy", "refusal_templates",
                                            "decoding", "tool_isolation"})  # fmt: skip
        made = candidates.make(ws, job.start.base, folder, run_id=run.id, **settings)
        jsonl.write_json(run.output(run.dir / "candidate.json"), made)
        run.node(made.digest, "candidate", run=run.id)
        run.links([(run.id, made.digest, "made"), (base.digest, run.id, "started")])
        data["candidate_digest"] = made.digest
    metrics = {
        **metrics,
        "peak_memory_gib": used["peak_rss_gib"],
        "hours": used["wall_seconds"] / 3600,
    }
    run.note(metrics=metrics, steps=steps, notes=job.notes, **job.extra)
    run.link(jsonl.digest_file(job.dataset), run.id, "trained")
    missed = judge(config.accept, metrics)
    log.write(job, steps, metrics, used, curves, missed)
    for name in config.outputs:
        path = ws.path(name.format(run_id=run.id))
        if not path.exists():
            raise BadInput(
                f"configs: outputs names {ws.relative(path)}, which {job.stage} did not write; "
                "correct it"
            )
    data["metrics"] = metrics
    if missed:
        raise Blocked(
            f"{job.stage} {run.id}: {'; '.join(missed)}; see reports/posttrain/{run.id}.md"
        )
    return Outcome(0, _summary(job, steps, metrics, used), data)


def judge(accept: dict[str, Bound], metrics: dict[str, float | None]) -> list[str]:
    """What missed its threshold. An unknown metric is a mistake in the config; None is a miss."""
    missed: list[str] = []
    for name, bound in accept.items():
        if name not in metrics:
            known = ", ".join(sorted(metrics))
            raise BadInput(f"accept: `{name}` is not measured here; known: {known}")
        missed += bound.missed(name, metrics[name])
    return missed


def _summary(job: Job, steps: int, metrics: dict[str, float | None], used: dict[str, float]) -> str:
    rows = [[name, "–" if value is None else f"{value:.4g}"] for name, value in metrics.items()]
    next_step = {
        "sft": "errata dpo model=" + job.run.id,
        "rm": "errata ppo reward_model=" + job.run.id,
    }.get(job.stage, f"errata evaluate model={job.run.id}")
    return "\n".join(
        [
            f"{job.stage} {job.run.id}: {steps} steps, {used['wall_seconds']:.0f} s, "
            f"{used['peak_rss_gib']:.2f} GiB",
            *(f"  note: {note}" for note in job.notes),
            report.markdown_table([say("metric", "指标"), say("value", "数值")], rows),
            f"reports/posttrain/{job.run.id}.md",
            say("next: ", "下一步：") + f"`{next_step}`",
        ]
    )
