"""`errata guard`: the output filter on text, on a model's answers, retrained, thrown as a switch.

    echo '{"text": "The admin password is 860685."}' | errata guard check
    errata guard eval model=RUN        hits with and without it on the same answers
    errata guard train                 the classifier, of this team's failures
    errata guard apply why="…"         policies/filter.yaml as it is now goes live, if it blocks
                                       hardly more of what is right than before
    errata guard kill why="…"          every answer is one fixed reply, until
    errata guard revive

`check` reads rows {"text", "prompt"?, "messages"?} and writes {"level", "name", "category",
"score", "text", "found", "policy"}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from errata import jsonl
from errata.config import Section
from errata.errors import BadInput, Blocked
from errata.evaluate import stage as evaluation
from errata.evaluate.answers import ask, pick
from errata.language import say
from errata.outcome import Outcome
from errata.records import ATTACKS, Case, Failure, Message, SftExample, Split
from errata.safety import grams
from errata.safety.guard import document, learned, policy, system
from errata.safety.guard.filter import Guard
from errata.store import database, ledger, people
from errata.store.runs import Run
from errata.workspace import Workspace

NEEDS_WORKSPACE = False
_MESSAGES = TypeAdapter(list[Message])


class Config(Section):
    """Knobs of `errata guard`."""

    args: list[str] = Field([], description="check, eval, train, apply, kill or revive")
    model: str = Field("", description="of eval and apply: whose answers; empty: what serves")
    suite: str = Field("suites/attacks.jsonl", description="attack cases")
    business: str = Field("suites/business.jsonl", description="what must pass")
    split: Split = Field("heldout", description="which part is asked")
    limit: int = Field(0, ge=0, description="cases of each category and language; 0: all")
    why: str = Field("", description="of apply and kill: the reason, for the ledger")
    slack: float = Field(
        0.03, gt=0, lt=1, description="of apply: upper bound of harmless answers that it touches"
    )


def main(ws: Workspace, config: Config) -> Outcome:
    """The action that was named."""
    name = config.args[0] if config.args else ""
    if name not in ACTIONS or len(config.args) > 1:
        raise BadInput(f"guard: say what to do: {', '.join(ACTIONS)}")
    if name != "check" and not ws.configs.is_dir():
        raise BadInput(f"guard {name}: no workspace here; `errata init DIR` lays one down")
    return ACTIONS[name](ws, config)


def check(ws: Workspace, _: Config) -> Outcome:
    """stdin to stdout, a decision a row."""
    guard, rows = Guard.of(ws), 0
    for where, row in jsonl.stdin_rows():
        text, messages = _row(row, where)
        decision = guard.check(text, messages)
        top = max(decision.found, key=lambda one: one.score, default=None)
        told = {"level": decision.level, "name": decision.name,
                "category": top.category if top else None, "score": top.score if top else 0.0,
                "text": decision.text, "found": [one._asdict() for one in decision.found],
                "policy": decision.policy}  # fmt: skip
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        rows += 1
    return Outcome(0, "", {"rows": rows, "policy": guard.digest})


def _row(row: dict[str, Any], where: str) -> tuple[str, list[Message]]:
    text = row.get("text")
    if not isinstance(text, str):
        raise BadInput(f'{where}: text: missing or not a string; write {{"text": "…"}}')
    if "messages" in row:
        try:
            return text, _MESSAGES.validate_python(row["messages"])
        except ValidationError:
            raise BadInput(f"{where}: messages: give a list of role and content") from None
    prompt = row.get("prompt")
    return text, [Message(role="user", content=prompt)] if isinstance(prompt, str) else []


class Asked(NamedTuple):
    """Cases of both suites, and what the model says to them."""

    digest: str
    cases: list[Case]
    said: list[str]


def _asked(ws: Workspace, run: Run, config: Config) -> Asked:
    candidate = evaluation.evaluated(ws, config.model)
    cases: list[Case] = []
    for path in (config.suite, config.business):
        cases += pick(jsonl.read(run.input(path), Case), config.split, config.limit or None)
    if not any(case.category in ATTACKS for case in cases):
        raise BadInput(f"{config.suite}: no attack in split {config.split}; see errata init")
    said = ask(ws, candidate, [case.messages for case in cases], label="guard")
    return Asked(candidate.digest, cases, said)


def evaluate(ws: Workspace, config: Config) -> Outcome:
    """Hits with and without the filter on the same answers, over-blocking, latency."""
    with Run(ws, "guard", config) as run:
        guard = Guard.of(ws)
        asked = _asked(ws, run, config)
        found = system.effect(guard, asked.cases, asked.said)
        told = system.page(found)
        values = {metric.name: metric.value for metric in system.filtered(found)}
        run.note(policy=guard.digest, candidate=asked.digest, metrics=values)
        title = say("Output filter, measured", "输出过滤评估")
        text = f"# {title}\n\n- `{guard.digest}`\n- `{asked.digest}`\n\n{told}"
        jsonl.write_text(run.output("reports/filter.md"), text)
        jsonl.write_text(run.output(document.PAGE), document.render(guard))
    text = f"{told}\nreports/filter.md\n" + say("next: ", "下一步：") + "`errata guard train`"
    return Outcome(0, text, {"run_id": run.id, "metrics": values})


def train(ws: Workspace, config: Config) -> Outcome:
    """The classifier: answers of the failures against answers that are right."""
    with Run(ws, "guard", config) as run:
        rows = training_rows(run)
        bad = sum(row[2] for row in rows)
        if bad < 20 or len(rows) - bad < 20:
            raise BadInput(f"guard train: {bad} bad answers and {len(rows) - bad} good ones; 20 of "
                           "each are needed: errata intake, errata build")  # fmt: skip
        packed = grams.packed(learned.train(rows))
        run.output(policy.MODEL).write_bytes(packed)
        guard = Guard.of(ws)
        jsonl.write_text(run.output(document.PAGE), document.render(guard))
        run.note(policy=guard.digest, bad=bad, good=len(rows) - bad, bytes=len(packed))
    good = len(rows) - bad
    text = say(
        f"{policy.MODEL}: learnt from {bad} bad answers and {good} good ones",
        f"{policy.MODEL}：由 {bad} 条坏回答与 {good} 条好回答训练",
    )
    data = {"run_id": run.id, "bad": bad, "good": good, "policy": guard.digest}
    return Outcome(0, f"{text}\n" + say("next: ", "下一步：") + "`errata guard eval`", data)


def training_rows(run: Run) -> list[learned.Row]:
    """Bad answers of data/failures.jsonl, good ones of data/sft.jsonl; equal forms are one."""
    rows: dict[tuple[str, bool], learned.Row] = {}

    def add(text: str, beside: bool, bad: bool) -> None:
        form = learned.features(text, beside)
        rows.setdefault((form, bad), (text, beside, bad, form))

    for failure in jsonl.read(run.input("data/failures.jsonl"), Failure):
        if failure.bad_answer and failure.label in (*ATTACKS, "politeness"):
            add(failure.bad_answer, any(m.role == "documents" for m in failure.context), True)
    for row in jsonl.read(run.input("data/sft.jsonl"), SftExample):
        turns = row.messages or []
        answer = turns[-1].content if turns else row.output or ""
        add(answer, any(m.role == "documents" for m in turns), False)
    return [*rows.values()]


def apply(ws: Workspace, config: Config) -> Outcome:
    """The short gated path: examples hold, and what is right still passes; then it is live."""
    if not config.why.strip():
        raise BadInput('guard apply: say why, for the ledger: why="…"')
    with Run(ws, "guard", config) as run:
        run.input(policy.FILE)
        guard = Guard.of(ws)
        asked = _asked(ws, run, config)
        found = system.effect(guard, asked.cases, asked.said)
        blocked = system.over_block(found)
        run.note(policy=guard.digest, over_block=blocked.value, high=blocked.high)
        if blocked.high is None or blocked.high > config.slack:
            told = "no answer to measure it on" if blocked.high is None else (
                f"{blocked.value:.1%} of the answers that are right would be touched, upper bound "
                f"{blocked.high:.1%} > {config.slack:.0%}")  # fmt: skip
            raise Blocked(f"guard apply: {told}; narrow the rule in {policy.FILE}")
        jsonl.write_text(run.output(document.PAGE), document.render(guard))
        who = people.actor(ws)
        run.event("filter", policy=guard.digest, why=config.why, by=who.name)
    text = say(f"live: {guard.digest}; {blocked.value:.1%} of right answers are touched",
               f"已生效：{guard.digest}；误拦 {blocked.value:.1%}")  # fmt: skip
    return Outcome(0, text + "\n" + say("next: ", "下一步：") + "`errata guard eval`",
                   {"run_id": run.id, "policy": guard.digest})  # fmt: skip


def kill(ws: Workspace, config: Config) -> Outcome:
    """Every answer is the guide's text from now on."""
    if not config.why.strip():
        raise BadInput('guard kill: say why, for the ledger: why="…"')
    who, now = people.actor(ws).name, database.now()
    thrown = policy.Kill(reply=policy.load(ws).guide, why=config.why, by=who, ts=now)
    ledger.append(ws, "kill", on=True, why=config.why, by=who)
    jsonl.write_json(ws.root / policy.KILL, thrown)  # JSON is YAML
    text = say("thrown: every answer is a fixed reply", "总开关已启用：所有回答均为固定回复")
    return Outcome(
        0, text + "\n" + say("end it: ", "解除：") + "`errata guard revive`", {"on": True}
    )


def revive(ws: Workspace, _: Config) -> Outcome:
    """The switch back, and it is written down."""
    path = ws.root / policy.KILL
    if not path.is_file():
        raise BadInput("guard revive: the switch is not thrown; nothing to do")
    was = policy.killed(ws)
    ledger.append(ws, "kill", on=False, why=was.why if was else "", by=people.actor(ws).name)
    path.unlink()
    text = say("answers are the model's again; look at what happened: errata audit verify",
               "已恢复模型回答；请复核：errata audit verify")  # fmt: skip
    return Outcome(0, text, {"on": False})


ACTIONS: dict[str, Callable[[Workspace, Config], Outcome]] = {
    "check": check,
    "eval": evaluate,
    "train": train,
    "apply": apply,
    "kill": kill,
    "revive": revive,
}
