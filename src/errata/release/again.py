"""The gate where the weights are not: a fresh clone, a CI machine.

What a repository tracks is enough to judge again: the evidence, the rules, the waivers, the ledger,
and the manifest that every gate leaves in reports/candidates/. What only the store of the training
machine knows, weights that training marked unfit, is taken over from the verdict given there;
without one there is no decision. So a clone is never more lenient than that machine was.
"""

from __future__ import annotations

from errata import candidates
from errata.errors import NoDecision
from errata.records import Candidate, Finding
from errata.release import verdicts
from errata.store import ledger, past
from errata.workspace import Workspace

FOLDER = "reports/candidates"


def manifest(digest: str) -> str:
    """Where the tracked copy of a candidate's manifest lies."""
    return f"{FOLDER}/{digest.removeprefix('sha256:')[:16]}.json"


def find(ws: Workspace, digest: str) -> Candidate | None:
    """The candidate of a digest that was judged once; None where no manifest of it is tracked."""
    path = ws.path(manifest(digest))
    found = candidates.read(ws, path) if path.is_file() else None
    return found if found and found.digest == digest else None


def last_judged(ws: Workspace) -> tuple[str, str]:
    """Manifest and baseline digest of the newest verdict; NoDecision where nothing was judged."""
    events = ledger.events(ws, "verdict")
    if not events:
        raise NoDecision("gate: no candidate was judged yet; `errata gate --candidate RUN` where "
                         "it was trained, then commit reports/ and audit/")  # fmt: skip
    told = events[-1]["data"]
    if find(ws, told["candidate_digest"]) is None:
        where = manifest(told["candidate_digest"])
        raise NoDecision(f"gate: {where}, of verdict {told['id']}, is not here; commit reports/")
    return manifest(told["candidate_digest"]), str(told["baseline_digest"])


def elsewhere(ws: Workspace, candidate: Candidate) -> bool:
    """Whether another store made the candidate: the ledger has its run, the one here has not."""
    told = {event["data"].get("id") for event in ledger.events(ws, "run")}
    here = {record["id"] for record in past.list_runs(ws)}
    return candidate.run_id in told - here


def taken_over(ws: Workspace, candidate: Candidate) -> list[Finding]:
    """What was found where the candidate was trained, and cannot be found here."""
    if not elsewhere(ws, candidate):
        return []
    event = verdicts.given(ws, candidate.digest)
    verdict = verdicts.read(ws, event) if event else None
    if event is None or verdict is None:
        why = f"run {candidate.run_id} is of another machine, and no verdict given there is here"
        return [Finding(
            metric="training", strictness="hard", status="no_decision", value=None, bound=None,
            limit=None, n=0, why=why,
            runbook="run `errata gate` where it was trained / 在训练所在机器上裁决",
        )]  # fmt: skip
    return [f for f in verdict.findings if f.metric == "training"]
