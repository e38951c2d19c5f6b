"""`errata evaluate`: ask a model the business suite, and say how well it does its job.

The suites in `more` are asked too: traps for tools, facts that the documents must hold, one request
in several voices (asked.py). With a baseline, the win rate over it is measured on the business and
attack prompts together: which model's answer is the better one, case by case; and the style of both
is compared (style.py).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal, Protocol

from pydantic import Field, model_validator

from errata import candidates, jsonl, report
from errata.errors import BadInput, Blocked
from errata.evaluate import against, asked, business, failures, promoted, targets
from errata.evaluate.answers import ask, version
from errata.evaluate.generate import Decoding
from errata.language import say
from errata.outcome import Outcome
from errata.records import Candidate, Case, CaseResult, Metric, MetricsFile
from errata.serve import chat
from errata.store.runs import Run
from errata.store.status import serving_release
from errata.train.settings import Bound
from errata.workspace import Workspace


class Config(chat.Reach):
    """What is asked, of whom, and what must be reached."""

    inputs: list[str] = Field([], description="files this stage needs; all must be there")
    outputs: list[str] = Field([], description="files this stage must leave; {run_id} is filled in")
    accept: dict[str, Bound] = Field({}, description="metric → {min, max}; a miss is exit 3")
    model: str = Field(
        "", description="run id, manifest, path or name; empty: what serves, else tiny"
    )
    endpoint: str = Field("", description="OpenAI-compatible URL that `model` is asked at")
    version: str = Field("", description="of a target, in your words: nobody can hash it")
    baseline: str = Field("", description="model to compare with; empty: none")
    suite: str = Field("suites/business.jsonl", description="business cases")
    more: list[str] = Field([], description="further suites: tools, grounded facts, personas")
    attacks: str = Field("suites/attacks.jsonl", description="also asked for the win rate")
    reward: str = Field("last", description="reward model of the preference score, with a baseline")
    split: Literal["tune", "dev", "heldout"] = Field("heldout", description="which part is asked")
    limit: int = Field(0, ge=0, description="cases of each category and language; 0: all")
    write_back: str = Field("", description="inbox file for the failed answers; tune split only")
    traces: str = Field("", description="inbox file for agents' traces of tool tasks; tune only")
    attempts: int = Field(4, ge=1, description="attempts a tool task, for traces: one greedy")
    temperature: float = Field(1.0, gt=0, description="of the other attempts")

    @model_validator(mode="after")
    def _only_tune_is_trained_on(self) -> Config:
        for name in ("write_back", "traces"):
            if getattr(self, name) and self.split != "tune":
                raise ValueError(f"{name} needs split=tune, not {self.split}: held-out measures")
        return self

    @model_validator(mode="after")
    def _a_target_has_a_name(self) -> Config:
        if self.endpoint and not self.model:
            raise ValueError(f"endpoint needs model=, as {self.endpoint}/models calls it")
        if self.version and not self.named.startswith(candidates.TARGETS):
            raise ValueError("version is for endpoint= and python: targets; models here are hashed")
        return self

    @property
    def named(self) -> str:
        """The model as candidates and the gate call it; empty: what serves."""
        name = f"endpoint:{self.endpoint}#{self.model}" if self.endpoint else self.model
        return f"{name}#{self.version}" if self.version else name


def evaluated(ws: Workspace, name: str) -> Candidate:
    """The model meant; none named: the serving release, else the embedded model."""
    release = None if name else serving_release(ws)
    return candidates.resolve(ws, name or (str(release["candidate_path"]) if release else "tiny"))


def subject(ws: Workspace, config: Config, run: Run) -> Candidate:
    """The model that the config names, or the target; the run's record says what it is bound to."""
    found = evaluated(ws, config.named)
    if not found.base.startswith(candidates.TARGETS):
        return found
    run.note(target=found.base)
    return targets.reached(found, config, run.id)


def compared(ws: Workspace, config: Config, run: Run) -> Candidate:
    """The baseline. A key goes to the URL that it is for, and to no other."""
    found = candidates.resolve(ws, config.baseline)
    if not found.base.startswith(candidates.TARGETS):
        return found
    url = str(run.facts.get("target")).split("#")[0]
    key = config.key if found.base.split("#")[0] == url else "ERRATA_BASELINE_KEY"
    return targets.reached(found, config.model_copy(update={"key": key}), run.id)


def publish(
    ws: Workspace, run: Run, file: MetricsFile, results: Sequence[CaseResult], room: str, title: str
) -> str:
    """`reports/<room>/<run_id>.json`, `.md` and the cases; returns the page's path."""
    folder = ws.reports / room
    assert file.cases
    jsonl.write(run.output(ws.path(file.cases)), results)
    jsonl.write_json(run.output(folder / f"{run.id}.json"), file)
    page = run.output(folder / f"{run.id}.md")
    told = targets.bound(str(run.facts["target"])) if "target" in run.facts else ""
    failed = report.failures_md([r for r in results if (r.hit is False) == (room == "evaluate")])
    jsonl.write_text(page, report.render_metrics_md(file, title) + told + "\n" + failed)
    run.node(file.candidate_digest, "candidate")
    run.link(file.candidate_digest, run.id, room)
    run.note(
        candidate=file.candidate_digest,
        split=file.split,
        metrics={m.name: m.value for m in file.metrics},
        bounds={m.name: {"low": m.low, "high": m.high, "n": m.n} for m in file.metrics},
    )
    return ws.relative(page)


def missed(accept: dict[str, Bound], metrics: Sequence[Metric]) -> list[str]:
    """Thresholds that the point values miss; a metric without data misses."""
    from errata.metrics import full_name

    values = {metric.name: metric.value for metric in metrics}
    out: list[str] = []
    for name, bound in accept.items():
        full = full_name(name)
        if full not in values:
            raise BadInput(
                f"accept: `{name}` is not measured here; known: {', '.join(sorted(values))}"
            )
        out += bound.missed(full, values[full])
    return out


class Judged(Protocol):
    """The part of a config that a stage's results are held against."""

    @property
    def outputs(self) -> list[str]: ...
    @property
    def accept(self) -> dict[str, Bound]: ...


def close(
    ws: Workspace, config: Judged, run: Run, metrics: Sequence[Metric], next_step: str, page: str
) -> Outcome:
    """Hold the metrics against `accept` and the files against `outputs`."""
    for name in config.outputs:
        if not ws.path(name.format(run_id=run.id)).exists():
            raise BadInput(
                f"configs: outputs names {name}, which {run.stage} did not write; correct it"
            )
    if lacking := missed(config.accept, metrics):
        raise Blocked(f"{run.stage} {run.id}: {'; '.join(lacking)}; see {page}")
    table = report.markdown_table(
        [say("metric", "指标"), say("value", "数值"), "n"],
        [[m.name, report.shown(m.value, m.unit), m.n] for m in metrics],
    )
    text = f"{run.stage} {run.id}\n{table}\n{page}\n" + say("next: ", "下一步：") + f"`{next_step}`"
    data = {"run_id": run.id, "metrics": {m.name: m.value for m in metrics}, "report": page}
    return Outcome(0, text, data)


def main(ws: Workspace, config: Config) -> Outcome:
    """`errata evaluate`."""
    with Run(ws, "evaluate", config) as run:
        for path in config.inputs:
            run.input(path)
        candidate = subject(ws, config, run)
        cases, more = asked.read(lambda path: run.input(path, "suite"), config)
        if not cases:
            raise BadInput(
                f"{config.suite}: no business case in split {config.split}; see errata init"
            )
        every = [*cases, *more]
        spoken = ask(ws, candidate, [case.messages for case in every], label="evaluate")
        said = spoken[: len(cases)]
        give_back(ws, config, run, candidate, cases, said)
        results = business.results(every, spoken)
        metrics = _metrics(every, results, len(cases))
        against_it = None
        if config.baseline:
            against_it = against.look(
                ws, config, run, candidate, compared(ws, config, run), every, results
            )
            metrics += against_it.metrics
        theirs = against_it.answers if against_it else None
        style_metrics, sections = asked.told(every, results, theirs, config.baseline)
        metrics += style_metrics
        again = _fixed_before(ws, config, candidate)
        metrics += again.metrics()
        run.note(reopened=[case.failure for case in again.back])
        file = MetricsFile(
            run_id=run.id,
            candidate_digest=candidate.digest,
            suite_digest=version(every),
            metrics=metrics,
            cases=f"reports/evaluate/{run.id}.cases.jsonl",
            split=config.split,
        )
        page = publish(
            ws, run, file, [*results, *again.results], "evaluate", f"evaluate · {run.id}"
        )
        if told := again.page() + (against_it.page if against_it else "") + sections:
            jsonl.write_text(ws.path(page), ws.path(page).read_text(encoding="utf-8") + told)
        name = config.named or "tiny"
        return close(ws, config, run, metrics, f"errata safety model={name}", page)


def _metrics(cases: Sequence[Case], results: Sequence[CaseResult], own: int) -> list[Metric]:
    """The desk's own numbers on the first `own` cases; those of the further suites on others."""
    found = {m.name: m for m in business.summarise(cases[:own], results[:own])}
    found |= {m.name: m for m in asked.summarise(cases, results)}
    return list(found.values())


def _fixed_before(ws: Workspace, config: Config, candidate: Candidate) -> promoted.Again:
    """Cases of failures that a release fixed, asked again; limit= spares none."""
    closed = promoted.fixed(ws, [config.suite, config.attacks])
    if not closed:
        return promoted.again([], [])
    said = ask(ws, candidate, [case.messages for case in closed], label="fixed failures")
    return promoted.again(closed, said)


def give_back(
    ws: Workspace,
    config: Config,
    run: Run,
    candidate: Candidate,
    cases: Sequence[Case],
    said: Sequence[str],
) -> None:
    """Failures for the next intake: agent tasks come back as traces alone."""
    facts = {"run": run.id, "model": candidate.digest}
    apart = business.TOOLS if config.traces else ("agent",)
    mine = [place for place, case in enumerate(cases) if case.category not in apart]
    if config.write_back:
        rows, texts = [cases[place] for place in mine], [said[place] for place in mine]
        count = failures.write_back(ws.path(config.write_back), rows, texts, run.stage, **facts)
        run.note(written_back=count)
        where = config.write_back
        told = say(f"{count} failures written to {where}; next: `errata intake {where}`",
                   f"{count} 条失败样本写入 {where}；下一步：`errata intake {where}`")  # fmt: skip
        sys.stderr.write(f"{told}\n")
    if config.traces:
        tasks = [place for place, case in enumerate(cases) if case.category in business.TOOLS]
        asked, tries = [cases[place] for place in tasks], [[said[place]] for place in tasks]
        for seed in range(1, config.attempts):
            again = _again(ws, config, candidate, asked, seed)
            tries = [[*own, text] for own, text in zip(tries, again, strict=True)]
        count = failures.trace_back(ws.path(config.traces), asked, tries, run.stage, **facts)
        run.note(traced=count)


def _again(
    ws: Workspace, config: Config, candidate: Candidate, cases: Sequence[Case], seed: int
) -> list[str]:
    """Another attempt of each task."""
    length = int(candidate.decoding.get("max_new_tokens", 48))
    decoding = Decoding(length, config.temperature, seed)
    return ask(ws, candidate, [case.messages for case in cases], decoding, f"attempt {seed + 1}")
