"""Route everybody back, and say how long it took.

    errata rollback                 the rollout under way, or else the serving release
    errata rollback --to RELEASE    back to a release that served before
    errata rollback --drill         the same way, walked: every gateway answers, nobody is moved

Only the routing changes: the adapter of the earlier release is still there under its own digest, so
nothing is loaded or trained. What is measured is the time from the decision until the store tells
every gateway the new route.
"""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field

from errata import candidates, jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.records import Release
from errata.release import card, routing
from errata.store import experiments, ledger
from errata.workspace import Workspace

_TRIES = 20


class Config(Section):
    """Knobs of `errata rollback`."""

    to: str | None = Field(
        default=None, description="release to go back to; default: the last good one"
    )
    why: str = Field(default="asked for", description="the reason, for the ledger")
    drill: bool = Field(default=False, description="walk the way, move nobody, note the seconds")
    wait: float = Field(default=2.0, ge=0, description="seconds for gateways to answer a drill")


def last_good(now: routing.Routing, bad: Release) -> Release | None:
    """The newest release before it that once served everybody and was not rolled back: after a
    rollback to an early one, the way goes on backwards."""
    order = list(now.releases)
    past = [now.releases[id] for id in order[: order.index(bad.id)]]
    return next((r for r in reversed(past) if r.state == "superseded"), None)


def roll_back(
    ws: Workspace,
    why: str,
    to: str | None = None,
    only: str | None = None,
    evidence: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Take the canary, or else the serving release, out of the routing; the facts of it. `only`:
    if it is still this release; `evidence`: what was seen, for the ledger. Where another process
    moves the routing meanwhile, what it has made of it is looked at and rolled back.

    Raises BadInput when nothing is served, or when `to` names no release that may serve.
    """
    start = time.perf_counter()
    for _ in range(_TRIES):
        now = routing.current(ws)
        out, target = _meant(now, to, only)
        if to and target:
            _there(ws, target)
        facts = [
            {"id": release.id, "to": target.id if target else None, "why": why,
             "evidence": evidence or {}, "at": time.time(),
             "seconds": round(time.perf_counter() - start, 4)}
            for release in out
        ]  # fmt: skip
        try:
            routing.record_all(ws, "rollback", facts, seen=now.seen)
            break
        except routing.Overtaken:
            continue
    else:
        raise BadInput("rollback: other processes move the routing all the time; stop them first")
    seen = routing.current(ws)
    told = {
        "rolled_back": [release.id for release in out],
        "serving": seen.stable.id if seen.stable else None,
        "seconds": round(time.perf_counter() - start, 4),
        "why": why,
    }
    experiments.render(ws)  # after the clock: the route is told by then
    return told


def _meant(
    now: routing.Routing, to: str | None, only: str | None
) -> tuple[list[Release], Release | None]:
    """The releases that go, and the one that everybody has afterwards."""
    target = _target(now, to)
    out = [release for release in (now.canary, now.stable) if release]
    if only and (not out or out[0].id != only):
        raise routing.Overtaken(f"rollback: {only} is {now.releases[only].state} already")
    if not out:
        raise BadInput("rollback: nothing is being rolled out or served; see `errata status`")
    if target is None:
        out = out[:1]  # the canary alone, where there is one: stable users notice nothing
        target = now.stable if now.canary else last_good(now, out[0])
    return out, target


def _target(now: routing.Routing, to: str | None) -> Release | None:
    if to is None:
        return None
    if to not in now.releases:
        raise BadInput(f"rollback: no release `{to}`; known: {', '.join(now.releases) or 'none'}")
    if now.releases[to].state != "superseded":
        raise BadInput(
            f"rollback: {to} is {now.releases[to].state}; only one that served before can again"
        )
    return now.releases[to]


def _there(ws: Workspace, target: Release) -> None:
    """BadInput where a release that is asked for cannot be served any more: gateways would not
    follow, and what is to go would go on."""
    if candidates.resolve(ws, target.candidate_path).digest != target.candidate_digest:
        told = f"{target.candidate_path} is no longer what {target.id} was"
        raise BadInput(f"rollback: {told}; restore the manifest, or leave out --to")


def drill(ws: Workspace, wait: float) -> dict[str, Any]:
    """Tell the store what every gateway has to hear, as a rollback would, and wait for each to have
    heard it; the seconds that took. Nobody's route changes."""
    start, at = time.perf_counter(), time.time()
    name = f"d-{jsonl.short_id([at, ws.root.as_posix()], 8)}"
    routing.record(ws, "drill", id=name, at=at)
    routing.current(ws)
    seconds = round(time.perf_counter() - start, 4)
    time.sleep(wait)
    heard = [event["data"] for event in ledger.events(ws, "drill heard")]
    gateways = {told["gateway"]: told["seconds"] for told in heard if told["drill"] == name}
    facts = {"id": name, "seconds": seconds, "gateways": gateways}
    ledger.extend(ws, [("drill", facts)])
    return facts


def _drilled(facts: dict[str, Any]) -> Outcome:
    told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in facts["gateways"].items())
    text = say(
        f"drill: the store tells a new route after {facts['seconds']:.3f} s; gateways: "
        f"{told or 'none is running'}",
        f"演练：{facts['seconds']:.3f} 秒后新路由可见；网关：{told or '没有在运行的网关'}",
    )
    return Outcome(0, text, facts)


def main(ws: Workspace, config: Config) -> Outcome:
    """Route back and report the time."""
    if config.drill:
        return _drilled(drill(ws, config.wait))
    facts = roll_back(ws, config.why, config.to)
    serving, gone = facts["serving"] or say("the base model", "基座模型"), facts["rolled_back"]
    text = say(
        f"{', '.join(gone)} rolled back in {facts['seconds']:.3f} s; serving: {serving}",
        f"{', '.join(gone)} 已在 {facts['seconds']:.3f} 秒内回滚；线上：{serving}",
    )
    return card.kept_up(ws, Outcome(0, text, facts))
