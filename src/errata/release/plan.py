"""`reports/rollback-plan.md`: what takes a release back, to where, by whom.

    errata rollback --drill                        the way back, walked and timed; moves nobody
    errata rollout start [owner=li@example.com]    writes the plan, or does not start

A plan needs an owner, and a drill of the last 90 days: a way that nobody has walked is no plan.
"""

from __future__ import annotations

import datetime
from typing import Any

from errata import jsonl
from errata.errors import Blocked
from errata.language import say
from errata.records import Release
from errata.release.monitor import Config as Monitored
from errata.report import markdown_table
from errata.store import database, ledger, people
from errata.workspace import Workspace

FILE = "reports/rollback-plan.md"
DRILL_DAYS = 90  # a way back that was walked longer ago is not known to be open


def write(
    ws: Workspace, digest: str, stable: Release | None, knobs: Monitored, owner: str = ""
) -> str:
    """Write the plan of a candidate, and note it in the ledger; its text. Raises Blocked without a
    drill or an owner."""
    drilled = _drill(ws)
    owner = owner or people.actor(ws).name
    if owner in ("", "unknown"):
        raise Blocked("rollout: the plan names nobody; `errata rollout start owner=NAME`")
    text = _page(digest, stable, knobs, owner, drilled)
    jsonl.write_text(ws.path(FILE), text)
    told = {"candidate_digest": digest, "to": stable.id if stable else None, "owner": owner,
            "digest": jsonl.digest_file(ws.path(FILE))}  # fmt: skip
    ledger.extend(ws, [("plan", told)])
    return text


def _drill(ws: Workspace) -> dict[str, Any]:
    events = ledger.events(ws, "drill")
    step = "`errata rollback --drill` walks it, and moves nobody"
    if not events:
        raise Blocked(f"rollout: the way back was never walked; {step}")
    then = datetime.datetime.fromisoformat(events[-1]["ts"])
    days = (datetime.datetime.fromisoformat(database.now()) - then).days
    if days > DRILL_DAYS:
        raise Blocked(f"rollout: the way back was walked {days} days ago; {step}")
    return {**events[-1]["data"], "ts": events[-1]["ts"]}


def _page(
    digest: str, stable: Release | None, knobs: Monitored, owner: str, drill: dict[str, Any]
) -> str:
    accept = knobs.accept
    rows = [[name, f"e ≥ {len(accept.hard) / accept.alpha:g}, ≥ {rule.least:.1%} above stable; "
             f"at 100 %: > {rule.limit:.1%}"] for name, rule in accept.hard.items()]  # fmt: skip
    rows += [[name, f"more than {most}, at any stage"] for name, most in accept.never.items()]
    rows.append(["standing", say("its waiver, verdict or weights no longer hold",
                                 "豁免、裁决或权重不再有效")])  # fmt: skip
    goal = f"{stable.id} ({stable.candidate_digest})" if stable else say("the base", "基座模型")
    gateways = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in drill["gateways"].items())
    facts = [
        ["candidate / 候选", digest],
        ["back to / 回滚到", goal],
        ["by hand / 手动", 'errata rollback why="…"'],
        ["by itself / 自动", "a gateway with control: true, or errata monitor watch=…"],
        ["owner / 负责人", owner],
        ["last drill / 上次演练",
         f"{drill['ts']}: store {drill['seconds']:.3f} s; {gateways or 'no gateway was running'}"],
        ["who decides / 谁决定", "policies/rollback.md"],
    ]  # fmt: skip
    return (
        "# Rollback plan · 回滚预案\n\n"
        + markdown_table(("what / 项目", "how / 内容"), facts)
        + "\n## Triggers · 触发条件\n\n"
        + markdown_table(("metric / 指标", "rolls back when / 何时回滚"), rows)
    )
