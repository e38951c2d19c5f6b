"""Whether a release may stand where it stands, today: what let it through can end by itself.

Rows that it learnt from may be erased, a waiver expire, be revoked or cover fewer users than the
next stage has, a newer verdict say no. `rollout advance` asks before it moves, the monitor always.
"""

from __future__ import annotations

from errata import candidates
from errata.errors import BadInput, Blocked
from errata.records import Candidate, Release, Verdict
from errata.release import erasures, verdicts, waivers
from errata.release.verdict import worst
from errata.workspace import Workspace


def of(ws: Workspace, release: Release, percent: int) -> str:
    """Why a release may not have this share of users; else ''. Its path must still lead to the
    candidate that was judged: another one under the same name has another verdict, or none."""
    try:
        found = candidates.resolve(ws, release.candidate_path)
    except BadInput as error:
        return str(error)
    if found.digest != release.candidate_digest:
        return f"{release.candidate_path} is no longer the candidate that was released"
    return objection(ws, found, percent)


def objection(ws: Workspace, candidate: Candidate, percent: int) -> str:
    """Why a candidate may not have this share of users; else ''."""
    found = erasures.look(ws, candidate, percent)
    if found and not found.waived_by:
        return (
            f"{', '.join(found.runs)} learnt from {found.rows} rows erased since; {found.why_not}"
        )
    event = verdicts.given(ws, candidate.digest)
    if event is None:
        return ""  # `rollout start` asks for one
    verdict = verdicts.read(ws, event)
    if verdict is None:
        return f"verdict {event['data']['id']} was changed after it was given, or is gone"
    return _waivers(ws, verdict, percent)


def _waivers(ws: Workspace, verdict: Verdict, percent: int) -> str:
    if verdict.decision != "pass":
        return f"the newest verdict about it, {verdict.id}, is {verdict.decision}"
    waived = {f.metric for f in verdict.findings if f.status == "waived"} - {"erasure"}
    for metric in sorted(waived):
        value = worst(verdict.findings, metric)
        assert value is not None
        held, why = waivers.covering(ws, metric, verdict.candidate_digest, value, percent)
        if held is None:
            return f"{metric} is over its limit, and {why or 'no waiver names it any more'}"
    return ""


def refuse(ws: Workspace, release: Release, percent: int) -> None:
    """Blocked where a release may not have this share of users."""
    if why := of(ws, release, percent):
        raise Blocked(
            f"rollout: {why}; mend the model and gate it again, or have a waiver signed "
            "(`errata waive`)"
        )
