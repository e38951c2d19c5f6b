"""Failures → data/sft.jsonl and data/prefs.jsonl, linted, split by group, under one version id.

    errata build

Every failure gives the answer it should have had (its reference, or a refusal with guidance for an
attack) and a pair against what the model really said. Harmless look-alikes of the tune suites give
pairs against a refusal, and plain tune questions are replayed, so that neither caution nor ability
is lost. A failure whose ideal nobody knows is put to the teacher, if there is one, or waits for
`errata review`. Held-out text or personal data in a row ends the build with exit 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from errata import jsonl
from errata.build import (
    card,
    cut,
    heldout,
    lint,
    lint_report,
    negatives,
    private,
    queue,
    reviews,
    rubric,
    sft,
    split,
    teacher,
)
from errata.build.knobs import Accept, Config
from errata.build.made import Made, make
from errata.build.sample import check as check_mix
from errata.errors import BadInput
from errata.evaluate.mtbench import questions
from errata.intake import consent, datasheet, human
from errata.intake.redact import Policy, load_policy
from errata.language import say
from errata.outcome import Outcome
from errata.records import Case, Failure, PreferencePair, SftExample
from errata.safety import canary
from errata.store import database, tombstone, versions
from errata.store.runs import Run
from errata.workspace import Workspace

HITS = "lint.jsonl"  # every hit of every check, in the run's folder
MEND = "delete the failure it was made of, or mend the suite"


def main(ws: Workspace, config: Config) -> Outcome:
    """Build, check, split, write, and say what the version is called."""
    with Run(ws, "build", config) as run:
        failures = jsonl.read(run.input(config.inputs.failures), Failure)
        cases = _cases(run, config.inputs.attacks, config.inputs.business)
        more = _cases(run, *heldout.more(ws, config.inputs.more))
        more += _two_turns(ws, run, config.inputs.mt_bench)
        check_mix(config.mix, "configs/build.yaml")
        _refuse_untouchable(failures, [*cases, *more], config.inputs.failures)
        sources = consent.declared(ws)
        missing = consent.undeclared(sources, (failure.source for failure in failures))
        with database.reading(ws) as connection:  # git brings back what was erased: it stays out
            erased = tombstone.among(connection, (failure.id for failure in failures))
        words, policy = rubric.load(ws), load_policy(ws)
        said = reviews.read(ws.path(config.inputs.reviews))
        mine = [said.relabelled(f) for f in failures if f.id not in erased]
        may = [f for f in mine if consent.may(sources, f.source, "training")]
        told = _taught(ws, run, config, may, cases, words, policy, sources, said)
        if ws.path(config.inputs.reviews).is_file():
            said = reviews.read(run.input(config.inputs.reviews))
        made = make(may, cases, config, words, said)
        if not made.sft:
            step = f"add {consent.advice(missing)}" if missing else (
                "write answers with `errata review`, or take in attacks")  # fmt: skip
            raise BadInput(f"{config.inputs.failures}: no row that can be trained on; {step}")
        secrets = canary.made(config.seed, config.canaries)
        made.sft += canary.rows(secrets)
        hard = _hardened(ws, run, config, made, cases, words)
        context = lint.Context(
            heldout.HeldOut([*cases, *more]), policy.rules, config.lint,
            cut.cutter(ws, config.lint.tokenizer, config.lint.seq_len), made.cases, said.kept,
            heldout.kinship(failures, cases),
        )  # fmt: skip
        report = lint.run(made.pairs, context)
        in_rows = _sft_hits(made.sft, context)
        jsonl.write(run.dir / HITS, lint.listed(report, in_rows))
        jsonl.write(run.dir / queue.QUEUE, queue.of_build(made, report, said))
        _refuse(run, lint.blocking(report) + in_rows)
        kept = {row.id for row in made.sft} | {pair.id for pair in report.kept}
        items = [item for item in made.items if item.id in kept]
        group_of = split.groups(items, config.near_duplicate)
        held = split.validation(group_of, config.validation, config.seed)
        files = {**_files(config, made.sft, report.kept, held)}
        files[config.outputs.retention] = made.retention
        beside = {"lint": lint.limits_hash(context), "rubric": words.hash}
        version = _write(run, config, files, beside)
        _keep(ws, run, config.outputs.canaries, secrets)
        run.links((twin.dropped, twin.kept, "near twin") for twin in made.twins)
        facts = lint_report.facts(made, report, files, group_of, held)
        facts |= {"untrained": missing, "erased": erased, "negatives": hard, "teacher": told}
        page = lint_report.Page(made, report, mine, context, {**facts, **beside}, version)
        target = run.output(config.outputs.report)
        jsonl.write_text(target, lint_report.render(page))
        for name in lint_report.draw(page, target):
            run.output(name)
        _tell(ws, run, config, page, files, failures, policy)
        run.note(version=version, **facts, **beside)
        rows, prefs = files[config.outputs.sft], files[config.outputs.prefs]
        missed = _missed(config.accept, made, rows, prefs, facts["template_share"])
    return _outcome(config, run.id, version, facts, missed)


def _cases(run: Run, *paths: str | Path) -> list[Case]:
    """The cases of suites, in their order."""
    return [case for path in paths for case in jsonl.read(run.input(path), Case)]


def _two_turns(ws: Workspace, run: Run, name: str) -> list[Case]:
    """The turns of the two-turn questions, all held out; none without the file."""
    return questions.cases(run.input(name)) if ws.path(name).is_file() else []


def _taught(
    ws: Workspace, run: Run, config: Config, failures: Sequence[Failure], cases: Sequence[Case],
    words: rubric.Rubric, policy: Policy, sources: Mapping[str, consent.Source],
    said: reviews.Reviews,
) -> dict[str, int]:  # fmt: skip
    """Ask the teacher, where there is one, about failures that nobody answered and it did not."""
    if not config.teacher.url:
        return {}
    by_id = {case.id: case for case in cases}
    over = {*said.dropped, *said.poor}
    open_ = [f for f in failures if f.retention == "full" and f.id not in over
             and sft.known(f, by_id, said) is None]  # fmt: skip
    told = teacher.ask(
        ws, run.id, config.teacher, open_, by_id, words, policy,
        lambda failure: consent.may(sources, failure.source, "teacher"),
    )  # fmt: skip
    return told._asdict()


def _hardened(
    ws: Workspace, run: Run, config: Config, made: Made, cases: Sequence[Case],
    words: rubric.Rubric,
) -> int:  # fmt: skip
    """Add pairs against what the current model says; how many there are."""
    if not config.negatives.model:
        return 0
    by_id, known = {case.id: case for case in cases}, {pair.id for pair in made.pairs}
    found = negatives.sample(ws, config.negatives, made.answered, by_id, words)
    fresh = [(place, pair) for place, pair in found.pairs if pair.id not in known]
    for place, pair in fresh:
        failure = made.answered[place].failure
        made.add(None, pair, by_id.get(str(failure.meta.get("case"))), failure.prompt or "")
        run.link(found.digest, pair.id, "said")
    return len(fresh)


def _keep(ws: Workspace, run: Run, name: str, secrets: Sequence[canary.Canary]) -> None:
    """The canaries that this version holds; of an earlier version none are left."""
    if secrets:
        jsonl.write(run.output(name), secrets)
    else:
        ws.path(name).unlink(missing_ok=True)


def _tell(
    ws: Workspace, run: Run, config: Config, page: lint_report.Page, files: Files,
    failures: Sequence[Failure], policy: Policy,
) -> None:  # fmt: skip
    """The datasheet and the dataset card."""
    tally, who = datasheet.Tally(), human.load(ws)
    for failure in failures:
        tally.add(failure)
    more = card.sections(page, files, who, page.context.heldout.count)
    sheet = datasheet.render(tally, policy, datasheet.quarantined(ws), more)
    jsonl.write_text(run.output(config.outputs.datasheet), sheet)
    jsonl.write_text(run.output(config.outputs.card), card.card(page, files, who, more))


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


def _sft_hits(rows: Sequence[SftExample], context: lint.Context) -> list[lint.Hit]:
    """What stops the build in an SFT row: held-out text, personal data, a credential."""
    hits = []
    asked = context.heldout.find_all(
        [row.messages or [] for row in rows], [context.kin(row.made_from) for row in rows]
    )
    for row, hit in zip(rows, asked, strict=True):
        if hit:
            hits.append(lint.Hit(row.id, f"held-out case {hit.case} ({hit.how}); {MEND}"))
    turns = [(row.id, turn) for row in rows for turn in row.messages or []]
    left = private.left_in([turn.content for _, turn in turns], context.rules)
    for (id, turn), findings in zip(turns, left, strict=True):
        for found in findings:
            why = f"{turn.role} holds {found.tag} (rule {found.rule}); {MEND}"
            hits.append(lint.Hit(id, why))
    return hits


def _refuse(run: Run, hits: Sequence[lint.Hit]) -> None:
    """The first hit that stops the build; all of them are kept beside the run."""
    if hits:
        name = "the set of pairs" if hits[0].id == lint.WHOLE else hits[0].id
        where = run.ws.relative(run.dir / HITS)
        more = f" (and {len(hits) - 1} more, see {where})" if len(hits) > 1 else ""
        raise BadInput(f"{name}: {hits[0].why}{more}; nothing was written")


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


def _write(run: Run, config: Config, files: Files, beside: Mapping[str, str] | None = None) -> str:
    """The files, the version file, and the lineage of every row. `beside`: digests of what the rows
    were checked and written by; they stand beside the id, which is the rows' alone."""
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
    told = {"rows": counts, "files": digests, **(beside or {})}
    jsonl.write_json(_beside(run, config.outputs.version), {"id": version, **told})
    for name in (*files, config.outputs.version):  # all are written: a full disk changed nothing
        role = "version" if name == config.outputs.version else "data"
        _beside(run, name).replace(run.output(name, role))
    run.node(version, "version", **told)
    run.event("version", id=version, **told)
    return version


def _missed(
    accept: Accept, made: Made, rows: Sequence[object], prefs: Sequence[object], template: float
) -> list[str]:
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
    else:
        text += "\n" + say("next: `errata sft`", "下一步：`errata sft`")
    data = {"run_id": run_id, "version": version, "missed": list(missed), **facts}
    return Outcome(3 if missed else 0, text, data)
