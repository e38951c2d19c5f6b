"""Let a candidate that passed the gate reach users: 1 → 5 → 25 → 100 %.

    errata rollout start [--candidate RUN|FILE]    default: the last candidate that passed
    errata rollout status
    errata rollout advance                         when the monitor finds enough, and nothing bad
    errata rollout abort

A verdict is bound to a digest: without a passing one for this very candidate, or with a newer one
that does not pass, `start` is blocked (exit 3). `advance` before the stage has seen its minimum
exposure is no decision (exit 4).
"""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import Field

from errata import candidates, jsonl
from errata import config as configs
from errata.config import Section
from errata.errors import BadInput, Blocked, NoDecision
from errata.language import say
from errata.outcome import Outcome
from errata.records import Release
from errata.release import erasures, monitor, rollback, routing
from errata.report import markdown_table
from errata.store import database, ledger, people
from errata.workspace import Workspace

STAGES = [1, 5, 25, 100]


class Inputs(Section):
    """What rollout reads."""

    monitor: str = Field(
        default="configs/monitor.yaml", description="thresholds that `advance` asks the monitor for"
    )


class Outputs(Section):
    """What rollout writes."""

    report: str = Field(default="reports/rollout.md", description="all releases and their states")


class Config(Section):
    """Knobs of `errata rollout start | status | advance | abort`."""

    args: list[str] = Field(default=["status"], description="start, status, advance or abort")
    candidate: str | None = Field(
        default=None, description="run id or manifest; default: the last candidate that passed"
    )
    stages: list[int] = Field(default=STAGES, description="percent of users at each stage")
    why: str = Field(default="asked for", description="the reason of an abort, for the ledger")
    inputs: Inputs = Inputs()
    outputs: Outputs = Outputs()


def start(ws: Workspace, candidate: str | None, stages: list[int] | None = None) -> Release:
    """Begin a rollout at the first stage; the release.

    Raises Blocked without a passing verdict for this digest, BadInput when a rollout is under way.
    """
    people.entitled(ws, "promote")
    stages = _checked(stages or STAGES)
    now = routing.current(ws)
    if now.canary:
        where = f"{now.canary.id} is under way, at {now.canary.stage_percent} %"
        raise BadInput(f"rollout: {where}; `errata rollout advance` or `abort` first")
    verdict = _verdict(ws, candidate)
    digest = verdict["data"]["candidate_digest"]
    if now.stable and now.stable.candidate_digest == digest:
        raise BadInput(f"rollout: {now.stable.id} already serves this candidate to everybody")
    path = candidate or verdict["data"]["candidate"]
    chosen = candidates.resolve(ws, path)
    if chosen.digest != digest:
        raise BadInput(f"rollout: {path} is no longer the candidate that passed; gate it again")
    candidates.verify(ws, chosen)
    erasures.refuse(ws, chosen, stages[0])
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
    )
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


def next_stage(ws: Workspace, release: Release) -> int:
    """The stage after the one a release is at, as the rollout was started."""
    for event in reversed(ledger.events(ws, "rollout")):
        data = event["data"]
        if data["action"] == "start" and data["release"]["id"] == release.id:
            return int(min(stage for stage in data["stages"] if stage > release.stage_percent))
    return min(stage for stage in STAGES if stage > release.stage_percent)


def advance(ws: Workspace, why: str) -> Release:
    """One stage further; the release as it is then. The caller has asked the monitor."""
    now = routing.current(ws)
    if now.canary is None:
        raise BadInput("rollout: none is under way; `errata rollout start` begins one")
    chosen = candidates.resolve(ws, now.canary.candidate_path)
    candidates.verify(ws, chosen)
    percent = next_stage(ws, now.canary)
    erasures.refuse(ws, chosen, percent)
    after = routing.promote(ws, now, "advance", id=now.canary.id, percent=percent, why=why)
    return after.releases[now.canary.id]


def main(ws: Workspace, config: Config) -> Outcome:
    """Do what the first word says."""
    actions = {"start": _start, "status": _status, "advance": _advance, "abort": _abort}
    word = config.args[0] if len(config.args) == 1 else ""
    if word not in actions:
        raise BadInput("rollout: say what to do: start, status, advance or abort")
    outcome = actions[word](ws, config)
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
    release = start(ws, config.candidate, config.stages)
    text = say(
        f"{release.id} started at {release.stage_percent} %; next: errata monitor",
        f"{release.id} 已开始灰度：{release.stage_percent} %；下一步：errata monitor",
    )
    return Outcome(0, text, release.model_dump())


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
    path = ws.path(config.inputs.monitor)
    known = path if path.is_file() else None
    knobs = configs.load(known, monitor.Config, name=config.inputs.monitor)
    watch = monitor.replay(monitor.live_file(ws, knobs, release.id), knobs)
    action, why = watch.decide(release.stage_percent)
    if action == "rollback":
        raise Blocked(f"rollout: {why}; `errata rollback` takes {release.id} back")
    if action == "hold":
        raise NoDecision(f"rollout: {why}; wait for more traffic")
    after = advance(ws, why)
    text = say(
        f"{after.id} is at {after.stage_percent} %: {why}",
        f"{after.id} 已到 {after.stage_percent} %：{why}",
    )
    return Outcome(0, text, after.model_dump())


def _abort(ws: Workspace, config: Config) -> Outcome:
    if routing.current(ws).canary is None:
        raise BadInput("rollout: none is under way; nothing to abort")
    facts = rollback.roll_back(ws, config.why)
    text = say(f"{facts['rolled_back'][0]} aborted", f"{facts['rolled_back'][0]} 已中止")
    return Outcome(0, text, facts)
