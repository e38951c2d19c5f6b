"""Who gets which release: folded from the ledger, so what happened and what is cannot differ.

A user's bucket is a hash of the rollout's salt and the user: 64 bits, so a share can be as small
as one likes; the same on every gateway without talking; and monotone, because a growing share only
adds users to the canary. The salt is the release's own, so two rollouts do not try the same people
first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from errata.jsonl import canonical, plain
from errata.records import Release
from errata.release.live import Arm
from errata.store import database, experiments, ledger, people
from errata.workspace import Workspace

STAGES = [1, 5, 25, 100]  # percent of users


def bucket(salt: str, user: str) -> float:
    """Where a user stands in [0, 1): SHA-256(salt|user), 64 bits."""
    raw = hashlib.sha256(f"{salt}|{user}".encode("utf-8", "surrogatepass")).digest()[:8]
    return (int.from_bytes(raw, "big") >> 11) / 2**53  # 53 bits: what a float holds exactly


@dataclass
class Routing:
    """The release that everybody has, the one on its way, and all there ever were."""

    stable: Release | None = None
    canary: Release | None = None
    releases: dict[str, Release] = field(default_factory=dict)
    seen: int = 0  # number of the last event that is in it

    def arm(self, user: str) -> Arm:
        """Which of the two a user is served by."""
        canary = self.canary
        inside = canary and bucket(canary.salt, user) < canary.stage_percent / 100
        return "canary" if inside else "stable"

    def pick(self, user: str) -> Release | None:
        """The release a user gets; None is the model the first release was measured against."""
        return self.canary if self.arm(user) == "canary" else self.stable


def fold(events: Iterable[Mapping[str, Any]]) -> Routing:
    """The state after all `rollout` events, oldest first."""
    now = Routing()
    for event in events:
        _apply(now, event["data"])
        now.seen = event.get("seq", now.seen)
    return now


def _apply(now: Routing, data: Mapping[str, Any]) -> None:
    action = data["action"]
    if action == "start":
        release = Release.model_validate(data["release"])
        now.releases[release.id] = now.canary = release
    elif action == "advance":
        _advance(now, now.releases[data["id"]], data["percent"])
    elif action == "rollback":
        bad = _set(now, now.releases[data["id"]], "rolled_back", 0)
        now.canary = None if now.canary and now.canary.id == bad.id else now.canary
        now.stable = None if now.stable and now.stable.id == bad.id else now.stable
        if target := now.releases.get(data.get("to") or ""):
            now.stable = _set(now, target, "serving", 100)


def _advance(now: Routing, release: Release, percent: int) -> None:
    if percent < 100:
        now.canary = _set(now, release, "rolling", percent)
        return
    if now.stable:
        _set(now, now.stable, "superseded", 0)
    now.stable, now.canary = _set(now, release, "serving", 100), None


def _set(
    now: Routing,
    release: Release,
    state: Literal["rolling", "serving", "rolled_back", "superseded"],
    percent: int,
) -> Release:
    found = release.model_copy(update={"state": state, "stage_percent": percent})
    now.releases[release.id] = found
    return found


def next_stage(ws: Workspace, release: Release) -> int:
    """The stage after the one a release is at, as the rollout was started."""
    for event in reversed(ledger.events(ws, "rollout")):
        data = event["data"]
        if data["action"] == "start" and data["release"]["id"] == release.id:
            return int(min(stage for stage in data["stages"] if stage > release.stage_percent))
    return min(stage for stage in STAGES if stage > release.stage_percent)


def current(ws: Workspace) -> Routing:
    """The routing of this workspace."""
    return fold(ledger.events(ws, "rollout"))


Overtaken = ledger.Overtaken


def promote(ws: Workspace, now: Routing, action: str, **data: Any) -> Routing:
    """Give a release more users: a right of roles, and only on the routing that the caller has
    looked at. Of two processes that promote at once one wins; the other gets BadInput."""
    after = record_all(ws, action, [data], right="promote", seen=now.seen)
    experiments.render(ws)
    return after


def record_all(
    ws: Workspace,
    action: str,
    facts: Iterable[Mapping[str, Any]],
    *,
    right: people.Right | None = None,
    seen: int | None = None,
) -> Routing:
    """Write down what happened, all of it or nothing; the routing it leads to, as the store now
    tells it."""
    rows = [("rollout", {"action": action, **data}) for data in facts]
    ledger.extend(ws, rows, right=right, seen=seen)
    ledger.seal(ws)
    now = current(ws)
    _describe(ws, now)
    return now


def record(ws: Workspace, action: str, **data: Any) -> Routing:
    """Write down one thing that happened."""
    return record_all(ws, action, [data])


def _describe(ws: Workspace, now: Routing) -> None:
    """Releases as nodes of the lineage, each after the verdict that let it out."""
    releases = list(now.releases.values())
    nodes = [{"id": r.id, "kind": "release", "data": canonical(plain(r))} for r in releases]
    edges = [
        {"src": r.verdict_id, "dst": r.id, "kind": "released as", "run_id": r.verdict_id}
        for r in releases
    ]
    with database.writing(ws) as connection:
        table = database.node
        connection.execute(table.delete().where(table.c.id.in_([r.id for r in releases])))
        database.insert_new(connection, table, nodes)
        database.insert_new(connection, database.edge, edges)
