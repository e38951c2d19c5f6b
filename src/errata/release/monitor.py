"""Watch live traffic, canary against stable, with a statistic one may look at at any time.

    errata monitor                      how the rollout, or what serves, is doing, and what it needs
    errata monitor watch=60             look every second for a minute, and act on it
    errata monitor alerts               all alerts; `ack ID` lets a rollout go on that one held,
    errata monitor ack ID | resolve ID  `resolve ID` closes it

Every answer leaves a row in the store's database (release/live.py), from every gateway. What they
call for is decided in release/decide.py; a gateway with `control: true` acts on it by itself.
"""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field

from errata import candidates, jsonl
from errata import config as configs
from errata.config import Section
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.records import Release
from errata.release import alerts, live, quality, routing, standing, windows
from errata.release.decide import Accept, Decision, Watch
from errata.release.live import Live
from errata.report import markdown_table
from errata.workspace import Workspace

FILE = "configs/monitor.yaml"
BEFORE = 5000  # rows that questions are compared with


class Outputs(Section):
    """What monitor writes."""

    report: str = Field(default="reports/monitor.md", description="window metrics of the rollout")


class Limits(Section):
    """What alerts and stops nothing. 0: never."""

    p95_ms: float = Field(0, ge=0, description="95th percentile of an answer's milliseconds")
    cost_per_1k: float = Field(0, ge=0, description="cost of a thousand answers")
    psi: float = Field(0.25, ge=0, description="drift of the questions: another population")
    template_share: float = Field(0.5, ge=0, le=1, description="answers of one template")
    distinct_2: float = Field(0.0, ge=0, le=1, description="least share of distinct word pairs")


class Config(Section):
    """Knobs of `errata monitor`, and of every rollout."""

    args: list[str] = Field(default=[], description="nothing, alerts, ack ID or resolve ID")
    outputs: Outputs = Outputs()
    accept: Accept = Accept()
    min_exposure: dict[int, int] = Field(
        default={1: 100, 5: 300, 25: 600},
        description="canary requests a stage must see, by its percent",
    )
    window: float = Field(15, gt=0, description="minutes of the window that is told")
    limits: Limits = Field(default=Limits(), description="beyond these an alert, and no more")
    webhook: str = Field(
        default="ERRATA_ALERT_WEBHOOK", description="environment variable with the URL of alerts"
    )
    keep_days: float = Field(30, gt=0, description="live rows of ended rollouts are kept so long")
    watch: float = Field(0, ge=0, description="seconds to go on looking and acting; 0: look once")


def knobs(ws: Workspace, name: str = FILE) -> Config:
    """The config as it is now; the defaults where there is no file."""
    path = ws.path(name)
    return configs.load(path if path.is_file() else None, Config, name=name)


def watch_of(
    ws: Workspace, config: Config, release: Release, now: routing.Routing | None = None
) -> Watch:
    """An empty watch over a release's rollout."""
    stable = (now or routing.current(ws)).stable
    if stable and stable.id == release.id:
        stable = None
    return Watch(config.accept, config.min_exposure, _fair(ws, release, stable))


def _fair(ws: Workspace, release: Release, stable: Release | None) -> bool:
    """Whether both arms answer through an adapter, or neither does: else one is merged, and faster
    for that (vLLM #3316: twice at 16 users)."""
    try:
        mine = candidates.resolve(ws, release.candidate_path).adapter
        other = candidates.resolve(ws, stable.candidate_path).adapter if stable else None
    except BadInput:
        return False
    return (mine is None) == (other is None)


def replay(ws: Workspace, config: Config, release: Release) -> tuple[Watch, list[Live]]:
    """The watch as the recorded rows leave it: the same, whenever it is asked; and the rows."""
    watch = watch_of(ws, config, release)
    rows = [seen.row for seen in live.read(ws, release.id)]
    watch.add(rows)
    return watch, rows


def called_for(ws: Workspace, watch: Watch, release: Release) -> Decision:
    """What the traffic calls for, unless what let the release through has ended, or does not reach
    as far as the next stage."""
    percent = release.stage_percent
    if ended := standing.of(ws, release, percent):
        return Decision("rollback", ended, "standing")
    decision = watch.decide(percent, alerts.acknowledged(ws, release.id))
    if decision.action == "advance" and percent < 100:
        further = routing.next_stage(ws, release)
        if short := standing.of(ws, release, further):
            return Decision("hold", short, "standing")
    return decision


def table(watch: Watch, release: Release, decision: Decision) -> str:
    """Every metric that decides: both arms, the e-value, the bounds of the difference."""
    accept = watch.accept
    threshold = f"{len(accept.hard) / accept.alpha:g}"
    rows = []
    for name, duel in watch.duels.items():
        hard = name in accept.hard
        low, high = watch.soft(name)
        e = f"{duel.e:.3g} / {threshold}" if hard else "–"
        rows.append([name, "hard / 硬" if hard else "soft / 软", str(duel.canary),
                     str(duel.stable), f"{low:+.1%} … {high:+.1%}", e])  # fmt: skip
    heads = ("metric / 指标", "kind / 类别", "canary / 金丝雀", "stable / 线上",
             "difference / 差异", "e / limit")  # fmt: skip
    never = ", ".join(f"{kind}: {count}" for kind, count in sorted(watch.never.items())) or "0"
    return (
        f"{release.id} · {release.stage_percent} % · {watch.rows} {say('rows', '行')}\n\n"
        + markdown_table(heads, rows)
        + say(f"\nnever: {never}. ", f"\n零容忍事件：{never}。")
        + say(f"Attacks through it: {watch.probes}. ", f"经它的攻击：{watch.probes}。")
        + f"**{decision.action}**: {decision.why}\n"
    )


def looked(
    ws: Workspace, config: Config, release: Release, now: routing.Routing
) -> dict[str, float]:
    """Numbers of the window that alert and stop nothing: P95, cost, drift of the questions against
    what stable was asked before."""
    since = time.time() - config.window * 60
    recent = [row for row in live.since(ws, release.id, since)
              if row.stage == release.stage_percent]  # fmt: skip
    known = now.stable if now.canary and now.stable else release
    mine = windows.summary(recent)["canary" if now.canary else "stable"]
    drift = windows.drift(live.before(ws, known.id, since, BEFORE), recent)
    found = {f"drift.{name}": value for name, value in drift.items()}
    if mine.p95_ms is not None:
        found["p95"] = mine.p95_ms
    if mine.n and mine.cost is not None:
        found["cost"] = 1000 * mine.cost / mine.n
    raised(ws, config, release, found)
    return found


def raised(ws: Workspace, config: Config, release: Release, found: dict[str, float]) -> None:
    """Alerts for the numbers that are beyond their limits."""
    limits = config.limits
    high = {"p95": limits.p95_ms, "cost": limits.cost_per_1k,
            "template_share": limits.template_share}  # fmt: skip
    for name, value in found.items():
        limit = limits.psi if name.startswith("drift.") else high.get(name, 0.0)
        low = name == "distinct_2" and value < limits.distinct_2
        if low or (limit and value > limit):
            limit = limits.distinct_2 if low else limit
            why = f"{name} is {value:.4g}, limit {limit:g}"
            alerts.raised(ws, release.id, name, why, config.webhook)


def main(ws: Workspace, config: Config) -> Outcome:
    """Say how the rollout under way, or what serves, is doing; or change an alert."""
    word = config.args[0] if config.args else ""
    if word == "alerts" and len(config.args) == 1:
        return Outcome(0, alerts.table(ws), {"alerts": [a._asdict() for a in
                                                        alerts.known(ws).values()]})  # fmt: skip
    if word in ("ack", "resolve") and len(config.args) == 2:
        changed = alerts.change(ws, config.args[1], "acknowledged" if word == "ack" else "resolved")
        return Outcome(0, f"{changed.id} {changed.state}: {changed.why}", changed._asdict())
    if word:
        raise BadInput("monitor: say nothing, alerts, ack ID or resolve ID")
    if config.watch:
        from errata.release import control

        control.watched(ws, config.watch, control.Control(ws, config))
    return _status(ws, config)


def _status(ws: Workspace, config: Config) -> Outcome:
    now = routing.current(ws)
    release = now.canary or now.stable
    if release is None:
        text = say("nothing is rolling out or serving", "没有灰度，也没有线上版本")
        return Outcome(0, text, {"rollout": None, "serving": None, "why": ""})
    watch, rows = replay(ws, config, release)
    decision = called_for(ws, watch, release)
    found, read = looked(ws, config, release, now), quality.sampled(ws, release.id)
    raised(ws, config, release, read)
    found |= read
    live.prune(ws, time.time() - 86400 * config.keep_days, _kept(now))
    text = table(watch, release, decision) if now.canary else _at_rest(release, decision)
    text += "\n" + windows.table(rows)
    text += "".join(f"{name}: {value:.4g}\n" for name, value in sorted(found.items()))
    standing_alerts = alerts.standing(ws, release.id)
    if standing_alerts:
        text += "\n" + alerts.table(ws)
    jsonl.write_text(ws.path(config.outputs.report), f"# Monitor · 线上监控\n\n{text}")
    bad = decision.action == "rollback"
    step = say("→ errata rollback", "→ 执行 errata rollback") if bad else ""
    data: dict[str, Any] = {
        "rollout": now.canary.id if now.canary else None,
        "serving": now.stable.id if now.stable else None,
        "percent": release.stage_percent,
        "decision": decision.action,
        "why": decision.why if bad or now.canary else "",
        "metric": decision.metric,
        "canary": dict(_told(watch)),
        "never": dict(watch.never),
        "window": found,
        "alerts": [alert._asdict() for alert in standing_alerts],
    }
    return Outcome(3 if bad else 0, text + step, data)


def _kept(now: routing.Routing) -> list[str]:
    return [release.id for release in (now.canary, now.stable) if release]


def _told(watch: Watch) -> dict[str, dict[str, Any]]:
    return {
        name: {"canary": duel.canary._asdict(), "stable": duel.stable._asdict(),
               "e": None if duel.e == float("inf") else duel.e}
        for name, duel in watch.duels.items()
    }  # fmt: skip


def _at_rest(release: Release, decision: Decision) -> str:
    text = say(
        f"no rollout is under way; serving: {release.id}",
        f"当前没有灰度发布；线上：{release.id}",
    )
    return f"{text}\n{decision.why}\n" if decision.action == "rollback" else f"{text}\n"
