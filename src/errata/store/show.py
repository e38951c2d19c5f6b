"""`errata runs`: what ran, newest last; `errata runs --candidate`: the newest trained candidate."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from errata.config import Section, hint
from errata.errors import BadInput
from errata.language import say, word
from errata.outcome import Outcome
from errata.stages import STAGES
from errata.store import past
from errata.workspace import Workspace


class Config(Section):
    """`errata runs [stage=sft] [limit=20] [--candidate]`."""

    stage: str = Field(default="", description="only this stage")
    limit: int = Field(default=20, ge=0, description="how many of the newest; 0 for all")
    candidate: bool = Field(
        default=False, description="print the id of the newest run that left a candidate, no more"
    )


def _row(record: dict[str, Any]) -> str:
    error = record.get("facts", {}).get("error", "")
    seconds = f"{record.get('seconds', 0):.1f} s"
    return f"{record['id']:<36} {word(record['status']):<12} {seconds:>10}  {error[:80]}".rstrip()


def newest_candidate(ws: Workspace, stage: str = "") -> str:
    """The newest run that ended well and left a candidate manifest."""
    for record in reversed(past.list_runs(ws, stage or None)):
        manifest = ws.runs / record["id"] / "candidate.json"
        if record["status"] == "done" and manifest.is_file():
            return str(record["id"])
    raise BadInput("no trained candidate yet; run `errata sft` first")


def main(ws: Workspace, config: Config) -> Outcome:
    """List the runs."""
    if config.candidate:
        found_id = newest_candidate(ws, config.stage)
        return Outcome(0, found_id, {"candidate": found_id})
    if config.stage and config.stage not in STAGES:
        raise BadInput(f"runs: no stage `{config.stage}`{hint(config.stage, list(STAGES))}")
    found = past.list_runs(ws, config.stage or None)
    shown = found[-config.limit :] if config.limit else found
    lines = [_row(record) for record in shown] or [say("no runs yet", "还没有 run")]
    return Outcome(0, "\n".join(lines), {"runs": shown, "total": len(found)})
