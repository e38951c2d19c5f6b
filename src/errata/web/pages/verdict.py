"""What the gate said of a candidate, line by line, and the exceptions that people signed."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from errata import candidates
from errata.errors import BadInput, ErrataError
from errata.language import say
from errata.metrics import CATALOGUE
from errata.records import Finding, Verdict, Waiver
from errata.release import evidence, verdicts, waiver, waivers
from errata.release import page as told_page
from errata.store import ledger, people
from errata.web.desk import Desk
from errata.web.pages.went import Form, Went
from errata.web.view import hidden, page

FLIPS = 10  # of each metric that are shown
DONE = ("sign", "revoke")


def listed(desk: Desk, request: Request) -> Response:
    """`/verdicts`: all that were given, newest first, and all waivers."""
    events = [event["data"] | {"ts": event["ts"]} for event in ledger.events(desk.ws, "verdict")]
    return page(request, "verdicts.html", verdicts=events[::-1], waivers=_waivers(desk))


def one(desk: Desk, request: Request) -> Response:
    """`/verdicts/ID`: hard and soft lines with their intervals, what flipped, and who waived."""
    ws, id = desk.ws, request.path_params["id"]
    event = next((e for e in ledger.events(ws, "verdict") if e["data"]["id"] == id), None)
    if event is None:
        raise BadInput(f"{id}: no such verdict; `errata gate` gives one")
    found = verdicts.read(ws, event)
    lines: dict[str, list[tuple[Finding, str]]] = {"hard": [], "soft": []}
    for finding in found.findings if found else ():
        spec = CATALOGUE.get(finding.metric)
        lines[finding.strictness].append((finding, spec.unit if spec else ""))
    return page(request, "verdict.html", event=event["data"], verdict=found, lines=lines,
                flips=_flips(desk, found) if found else {}, waivers=_waivers(desk, found),
                words=told_page.WORDS)  # fmt: skip


def _flips(desk: Desk, found: Verdict) -> dict[str, list[tuple[Any, str, str]]]:
    """Per compared metric the answers that turned worse, as both gave them."""
    folders = sorted({path.rpartition("/")[0] for path in found.evidence if path.endswith(".json")})
    if not found.baseline_digest:
        return {}
    ours = evidence.collect(desk.ws, found.candidate_digest, folders)
    theirs = evidence.collect(desk.ws, found.baseline_digest, folders)
    out = {}
    for metric, turned in told_page.flips(found, ours, theirs).items():
        some = turned[:FLIPS]
        texts = hidden(desk.ws, [text for pair in some
                                 for text in (pair.other.answer, pair.case.answer)])  # fmt: skip
        out[f"{metric}: {len(turned)}"] = list(zip(some, texts[::2], texts[1::2], strict=True))
    return out


def _waivers(desk: Desk, found: Verdict | None = None) -> list[tuple[Waiver, str]]:
    """Each with why it does not count; an empty reason: it does."""
    ws, out = desk.ws, []
    for one_ in waivers.all_of(ws):
        if found and one_.candidate_digest != found.candidate_digest:
            continue
        try:
            why = waivers.why_not(ws, one_, candidates.resolve(ws, one_.candidate))
        except ErrataError:  # the candidate is gone from this machine
            why = waivers.why_not(ws, one_, None)
        out.append((one_, why))
    return out[::-1]


def waive(desk: Desk, form: Form) -> Went:
    """Ask for an exception; it counts when somebody else has signed it."""
    told: dict[str, Any] = {name: form.need(name) for name in
            ("metric", "candidate", "risk", "impact", "rollback_plan", "owner")}  # fmt: skip
    config = waiver.Config(args=["create"], **told)
    outcome = waiver.main(desk.ws, config)
    return Went(form.get("from") or "/verdicts", outcome.text)


def waiver_changed(desk: Desk, form: Form) -> Went:
    """Sign one, or revoke it."""
    if (what := form["what"]) not in DONE:
        raise BadInput(f"{what}: {' or '.join(DONE)}")
    form.confirmed(form["id"])
    outcome = waiver.main(desk.ws, waiver.Config(args=[what, form["id"]]))
    who = people.actor(desk.ws).name
    return Went("/verdicts", outcome.text or say(f"{what}: {who}", f"{what}：{who}"))
