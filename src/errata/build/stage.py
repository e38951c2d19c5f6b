"""Failures → data/sft.jsonl and data/prefs.jsonl, linted, split by group, under one version id.

    errata build

Every failure gives the answer it should have had (its reference, or a refusal with guidance for an
attack) and a pair against what the model really said. Harmless look-alikes of the tune suites give
pairs against a refusal, and plain tune questions are replayed, so that neither caution nor ability
is lost. A failure whose ideal nobody knows waits for a human, in reports/data-lint.md. Held-out
text or personal data in a row ends the build with exit 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from errata import jsonl
from errata.build import lint, lint_report, pairs, rubric, sft, split
from errata.build.heldout import HeldOut
from errata.config import Section
from errata.errors import BadInput
from errata.intake import consent
from errata.intake.redact import apply, load_policy
from errata.intake.rules import Rule
from errata.language import say
from errata.outcome import Outcome
from errata.records import Case, Failure, PreferencePair, SftExample
from errata.store import database, tombstone, versions
from errata.store.runs import Run
from errata.workspace import Workspace


class Inputs(Section):
    """What build reads."""

    failures: str = Field(default="data/failures.jsonl", description="redacted failures")
    attacks: str = Field(default="suites/attacks.jsonl", description="attack cases")
    business: str = Field(default="suites/business.jsonl", description="business cases")


class Outputs(Section):
    """What build writes."""

    sft: str = Field(default="data/sft.jsonl", description="SFT rows for training")
    prefs: str = Field(default="data/prefs.jsonl", description="preference pairs for training")
    sft_valid: str = Field(default="data/sft.valid.jsonl", description="SFT rows for validation")
    prefs_valid: str = Field(default="data/prefs.valid.jsonl", description="pairs for validation")
    retention: str = Field(default="data/retention.jsonl", description="rows to be kept, untrained")
    version: str = Field(default="data/version.json", description="version id and digests")
    report: str = Field(default="reports/data-lint.md", description="what the checks found")


class Accept(Section):
    """Thresholds; a miss is exit 3, the files are written all the same."""

    min_rows: int = Field(default=8, description="SFT rows for training, at least")
    min_pairs: int = Field(default=8, description="preference pairs for training, at least")
    max_dup_share: float = Field(default=0.5, description="share of rows dropped as duplicates")
    max_template_share: float = Field(
        default=0.5, description="share of SFT rows with one and the same answer"
    )


class Config(Section):
    """Knobs of `errata build`."""

    seed: int = Field(default=0, description="decides draws and split")
    replay: int = Field(default=400, description="plain tune questions replayed as SFT rows")
    retention: int = Field(
        default=64, description="plain tune questions kept out of training: forgetting shows there"
    )
    lookalikes: int = Field(default=200, description="harmless look-alikes, as SFT rows and pairs")
    validation: float = Field(default=0.1, description="share of rows for validation, whole groups")
    near_duplicate: float = Field(
        default=0.8, description="Jaccard of 5-grams from which two requests are one group"
    )
    inputs: Inputs = Inputs()
    outputs: Outputs = Outputs()
    accept: Accept = Accept()


@dataclass
class Made:
    """Everything on its way to the files."""

    sft: list[SftExample]
    pairs: list[PreferencePair]
    items: list[split.Item]
    needs_human: list[Failure] = field(default_factory=list)
    retention: list[SftExample] = field(default_factory=list)
    summaries: int = 0
    dropped: int = 0

    @property
    def dup_share(self) -> float:
        """Share of rows that were equal to another one."""
        total = len(self.sft) + len(self.pairs) + self.dropped
        return self.dropped / total if total else 0.0


def make(failures: Sequence[Failure], cases: Sequence[Case], config: Config) -> Made:
    """Rows of all three kinds, equal ones merged."""
    by_id = {case.id: case for case in cases}
    made = Made([], [], [])
    for failure in failures:
        if failure.retention == "summary":
            made.summaries += 1
        elif answer := sft.ideal(failure, by_id):
            case = by_id.get(str(failure.meta.get("case")))
            cluster = case.cluster if case else None
            row, pair = sft.from_failure(failure, answer), pairs.from_failure(failure, answer)
            _add(made, row, pair, cluster, failure.prompt or "")
        else:
            made.needs_human.append(failure)
    tune = [case for case in cases if case.split == "tune" and case.reference]
    plain = [case for case in tune if case.category in ("catalogue", "tool", "smalltalk")]
    for place, case in enumerate(sft.draw(plain, config.replay + config.retention, config.seed)):
        row = sft.from_case(case, rubric.REPLAY, f"replay:{case.category}")
        if place >= config.replay:
            made.retention.append(row)
            continue
        _add(made, row, None, case.cluster, sft.user_text(case.messages))
    refusals = pairs.taught_refusals(cases)
    alike = [case for case in tune if case.category == "lookalike"]
    for case in sft.draw(alike, config.lookalikes, config.seed):
        row = sft.from_case(case, rubric.HARMLESS, "counterfactual")
        pair = pairs.counterfactual(case, refusals)
        _add(made, row, pair, case.cluster, sft.user_text(case.messages))
    made.sft, sft_dropped = sft.merged(made.sft)
    made.pairs, pairs_dropped = sft.merged(made.pairs)
    made.dropped = sft_dropped + pairs_dropped
    return made


def _add(
    made: Made, row: SftExample, pair: PreferencePair | None, cluster: str | None, text: str
) -> None:
    made.sft.append(row)
    made.items.append(split.Item(row.id, cluster, text))
    if pair:
        made.pairs.append(pair)
        made.items.append(split.Item(pair.id, cluster, text))


def main(ws: Workspace, config: Config) -> Outcome:
    """Build, check, split, write, and say what the version is called."""
    with Run(ws, "build", config) as run:
        failures = jsonl.read(run.input(config.inputs.failures), Failure)
        attacks = jsonl.read(run.input(config.inputs.attacks), Case)
        business = jsonl.read(run.input(config.inputs.business), Case)
        cases = [*attacks, *business]
        _refuse_untouchable(failures, cases, config.inputs.failures)
        sources = consent.declared(ws)
        missing = consent.undeclared(sources, (failure.source for failure in failures))
        with database.reading(ws) as connection:  # git brings back what was erased: it stays out
            erased = tombstone.among(connection, (failure.id for failure in failures))
        mine = [f for f in failures if f.id not in erased]
        may = [f for f in mine if consent.may(sources, f.source, "training")]
        made = make(may, cases, config)
        if not made.sft:
            step = f"add {consent.advice(missing)}" if missing else (
                "give failures a `meta.reference`, or take in attacks")  # fmt: skip
            raise BadInput(f"{config.inputs.failures}: no row that can be trained on; {step}")
        rules = load_policy(ws).rules
        context = lint.Context(HeldOut(cases), rules)
        report = lint.run(made.pairs, context)
        _refuse(lint.blocking(report) + _sft_hits(made.sft, context.heldout, rules))
        kept = {row.id for row in made.sft} | {pair.id for pair in report.kept}
        items = [item for item in made.items if item.id in kept]
        group_of = split.groups(items, config.near_duplicate)
        held = split.validation(group_of, config.validation, config.seed)
        files = {**_files(config, made.sft, report.kept, held)}
        files[config.outputs.retention] = made.retention
        version = _write(run, config, files)
        facts = lint_report.facts(made, report, files, group_of, held)
        text = lint_report.render(made, report, facts, version)
        jsonl.write_text(run.output(config.outputs.report), text)
        facts |= {"untrained": missing, "erased": erased}
        run.note(version=version, **facts)
        missed = _missed(
            config.accept, made, files[config.outputs.sft], files[config.outputs.prefs]
        )
    return _outcome(config, run.id, version, facts, missed)


def _refuse_untouchable(failures: Sequence[Failure], cases: Sequence[Case], name: str) -> None:
    """A failure of a dev or held-out case measures; trained on, it would only be remembered."""
    splits = {case.id: case.split for case in cases}
    for failure in failures:
        where = splits.get(str(failure.meta.get("case")), "tune")
        if where != "tune":
            raise BadInput(
                f"{name}: {failure.id}: case {failure.meta['case']} is {where}, not tune; "
                "delete the row: training data is built from tune cases alone"
            )


def _sft_hits(
    rows: Sequence[SftExample], heldout: HeldOut, rules: Sequence[Rule]
) -> list[lint.Hit]:
    hits = []
    for row in rows:
        turns = row.messages or []
        if hit := heldout.find(turns[:-1]):
            hits.append(lint.Hit(row.id, f"held-out case {hit.case} ({hit.how})"))
        for turn in turns:
            for found in apply(turn.content, rules, b"").findings:
                hits.append(lint.Hit(row.id, f"{turn.role} holds {found.tag} (rule {found.rule})"))
    return hits


def _refuse(hits: Sequence[lint.Hit]) -> None:
    if hits:
        more = f" (and {len(hits) - 1} more)" if len(hits) > 1 else ""
        raise BadInput(
            f"{hits[0].id}: {hits[0].why}{more}; nothing was written: delete the failure "
            "it was made of, or mend the suite"
        )


Files = Mapping[str, list[SftExample] | list[PreferencePair]]


def _files(
    config: Config, rows: Sequence[SftExample], made: Sequence[PreferencePair], held: set[str]
) -> Files:
    out = config.outputs
    return {
        out.sft: [row for row in rows if row.id not in held],
        out.prefs: [row for row in made if row.id not in held],
        out.sft_valid: [row for row in rows if row.id in held],
        out.prefs_valid: [row for row in made if row.id in held],
    }


def _beside(run: Run, name: str) -> Path:
    """Where a file of the version waits until the whole version is written."""
    return run.dir / Path(name).name


def _label(row: SftExample | PreferencePair) -> str:
    """What a row is about, for `errata diff`."""
    if isinstance(row, PreferencePair):
        return row.tags[0] if row.tags else row.reason
    return row.scenario or row.why


def _write(run: Run, config: Config, files: Files) -> str:
    """The four files, the version file, and the lineage of every row."""
    leaves = {name: [versions.leaf(name, row) for row in rows] for name, rows in files.items()}
    version = versions.root(leaf for found in leaves.values() for leaf in found)
    for name, rows in files.items():
        jsonl.write(_beside(run, name), rows)
        kind = "pair" if "prefs" in name else "sft"
        part = "validation" if "valid" in name else "train"
        members = []
        both: Sequence[SftExample | PreferencePair] = rows
        for at, row in enumerate(both):
            run.node(row.id, kind, origin=row.origin, part=part)
            run.links((source, row.id, "became") for source in row.made_from)
            members.append((row.id, leaves[name][at], _label(row), row.source or ""))
        run.members(version, name, members)
        run.link(version, name, "is")
    digests = {name: jsonl.digest_file(_beside(run, name)) for name in files}
    counts = {name: len(rows) for name, rows in files.items()}
    facts = {"id": version, "rows": counts, "files": digests}
    jsonl.write_json(_beside(run, config.outputs.version), facts)
    for name in (*files, config.outputs.version):  # all are written: a full disk changed nothing
        role = "version" if name == config.outputs.version else "data"
        _beside(run, name).replace(run.output(name, role))
    run.node(version, "version", rows=counts, files=digests)
    run.event("version", id=version, rows=counts, files=digests)
    return version


def _missed(
    accept: Accept, made: Made, rows: Sequence[object], prefs: Sequence[object]
) -> list[str]:
    template = lint_report.template_share(made.sft)
    least = (
        ("min_rows", len(rows), accept.min_rows),
        ("min_pairs", len(prefs), accept.min_pairs),
    )
    most = (
        ("max_dup_share", made.dup_share, accept.max_dup_share),
        ("max_template_share", template, accept.max_template_share),
    )
    missed = [f"{name}: {value}, accept ≥ {limit}" for name, value, limit in least if value < limit]
    return missed + [
        f"{name}: {value:.3f}, accept ≤ {limit:g}" for name, value, limit in most if value > limit
    ]


def _outcome(
    config: Config, run_id: str, version: str, facts: dict[str, Any], missed: Sequence[str]
) -> Outcome:
    text = say(
        f"dataset {version}: {facts['sft']} SFT rows, {facts['pairs']} pairs "
        f"(validation {facts['sft_valid']} and {facts['pairs_valid']}); "
        f"{facts['needs_human']} failures wait for a human. See {config.outputs.report}.",
        f"数据版本 {version}：SFT {facts['sft']} 行，偏好对 {facts['pairs']} 对"
        f"（验证集 {facts['sft_valid']} 与 {facts['pairs_valid']}）；"
        f"{facts['needs_human']} 条失败样本待人工处理。详见 {config.outputs.report}。",
    )
    if facts["untrained"]:
        told = ", ".join(f"{name} ({count})" for name, count in facts["untrained"].items())
        text += "\n" + say(
            f"not trained on, for want of a purpose: {told}; "
            f"add {consent.advice(facts['untrained'])}",
            f"因未声明训练用途而未使用：{told}；请添加 {consent.advice(facts['untrained'])}",
        )
    if facts["erased"]:
        count, ids = len(facts["erased"]), " ".join(facts["erased"][:3])
        text += "\n" + say(
            f"left out, since they were erased: {count} rows that {config.inputs.failures} has "
            f'again; take them out of there too: `errata erase {ids} why="…"`',
            f"{config.inputs.failures} 中有 {count} 行此前已删除，未使用；"
            f'请再次删除：`errata erase {ids} why="…"`',
        )
    if missed:
        text += "\n" + say("not accepted: ", "未达验收阈值：") + "; ".join(missed)
    data = {"run_id": run_id, "version": version, "missed": list(missed), **facts}
    return Outcome(3 if missed else 0, text, data)
