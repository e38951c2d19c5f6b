"""Verdicts that were given: the ledger says which, reports/gate/ has them whole.

A verdict whose file was changed since, or is gone, is none: nobody may lean on it.
"""

from __future__ import annotations

from typing import Any

from errata import jsonl
from errata.records import Verdict
from errata.store import ledger
from errata.workspace import Workspace

FOLDER = "reports/gate"


def read(ws: Workspace, event: dict[str, Any]) -> Verdict | None:
    """The verdict of an event, as it was given; else None."""
    told = event["data"]
    path = ws.path(told.get("path") or f"{FOLDER}/{told['id']}.json")
    if not path.is_file():
        return None
    found = jsonl.read_json(path, Verdict)
    return found if jsonl.digest(found) == told["verdict"] else None


def _newest_first(ws: Workspace) -> list[dict[str, Any]]:
    return ledger.events(ws, "verdict")[::-1]


def given(ws: Workspace, digest: str) -> dict[str, Any] | None:
    """The event of the newest verdict about a candidate."""
    return next((e for e in _newest_first(ws) if e["data"]["candidate_digest"] == digest), None)


def latest(ws: Workspace, digest: str) -> Verdict | None:
    """The newest about a candidate; None also where its file does not hold what was said."""
    newest = given(ws, digest)
    return read(ws, newest) if newest else None


def last_passed(ws: Workspace) -> Verdict | None:
    """The newest of any candidate that let it through: the previous period."""
    passed = (e for e in _newest_first(ws) if e["data"]["decision"] == "pass")
    newest = next(passed, None)
    return read(ws, newest) if newest else None
