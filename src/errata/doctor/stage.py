"""Check the machine, the configs, the models and the data; say what to fix first.

    errata doctor
    errata doctor model=PATH     also a checkpoint, a run or a name that no config names

A model is read as training will read it: weights, sizes, end and pad token, chat template. Writes
nothing. Exit 0 when everything can run (warnings included), 1 when something cannot.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from errata.config import Section
from errata.doctor import configs, data, machine, models
from errata.doctor.finding import Check
from errata.errors import ErrataError
from errata.language import say
from errata.outcome import Outcome
from errata.store import database, past, rolled_back, status
from errata.workspace import Workspace

NEEDS_WORKSPACE = False


class Config(Section):
    """`errata doctor [model=PATH]`."""

    model: str = Field(default="", description="a path, run or name, besides the configs'")


def look(ws: Workspace, config: Config) -> Iterator[Check]:
    """All checks; what comes first is in the way of what comes after."""
    yield from machine.look()
    yield from configs.look(ws)
    if ws.configs.is_dir():
        yield from data.repository(ws)
        yield from data.audit(ws)
    yield from models.look(ws, config.model)
    yield from data.rows(ws)
    if ws.configs.is_dir():
        yield from data.inbox(ws)
        yield from data.people(ws)
    yield from configs.grounds(ws)


def to_do(checks: list[Check]) -> list[Check]:
    """What is wrong and what can wait, in the order in which to mend it."""
    return [check for level in ("bad", "warn") for check in checks if check.level == level]


def next_step(ws: Workspace, owed: list[Check]) -> str:
    """The one thing to do now: mend the first problem, else go on where the workspace stands."""
    first = next(iter(owed), None)
    if first and (first.level == "bad" or first.name == "workspace"):
        again = say(", then `errata doctor`", "，然后 `errata doctor`")
        return first.step + (again if first.level == "bad" else "")
    last = {record["stage"]: record for record in past.list_runs(ws)}
    with database.reading(ws) as connection:
        drift = rolled_back.look(ws, connection)
    return status.next_action(last, drift)


def shown(checks: list[Check]) -> list[str]:
    """A line each; files of settings that are as they should be are counted in one."""
    marks = {"ok": "ok  ", "warn": say("warn", "警告"), "bad": say("BAD ", "错误")}
    fine = [check for check in checks if check.level == "ok" and check.name.endswith(".yaml")]
    lines = [f"{marks[check.level]}  {check.name}: {check.said}".rstrip(": ")
             for check in checks if check not in fine]  # fmt: skip
    if fine:
        told = say(f"{len(fine)} files can be read", f"{len(fine)} 个文件可读")
        lines.append(f"{marks['ok']}  configs/, policies/: {told}")
    return lines


def main(ws: Workspace, config: Config) -> Outcome:
    """Run all checks."""
    checks = list(look(ws, config))
    lines = shown(checks)
    owed = to_do(checks)
    if owed:
        lines += ["", say("in this order (warnings can wait):", "按此顺序处理（警告可稍后）：")]
        lines += [f"  {n}. {check.name}: {check.step}" for n, check in enumerate(owed, 1)]
    bad = sum(check.level == "bad" for check in checks)
    lines += ["", say(f"{bad} problem(s)", f"{bad} 个问题") if bad else say("ready", "就绪")]
    try:
        step = next_step(ws, owed)
    except ErrataError:  # the store cannot be read, which the audit says
        step = "errata audit verify"
    lines.append(say(f"next: {step}", f"下一步：{step}"))
    told = {"checks": [check._asdict() for check in checks], "problems": bad, "next": step,
            "order": [check.name for check in owed]}  # fmt: skip
    return Outcome(1 if bad else 0, "\n".join(lines), told)
