"""Alerts with a state: open → acknowledged → resolved, folded from the ledger.

    raised(ws, release, metric, why, where)     once while it stands; to the log, and to a webhook
    errata monitor ack ID                       seen, and let pass: a rollout that it held goes on
    errata monitor resolve ID

An alert is one of a release and a metric. It is raised again after it was resolved.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from typing import Any, Literal, NamedTuple

from errata import jsonl
from errata.errors import BadInput
from errata.language import say
from errata.report import markdown_table
from errata.store import ledger
from errata.workspace import Workspace

State = Literal["open", "acknowledged", "resolved"]
# Metric → the page that says what to do; the others have the general one.
RUNBOOKS = {
    "citation_missing": "citation-missing", "forbidden_call": "forbidden-calls",
    "leak": "attack-hits", "probes": "attack-hits", "refusal": "refusal-drift",
    "filtered": "over-refusal", "slow": "p95-up", "p95": "p95-up", "cost": "cost-up",
    "impolite": "preference-down", "thumbs_down": "preference-down",
    "template_share": "template-collapse", "distinct_2": "template-collapse",
}  # fmt: skip
_SECONDS = 5  # that a webhook may take


class Alert(NamedTuple):
    """What was seen, and how far somebody has got with it."""

    id: str
    release: str
    metric: str
    why: str
    runbook: str
    state: State
    ts: str


def runbook(metric: str) -> str:
    """The page of a metric, in the workspace."""
    return f"docs/runbooks/{RUNBOOKS.get(metric, 'README')}.md"


def known(ws: Workspace) -> dict[str, Alert]:
    """All alerts by id, as they are now."""
    found: dict[str, Alert] = {}
    for event in ledger.events(ws, "alert"):
        data = event["data"]
        if data["id"] in found and data["state"] != "open":
            found[data["id"]] = found[data["id"]]._replace(state=data["state"])
        elif data["state"] == "open":
            fields = {name: data[name] for name in ("id", "release", "metric", "why", "runbook")}
            found[data["id"]] = Alert(**fields, state="open", ts=event["ts"])
    return found


def standing(ws: Workspace, release: str) -> list[Alert]:
    """Those of a release that nobody has resolved."""
    return [a for a in known(ws).values() if a.release == release and a.state != "resolved"]


def acknowledged(ws: Workspace, release: str) -> set[str]:
    """Metrics of a release that somebody has seen and lets pass."""
    return {a.metric for a in standing(ws, release) if a.state == "acknowledged"}


def raised(ws: Workspace, release: str, metric: str, why: str, where: str = "") -> Alert | None:
    """Open an alert, unless it stands; tell it on stderr and to the webhook whose URL is in the
    environment variable `where`."""
    id = f"a-{jsonl.short_id([release, metric], 8)}"
    before = known(ws).get(id)
    if before and before.state != "resolved":
        return None
    data = {"id": id, "release": release, "metric": metric, "why": why,
            "runbook": runbook(metric), "state": "open"}  # fmt: skip
    ledger.extend(ws, [("alert", data)])
    sys.stderr.write(f"errata: alert {id}: {release}: {why}; {data['runbook']}\n")
    _send({**data, "text": f"{release}: {why}"}, where)
    return known(ws)[id]


def _send(data: dict[str, Any], where: str) -> None:
    url = os.environ.get(where, "") if where else ""
    if not url:
        return
    body = json.dumps(data, ensure_ascii=False).encode()
    try:
        asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=_SECONDS):
            pass
    except (OSError, ValueError) as error:  # the URL may hold a secret: it is not shown
        sys.stderr.write(f"errata: alert {data['id']}: {where} gave {type(error).__name__}\n")


def change(ws: Workspace, id: str, state: State) -> Alert:
    """Acknowledge or resolve one; BadInput where there is no such alert, or it is resolved."""
    before = known(ws).get(id)
    if before is None or before.state == "resolved":
        told = "no such alert" if before is None else "it is resolved"
        raise BadInput(f"monitor: {id}: {told}; `errata monitor alerts` lists them")
    ledger.append(ws, "alert", id=id, state=state)
    return known(ws)[id]


def table(ws: Workspace) -> str:
    """All of them, newest first."""
    rows = [[a.id, a.state, a.release, a.metric, a.why, a.runbook, a.ts]
            for a in reversed(known(ws).values())]  # fmt: skip
    if not rows:
        return say("no alert", "没有告警")
    heads = ("alert / 告警", "state / 状态", "release / 发布", "metric / 指标", "why / 原因",
             "runbook / 处置", "since / 起")  # fmt: skip
    return markdown_table(heads, rows)
