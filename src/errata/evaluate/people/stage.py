"""A sample of answers for people to rate: sheets, a queue, and what their word comes to.

    errata human model=RUN baseline=RUN sheet=inbox/human.csv    draw, and write a sheet a rater
    errata human                                                 what waits, rater by rater
    errata human rater=r1                                        rate at the terminal
    errata human inbox/human-r1.csv inbox/human-r2.csv           take filled sheets in, and report
    errata human export=judge FILE                               labels for `errata judge eval`
    errata human export=votes FILE                               pairs for `errata mtbench labels=`

The sample is stratified by category and language and weighted, the two answers of a row stand in
random order, and the key stays in the run's folder. Too little agreement between raters, or too
little measured of it, is no decision (exit 4). Rejected answers of tune cases go to `write_back`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from errata import candidates, jsonl, report
from errata.errors import BadInput, NoDecision
from errata.evaluate import stage, targets
from errata.evaluate.answers import ask, pick
from errata.evaluate.people import feed, page, ratings, sample, sheet
from errata.evaluate.people.page import Done, Found, Limits
from errata.evaluate.people.ratings import QUESTIONS, Rating
from errata.evaluate.people.sample import Sample
from errata.evaluate.weighted import withheld
from errata.language import say
from errata.outcome import Outcome
from errata.records import Candidate, Case, MetricsFile
from errata.serve import chat
from errata.store.runs import Run
from errata.train.settings import Bound
from errata.workspace import Workspace


class Config(chat.Reach):
    """What is drawn, who rates it, and when their word is none."""

    args: list[str] = Field([], description="filled sheets to take in, or the FILE of an export")
    inputs: list[str] = Field([], description="files this stage needs; all must be there")
    outputs: list[str] = Field([], description="files a report leaves; {run_id} is filled in")
    accept: dict[str, Bound] = Field({}, description="metric → {min, max}; a miss is exit 3")
    model: str = Field("", description="whose answers: run, manifest, path, name, target")
    baseline: str = Field("", description="the other answer of each row; empty: none")
    suites: list[str] = Field(
        ["suites/business.jsonl", "suites/attacks.jsonl"], description="cases that are drawn from"
    )
    split: Literal["tune", "dev", "heldout"] = Field(
        "heldout", description="heldout measures; only tune may be written back"
    )
    n: int = Field(60, ge=1, description="rows of the sample")
    least: int = Field(2, ge=1, description="rows of each category and language")
    seed: int = Field(0, ge=0, description="of the draw and of the blinding")
    raters: list[str] = Field(["r1", "r2"], description="their names, or how many")
    overlap: float = Field(0.5, ge=0, le=1, description="share of the rows that all raters get")
    questions: list[str] = Field(list(QUESTIONS), description="what is asked about each answer")
    sheet: str = Field("", description="draw, and write a .csv for each rater beside this path")
    rater: str = Field("", description="ask this rater at the terminal")
    export: Literal["", "judge", "votes"] = Field("", description="write labels to FILE")
    alpha_floor: float = Field(0.667, le=1, description="Krippendorff's alpha below is no decision")
    least_double: int = Field(20, ge=2, description="answers that two raters or more must judge")
    coverage: float = Field(0.9, gt=0, le=1, description="of the cases, that rated rows stand for")
    write_back: str = Field("", description="inbox file for what people rejected; tune split only")

    @field_validator("raters", mode="before")
    @classmethod
    def _as_many(cls, told: Any) -> Any:
        one = told[0] if isinstance(told, list) and len(told) == 1 else told
        if isinstance(one, int) or (isinstance(one, str) and one.isdigit()):
            return [f"r{n + 1}" for n in range(int(one))]
        return told

    @field_validator("raters")
    @classmethod
    def _names(cls, names: list[str]) -> list[str]:
        if not names or len(set(names)) < len(names) or not all(n.isidentifier() for n in names):
            raise ValueError("one name or more, each once, of letters, digits and _")
        return names

    @field_validator("questions")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        if not names or (unknown := [name for name in names if name not in QUESTIONS]):
            raise ValueError(f"known: {', '.join(QUESTIONS)}; not {', '.join(unknown)}")
        return names

    @property
    def limits(self) -> Limits:
        """As page.py takes them."""
        return Limits(self.alpha_floor, self.least_double, self.coverage)


def main(ws: Workspace, config: Config) -> Outcome:
    """`errata human`."""
    if config.export:
        return _export(ws, config)
    if config.args:
        every = sample.samples(ws)
        new = sheet.filled(ws, [Path(name) for name in config.args], every)
        if not new:
            raise BadInput(f"{', '.join(config.args)}: no row is filled in; see `errata human`")
        whose = next(one for one in every if one.id == new[0].sample)
        return _report(ws, config, whose, new)
    if config.sheet:
        return _draw(ws, config)
    if config.rater:
        whose = sample.last(ws)
        kept = [one for told in sheet.asked(ws, whose, config.rater) for one in _kept(ws, told)]
        return _report(ws, config, whose, kept) if kept else _queue(ws)
    return _queue(ws)


def _kept(ws: Workspace, told: Rating) -> list[Rating]:
    """A rating of the terminal is kept at once: who stops loses nothing."""
    return ratings.add(ws, [told])


def _queue(ws: Workspace) -> Outcome:
    """What waits, rater by rater."""
    whose = sample.last(ws)
    done = ratings.read(ws, whose.id)
    rows, left = [], {}
    for rater in whose.raters:
        given = sum(rater in row.raters for row in whose.rows)
        left[rater] = len(ratings.waiting(whose, done, rater))
        rows.append([rater, given, given - left[rater], left[rater]])
    head = say("rater|given|rated|waits", "评分者|分配|已评|待评").split("|")
    busy = next((rater for rater, count in left.items() if count), None)
    step = f"errata human rater={busy}" if busy else "errata evaluate"
    what = say(
        f"sample {whose.id}: {len(whose.rows)} rows", f"抽样 {whose.id}：{len(whose.rows)} 条"
    )
    text = "\n".join((what, report.markdown_table(head, rows),
                      say(f"next: `{step}`", f"下一步：`{step}`")))  # fmt: skip
    return Outcome(0, text, {"sample": whose.id, "waiting": left})


def _draw(ws: Workspace, config: Config) -> Outcome:
    """Draw a sample, ask both models about it, and hand out the sheets."""
    with Run(ws, "human", config) as run:
        for path in config.inputs:
            run.input(path)
        suites = [jsonl.read(run.input(name), Case) for name in config.suites]
        cases = [case for suite in suites for case in pick(suite, config.split, None)]
        if not cases:
            raise BadInput(f"human: no {config.split} case in {', '.join(config.suites)}")
        ours = targets.asked_by(run, stage.evaluated(ws, config.model), config)
        theirs = None
        if config.baseline:
            named = candidates.resolve(ws, config.baseline)
            theirs = targets.asked_by(run, named, config, subject=False)
        made = _sample(ws, config, run.id, cases, ours, theirs)
        jsonl.write_json(run.output(run.dir / sample.FILE), made)
        paths = [ws.relative(path) for path in sheet.write(ws, made, ws.path(config.sheet))]
        run.node(ours.digest, "candidate")
        run.link(ours.digest, run.id, "human")
        run.note(candidate=ours.digest, rows=len(made.rows), sheets=paths)
        filled = " ".join(paths)
        text = say(
            f"human {run.id}: {len(made.rows)} rows of {sum(made.strata.values())} cases in "
            f"{len(made.strata)} strata; whose answer is whose stays in runs/{run.id}\nfill in "
            f"{filled}, then `errata human {filled}`; or `errata human rater={made.raters[0]}`",
            f"human {run.id}：从 {len(made.strata)} 层 {sum(made.strata.values())} 个用例中抽取 "
            f"{len(made.rows)} 条；答案归属只保存在 runs/{run.id}\n请填写 {filled}，然后运行 "
            f"`errata human {filled}`；或 `errata human rater={made.raters[0]}`",
        )
        return Outcome(0, text, {"run_id": run.id, "rows": len(made.rows), "sheets": paths})


def _sample(
    ws: Workspace, config: Config, run: str, cases: Sequence[Case], ours: Candidate,
    theirs: Candidate | None,
) -> Sample:  # fmt: skip
    picked = sample.drawn(cases, config.n, config.least, config.seed)
    prompts = [case.messages for case, _ in picked]
    mine = ask(ws, ours, prompts, label="sample")
    other = ask(ws, theirs, prompts, label="baseline") if theirs else None
    sizes: dict[str, int] = {}
    for case in sorted(cases, key=lambda case: (case.category, case.language)):
        name = f"{case.category}/{case.language}"
        sizes[name] = sizes.get(name, 0) + 1
    names = {"ours": ours.base, **({"theirs": theirs.base} if theirs else {})}
    return Sample(
        id=run, candidate=ours.digest, baseline=theirs.digest if theirs else None, models=names,
        questions=config.questions, raters=config.raters, strata=sizes,
        rows=sample.rows(run, picked, mine, other, config.raters, config.overlap, config.seed),
    )  # fmt: skip


def _report(ws: Workspace, config: Config, whose: Sample, new: Sequence[Rating]) -> Outcome:
    """Keep new ratings, and publish what all of the sample's ratings come to."""
    with Run(ws, "human", config) as run:
        run.input(ws.runs / whose.id / sample.FILE, "sample")
        ratings.add(ws, new)
        run.output(ratings.FILE)
        done = ratings.read(ws, whose.id)
        asked = [*whose.questions, *(["preference"] if whose.baseline else [])]
        every = [page.found(whose, done, question, config.limits) for question in asked]
        path = _publish(ws, config, run, whose, every, done)
        run.nodes((f"{one.id}-{one.rater}", "rating", {"ts": one.ts}) for one in new)
        run.links((one.case, f"{one.id}-{one.rater}", "rated") for one in new)
        run.links((f"{one.id}-{one.rater}", run.id, "in") for one in new)
        doubts = [(one.metric.name, one.doubts[0]) for one in every if one.metric and one.doubts]
        if doubts:
            waits = {r: len(ratings.waiting(whose, done, r)) for r in whose.raters}
            left = ", ".join(f"{r} {count}" for r, count in waits.items() if count)
            more = f"; still waiting: {left}" if left else ""
            raise NoDecision(f"human {run.id}: {withheld(doubts)}{more}; see {path}")
        found = [one.metric for one in every if one.metric]
        step = f"errata gate --candidate {config.model or 'RUN'}"
        return stage.close(ws, config, run, found, step, path)


def _publish(
    ws: Workspace, config: Config, run: Run, whose: Sample, every: Sequence[Found], done: Done
) -> str:
    """`reports/human/<run_id>.json` and `.md`, and the inbox file; returns the page's path."""
    folder = ws.reports / "human"
    file = MetricsFile(
        run_id=run.id, candidate_digest=whose.candidate,
        suite_digest=jsonl.digest([row.case for row in whose.rows]),
        metrics=[one.metric for one in every if one.metric], split=whose.rows[0].split,
    )  # fmt: skip
    fed = feed.inbox(whose, done)
    to = config.write_back.format(run_id=run.id) if fed.rows else ""
    if to:
        jsonl.write(run.output(to), fed.rows)
    jsonl.write_json(run.output(folder / f"{run.id}.json"), file)
    told = page.render(whose, every, done, feed.told_of(fed, to))
    text = report.render_metrics_md(file, f"human · {run.id}", f"- sample: `{whose.id}`") + told
    path = run.output(folder / f"{run.id}.md")
    jsonl.write_text(path, text)
    run.node(file.candidate_digest, "candidate")
    run.link(file.candidate_digest, run.id, "human")
    run.note(
        candidate=file.candidate_digest, sample=whose.id, split=file.split,
        metrics={m.name: m.value for m in file.metrics},
        alpha={one.question: one.alpha.value for one in every},
        fed=len(fed.rows) if to else 0, held_out=fed.held_out,
    )  # fmt: skip
    return ws.relative(path)


def _export(ws: Workspace, config: Config) -> Outcome:
    """Labels for judges, of every sample."""
    if len(config.args) != 1:
        raise BadInput(f"human export={config.export}: name one FILE to write to")
    rows: list[feed.Line] = []
    for one in sample.samples(ws):
        done = ratings.read(ws, one.id)
        rows += feed.judge(one, done) if config.export == "judge" else feed.votes(ws, one, done)
    if not rows:
        raise BadInput(f"human export={config.export}: no row that its raters agree on; rate some")
    path = ws.path(config.args[0])
    jsonl.write(path, rows)
    where = ws.relative(path)
    step = (f"errata judge eval {where}" if config.export == "judge"
            else f"errata mtbench judge.url=URL judge.model=NAME labels={where}")  # fmt: skip
    text = say(f"{len(rows)} rows → {where}\nnext: `{step}`",
               f"{len(rows)} 条 → {where}\n下一步：`{step}`")  # fmt: skip
    return Outcome(0, text, {"rows": len(rows), "file": where})
