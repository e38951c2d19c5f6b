"""What a candidate has learnt from rows that were erased since: it trains again, or is waived."""

from __future__ import annotations

from typing import NamedTuple

from errata.errors import Blocked
from errata.records import Candidate, Finding, Release
from errata.release import waiver
from errata.workspace import Workspace


class Carrying(NamedTuple):
    """How many erased rows, in which runs; the waiver that counts, or why none does."""

    rows: int
    runs: list[str]
    waived_by: str | None
    why_not: str


def look(ws: Workspace, candidate: Candidate, percent: int) -> Carrying | None:
    """None where a candidate carries nothing; `percent`: the share of users it is to have."""
    found = waiver.carried(ws, candidate)
    if not found:
        return None
    rows = sum(run.rows for run in found)
    held, why = waiver.covering(ws, "erasure", candidate.digest, rows, percent)
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
            runbook="train again on the new version, or `errata waive create metric=erasure` / "
            "用新版本重新训练，或申请豁免",
        )
    ]  # fmt: skip


def unfit(ws: Workspace, candidate: Candidate, release: Release) -> str:
    """Why a release must not stay where it is: rows were erased, or a waiver has ended; else ''."""
    found = look(ws, candidate, release.stage_percent)
    if found is None or found.waived_by:
        return ""
    return f"{', '.join(found.runs)} learnt from {found.rows} rows erased since; {found.why_not}"


def refuse(ws: Workspace, candidate: Candidate, percent: int) -> None:
    """Blocked where a candidate carries erased rows to more users than a waiver covers."""
    found = look(ws, candidate, percent)
    if found and not found.waived_by:
        raise Blocked(
            f"rollout: {', '.join(found.runs)} learnt from {found.rows} rows erased since, and "
            f"{found.why_not}; train again on the new version, or have a waiver signed"
        )
