"""A signed exception: one metric, one candidate, so many users, until a day.

    errata waive create metric=accuracy candidate=RUN risk=… impact=… rollback_plan=… owner=…
    errata waive sign w-1a2b3c4d      by somebody else, with the right `sign` and a key of theirs
    errata waive list | verify | revoke w-1a2b3c4d

A waiver is a file in waivers/, signed with Ed25519 over its canonical JSON by a key whose public
half is in keys/, and the ledger says of both that file and the signature that these commands made
them. It ends by itself: when the day it expires is over (UTC), when the value is worse than what
was signed, above `max_percent` of users, for any other digest, and when it is revoked. It can speak
of a metric that the last verdict about the candidate found over its limit or regressed, and of
`erasure`, the rows erased since that the candidate has learnt from. Never of what was not measured:
there is no number to sign.
"""

from __future__ import annotations

import datetime
from typing import Any

from pydantic import Field

from errata import candidates, jsonl
from errata.config import Section
from errata.errors import BadInput, Blocked
from errata.language import say
from errata.metrics import full_name
from errata.outcome import Outcome
from errata.records import Candidate, Waiver
from errata.release import card, verdicts, waivers
from errata.report import markdown_table
from errata.store import database, keys, ledger, people
from errata.workspace import Workspace

_DO = ("create", "sign", "list", "verify", "revoke")


class Config(Section):
    """`errata waive create | sign | list | verify | revoke`."""

    args: list[str] = Field(default=["list"], description="what to do, and the id of the waiver")
    metric: str = Field(
        default=waivers.ERASURE, description="what is waived: a gated metric, or erasure"
    )
    candidate: str = Field(default="", description="for whom: run id, manifest, path or name")
    risk: str = Field(default="", description="what can go wrong")
    impact: str = Field(default="", description="whom it would hit, and how hard")
    rollback_plan: str = Field(default="", description="how it is taken back")
    owner: str = Field(default="", description="who watches it")
    emergency: bool = Field(default=False, description="made in an emergency")
    max_percent: int = Field(default=5, ge=1, le=100, description="share of users it covers")
    days: int = Field(default=14, ge=1, le=90, description="days until it expires")


def _create(ws: Workspace, config: Config) -> Outcome:
    told = {name: getattr(config, name).strip()
            for name in ("candidate", "risk", "impact", "rollback_plan", "owner")}  # fmt: skip
    if missing := [name for name, text in told.items() if not text]:
        raise BadInput(f"waive create: say {', '.join(missing)}: {missing[0]}=…")
    metric = config.metric if config.metric == waivers.ERASURE else full_name(config.metric)
    path = told["candidate"]
    candidate = candidates.resolve(ws, path)
    value = waivers.amount(ws, metric, candidate)
    if value is None:
        raise BadInput(f"waive create: {_nothing(ws, metric, path, candidate)}")
    until = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=config.days)
    fields: dict[str, Any] = {
        **told, "metric": metric, "candidate_digest": candidate.digest, "value_at_signing": value,
        "emergency": config.emergency, "requested_by": people.actor(ws).name, "approved_by": None,
        "max_percent": config.max_percent, "expires": until.isoformat(), "ts": database.now(),
    }  # fmt: skip
    waiver = Waiver(id="w-" + jsonl.short_id(fields, 8), **fields)
    _write(ws, waiver, "create")
    step = f"`errata waive sign {waiver.id}`"
    text = say(f"{waiver.id} written; next: somebody with the right to sign runs {step}",
               f"{waiver.id} 已写入；下一步：由有签字权的人执行 {step}")  # fmt: skip
    return Outcome(0, text, jsonl.plain(waiver))


def _nothing(ws: Workspace, metric: str, path: str, candidate: Candidate) -> str:
    """Why there is nothing to waive."""
    if metric == waivers.ERASURE:
        return f"{path} has learnt from no erased row; nothing to waive"
    verdict = verdicts.latest(ws, candidate.digest)
    if verdict is None:
        return f"no verdict about {path}; run `errata gate --candidate {path}` first"
    lines = [f for f in verdict.findings if f.metric == metric]
    if any(line.status == "no_decision" for line in lines):
        return f"{metric} has no decision in {verdict.id}: measure it; missing data is never waived"
    return f"verdict {verdict.id} does not block on {metric}; nothing to waive"


def _write(ws: Workspace, waiver: Waiver, action: str) -> None:
    right: people.Right | None = "sign" if action == "sign" else None
    jsonl.write_json(ws.waivers / f"{waiver.id}.json", waiver)
    facts = {"metric": waiver.metric, "candidate_digest": waiver.candidate_digest}
    event: dict[str, Any] = {
        "id": waiver.id,
        "action": action,
        "digest": jsonl.digest(waiver),
        **facts,
    }
    ledger.append(ws, "waiver", right=right, **event)
    ledger.seal(ws)
    with database.writing(ws) as connection:
        step = {"src": waiver.candidate_digest, "dst": waiver.id, "kind": "waived by"}
        database.insert_new(connection, database.edge, [{**step, "run_id": waiver.id}])
        told = {"id": waiver.id, "kind": "waiver", "data": jsonl.canonical(facts)}
        database.insert_new(connection, database.node, [told])


def _sign(ws: Workspace, waiver: Waiver) -> Outcome:
    who = people.entitled(ws, "sign").name
    if waiver.signature:
        raise BadInput(f"{waiver.id}: is signed by {waiver.approved_by} already")
    if waivers.said(ws, waiver.id, "create") != jsonl.digest(waiver):
        raise BadInput(f"{waiver.id}: was changed after `errata waive create` wrote it; create it "
                       "again")  # fmt: skip
    solo = people.roles(ws).team == "solo"
    if who == waiver.requested_by and not solo:
        raise Blocked(f"{waiver.id}: who asks for a waiver cannot sign it; another person has to")
    key = keys.own(ws, "waiver")
    name = keys.key_id(key.public_key())
    person = people.roles(ws).people.get(name)
    if not solo and (person is None or person.name != who):
        raise Blocked(f"{people.FILE}: key {name} is not {who}'s there; have "
                      f"`{name}: {{name: {who}, roles: […]}}` added below `people:`")  # fmt: skip
    value = waivers.amount(ws, waiver.metric, candidates.resolve(ws, waiver.candidate))
    if value is None:
        raise BadInput(f"{waiver.id}: {waiver.metric} is not missed any more; nothing to sign")
    waiver = waiver.model_copy(update={"approved_by": who, "value_at_signing": value})
    signature = f"{name}:{keys.sign(key, waivers.body(waiver))}"
    _write(ws, waiver.model_copy(update={"signature": signature}), "sign")
    text = say(f"{waiver.id} signed by {who} ({name}): {waiver.metric} at {value:g}, at most "
               f"{waiver.max_percent} % of users, until {waiver.expires}",
               f"{waiver.id} 已由 {who}（{name}）签署：{waiver.metric} 当前 {value:g}，"
               f"至多 {waiver.max_percent}% 用户，至 {waiver.expires}")  # fmt: skip
    return Outcome(0, text, {"id": waiver.id, "signed_by": who, "key": name})


def _list(ws: Workspace, only: Waiver | None = None) -> Outcome:
    rows, bad = [], 0
    for waiver in [only] if only else waivers.all_of(ws):
        now = waivers.amount(ws, waiver.metric, candidates.resolve(ws, waiver.candidate))
        value = waiver.value_at_signing if now is None else now
        why = waivers.problem(ws, waiver, value, 1, database.now()[:10])
        bad += why is not None
        rows.append([waiver.id, waiver.metric, waiver.candidate_digest[:19],
                     f"{waiver.max_percent} %", waiver.expires, waiver.owner,
                     why or say("counts", "有效")])  # fmt: skip
    head = [say("waiver", "豁免"), say("metric", "指标"), say("candidate", "候选"),
            say("users", "用户"), say("until", "有效至"), say("owner", "负责人"),
            say("state", "状态")]  # fmt: skip
    text = markdown_table(head, rows) if rows else say("no waivers", "没有豁免")
    names = ("id", "metric", "candidate_digest", "max_percent", "expires", "owner", "state")
    data = {"waivers": [dict(zip(names, row, strict=True)) for row in rows]}
    return Outcome(1 if only and bad else 0, text, data)


def main(ws: Workspace, config: Config) -> Outcome:
    """Do what the first word says."""
    word, *names = config.args
    if word not in _DO or len(names) != (word in ("sign", "verify", "revoke")):
        raise BadInput("waive: say create, list, or sign, verify, revoke and the waiver's id")
    if word == "create":
        return _create(ws, config)
    if word == "list":
        return _list(ws)
    found = {waiver.id: waiver for waiver in waivers.all_of(ws)}
    if names[0] not in found:
        raise BadInput(f"waive: no waiver `{names[0]}`; there are: {', '.join(found) or 'none'}")
    waiver = found[names[0]]
    if word == "sign":
        return card.kept_up(ws, _sign(ws, waiver))
    if word == "verify":
        return _list(ws, waiver)
    _write(ws, waiver, "revoke")
    text = say(f"{waiver.id} revoked", f"{waiver.id} 已撤销")
    return card.kept_up(ws, Outcome(0, text, {"id": waiver.id}))
