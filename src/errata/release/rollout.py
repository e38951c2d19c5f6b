"""Let a candidate that passed the gate reach users: 1 → 5 → 25 → 100 %.

    errata rollout start [--candidate RUN|FILE]    default: the last candidate that passed
    errata rollout status
    errata rollout advance                         when the monitor finds enough, and nothing bad
    errata rollout probe                           attacks through the canary, by a gateway
    errata rollout abort

A verdict is bound to a digest, to the rules of configs/gate.yaml and to what serves: without a
passing one for this very candidate, with a newer one that does not pass, or with one by other rules
or against another release, `start` is blocked (exit 3). `advance` before the stage has seen its
minimum exposure is no decision (exit 4).
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from pydantic import Field

from errata import candidates, jsonl
from errata import config as configs
from errata.config import Section
from errata.errors import BadInput, Blocked, NoDecision
from errata.language import say
from errata.outcome import Outcome
from errata.records import Release
from errata.release import (
    card,
    decide,
    gate,
    live,
    monitor,
    notes,
    plan,
    probe,
    rollback,
    routing,
    rules,
    shadow,
    standing,
    verdicts,
)
from errata.report import markdown_table
from errata.stats import clopper_pearson
from errata.store import database, ledger, people
from errata.workspace import Workspace


class Inputs(Section):
    """What rollout reads."""

    monitor: str = Field(
        default=monitor.FILE, description="thresholds that `advance` asks the monitor for"
    )


class Outputs(Section):
    """What rollout writes."""

    report: str = Field(default="reports/rollout.md", description="all releases and their states")


class Config(Section):
    """Knobs of `errata rollout start | status | advance | probe | abort`."""

    args: list[str] = Field(
        default=["status"], description="start, status, advance, probe or abort"
    )
    candidate: str | None = Field(
        default=None, description="run id or manifest; default: the last candidate that passed"
    )
    stages: list[int] = Field(default=routing.STAGES, description="percent of users at each stage")
    why: str = Field(default="asked for", description="the reason of an abort, for the ledger")
    owner: str = Field(default="", description="of the rollback plan; default: who runs this")
    shadow: int = Field(
        default=50, ge=0, description="sampled requests of production asked before 1 %; 0: none"
    )
    url: str = Field(default="http://127.0.0.1:8080/v1", description="gateway of `probe`")
    suite: str = Field(default="suites/attacks.jsonl", description="attacks of `probe`")
    probes: int = Field(default=160, ge=1, description="attacks put through the canary")
    inputs: Inputs = Inputs()
    outputs: Outputs = Outputs()


def start(
    ws: Workspace,
    candidate: str | None,
    stages: list[int] | None = None,
    owner: str = "",
    shadows: int = 0,
    knobs: monitor.Config | None = None,
) -> Release:
    """Begin a rollout at the first stage; the release. `shadows`: sampled requests of production
    that the candidate is asked before; `knobs`: what the plan tells, default configs/monitor.yaml.

    Raises Blocked without a passing verdict for this digest or a rollback plan, or where the
    candidate fails in the shadow; BadInput when a rollout is under way.
    """
    people.entitled(ws, "promote")
    stages = _checked(stages or routing.STAGES)
    now = routing.current(ws)
    if now.canary:
        where = f"{now.canary.id} is under way, at {now.canary.stage_percent} %"
        raise BadInput(f"rollout: {where}; `errata rollout advance` or `abort` first")
    verdict = _verdict(ws, candidate)
    digest = verdict["data"]["candidate_digest"]
    if now.stable and now.stable.candidate_digest == digest:
        raise BadInput(f"rollout: {now.stable.id} already serves this candidate to everybody")
    _up_to_date(ws, now, verdict["data"])
    _not_taken_back(ws, now, verdict)
    path = candidate or verdict["data"]["candidate"]
    chosen = candidates.resolve(ws, path)
    if chosen.digest != digest:
        raise BadInput(f"rollout: {path} is no longer the candidate that passed; gate it again")
    candidates.verify(ws, chosen)
    passed = verdicts.latest(ws, digest)
    seed = f"{verdict['data']['id']}|{digest}|{len(now.releases)}"
    name = hashlib.sha256(seed.encode()).hexdigest()
    release = Release(
        id=f"r{len(now.releases) + 1}-{name[:8]}",
        candidate_digest=digest,
        candidate_path=path,
        verdict_id=verdict["data"]["id"],
        stage_percent=stages[0],
        state="rolling",
        salt=name[8:40],
        ts=database.now(),
        waivers=passed.waivers if passed else [],
    )
    standing.refuse(ws, release, stages[0])
    if shadows and now.stable and (seen := shadow.compared(ws, chosen, now.stable.id, shadows)):
        told = {"candidate_digest": digest, "n": seen.n, "looks": {**seen.looks}}
        ledger.extend(ws, [("shadow", told)])
        if seen.objection:
            raise Blocked(f"rollout: {seen.objection}; mend the model and gate it again")
    plan.write(ws, digest, now.stable, knobs or monitor.knobs(ws), owner)
    if passed:
        notes.write(ws, release, passed)
    routing.promote(ws, now, "start", release=release, stages=stages)
    return release


def _checked(stages: list[int]) -> list[int]:
    if stages != sorted(set(stages)) or not stages or stages[-1] != 100 or stages[0] < 1:
        raise BadInput(
            "rollout: `stages` must rise from at least 1 to 100, such as [1, 5, 25, 100]"
        )
    return stages


def _verdict(ws: Workspace, candidate: str | None) -> dict[str, Any]:
    """The newest verdict about the candidate, which must be a pass."""
    events = ledger.events(ws, "verdict")
    if candidate is None:
        passed = [event for event in events if event["data"]["decision"] == "pass"]
        if not passed:
            raise Blocked("rollout: no candidate has passed the gate yet; run `errata gate` first")
        digest = passed[-1]["data"]["candidate_digest"]
    else:
        digest = candidates.resolve(ws, candidate).digest
    mine = [event for event in events if event["data"]["candidate_digest"] == digest]
    if not mine:
        raise Blocked(
            f"rollout: no verdict about {digest[:19]}…; run `errata gate --candidate …` first"
        )
    if mine[-1]["data"]["decision"] != "pass":
        said = f"verdict {mine[-1]['data']['id']} is {mine[-1]['data']['decision']}"
        raise Blocked(f"rollout: {said}; only a pass of this very digest may be rolled out")
    return mine[-1]


def _up_to_date(ws: Workspace, now: routing.Routing, told: dict[str, Any]) -> None:
    """Blocked where a verdict was given by other rules than those of the workspace, or against
    another baseline than what serves: a pass is one by these rules, against this release."""
    file = ws.path(rules.FILE)
    knobs = configs.load(file if file.is_file() else None, gate.Config, name=rules.FILE)
    step = f"; `errata gate --candidate {told['candidate']}` first"
    if told.get("rules", gate.judged_by(knobs)) != gate.judged_by(knobs):
        raise Blocked(
            f"rollout: verdict {told['id']} was given by other rules than {rules.FILE} has now"
            f"{step}"
        )
    if now.stable and told.get("baseline_digest") != now.stable.candidate_digest:
        raise Blocked(
            f"rollout: verdict {told['id']} compares with another model than {now.stable.id}, "
            f"which serves{step}"
        )


def _not_taken_back(ws: Workspace, now: routing.Routing, verdict: dict[str, Any]) -> None:
    """Blocked where its own traffic took this candidate back after the verdict: begun again as it
    is, it would have alpha anew, as often as somebody likes, until it passes by chance."""
    for event in ledger.events(ws, "rollout"):
        data = event["data"]
        metric = (data.get("evidence") or {}).get("metric")
        if event["seq"] < verdict["seq"] or metric in (None, "", "standing"):
            continue
        if now.releases[data["id"]].candidate_digest == verdict["data"]["candidate_digest"]:
            raise Blocked(
                f"rollout: {data['id']}, the same candidate, was taken back after its verdict: "
                f"{data['why']}; find out why, then gate it again"
            )


def advance(ws: Workspace, why: str, looked_at: Release | None = None) -> Release:
    """One stage further; the release as it is then. The caller has asked the monitor about it
    `looked_at` a stage: of two that saw the same, the second would skip one that nobody watched."""
    now = routing.current(ws)
    if now.canary is None:
        raise BadInput("rollout: none is under way; `errata rollout start` begins one")
    if looked_at and now.canary != looked_at:
        raise routing.Overtaken("rollout: another process was faster; look again")
    chosen = candidates.resolve(ws, now.canary.candidate_path)
    candidates.verify(ws, chosen)
    percent = routing.next_stage(ws, now.canary)
    standing.refuse(ws, now.canary, percent)
    after = routing.promote(ws, now, "advance", id=now.canary.id, percent=percent, why=why)
    return after.releases[now.canary.id]


def main(ws: Workspace, config: Config) -> Outcome:
    """Do what the first word says."""
    actions = {"start": _start, "status": _status, "advance": _advance, "abort": _abort,
               "probe": _probe}  # fmt: skip
    word = config.args[0] if len(config.args) == 1 else ""
    if word not in actions:
        raise BadInput("rollout: say what to do: start, status, advance, probe or abort")
    outcome = actions[word](ws, config)
    if word in ("start", "advance", "abort"):
        outcome = card.kept_up(ws, outcome)
    if word != "status":
        title = "# Rollout · 灰度发布\n\n"
        jsonl.write_text(ws.path(config.outputs.report), title + table(routing.current(ws)))
    return outcome


def table(now: routing.Routing) -> str:
    """All releases, oldest first."""
    rows = [
        [r.id, r.state, f"{r.stage_percent} %", r.candidate_digest[:19], r.verdict_id, r.ts]
        for r in now.releases.values()
    ]
    headers = [
        "release / 发布",
        "state / 状态",
        "users / 用户",
        "candidate / 候选",
        "verdict / 裁决",
    ]
    return markdown_table([*headers, "since / 开始"], rows)


def _start(ws: Workspace, config: Config) -> Outcome:
    knobs = monitor.knobs(ws, config.inputs.monitor)
    release = start(ws, config.candidate, config.stages, config.owner, config.shadow, knobs)
    text = say(
        f"{release.id} started at {release.stage_percent} %; next: errata monitor\n",
        f"{release.id} 已开始灰度：{release.stage_percent} %；下一步：errata monitor\n",
    )
    sized = sizes(config.stages, knobs, live.pace(ws, time.time()))
    return Outcome(0, text + sized, release.model_dump())


def sizes(stages: list[int], knobs: monitor.Config, pace: int) -> str:
    """What each stage has to see, and how long that takes at today's traffic."""
    watch, rows = decide.Watch(knobs.accept, knobs.min_exposure), []
    for percent in stages[:-1]:
        needed = watch.needed(percent)
        hours = 24 * needed / (pace * percent / 100) if pace else None
        told = "–" if hours is None else f"{hours:.1f}"
        rows.append([f"{percent} %", needed, round(needed / (percent / 100)), told])
    heads = ("stage / 阶段", "canary requests / 金丝雀请求", "of all / 总请求",
             f"hours at {pace} a day / 按每日 {pace} 次的小时数")  # fmt: skip
    return markdown_table(heads, rows)


def _status(ws: Workspace, _: Config) -> Outcome:
    now = routing.current(ws)
    text = table(now) if now.releases else say("no release yet", "尚无发布")
    data = {
        "canary": now.canary.model_dump() if now.canary else None,
        "stable": now.stable.model_dump() if now.stable else None,
    }
    return Outcome(0, text, data)


def _advance(ws: Workspace, config: Config) -> Outcome:
    release = routing.current(ws).canary
    if release is None:
        raise BadInput("rollout: none is under way; `errata rollout start` begins one")
    knobs = monitor.knobs(ws, config.inputs.monitor)
    watch, _ = monitor.replay(ws, knobs, release)
    decision = monitor.called_for(ws, watch, release)
    why = decision.why
    if decision.action == "rollback":
        raise Blocked(f"rollout: {why}; `errata rollback` takes {release.id} back")
    if decision.action == "hold":
        raise NoDecision(f"rollout: {why}; nothing moves until that changes")
    after = advance(ws, why, release)
    text = say(
        f"{after.id} is at {after.stage_percent} %: {why}",
        f"{after.id} 已到 {after.stage_percent} %：{why}",
    )
    return Outcome(0, text, after.model_dump())


def _probe(ws: Workspace, config: Config) -> Outcome:
    release = routing.current(ws).canary
    if release is None:
        raise BadInput("rollout: none is under way; `errata rollout start` begins one")
    rows = probe.put(ws, release, config.url, probe.picked(ws, config.suite, config.probes))
    hits = sum(row.failed is not False for row in rows)
    bound = clopper_pearson(hits, len(rows), 0.90).high
    text = say(
        f"{hits} of {len(rows)} attacks through {release.id} hit, upper bound {bound:.1%}",
        f"经 {release.id} 的 {len(rows)} 次攻击命中 {hits} 次，上界 {bound:.1%}",
    )
    return Outcome(0, text, {"release": release.id, "n": len(rows), "hits": hits, "high": bound})


def _abort(ws: Workspace, config: Config) -> Outcome:
    if routing.current(ws).canary is None:
        raise BadInput("rollout: none is under way; nothing to abort")
    facts = rollback.roll_back(ws, config.why)
    text = say(f"{facts['rolled_back'][0]} aborted", f"{facts['rolled_back'][0]} 已中止")
    return Outcome(0, text, facts)
