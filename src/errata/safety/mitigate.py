"""What each mitigation changes on the same cases: isolation, system prompt, filter, training.

    errata mitigate model=RUN baseline=tiny

Writes `reports/mitigations.md`: execution rate, leaks, hits, over-refusal and accuracy of the model
bare and with each mitigation, against the bare one case by case. Every variant is a candidate with
a digest of its own, in `runs/<run_id>/`: `errata gate candidate=runs/…/isolation.json`. A changed
system prompt or filter is another candidate, and earns its gates anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import Field

from errata import candidates, jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.evaluate import business, stage
from errata.evaluate.answers import ask, pick
from errata.language import say
from errata.outcome import Outcome
from errata.records import Candidate, Case, Metric
from errata.release.evidence import Evidence, compare, of_cases
from errata.report import bounds, markdown_table, shown
from errata.safety import suites
from errata.safety.guard import system
from errata.safety.guard.filter import Guard
from errata.safety.measures import measured
from errata.store.runs import Run
from errata.workspace import Workspace

PAGE = "reports/mitigations.md"
SHOWN = ("safety.execution_rate", "safety.leak_rate", "safety.attack_hit_rate",
         "safety.over_refusal_rate", "evaluate.accuracy")  # fmt: skip


class Config(Section):
    """The model, and with what it is tried."""

    model: str = Field("", description="run id, manifest, path or name; empty: what serves")
    baseline: str = Field("", description="the model before its training; empty: left out")
    prompt: str = Field("policies/system-prompt.md", description="the system prompt to be tried")
    suite: str = Field("suites/attacks.jsonl", description="attack cases")
    more: list[str] = Field([], description="more suites")
    lookalikes: str = Field("suites/business.jsonl", description="look-alikes, and what it is for")
    split: Literal["tune", "dev", "heldout"] = Field("dev", description="which part is asked")
    limit: int = Field(60, ge=0, description="cases of each category and language; 0: all")


class Variant(NamedTuple):
    """The model under some mitigations, and what it came to."""

    name: str
    candidate: Candidate
    found: dict[str, Metric]
    evidence: Evidence


def variants(plain: Candidate, prompt: str, guard: Guard) -> dict[str, Candidate]:
    """Name → candidate: bare, each mitigation alone, and all of them."""
    alone: dict[str, dict[str, object]] = {
        "isolation": {"tool_isolation": True},
        "prompt": {"system_prompt": prompt},
        "filter": {"filter_policy": guard.digest},
    }
    every = {key: value for change in alone.values() for key, value in change.items()}
    return {name: _changed(plain, change)
            for name, change in {"bare": {}, **alone, "all": every}.items()}  # fmt: skip


def _changed(plain: Candidate, change: dict[str, object]) -> Candidate:
    bare = {"tool_isolation": False, "system_prompt": None, "filter_policy": None}
    fields = {**plain.model_dump(), **bare, **change}
    return Candidate(**{**fields, "digest": candidates.digest_of(fields)})


def main(ws: Workspace, config: Config) -> Outcome:
    """Ask every variant, and write the page and the manifests."""
    with Run(ws, "mitigate", config) as run:
        prompt = run.input(config.prompt, "policy").read_text(encoding="utf-8").strip()
        if not prompt:
            raise BadInput(f"{config.prompt}: empty; write the system prompt that is to be tried")
        plain, guard = stage.evaluated(ws, config.model), Guard.of(ws)
        asked = suites.read(run, config)
        tasks = [c for c in jsonl.read(ws.path(config.lookalikes), Case)
                 if c.category in business.CORE]  # fmt: skip
        tasks = pick(tasks, config.split, config.limit or None)
        tried = []
        if config.baseline:
            before = candidates.resolve(ws, config.baseline)
            tried.append(_measured(ws, "baseline", before, asked, tasks, None))
        for name, who in variants(plain, prompt, guard).items():
            filtered = guard if who.filter_policy else None
            tried.append(_measured(ws, name, who, asked, tasks, filtered))
            jsonl.write_json(run.output(run.dir / f"{name}.json"), who)
            run.node(who.digest, "candidate", variant=name)
        text = page(run.id, tried)
        jsonl.write_text(run.output(PAGE), text)
        values = {v.name: {m: v.found[m].value for m in SHOWN} for v in tried}
        run.note(variants={v.name: v.candidate.digest for v in tried}, metrics=values)
    done = text + f"\n{PAGE}\n" + say("next: ", "下一步：")
    done += f"`errata safety model=runs/{run.id}/all.json`"
    return Outcome(0, done, {"run_id": run.id, "metrics": values})


def _measured(
    ws: Workspace, name: str, who: Candidate, asked: suites.Suite, tasks: Sequence[Case],
    guard: Guard | None,
) -> Variant:  # fmt: skip
    """Attacks, look-alikes and the desk's own tasks; behind the filter where there is one."""
    both = [*asked.both, *tasks]
    said = ask(ws, who, [case.messages for case in both], label=name)
    if guard:
        said = [decision.text for decision in system.effect(guard, both, said).decisions]
    rows = business.results(both, said)
    attacks, looks = rows[: len(asked.attacks)], rows[len(asked.attacks) : len(asked.both)]
    mine = rows[len(asked.both) :]
    metrics = [*measured(attacks, looks), *business.summarise(tasks, mine)]
    told = of_cases(who.digest, safety=[*attacks, *looks], evaluate=mine)
    return Variant(name, who, {m.name: m for m in metrics}, told)


def page(run: str, tried: Sequence[Variant]) -> str:
    """A row a variant: each metric with its bounds, and how many base requests turned."""
    bare = next(v for v in tried if v.name == "bare")
    rows = []
    for one in tried:
        cells = [_cell(one, bare, name) for name in SHOWN]
        rows.append([one.name, *cells, one.candidate.digest[7:19]])
    heads = ("variant / 变体", "executed / 执行率", "leaked / 泄露率", "hit / 命中率",
             "over-refused / 过度拒答", "accuracy / 准确率", "digest")  # fmt: skip
    told = say(
        f"Run `{run}`. Each with its one-sided 95 % bounds; ▲ base requests that got better than "
        "bare, ▼ worse (p: exact McNemar, the smaller side). `baseline` to `bare` is what training "
        "changed.",
        f"运行 `{run}`。括号内为单侧 95 % 界；▲ 为相对 bare 变好的基础请求数，▼ 为变差（p：精确 "
        "McNemar，取较小侧）。`baseline` 与 `bare` 之差即训练的效果。",
    )
    title = say("What each mitigation changes", "各项缓解措施的效果")
    return f"# {title}\n\n{told}\n\n{markdown_table(heads, rows)}"


def _cell(one: Variant, bare: Variant, name: str) -> str:
    metric = one.found[name]
    text = f"{shown(metric.value, metric.unit)} ({bounds(metric.low, metric.high, metric.unit)})"
    if one is bare:
        return text
    worse = compare(name, one.evidence, bare.evidence, seed=0)
    better = compare(name, bare.evidence, one.evidence, seed=0)
    if worse is None or better is None:
        return text
    return f"{text} ▲{worse.better} ▼{worse.worse} p = {min(worse.p, better.p):.2g}"
