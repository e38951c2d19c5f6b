"""The rollout under way: its stage, the evidence over time, and the few buttons that move it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from errata.errors import BadInput
from errata.language import say
from errata.records import Release
from errata.release import alerts, decide, monitor, routing, windows
from errata.store import ledger
from errata.web.desk import Desk
from errata.web.pages.went import Form, Went
from errata.web.view import page
from errata.workspace import Workspace

MOVES = ("start", "advance", "abort", "rollback")


def standing(desk: Desk, request: Request) -> Response:
    """`/rollout`: of the canary, of what serves, or of the release that `id` names."""
    ws, now = desk.ws, routing.current(desk.ws)
    chosen = request.query_params.get("id", "")
    if chosen and chosen not in now.releases:
        raise BadInput(f"{chosen}: no such release; `errata rollout status` lists them")
    last = list(now.releases.values())[-1:]
    release = now.releases.get(chosen) or now.canary or (last[0] if last else None)
    if release is None:
        return page(request, "rollout.html", now=now, release=None, known=[])
    knobs = monitor.knobs(ws)
    watch, curves, recent = desk.watched.of(knobs, release)
    decision = (monitor.called_for(ws, watch, release)
                if release.state in ("rolling", "serving") else None)  # fmt: skip
    events = [{**event["data"], "ts": event["ts"]} for event in ledger.events(ws, "rollout")
              if (event["data"].get("id") or event["data"].get("release", {}).get("id"))
              == release.id]  # fmt: skip
    return page(
        request, "rollout.html", now=now, release=release, watch=watch, curves=curves,
        limit=len(knobs.accept.hard) / knobs.accept.alpha, decision=decision, events=events[::-1],
        arms=windows.summary(recent), hard=knobs.accept.hard, needed=_needed(watch, release),
        known=[one for one in alerts.known(ws).values() if one.release == release.id][::-1],
        stages=_stages(ws, release),
    )  # fmt: skip


def _needed(watch: decide.Watch, release: Release) -> int:
    return watch.needed(release.stage_percent) if release.stage_percent < 100 else 0


def _stages(ws: Workspace, release: Release) -> list[int]:
    """The percents it goes through."""
    for event in ledger.events(ws, "rollout"):
        data = event["data"]
        if data["action"] == "start" and data["release"]["id"] == release.id:
            return [int(stage) for stage in data["stages"]]
    return list(routing.STAGES)


def moved(desk: Desk, form: Form) -> Went:
    """Start, advance, abort or roll back: what the commands of these names do, once the person has
    written the release's id."""
    from errata.release import rollback, rollout  # a shadow of the canary needs torch

    ws, what = desk.ws, form["what"]
    if what not in MOVES:
        raise BadInput(f"{what}: {', '.join(MOVES)}")
    now = routing.current(ws)
    if what == "start":
        form.confirmed("start")
        config = rollout.Config(args=["start"], candidate=form.get("candidate") or None)
        return Went("/rollout", rollout.main(ws, config).text.splitlines()[0])
    release = now.canary or now.stable
    if release is None:
        raise BadInput(say("nothing rolls out or serves", "没有灰度，也没有线上版本"))
    form.confirmed(release.id)
    if what == "rollback":
        outcome = rollback.main(ws, rollback.Config(why=form.need("why")))
    else:
        why = form.get("why", "").strip() or "asked for at the desk"
        outcome = rollout.main(ws, rollout.Config(args=[what], why=why))
    return Went("/rollout", outcome.text.splitlines()[0] if outcome.text else what)


def alert_changed(desk: Desk, form: Form) -> Went:
    """Acknowledge an alert, or resolve it."""
    states = {"ack": "acknowledged", "resolve": "resolved"}
    if form["what"] not in states:
        raise BadInput(f"{form['what']}: ack or resolve")
    changed = alerts.change(desk.ws, form["id"], states[form["what"]])  # type: ignore[arg-type]
    return Went(form.get("from") or "/rollout", f"{changed.id}: {changed.state}")
