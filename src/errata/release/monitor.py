"""Watch live traffic, canary against stable, with a statistic one may look at at any time.

    errata monitor          the window metrics of the rollout under way, and what they call for

Every request leaves a row: arm, stage, whether the answer failed, and whether it did what must
never happen (a forbidden call, a leak). The decision is

    rollback   a hard count is above its limit, or the e-process says the canary fails more often
    advance    no alarm, and the stage has seen its minimum exposure
    hold       otherwise: no data is a reason to wait, never to go on

The e-process carries over the stages, so looking again costs nothing: at no difference, one rollout
in twenty at most is ever rolled back by it. An answer that could not be scored counts as failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from errata import candidates, jsonl
from errata.config import Section
from errata.language import say
from errata.outcome import Outcome
from errata.records import Label, Record, Release
from errata.release import erasures, routing
from errata.report import bounds, markdown_table, shown
from errata.stats import EProcess2, wilson
from errata.workspace import Workspace

Action = Literal["hold", "advance", "rollback"]


class Live(Record):
    """One answered request. No text, no user: those stay where they are served."""

    window: int
    stage: int
    arm: routing.Arm
    release: str
    digest: str
    case: str
    failed: bool | None
    label: Label = "other"
    hard: str | None = None


class Outputs(Section):
    """What monitor writes."""

    report: str = Field(default="reports/monitor.md", description="window metrics of the rollout")


class Accept(Section):
    """When a canary is refused."""

    margin: float = Field(
        default=0.02, description="failure rate above stable's that is still fine"
    )
    alpha: float = Field(
        default=0.05, description="chance that a canary as good as stable is refused"
    )
    hard: dict[str, int] = Field(
        default={"leak": 0, "forbidden_call": 0},
        description="what must not happen more often than so",
    )


class Config(Section):
    """Knobs of `errata monitor`, and of every rollout."""

    inputs: list[str] = Field(default=[".errata/live"], description="folder with live rows")
    outputs: Outputs = Outputs()
    accept: Accept = Accept()
    min_exposure: dict[int, int] = Field(
        default={1: 30, 5: 60, 25: 120},
        description="canary requests a stage must see, by its percent",
    )
    write_back: Literal["canary", "all", "none"] = Field(
        default="canary", description="whose failures become rows in inbox/"
    )


class Arm(NamedTuple):
    """Failures of n requests."""

    failures: int = 0
    n: int = 0

    def plus(self, rows: Iterable[Live]) -> Arm:
        """With more requests; what could not be scored is no success."""
        flags = [row.failed is not False for row in rows]
        return Arm(self.failures + sum(flags), self.n + len(flags))


class Watch:
    """The state of one rollout's monitor; rows go in window by window, in order."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.process = EProcess2(config.accept.margin, config.accept.alpha)
        self.canary, self.stable = Arm(), Arm()
        self.exposure: dict[int, int] = {}
        self.hard: dict[str, int] = {}
        self.windows = 0

    def add(self, rows: Sequence[Live]) -> None:
        """One window of both arms."""
        canary = [row for row in rows if row.arm == "canary"]
        stable = [row for row in rows if row.arm == "stable"]
        c, s = Arm().plus(canary), Arm().plus(stable)
        self.process.update(c.failures, c.n, s.failures, s.n)
        self.canary, self.stable = self.canary.plus(canary), self.stable.plus(stable)
        for row in canary:
            self.exposure[row.stage] = self.exposure.get(row.stage, 0) + 1
            if row.hard:
                self.hard[row.hard] = self.hard.get(row.hard, 0) + 1
        self.windows += 1

    def decide(self, percent: int) -> tuple[Action, str]:
        """What this stage calls for, and why."""
        accept = self.config.accept
        for kind, count in sorted(self.hard.items()):
            if count > accept.hard.get(kind, 0):
                return "rollback", f"{kind}: {count}, at most {accept.hard.get(kind, 0)}"
        if self.process.rejected:
            rates = f"{_share(self.canary)} against {_share(self.stable)}"
            return "rollback", f"canary fails more often: {rates}, e = {self.process.e:.3g}"
        seen, needed = self.exposure.get(percent, 0), self.needed(percent)
        if seen < needed:
            return "hold", f"{seen} of {needed} canary requests seen at {percent} %"
        return "advance", f"{seen} canary requests at {percent} %, e = {self.process.e:.3g}"

    def needed(self, percent: int) -> int:
        """The minimum exposure of a stage; a stage without one asks as much as the next below."""
        given = self.config.min_exposure
        below = [stage for stage in given if stage <= percent]
        return given[max(below)] if below else max(given.values(), default=1)


def _share(arm: Arm) -> str:
    return f"{arm.failures}/{arm.n}"


def live_file(ws: Workspace, config: Config, release_id: str) -> Path:
    """Where the rows of one rollout are kept; not tracked by git."""
    return ws.path(config.inputs[0]) / f"{release_id}.jsonl"


def append(path: Path, rows: Sequence[Live]) -> None:
    """Add rows of one window."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(jsonl.canonical(row).encode() + b"\n" for row in rows))


def replay(path: Path, config: Config) -> Watch:
    """The monitor as the recorded windows leave it: the same numbers, whenever it is asked."""
    watch = Watch(config)
    for window in windows(path):
        watch.add(window)
    return watch


def windows(path: Path) -> Iterator[list[Live]]:
    """Recorded rows, window by window."""
    rows = jsonl.read(path, Live) if path.is_file() and path.stat().st_size else []
    for _, group in groupby(rows, key=lambda row: row.window):
        yield list(group)


def table(watch: Watch, release: Release, action: Action, why: str) -> str:
    """The window metrics, for the terminal and the report."""
    rows = []
    for name, arm in (("canary", watch.canary), ("stable", watch.stable)):
        low, high = wilson(arm.failures, arm.n)
        value = arm.failures / arm.n if arm.n else None
        interval = bounds(low, high, "rate") if arm.n else "–"
        rows.append([name, shown(value, "rate"), interval, arm.failures, arm.n])
    head = (
        f"{release.id} · {release.stage_percent} % · {watch.windows} "
        + say("windows", "个窗口")
        + f" · e = {watch.process.e:.3g} / {1 / watch.config.accept.alpha:.3g}"
    )
    hard = ", ".join(f"{kind}: {count}" for kind, count in sorted(watch.hard.items())) or "0"
    headers = ["arm / 分组", "failed / 失败率", "95 %", "failures / 失败", "n"]
    tail = say(f"hard counts: {hard}. ", f"硬性事件：{hard}。") + f"**{action}**: {why}"
    return f"{head}\n\n{markdown_table(headers, rows)}\n{tail}\n"


def main(ws: Workspace, config: Config) -> Outcome:
    """Say how the rollout under way is doing."""
    now = routing.current(ws)
    release = now.canary
    if release is None:
        serving = now.stable.id if now.stable else say("none", "无")
        text = say(
            f"no rollout is under way; serving: {serving}", f"当前没有灰度发布；线上：{serving}"
        )
        return Outcome(0, text, {"rollout": None, "serving": now.stable.id if now.stable else None})
    watch = replay(live_file(ws, config, release.id), config)
    action, why = watch.decide(release.stage_percent)
    if unfit := erasures.unfit(ws, candidates.resolve(ws, release.candidate_path), release):
        action, why = "rollback", unfit
    text = table(watch, release, action, why)
    jsonl.write_text(ws.path(config.outputs.report), f"# Monitor · 线上监控\n\n{text}")
    runbook = say("→ errata rollback", "→ 执行 errata rollback") if action == "rollback" else ""
    data = {
        "rollout": release.id,
        "percent": release.stage_percent,
        "decision": action,
        "why": why,
        "e": watch.process.e if watch.process.e != float("inf") else None,
        "canary": watch.canary._asdict(),
        "stable": watch.stable._asdict(),
        "hard": watch.hard,
    }
    return Outcome(3 if action == "rollback" else 0, text + runbook, data)
