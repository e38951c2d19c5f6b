"""The frame of a training stage: everything but the model, the data and the loss.

    def main(ws, config):
        return train(ws, "sft", config, prepare)

`prepare(job)` returns a ready `Trainer`; the frame fits it under the watch (watch.py), saves the
adapter (or the whole model) and its candidate, writes the report with its curves, adds to the
experiment log, and holds the result to `accept`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from errata import candidates, jsonl, report
from errata.errors import BadInput, Blocked
from errata.language import say
from errata.outcome import Outcome
from errata.records import Candidate, SftExample
from errata.store.runs import Run
from errata.train import footprint, log
from errata.train.job import Clock, Start, Watch, cut_off_run, fit
from errata.train.probe import probe
from errata.train.processes import first, run_of, shared
from errata.train.sentinel import Sentinel, allowed_hours, before, price
from errata.train.settings import Bound, Panel, Training
from errata.train.watch import Measurement, Watching
from errata.workspace import Workspace


class Job:
    """One training run in progress.

    `prepare` sets `tokenizer`, `scorer`, and `longest`: tokens of the longest example (a pair: both
    sides).
    """

    def __init__(self, ws: Workspace, stage: str, config: Panel, run: Run) -> None:
        self.ws, self.stage, self.config, self.run = ws, stage, config, run
        self.baseline_gib = footprint.memory_gib()  # before a model is there
        for path in config.inputs:
            run.input(path)
        self.dataset = run.input(config.dataset, "dataset")
        self.validation: Path | None = None
        self.notes: list[str] = []
        if config.eval_dataset and ws.path(config.eval_dataset).is_file():
            self.validation = run.input(config.eval_dataset, "validation")
        elif config.eval_dataset:
            self.notes.append(
                say(f"no {config.eval_dataset}: validation loss is not measured",
                    f"没有 {config.eval_dataset}：不测量验证损失")
            )  # fmt: skip
        self.retention = self._retention()
        self.start = Start(ws, config.model)
        self.tokenizer: Any = None
        self.longest: int | None = None
        self.at_once = 0  # tokens of a micro batch at most; 0: as micro_batch says
        self.scorer: Any = None
        self.extra: dict[str, Any] = {}
        if self.start.alias:
            self.notes.append(
                say(f"`{self.start.alias}` is an alias of the embedded model",
                    f"`{self.start.alias}` 是内置模型的别名")
            )  # fmt: skip
        files = [jsonl.digest_file(self.dataset), self.start.candidate.digest]
        self.fingerprint = jsonl.digest(files)
        self.checkpoint = shared(cut_off_run(ws, stage, config, self.fingerprint))
        wanted = jsonl.digest(config.model_dump(exclude={"resume"}))
        jsonl.write_json(run.dir / "resume.json", {"config": wanted, "inputs": self.fingerprint})
        if self.checkpoint:
            at = ws.relative(self.checkpoint)
            self.notes.append(say(f"resumed from {at}", f"从 {at} 继续"))
        # A budget is of the whole training, not of each attempt.
        self._spent, self._began = before(self.checkpoint).hours, time.monotonic()
        allowed = allowed_hours(config)
        self.watch = Watch(None if allowed is None else max(allowed - self._spent, 0.0))
        self.clock = Clock()
        self.used: dict[str, float] = {}

    def _retention(self) -> Path | None:
        """Rows that may not be forgotten; a file that is not there is told, and not measured."""
        name = self.config.retention if isinstance(self.config, Watching) else None
        if name and not self.ws.path(name).is_file():
            self.notes.append(
                say(f"no {name}: forgetting is not measured", f"没有 {name}：不测量遗忘")
            )
        return self.run.input(name, "retention") if name and self.ws.path(name).is_file() else None

    @property
    def checkpoints(self) -> Path:
        """Where the Trainer saves."""
        return self.run.dir / "checkpoints"

    @property
    def suites(self) -> tuple[Path, Path]:
        """Attacks, and business questions."""
        knobs = self.config if isinstance(self.config, Watching) else Watching()
        return self.ws.path(knobs.audit_suite), self.ws.path(knobs.score_suite)

    def hours(self) -> float:
        """Spent on this training so far, interrupted attempts included."""
        return self._spent + (time.monotonic() - self._began) / 3600

    def token_loss(self, tokenizer: Any, rows: list[SftExample]) -> float:
        """Mean loss of a token of the rows' answers under the model as it stands, in nats."""
        from errata.train.prepare import tokens_at_once
        from errata.train.reference import mean_loss
        from errata.train.tokens import encode_sft

        trees = encode_sft(tokenizer, rows, self.config.seq_len)
        return mean_loss(
            self.scorer, trees, len(trees), tokens_at_once(self.config, self.scorer.device)
        )

    def stop_clock(self) -> None:
        """Training is over: what comes after is not counted as its time and memory."""
        self.used = self.clock.read()


def train(
    ws: Workspace,
    stage: str,
    config: Training,
    prepare: Callable[[Job], Trainer],
    after: Callable[[Job, Trainer], dict[str, float | None] | None] = lambda *_: None,
) -> Outcome:
    """Run a stage that a `Trainer` carries out; `after` may add pages to its report, and return
    metrics."""
    with run_of(ws, stage, config) as run:
        job = Job(ws, stage, config, run)
        trainer = prepare(job)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        sentinel = Sentinel(
            config if isinstance(config, Watching) else Watching(),
            run.dir,
            probe(job),
            checkpoint=job.checkpoint,
            every=0 if job.validation else config.eval_every,
            max_steps=config.max_steps,
            over_budget=job.watch.over_deadline,
            hours=job.hours,
            rows=lambda: getattr(trainer, "step_ids", []),
        )
        job.at_once = getattr(trainer, "tokens_at_once", 0)
        for callback in (footprint.Meter(), job.watch, sentinel, log.Progress(stage)):
            trainer.add_callback(callback)
        if not job.clock.started:  # DPO's runs since its reference's first forward
            job.clock.start()
        fit(trainer, job.watch, job.checkpoint)
        job.stop_clock()
        if not first():
            return Outcome(0, "")
        if halved := getattr(trainer, "halved", 0):
            job.notes.append(
                say(f"out of memory: micro batch halved {halved} times, the step unchanged",
                    f"内存不足：micro batch 减半 {halved} 次，每步有效批次不变")
            )  # fmt: skip
        history = trainer.state.log_history
        losses = [float(point["loss"]) for point in history if "loss" in point]
        metrics: dict[str, float | None] = {
            "loss": statistics.fmean(losses[-5:]) if losses else None,
            **conclude(job, trainer, sentinel),
        }
        metrics = {**(after(job, trainer) or {}), **metrics}
        curves = {
            name: [(int(p["step"]), float(p[name])) for p in history if name in p]
            for name in ("loss", "eval_loss", "seconds", "memory_gib")
        }
        for name in ("retention_loss", *sentinel.audited):
            curves[name] = sentinel.curve(name)
        job.extra["tokens"] = trainer.state.num_input_tokens_seen or None
        return finish(job, trainer.model, trainer.state.global_step, losses, metrics, curves)


def conclude(job: Job, trainer: Trainer, sentinel: Sentinel) -> dict[str, float | None]:
    """The last look, the weights that the decisions ask for, and what is known of these."""
    step = trainer.state.global_step
    if not sentinel.history or sentinel.history[-1].step != step:
        if job.validation:
            trainer.evaluate()
        elif sentinel.measure:
            sentinel.look(step, {}, trainer.model)
    restored = sentinel.settle(trainer.model)
    if restored:
        job.notes.append(say(f"the weights are those of step {restored.step}, the best validation",
                             f"权重为验证最佳的第 {restored.step} 步"))  # fmt: skip
        job.extra["restored_step"] = restored.step
    job.extra["decisions"] = sentinel.decisions
    job.extra["unfit"] = sentinel.unfit
    found = restored or (sentinel.history[-1] if sentinel.history else None)
    metrics = dict(found.values) if found else {}
    retained = [v for m in sentinel.history if (v := m.values.get("retention_loss")) is not None]
    if retained and (last := metrics.get("retention_loss")) is not None:
        metrics["retention_rise"] = last - retained[0]
    if any(decision.action == "freeze" for decision in sentinel.decisions):
        job.extra["baseline"] = baseline(job, step, found)
    return metrics


def baseline(job: Job, step: int, found: Measurement | None) -> dict[str, Any]:
    """What the used budget bought: later runs are held against it."""
    config, hours = job.config, job.hours()
    money = None
    if isinstance(config, Watching) and config.budget_money is not None:
        money = round(hours * price(config), 4)
    values = found.values if found else {}
    return {"step": step, "hours": round(hours, 4), "money": money, **values}


def _save(job: Job, model: Any) -> tuple[str, Path | None]:
    """Write what was trained; (base, adapter) of the candidate it makes."""
    from peft import PeftModel

    from errata.train.model import load_tokenizer, save_adapter, save_whole

    if isinstance(model, PeftModel):
        folder = job.run.output(job.run.dir / "adapter", "adapter")
        save_adapter(model, folder)
        return job.start.base, folder
    folder = job.run.output(job.run.dir / "model", "model")
    save_whole(model, job.tokenizer or load_tokenizer(job.start.base), folder)
    return str(folder), None


def _candidate(job: Job, base: str, adapter: Path | None) -> Candidate:
    """The manifest of what was trained: the start's, with other weights."""
    run, start = job.run, job.start.candidate
    kept = {"system_prompt", "filter_policy", "refusal_templates", "decoding", "tool_isolation"}
    made = candidates.make(job.ws, base, adapter, run_id=run.id, **start.model_dump(include=kept))
    jsonl.write_json(run.output(run.dir / "candidate.json"), made)
    run.node(made.digest, "candidate", run=run.id)
    run.links([(run.id, made.digest, "made"), (start.digest, run.id, "started")])
    return made


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
    used = job.used or job.clock.read()
    base, adapter = _save(job, model)
    data: dict[str, Any] = {"run_id": run.id, "steps": steps, "losses": losses, **used}
    data["adapter"] = ws.relative(adapter) if adapter else None
    if job.stage in ("sft", "dpo", "ppo"):
        made = _candidate(job, base, adapter)
        data["candidate_digest"] = made.digest
        # By these the gate knows weights that were marked unfit, whatever manifest they come in.
        run.note(candidate_digest=made.digest, weights=made.adapter_digest or made.base_digest)
    job.extra["memory"] = footprint.compared(job, used["peak_rss_gib"])
    metrics = {
        **metrics,
        "peak_memory_gib": job.extra["memory"]["measured_peak_gib"],
        "hours": used["wall_seconds"] / 3600,
    }
    run.note(metrics=metrics, steps=steps, notes=job.notes, used=used, **job.extra)
    run.link(jsonl.digest_file(job.dataset), run.id, "trained")
    missed = [*judge(config.accept, metrics), *refused(job)]
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


def refused(job: Job) -> list[str]:
    """What the watch holds against this run, besides thresholds: it ends with exit 3."""
    found = [f"unfit: {reason}" for reason in job.extra.get("unfit", [])]
    for broken in job.extra.get("decisions", []):
        if broken.action == "keep":
            rows = f" (rows {', '.join(broken.rows[:16])})" if broken.rows else ""
            found.append(f"{broken.signal} at step {broken.step}{rows}: {broken.advice}")
    return found


def judge(accept: dict[str, Bound], metrics: dict[str, float | None]) -> list[str]:
    """What missed its threshold. An unknown metric is a mistake in the config; None is a miss."""
    missed: list[str] = []
    for name, bound in accept.items():
        if name not in metrics:
            known = ", ".join(sorted(metrics))
            raise BadInput(f"accept: `{name}` is not measured here; known: {known}")
        missed += bound.missed(name, metrics[name])
    return missed


def _first_row(job: Job) -> list[str]:
    """The end of the first row's prompt and its answer, between ⟦ ⟧ what is learnt."""
    shown = " ".join(str(job.extra.get("first_row", "")).split())
    if not shown:
        return []
    start = max(0, shown.find("⟦") - 80)
    return [say("  learnt in ⟦ ⟧: ", "  ⟦ ⟧ 内为学习目标：") + shown[start : start + 240]]


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
            *_first_row(job),
            report.markdown_table([say("metric", "指标"), say("value", "数值")], rows),
            f"reports/posttrain/{job.run.id}.md",
            say("next: ", "下一步：") + f"`{next_step}`",
        ]
    )
