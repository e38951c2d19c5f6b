"""Which waiver counts: for what, for whom, today. `errata waive` is waiver.py; what a waiver is and
when it ends is said there."""

from __future__ import annotations

from errata import jsonl
from errata.metrics import spec
from errata.records import Candidate, Waiver
from errata.release import verdicts
from errata.release.verdict import worst
from errata.store import database, keys, ledger, past, people, tombstone
from errata.workspace import Workspace

ERASURE = "erasure"


def carried(ws: Workspace, candidate: Candidate) -> list[tombstone.Carried]:
    """What a candidate has learnt from rows erased since. Its weights are known by their digest,
    whatever manifest they come in."""
    weights = {candidate.adapter_digest, candidate.base_digest} - {None}
    made = [r["id"] for r in past.list_runs(ws) if r["facts"].get("weights") in weights]
    with database.reading(ws) as connection:
        return tombstone.carried(connection, candidate.digest, *made)


def amount(ws: Workspace, metric: str, candidate: Candidate) -> float | None:
    """The value a waiver would cover: the worst line of the metric in the newest verdict about the
    candidate, or the erased rows it carries. None: there is nothing to waive."""
    if metric == ERASURE:
        return float(sum(found.rows for found in carried(ws, candidate))) or None
    verdict = verdicts.latest(ws, candidate.digest)
    return worst(verdict.findings, metric) if verdict else None


def worse(metric: str, now: float, signed: float) -> bool:
    """Whether a value is worse than the one that was signed. Where either way is bad, any change
    is another value than the one somebody looked at."""
    way = "higher" if metric == ERASURE else spec(metric).worse
    return {"higher": now > signed, "lower": now < signed, "either": now != signed}[way]


def body(waiver: Waiver) -> str:
    """What is signed."""
    return jsonl.canonical(waiver.model_copy(update={"signature": None}))


def all_of(ws: Workspace) -> list[Waiver]:
    """The waivers of the workspace, oldest first."""
    found = [jsonl.read_json(path, Waiver) for path in sorted(ws.waivers.glob("w-*.json"))]
    return sorted(found, key=lambda waiver: (waiver.ts, waiver.id))


def problem(ws: Workspace, waiver: Waiver, now: float, percent: int, today: str) -> str | None:
    """Why a waiver does not count; None when it does."""
    if waiver.signature is None:
        return "is not signed yet"
    key_id, _, signature = waiver.signature.partition(":")
    key = keys.trusted(ws, "waiver").get(key_id)
    if key is None:
        return f"is signed by {key_id}, whose public key is not in keys/"
    if not keys.holds(key, body(waiver), signature):
        return "was changed after it was signed"
    if why := _unfit_signer(ws, waiver, key_id):
        return why
    if said(ws, waiver.id, "sign") != jsonl.digest(waiver):
        return "was not signed by `errata waive sign` here, by what the ledger says"
    if waiver.expires < today:
        return f"expired on {waiver.expires}"
    if worse(waiver.metric, now, waiver.value_at_signing):
        return f"covers {waiver.value_at_signing:g}, and it is {now:g} now"
    if percent > waiver.max_percent:
        return f"covers {waiver.max_percent} % of users, not {percent} %"
    return "was revoked" if said(ws, waiver.id, "revoke") else None


def why_not(ws: Workspace, waiver: Waiver, candidate: Candidate | None) -> str:
    """Why a waiver does not count for the first users today; "" where it does. Without the
    candidate, which may be gone from this machine, its value is what was signed."""
    now = amount(ws, waiver.metric, candidate) if candidate else None
    value = waiver.value_at_signing if now is None else now
    return problem(ws, waiver, value, 1, database.now()[:10]) or ""


def said(ws: Workspace, id: str, action: str) -> str | None:
    """The digest that the ledger last gave of a waiver when somebody did this to it."""
    told = (event["data"] for event in ledger.events(ws, "waiver"))
    found = [row["digest"] for row in told if (row.get("id"), row.get("action")) == (id, action)]
    return str(found[-1]) if found else None


def _unfit_signer(ws: Workspace, waiver: Waiver, key_id: str) -> str | None:
    """Whether the key's owner may sign this: by policies/roles.yaml, as it is now."""
    known = people.roles(ws)
    if known.team == "solo":
        return None
    person = known.people.get(key_id)
    if person is None or person.name != waiver.approved_by:
        return f"is signed by {key_id}, which {people.FILE} does not give to {waiver.approved_by}"
    if not set(person.roles) & set(known.rights.get("sign", people.RIGHTS["sign"])):
        return f"is signed by {person.name}, who has no right to sign"
    if person.name == waiver.requested_by:
        return f"was asked for and signed by {person.name}"
    return None


def covering(
    ws: Workspace, metric: str, digest: str, now: float, percent: int
) -> tuple[Waiver | None, str]:
    """The waiver that counts for a candidate, or why none of those there are does."""
    today, why = database.now()[:10], list[str]()
    for waiver in all_of(ws):
        if (waiver.metric, waiver.candidate_digest) == (metric, digest):
            found = problem(ws, waiver, now, percent, today)
            if found is None:
                return waiver, ""
            why.append(f"{waiver.id} {found}")
    return None, "; ".join(why)
