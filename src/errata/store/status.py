"""`errata status`: where everything stands, and the next action."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from errata import git
from errata.config import Section
from errata.errors import BadInput
from errata.jsonl import lines
from errata.language import say, word
from errata.outcome import Outcome
from errata.store import database, past, rolled_back, tombstone
from errata.workspace import Workspace

# The straight line, and what to type for the next step of it.
_LINE = (
    ("intake", "errata intake inbox/*.jsonl"),
    ("build", "errata build"),
    ("sft", "errata sft"),
    ("dpo", "errata dpo"),
    ("evaluate", "errata evaluate --model {candidate}"),
    ("safety", "errata safety --model {candidate}"),
    ("bench", "errata bench --model {candidate}"),
    ("gate", "errata gate --candidate {candidate}"),
    ("rollout", "errata rollout start"),
)
_DATA = ("data/failures.jsonl", "data/sft.jsonl", "data/prefs.jsonl", "suites/attacks.jsonl",
         "suites/business.jsonl")  # fmt: skip


class Config(Section):
    """Nothing to set."""


def _counts(ws: Workspace) -> dict[str, int | None]:
    """Rows of each file; None where there is no file: that is not the same as no rows."""
    return {
        name: sum(1 for _ in lines(ws.path(name))) if ws.path(name).is_file() else None
        for name in _DATA
    }


def release_in(ws: Workspace, state: str) -> dict[str, Any] | None:
    """The newest release in a state, as the release stages described it to the store."""
    table = database.node
    with database.reading(ws) as connection:
        query = sa.select(table.c.id, table.c.data).where(table.c.kind == "release")
        rows = connection.execute(query)
        found = [{"id": row.id, **database.decode(row.data)} for row in rows]
    there = [release for release in found if release.get("state") == state]
    return max(there, key=lambda release: str(release.get("ts", "")), default=None)


def serving_release(ws: Workspace) -> dict[str, Any] | None:
    """The release that all users get, but for those a canary takes; None before the first."""
    return release_in(ws, "serving")


def carrying(ws: Workspace) -> dict[str, int]:
    """Releases that users get and that learnt from rows erased since; how many rows."""
    users = [r for r in (release_in(ws, "serving"), release_in(ws, "rolling")) if r]
    with database.reading(ws) as connection:
        found = {str(release["id"]): sum(run.rows for run in tombstone.carried(
            connection, str(release.get("candidate_digest")))) for release in users}  # fmt: skip
    return {id: rows for id, rows in found.items() if rows}


def waived(ws: Workspace, release: dict[str, Any]) -> bool:
    """Whether a signed waiver covers a release; the room that knows is asked when needed."""
    from errata import candidates
    from errata.release import erasures

    try:
        candidate = candidates.resolve(ws, str(release["candidate_path"]))
    except (BadInput, KeyError):
        return False
    found = erasures.look(ws, candidate, int(release.get("stage_percent", 100)))
    return bool(found and found.waived_by)


def _waived(ws: Workspace) -> list[str]:
    users = (release_in(ws, state) for state in ("serving", "rolling"))
    return [release["id"] for release in users if release and waived(ws, release)]


def next_action(last: dict[str, dict[str, Any]], drift: rolled_back.Drift) -> str:
    """The first step of the line that was never done, went wrong, or is older than the last."""
    if drift.rolled_back:
        return "errata build"
    trained = [last[name] for name in ("sft", "dpo", "ppo") if name in last]
    candidate = max(trained, key=lambda r: str(r["started"]))["id"] if trained else "RUN"
    settled = _settled(last)
    before = str(last["gate"]["started"]) if settled else ""
    for stage, command in _LINE[-1:] if settled else _LINE:
        record = last.get(stage)
        stale = record is None or record["status"] != "done" or str(record["started"]) < before
        if stale and not (stage in ("sft", "dpo") and record is None and trained):
            return command.format(candidate=candidate)
        before = str(record["started"]) if record else before
    return "errata monitor"


def _settled(last: dict[str, dict[str, Any]]) -> bool:
    """Whether a gate passed after all that stands before it: what was blocked then, such as the
    model that the candidate is held against, is no step of this candidate."""
    gate = last.get("gate")
    earlier = [last[stage] for stage, _ in _LINE[:-2] if stage in last]
    return bool(gate and gate["status"] == "done" and
                all(str(run["started"]) < str(gate["started"]) for run in earlier))  # fmt: skip


def main(ws: Workspace, _config: Config) -> Outcome:
    """Gather it and say it."""
    last = {record["stage"]: record for record in past.list_runs(ws)}
    with database.reading(ws) as connection:
        drift = rolled_back.look(ws, connection)
    data: dict[str, Any] = {
        "workspace": ws.root.name,
        "git_commit": git.head(ws.root),
        "data": _counts(ws),
        "last": {
            stage: {key: record[key] for key in ("id", "status", "started")}
            for stage, record in last.items()
        },
        "serving": serving_release(ws),
        "rolling": release_in(ws, "rolling"),
        "carrying": carrying(ws),
        "waived": _waived(ws),
        "drift": drift._asdict(),
        "next": next_action(last, drift),
    }
    return Outcome(0, _text(data, drift), data)


def _text(data: dict[str, Any], drift: rolled_back.Drift) -> str:
    none = say("none", "无")
    out = [f"{data['workspace']}  git {(data['git_commit'] or none)[:12]}", ""]
    for name, count in data["data"].items():
        out.append(f"  {name:<24}{none if count is None else count}")
    out.append("")
    for stage, record in data["last"].items():
        out.append(f"  {stage:<12}{word(record['status']):<12}{record['id']}")
    if not data["last"]:
        out.append("  " + say("no runs yet", "还没有 run"))
    serving, rolling = data["serving"], data["rolling"]
    out += ["", say("serving: ", "线上版本：") + (serving["id"] if serving else none)]
    if rolling:
        percent = rolling.get("stage_percent")
        out.append(say("rolling out: ", "灰度中：") + f"{rolling['id']} {percent} %")
    for id, rows in data["carrying"].items():
        if id in data["waived"]:
            out.append(say(f"{id} learnt from {rows} rows erased since: a waiver covers it",
                           f"{id} 学过 {rows} 行已删除的数据：豁免有效"))  # fmt: skip
            continue
        out.append(say(f"{id} learnt from {rows} rows erased since: train again, or `errata waive`",
                       f"{id} 学过 {rows} 行已删除的数据：请重新训练或申请豁免"))  # fmt: skip
    if drift.rolled_back:
        out.append(rolled_back.sentence(drift.rolled_back))
    if drift.edited:
        names = ", ".join(drift.edited[:3])
        out.append(
            say(
                f"changed by hand since the last run: {names}; `git diff` shows how",
                f"自上次运行后被手工修改：{names}；用 `git diff` 查看",
            )
        )
    if drift.missing:
        names = ", ".join(drift.missing[:3])
        out.append(say(f"gone since the last run: {names}", f"自上次运行后消失：{names}"))
    return "\n".join([*out, say("next: ", "下一步：") + data["next"]])
