"""Who answers a request: the routing of the store's ledger, and the conversations under way.

A thread looks at the ledger's newest `rollout` event and reads the rest only when that has moved,
so several gateways on one store agree within a poll. While the store is away the last routing that
was known goes on: no stage changes by itself. A conversation that has begun stays with the release
that began it, for as long as that may serve and a server offers it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from errata import candidates
from errata.errors import BadInput, ErrataError
from errata.gateway.asked import Asked
from errata.intake.redact import keyed_hash
from errata.records import Candidate, Release
from errata.release import routing
from errata.release.live import Arm
from errata.release.routing import Routing
from errata.serve.names import served
from errata.store import database, ledger
from errata.workspace import Workspace

BASE = "base"  # who answers before there is a release


class Target(NamedTuple):
    """A release that may answer, and what the servers call its model."""

    release: str
    digest: str
    candidate: Candidate
    model: str


@dataclass(frozen=True)
class View:
    """The routing as it was last read, with the models it needs."""

    routing: Routing
    base: Target
    targets: Mapping[str, Target] = field(default_factory=dict)  # by release
    gone: Mapping[str, float] = field(default_factory=dict)  # release → when it was rolled back
    changed: float = 0.0  # when the last event was
    drills: Mapping[str, float] = field(default_factory=dict)  # drill → when it was begun

    @property
    def rollout(self) -> str:
        """The release whose rollout, or time at 100 %, this is."""
        release = self.routing.canary or self.routing.stable
        return release.id if release else BASE

    @property
    def stage(self) -> int:
        """Percent of users that the canary has; 100 where there is none."""
        return self.routing.canary.stage_percent if self.routing.canary else 100

    def target(self, release: Release | None) -> Target:
        return self.targets[release.id] if release else self.base

    def of_digest(self, digest: str) -> Target | None:
        """The newest release of a candidate that may still serve."""
        for release in reversed(self.routing.releases.values()):
            if release.candidate_digest == digest:
                return None if release.state == "rolled_back" else self.targets.get(release.id)
        return self.base if digest == self.base.digest else None


class Choice(NamedTuple):
    """Who answers, as which arm of whose rollout."""

    target: Target
    arm: Arm
    rollout: str
    stage: int
    conversation: str
    subject: str


class Chooser:
    """Picks the release of a request; keeps who began which conversation."""

    def __init__(self, key: bytes, offered: Callable[[str], bool], remember: int) -> None:
        self.key, self.offered, self.remember = key, offered, remember
        self._began: OrderedDict[str, str] = OrderedDict()  # conversation → digest

    def conversation(self, asked: Asked) -> str:
        """A keyed hash of whose conversation it is and how it began."""
        return keyed_hash(self.key, "conversation", asked.owner, asked.opening or asked.key)

    def began(self, conversation: str) -> str | None:
        """The digest that a conversation was last answered by, as far as memory goes."""
        digest = self._began.get(conversation)
        if digest:
            self._began.move_to_end(conversation)
        return digest

    def note(self, conversation: str, digest: str) -> None:
        self._began[conversation] = digest
        self._began.move_to_end(conversation)
        while len(self._began) > self.remember:
            self._began.popitem(last=False)

    def probe(self, view: View) -> Choice | None:
        """The canary, whoever asks; None where there is none. It is nobody's conversation."""
        canary = view.routing.canary
        if canary is None:
            return None
        return Choice(view.target(canary), "canary", view.rollout, view.stage, "", "")

    def choose(self, view: View, asked: Asked, conversation: str, began: str | None) -> Choice:
        """The user's release, or the one that this conversation began with."""
        now = view.routing
        release = now.pick(asked.key)
        target, arm = view.target(release), now.arm(asked.key)
        if asked.midway and began and began != target.digest:
            before = view.of_digest(began)
            target, arm = view.target(now.stable), "stable"
            if before and self.offered(before.model):
                target = before
                arm = "canary" if now.canary and before.release == now.canary.id else "stable"
        subject = f"u-{keyed_hash(self.key, 'subject', asked.key)[:16]}"
        served = [release.id if release else BASE for release in (now.canary, now.stable)]
        if target.release not in served:  # of neither arm: it is measured as its own release's
            return Choice(target, "stable", target.release, 100, conversation, subject)
        return Choice(target, arm, view.rollout, view.stage, conversation, subject)


class Watch:
    """The thread that keeps the view up to date."""

    def __init__(
        self,
        ws: Workspace,
        names: Mapping[str, str],
        baseline: str,
        on_change: Callable[[View, View], None],
    ) -> None:
        self.ws, self.names, self.on_change = ws, names, on_change
        self._known: dict[str, Candidate] = {}
        base = candidates.resolve(ws, baseline)
        self.base = Target(BASE, base.digest, base, self.name(base))
        self.seen, self.trouble = -1, ""
        self.looked = 0.0  # monotonic: when the store last answered
        self.view = View(Routing(), self.base)

    @property
    def known(self) -> bool:
        """Whether the routing was ever read."""
        return self.seen >= 0

    def name(self, candidate: Candidate) -> str:
        """What the servers call it."""
        for digest in (candidate.adapter_digest, candidate.base_digest, candidate.digest):
            if digest and digest in self.names:
                return self.names[digest]
        return served(candidate)

    def look(self, again: bool = False) -> None:
        """Read the ledger if it has moved. What goes wrong is kept in `trouble`, and the view stays
        as it was."""
        try:
            newest = self._newest()
            self.looked = time.monotonic()
            if newest != self.seen or again:
                before, view = self.view, self._read()
                self.view, self.seen = view, newest
                self.on_change(before, view)
            self.trouble = ""
        except ErrataError as error:
            self.trouble = str(error)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            self.trouble = f"store: {type(error).__name__}"

    def run(self, stop: threading.Event, seconds: float, also: Callable[[], None]) -> None:
        """Look until told to stop; `also` is done at each look."""
        while not stop.wait(seconds):
            self.look()
            also()

    def _newest(self) -> int:
        t = database.event
        query = sa.select(sa.func.max(t.c.seq)).where(t.c.kind == "rollout")
        with database.reading(self.ws) as connection:
            return connection.execute(query).scalar() or 0

    def _read(self) -> View:
        events = ledger.events(self.ws, "rollout")
        now = routing.fold(events)
        live = [release.id for release in (now.canary, now.stable) if release]
        targets = {}
        for release in now.releases.values():
            if release.state == "rolled_back":
                continue
            try:
                targets[release.id] = self._target(release)
            except ErrataError:
                if release.id in live:  # one that only old conversations need may be gone
                    raise
        self.base = self.base._replace(model=self.name(self.base.candidate))  # it may be renamed
        rolled, drills = (_at(events, action) for action in ("rollback", "drill"))
        return View(now, self.base, targets, rolled, _when(events), drills)

    def _target(self, release: Release) -> Target:
        found = self._known.get(release.candidate_digest)
        if found is None:
            found = candidates.resolve(self.ws, release.candidate_path)
            if found.digest != release.candidate_digest:
                told = f"{release.candidate_path} is not what {release.id} was judged as"
                raise BadInput(f"gateway: {told}; restore the manifest")
            self._known[found.digest] = found
        return Target(release.id, found.digest, found, self.name(found))


def _at(events: list[dict[str, Any]], action: str) -> dict[str, float]:
    """What was rolled back or drilled → when that was decided; 0 where the event does not say to
    the split second."""
    found = [event["data"] for event in events if event["data"]["action"] == action]
    return {data["id"]: float(data.get("at") or 0) for data in found}


def _when(events: list[dict[str, Any]]) -> float:
    return datetime.fromisoformat(events[-1]["ts"]).timestamp() if events else 0.0
