"""The loop that moves a rollout: look at what came in, then advance, hold, or roll back.

    control = Control(ws); control.tick()       each gateway calls it every second

It needs nothing but the store, and moves only on the routing that it has looked at: of several that
see the same, one acts and the others find it done. What it has read once it does not read again.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from errata.errors import BadInput, Blocked
from errata.records import Release
from errata.release import alerts, card, live, monitor, rollback, rollout, routing
from errata.release.decide import Action, Decision, Watch
from errata.release.routing import Overtaken
from errata.store import ledger
from errata.workspace import Workspace

WINDOWS = 60.0  # seconds between two looks at what alerts and stops nothing


class Step(NamedTuple):
    """What one look led to."""

    release: str
    percent: int
    action: Action
    why: str
    reached: int
    """Percent of users that the release has from here on; what a rollback leaves is 0."""


class Control:
    """Keeps what was read of the release under way, or of the one that serves."""

    def __init__(self, ws: Workspace, config: monitor.Config | None = None) -> None:
        self.ws, self._given = ws, config
        self.watch: Watch | None = None
        self._windows = time.monotonic()  # when the window's numbers were last looked at
        self._of, self._after = "", 0

    @property
    def config(self) -> monitor.Config:
        """configs/monitor.yaml as it is now."""
        return self._given or monitor.knobs(self.ws)

    def look(self) -> tuple[Release, Decision] | None:
        """What the traffic calls for now; None where nothing is rolling or serving."""
        now = routing.current(self.ws)
        release = now.canary or now.stable
        if release is None:
            return None
        watch = self._read(release, now)
        if time.monotonic() - self._windows >= WINDOWS:
            self._windows = time.monotonic()
            monitor.looked(self.ws, self.config, release, now)
        return release, monitor.called_for(self.ws, watch, release)

    def _read(self, release: Release, now: routing.Routing) -> Watch:
        config = self.config
        known = self.watch and (self._of, self.watch.accept, self.watch.min_exposure)
        if self.watch is None or known != (release.id, config.accept, config.min_exposure):
            self.watch = monitor.watch_of(self.ws, config, release, now)  # all is read again
            self._of, self._after = release.id, 0
        for seen in live.read(self.ws, release.id, self._after):
            self.watch.add([seen.row])
            self._after = seen.seq
        return self.watch

    def tick(self) -> Step | None:
        """Look, and do what is called for. Raises nothing that another process did first."""
        found = self.look()
        if found is None:
            return None
        release, decision = found
        percent = reached = release.stage_percent
        if decision.action == "rollback" and percent >= 100 and self._just_back():
            decision = Decision("hold", f"{decision.why}; the release before went the same way: a "
                                "person decides, by `errata rollback`", "stuck")  # fmt: skip
        if decision.action == "hold":
            if decision.metric:
                alerts.raised(self.ws, release.id, decision.metric, decision.why,
                              self.config.webhook)  # fmt: skip
            return Step(release.id, percent, "hold", decision.why, reached)
        try:
            if decision.action == "rollback":
                self._back(release, decision)
                alerts.raised(self.ws, release.id, decision.metric or "rollback", decision.why,
                              self.config.webhook)  # fmt: skip
                reached = 0
            elif percent < 100:
                reached = rollout.advance(self.ws, decision.why, release).stage_percent
        except Overtaken as error:
            return Step(release.id, percent, "hold", str(error), percent)
        except (BadInput, Blocked) as error:
            alerts.raised(self.ws, release.id, "stuck", str(error), self.config.webhook)
            return Step(release.id, percent, "hold", str(error), percent)
        card.keep_up_beside(self.ws)
        return Step(release.id, percent, decision.action, decision.why, reached)

    def _just_back(self) -> bool:
        """Whether what serves does so because its successor was taken back at 100 %, by itself.
        Once is help; one who can bring that about must not walk everybody down to the base."""
        last = ledger.events(self.ws, "rollout")[-1]["data"]
        at_rest = last.get("evidence", {}).get("percent") == 100
        return bool(last["action"] == "rollback" and at_rest)

    def _back(self, release: Release, decision: Decision) -> None:
        watch = self.watch
        assert watch is not None
        told = {name: {"canary": list(duel.canary), "stable": list(duel.stable)}
                for name, duel in watch.duels.items() if duel.canary.n}  # fmt: skip
        evidence = {"metric": decision.metric, "percent": release.stage_percent,
                    "rows": watch.rows, "never": dict(watch.never), **told}  # fmt: skip
        rollback.roll_back(self.ws, decision.why, only=release.id, evidence=evidence)


def watched(ws: Workspace, seconds: float, control: Control | None = None) -> list[Step]:
    """Tick every second for a while; the steps that moved something."""
    control, end, moved = control or Control(ws), time.monotonic() + seconds, list[Step]()
    while time.monotonic() < end:
        step = control.tick()
        if step and step.action != "hold":
            moved.append(step)
        time.sleep(min(1.0, max(0.0, end - time.monotonic())))
    return moved
