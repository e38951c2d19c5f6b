"""What people read of a training run: a bar, its pages with curves, what the command prints; and
`progress.jsonl` in its folder, a line a logged step, from which curves are drawn while it goes on.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from errata import report
from errata.language import say
from errata.train import footprint

if TYPE_CHECKING:
    from errata.train.stage import Job


PROGRESS = "progress.jsonl"


def tell(
    folder: Path, points: Iterable[Mapping[str, Any]], steps: int, now: float | None = None
) -> None:
    """Add steps to a run's progress: all that is a finite number, of how many steps, and when;
    without a time those of long ago, which say nothing of the pace."""
    with (folder / PROGRESS).open("a", encoding="utf-8") as file:
        for point in points:
            told = {name: value for name, value in point.items()
                    if isinstance(value, (int, float)) and math.isfinite(value)}  # fmt: skip
            file.write(json.dumps({**told, "steps": steps, "time": now}) + "\n")


class Progress(TrainerCallback):
    """A line that is written over on a terminal, nothing when piped; and the run's progress."""

    def __init__(self, stage: str, folder: Path) -> None:
        self.stage, self.folder = stage, folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:  # what a run that is gone on with has behind it
            tell(self.folder, state.log_history, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if state.is_world_process_zero and state.log_history:
            tell(self.folder, state.log_history[-1:], state.max_steps, time.time())
        if sys.stderr.isatty() and logs and "loss" in logs:
            step = f"{state.global_step}/{state.max_steps}"
            sys.stderr.write(f"\r{self.stage} {step} loss {logs['loss']:.4f} ")
            sys.stderr.flush()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\n")


Curve = list[tuple[int, float]]

# Which curves share a panel; every other has its own.
TOGETHER = {
    "eval_loss": "loss",
    "preference_loss": "loss",
    "retention_loss": "loss",
    "accuracy": "dev cases",
    "attack_hit_rate": "dev cases",
    "refusal_rate": "dev cases",
    "over_refusal_rate": "dev cases",
    "politeness": "dev cases",
}
TITLES = {"loss": "loss, nats", "seconds": "seconds a step", "memory_gib": "memory, GiB"}


def panels(curves: dict[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Curves by the panel they are drawn in, loss first."""
    found: dict[str, dict[str, Curve]] = {}
    for name, points in curves.items():
        title = TOGETHER.get(name, name)
        found.setdefault(TITLES.get(title, title), {})[name] = points
    return found


def decisions(job: Job) -> list[str]:
    """What the watch decided, as a page; nothing when it had nothing to say."""
    found = job.extra.get("decisions", [])
    if not found:
        return []
    head = [say("step", "步"), say("signal", "信号"), say("value", "值"), say("limit", "界"),
            say("action", "动作"), say("advice", "建议")]  # fmt: skip
    cells = [
        [d.step, d.signal, report.shown(d.value), report.shown(d.limit), d.action, d.advice]
        for d in found
    ]
    return [f"## {say('Decisions of the watch', '监控的决定')}", report.markdown_table(head, cells)]


def pages(
    job: Job,
    steps: int,
    metrics: dict[str, float | None],
    used: dict[str, float],
    curves: dict[str, Curve],
    missed: list[str],
) -> list[str]:
    """What the run tells of itself on `reports/posttrain/<run_id>.md`; its curves are drawn."""
    run = job.run
    picture = run.output(job.ws.reports / "posttrain" / f"{run.id}.svg", "curve")
    report.curves(picture, panels(curves), f"{job.stage} {run.id}")
    verdict = "; ".join(missed) if missed else say("accepted", "达标")
    facts = [
        [say("steps", "步数"), str(steps)],
        [say("CPU seconds", "CPU 秒"), f"{used['cpu_seconds']:.0f}"],
        [say("wall seconds", "墙钟秒"), f"{used['wall_seconds']:.0f}"],
        [say("peak memory, GiB", "峰值内存 GiB"), f"{used['peak_rss_gib']:.2f}"],
        *footprint.rows(job.extra["memory"]),
        *([name, "–" if value is None else f"{value:.4g}"] for name, value in metrics.items()),
        [say("thresholds", "阈值"), verdict],
    ]
    panel = [
        [key, str(value)]
        for key, value in job.config.model_dump().items()
        if key not in ("inputs", "outputs", "accept")
    ]
    return [
        *(f"> {note}" for note in job.notes),
        report.markdown_table([say("measured in training", "训练中测得"), ""], facts),
        f"![{say('curves', '曲线')}]({run.id}.svg)",
        *decisions(job),
        f"## {say('Panel', '参数面板')}",
        report.markdown_table([say("knob", "参数"), say("value", "数值")], panel),
        *job.extra.get("pages", []),
    ]


def _first_row(job: Job) -> list[str]:
    """The end of the first row's prompt and its answer, between ⟦ ⟧ what is learnt."""
    shown = " ".join(str(job.extra.get("first_row", "")).split())
    if not shown:
        return []
    start = max(0, shown.find("⟦") - 80)
    return [say("  learnt in ⟦ ⟧: ", "  ⟦ ⟧ 内为学习目标：") + shown[start : start + 240]]


def summary(job: Job, steps: int, metrics: dict[str, float | None], used: dict[str, float]) -> str:
    """What the command prints: the run, its notes, its metrics, and what to run next."""
    table = [[name, "–" if value is None else f"{value:.4g}"] for name, value in metrics.items()]
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
            report.markdown_table([say("metric", "指标"), say("value", "数值")], table),
            f"reports/posttrain/{job.run.id}.md",
            say("next: ", "下一步：") + f"`{next_step}`",
        ]
    )
