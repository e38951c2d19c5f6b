"""The frame of a training stage: everything but the model, the data and the loss.

    def main(ws, config):
        return train(ws, "sft", config, prepare)

`prepare(job)` returns a ready `Trainer`; the frame fits it under the watch (watch.py), saves the
adapter (or the whole model) and its candidate, tells the experiment log about it with curves, and
holds the result to `accept`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from errata import candidates, jsonl
from errata.build.heldout import FOREIGN
from errata.errors import BadInput, Blocked
from errata.language import say
from errata.outcome import Outcome
from errata.records import Candidate, SftExample
from errata.store import experiments
from errata.store.runs import Run
from errata.train import footprint, log
from errata.train.accept import ask, judge, metrics_of
from errata.train.job import Clock, Start, Watch, cut_off_run, fit
from errata.train.mix import Replaying
from errata.train.packing import Limits
from errata.train.prepare import note_halved
from errata.train.probe import probe
from errata.train.processes import first, run_of, sharded, shared
from errata.train.sentinel import Sentinel, allowed_hours, before, price
from errata.train.settings import Panel, Training
from errata.train.step import tokens_at_once
from errata.train.watch import Measurement, Watching
from errata.workspace import Workspace


class Job:
    """One training run in progress.

    `prepare` sets `tokenizer`, `scorer`, and `longest`: tokens of the longest example (a pair: both
    sides). `also`: digests and ids that decide the run besides config, rows, suites and start.
    """

    def __init__(
        self, ws: Workspace, stage: str, config: Panel, run: Run, also: Sequence[str] = ()
    ) -> None:
        self.ws, self.stage, self.config, self.run = ws, stage, config, run
        self.baseline_gib = footprint.before_gib()
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
        run.note(start=self.start.candidate.digest)
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
        self.fingerprint = jsonl.digest([self.start.candidate.digest, self._read(), *also])
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

    def _read(self) -> dict[str, str]:
        """Digest of every file that decides the run's course: another one is another run."""
        config, attacks, business = self.config, *self.suites
        files = {"dataset": self.dataset, "validation": self.validation}
        files["retention"] = self.retention
        replay = config.replay if isinstance(config, Replaying) and config.replay_share else None
        if replay:
            files["replay"] = self.ws.path(replay)  # without what the suites hold
            files["foreign"] = self.ws.path(FOREIGN)
        if replay or (isinstance(config, Watching) and config.audit_cases):
            files["attacks"] = attacks
        if replay or (isinstance(config, Watching) and config.score_cases):
            files["business"] = business
        there = {name: path for name, path in files.items() if path and path.is_file()}
        return {name: jsonl.digest_file(path) for name, path in there.items()}

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
        from errata.train.reference import mean_loss
        from errata.train.tokens import encode_sft

        trees = encode_sft(tokenizer, rows, self.config.seq_len)
        limits = Limits(len(trees), tokens_at_once(self.config, self.scorer.device))
        return mean_loss(self.scorer, trees, limits)

    def stop_clock(self) -> None:
        """Training is over: what comes after is not counted as its time and memory."""
        self.used = self.clock.read()


def train(
    ws: Workspace,
    stage: str,
    config: Training,
    prepare: Callable[[Job], Trainer],
    after: Callable[[Job, Trainer], dict[str, float | None] | None] = lambda *_: None,
    also: Sequence[str] = (),
) -> Outcome:
    """Run a stage that a `Trainer` carries out; `after` may add pages to its report, and return
    metrics. `also`: see `Job`."""
    with run_of(ws, stage, config) as run:
        job = Job(ws, stage, config, run, also)
        ask(config.accept, metrics_of(job))
        if sharded():
            no_checks(job)
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
            over_budget=lambda: job.watch.over,
            hours=job.hours,
            rows=lambda: getattr(trainer, "step_ids", []),
        )
        job.at_once = getattr(trainer, "tokens_at_once", 0)
        for callback in (footprint.Meter(), job.watch, sentinel, log.Progress(stage, run.dir)):
            trainer.add_callback(callback)
        if not job.clock.started:  # DPO's runs since its reference's first forward
            job.clock.start()
        fit(trainer, job.watch, job.checkpoint)
        job.stop_clock()
        weights = gathered(trainer)
        if not first():
            return Outcome(0, "")
        history = trainer.state.log_history
        losses = [float(point["loss"]) for point in history if "loss" in point]
        metrics: dict[str, float | None] = {
            "loss": statistics.fmean(losses[-5:]) if losses else None,
            **conclude(job, trainer, sentinel),
        }
        note_halved(job, getattr(trainer, "halved", 0), say("training", "训练"))
        if weights is None:
            metrics = {**(after(job, trainer) or {}), **metrics}
        curves = {
            name: [(int(p["step"]), float(p[name])) for p in history if name in p]
            for name in ("loss", "preference_loss", "eval_loss", "seconds", "memory_gib")
        }
        for name in ("retention_loss", *sentinel.audited):
            curves[name] = sentinel.curve(name)
        job.extra["tokens"] = trainer.state.num_input_tokens_seen or None
        steps = trainer.state.global_step
        return finish(job, trainer.model, steps, losses, metrics, curves, weights)


def no_checks(job: Job) -> None:
    """Where the weights are in shards: BadInput for what one process cannot do by itself."""
    config = job.config
    if job.stage == "rm":
        raise BadInput("rm: its score is read outside of a sharded forward; use `torchrun`, "
                       "or one process")  # fmt: skip
    knobs = config if isinstance(config, Watching) else Watching()
    if job.validation or job.retention or knobs.audit_cases or knobs.score_cases:
        raise BadInput("a model in shards is not validated: set eval_dataset and retention to "
                       "null, audit_cases and score_cases to 0; or use `torchrun`")  # fmt: skip
    if job.stage == "dpo":
        job.notes.append(say("a model in shards answers nothing: no samples, no comparison",
                             "权重分片的模型不生成回答：没有采样和对比"))  # fmt: skip


def gathered(trainer: Trainer) -> dict[str, Any] | None:
    """All weights, on the first process, where they were in shards; every process takes part."""
    if not sharded():
        return None
    found: dict[str, Any] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return found


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


def _save(job: Job, model: Any, weights: dict[str, Any] | None = None) -> tuple[str, Path | None]:
    """Write what was trained; (base, adapter) of the candidate it makes. `weights`: the model's,
    where it holds shards itself."""
    from peft import PeftModel

    from errata.train.model import load_tokenizer, save_adapter, save_whole

    if weights is not None:
        model.save_pretrained = partial(model.save_pretrained, state_dict=weights)
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
    weights: dict[str, Any] | None = None,
) -> Outcome:
    """Save, report, and judge what a training run reached."""
    ws, run, config = job.ws, job.run, job.config
    used = job.used or job.clock.read()
    base, adapter = _save(job, model, weights)
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
    run.note(pages=log.pages(job, steps, metrics, used, curves, missed))
    experiments.render(ws)
    for name in config.outputs:
        path = ws.path(name.format(run_id=run.id))
        if not path.exists():
            raise BadInput(
                f"configs: outputs names {ws.relative(path)}, which {job.stage} did not write; "
                "correct it"
            )
    data["metrics"] = metrics
    if missed:
        step = f"see reports/posttrain/{run.id}.md; train longer, or change `accept`"
        raise Blocked(f"{job.stage} {run.id}: {'; '.join(missed)}; {step}")
    return Outcome(0, log.summary(job, steps, metrics, used), data)


def refused(job: Job) -> list[str]:
    """What the watch holds against this run, besides thresholds: it ends with exit 3."""
    found = [f"unfit: {reason}" for reason in job.extra.get("unfit", [])]
    for broken in job.extra.get("decisions", []):
        if broken.action == "keep":
            rows = f" (rows {', '.join(broken.rows[:16])})" if broken.rows else ""
            found.append(f"{broken.signal} at step {broken.step}{rows}: {broken.advice}")
    return found
