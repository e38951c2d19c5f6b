"""Route everybody back, and say how long it took.

    errata rollback                 the rollout under way, or else the serving release
    errata rollback --to RELEASE    back to a release that served before

Only the routing changes: the adapter of the earlier release is still there under its own digest, so
nothing is loaded or trained. What is measured is the time from the decision until the store tells
every gateway the new route.
"""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field

from errata.config import Section
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.records import Release
from errata.release import routing
from errata.store import experiments
from errata.workspace import Workspace


class Config(Section):
    """Knobs of `errata rollback`."""

    to: str | None = Field(
        default=None, description="release to go back to; default: the last good one"
    )
    why: str = Field(default="asked for", description="the reason, for the ledger")


def last_good(now: routing.Routing, bad: Release) -> Release | None:
    """The newest other release that once served everybody and was not rolled back."""
    past = [r for r in now.releases.values() if r.state == "superseded" and r.id != bad.id]
    return past[-1] if past else None


def roll_back(ws: Workspace, why: str, to: str | None = None) -> dict[str, Any]:
    """Take the canary, or else the serving release, out of the routing; the facts of it.

    Raises BadInput when nothing is served, or when `to` names no release that may serve.
    """
    start = time.perf_counter()
    now = routing.current(ws)
    target = _target(now, to)
    out = [release for release in (now.canary, now.stable) if release]
    if not out:
        raise BadInput("rollback: nothing is being rolled out or served; see `errata status`")
    if target is None:
        out = out[:1]  # the canary alone, where there is one: stable users notice nothing
        target = now.stable if now.canary else last_good(now, out[0])
    for release in out:
        seconds = round(time.perf_counter() - start, 4)
        goal = target.id if target else None
        routing.record(ws, "rollback", id=release.id, to=goal, why=why, seconds=seconds)
    seen = routing.current(ws)
    facts = {
        "rolled_back": [release.id for release in out],
        "serving": seen.stable.id if seen.stable else None,
        "seconds": round(time.perf_counter() - start, 4),
        "why": why,
    }
    experiments.render(ws)  # after the clock: the route is told by then
    return facts


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


def main(ws: Workspace, config: Config) -> Outcome:
    """Route back and report the time."""
    facts = roll_back(ws, config.why, config.to)
    serving, gone = facts["serving"] or say("the base model", "基座模型"), facts["rolled_back"]
    text = say(
        f"{', '.join(gone)} rolled back in {facts['seconds']:.3f} s; serving: {serving}",
        f"{', '.join(gone)} 已在 {facts['seconds']:.3f} 秒内回滚；线上：{serving}",
    )
    return Outcome(0, text, facts)
