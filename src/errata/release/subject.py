"""Which candidate a workspace answers for, where nobody names one.

The release on its way to users, else the one they get, else the newest trained run; in a clone,
which has no runs, the candidate of the newest verdict.
"""

from __future__ import annotations

from typing import NamedTuple

from errata import candidates
from errata.errors import BadInput
from errata.records import Candidate, Release
from errata.release import again, routing
from errata.store import ledger, show
from errata.workspace import Workspace


class Subject(NamedTuple):
    """A candidate, by the name that commands take, and the release that it is, if it is one."""

    name: str
    candidate: Candidate
    release: Release | None


def of(ws: Workspace, model: str = "") -> Subject | None:
    """The candidate named, or the one by default; None where there is none yet."""
    now = routing.current(ws)
    if model:
        candidate = candidates.resolve(ws, model)
        ours = (r for r in (now.canary, now.stable) if r)
        return Subject(model, candidate, next(
            (r for r in ours if r.candidate_digest == candidate.digest), None))  # fmt: skip
    if release := now.canary or now.stable:
        return Subject(release.candidate_path, whole(ws, release), release)
    try:
        run = show.newest_candidate(ws)
    except BadInput:
        return _judged(ws)
    return Subject(run, candidates.resolve(ws, run), None)


def whole(ws: Workspace, release: Release) -> Candidate:
    """The candidate of a release; BadInput where neither its run nor a manifest of it is here."""
    if found := again.find(ws, release.candidate_digest):
        return found
    found = candidates.resolve(ws, release.candidate_path)
    if found.digest != release.candidate_digest:
        raise BadInput(f"{release.candidate_path}: is not what was released as {release.id} any "
                       "more; restore it from its run")  # fmt: skip
    return found


def _judged(ws: Workspace) -> Subject | None:
    for event in reversed(ledger.events(ws, "verdict")):
        if found := again.find(ws, event["data"]["candidate_digest"]):
            return Subject(again.manifest(found.digest), found, None)
    return None
