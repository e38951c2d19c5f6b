"""What a candidate has learnt from rows that were erased since: it trains again, or is waived."""

from __future__ import annotations

from typing import NamedTuple

from errata.records import Candidate, Finding
from errata.release import waivers
from errata.workspace import Workspace


class Carrying(NamedTuple):
    """How many erased rows, in which runs; the waiver that counts, or why none does."""

    rows: int
    runs: list[str]
    waived_by: str | None
    why_not: str


def look(ws: Workspace, candidate: Candidate, percent: int) -> Carrying | None:
    """None where a candidate carries nothing; `percent`: the share of users it is to have."""
    found = waivers.carried(ws, candidate)
    if not found:
        return None
    rows = sum(run.rows for run in found)
    held, why = waivers.covering(ws, "erasure", candidate.digest, rows, percent)
    why = why or "no waiver names it"
    return Carrying(rows, [run.run for run in found], held.id if held else None, why)


def finding(ws: Workspace, candidate: Candidate, percent: int) -> list[Finding]:
    """The gate's line about it."""
    found = look(ws, candidate, percent)
    if found is None:
        return []
    told = f"{', '.join(found.runs)} learnt from {found.rows} rows erased since; "
    told += f"waived by {found.waived_by}" if found.waived_by else found.why_not
    return [
        Finding(
            metric="erasure", strictness="hard", value=float(found.rows), bound=None, limit=0.0,
            status="waived" if found.waived_by else "over_limit", n=found.rows, why=told,
            waiver=found.waived_by,
            runbook="train again on the new version, or `errata waive create metric=erasure` / "
            "用新版本重新训练，或申请豁免",
        )
    ]  # fmt: skip
