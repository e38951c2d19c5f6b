"""Raw rows → data/failures.jsonl: redacted, counted, in buckets by label, with a datasheet.

    errata intake inbox/*.jsonl --source support_ticket

Without a file, everything in inbox/ is taken. Redaction and retention follow
policies/redaction.yaml. A row that cannot be used goes to .errata/quarantine/ with its reason and
stops nothing; exit 2 only when no row is usable. The same row twice is one failure: its id is the
hash of what was kept. `engine=ray` does the same work on all cores, and writes the same bytes."""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import Field

from errata import jsonl
from errata.build import reviews
from errata.config import Section
from errata.errors import BadInput
from errata.intake import (
    buckets,
    consent,
    datasheet,
    inbox,
    labeller,
    names,
    scale,
    shards,
    sources,
)
from errata.intake.cleaner import Cleaner
from errata.intake.fields import RowError, canonical_label
from errata.intake.gather import Gathered
from errata.intake.labeller import Labels
from errata.intake.redact import Policy, load_policy, redactor, workspace_key
from errata.intake.sources import Reading
from errata.intake.take import BATCH, Part, Taken, parts, take
from errata.language import say
from errata.outcome import Outcome
from errata.records import Label
from errata.store import database, ledger, tombstone
from errata.store.runs import Run
from errata.workspace import Workspace


class Inputs(Section):
    """Where raw rows wait when no file is named."""

    inbox: str = Field(default="inbox", description="folder whose files are taken without a FILE")


class Outputs(Section):
    """What intake writes."""

    failures: str = Field(default="data/failures.jsonl", description="all failures, redacted")
    buckets: str = Field(default="data/failures", description="the same, by label and source")
    datasheet: str = Field(default="reports/datasheet.md", description="what came in, from where")
    labels: str = Field(default="reports/labels.md", description="how sure the classifier is")


class Accept(Section):
    """When intake says no."""

    max_quarantined_share: float = Field(
        default=1.0, description="exit 3 above this share of rows in quarantine"
    )


class Config(Section):
    """Knobs of `errata intake FILE…`."""

    args: list[str] = Field(
        default_factory=list,
        description="files (.jsonl .json .csv .tsv .parquet), folders, patterns; default: inbox/",
    )
    engine: Literal["local", "ray"] = Field(
        default="local", description="`ray`: on all cores, or on the cluster of RAY_ADDRESS"
    )
    source: str | None = Field(
        default=None,
        description="source of rows that name none: online, support_ticket, red_team …",
    )
    label: str | None = Field(
        default=None, description="label of rows that have none; without it they are classified"
    )
    label_precision: float = Field(
        default=0.9, gt=0, le=1,
        description="how sure the classifier must be of a label: lower bound of its precision",
    )  # fmt: skip
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="our field → their column; `a.b` for one inside another",
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="their word for a kind of failure → our label"
    )
    inbox_days: int = Field(
        default=30, ge=0, description="days after which a raw row is deleted from the inbox"
    )
    sources: dict[str, consent.Source] = Field(
        default_factory=dict, description="source → purpose and consent; rows of others never train"
    )
    inputs: Inputs = Inputs()
    outputs: Outputs = Outputs()
    accept: Accept = Accept()


_UNBUILT = (
    "## Dataset version · 数据版本\n\nNone since these rows came in: `errata build` adds it. · "
    "入库后尚未构建，运行 `errata build` 后补充。"
)


def main(ws: Workspace, config: Config) -> Outcome:
    """Take the files in, and write failures, buckets and datasheet anew."""
    paths = shards.files(ws, config.args, config.inputs.inbox)
    how = Reading(
        _known(config.label, "label") if config.label else None, config.columns, _named(config),
        guess=not config.label,
    )  # fmt: skip
    policy, key = load_policy(ws), workspace_key(ws)
    failures = ws.path(config.outputs.failures)
    labels = Labels(failures, ws.root / reviews.FILE, config.label_precision)
    cleaner = Cleaner(policy, key, redactor(ws, policy), labels)
    with (
        ws.alone("intake"),
        Run(ws, "intake", config) as run,
        Gathered(ws.cache / f"{run.id}.db") as gathered,
    ):
        if _has_rows(failures):
            gathered.load(failures)
        with _reading(ws, paths, how, cleaner, config) as found:
            taken = [take(ws, path, made, cleaner, gathered) for path, made in found]
        if not any(part.usable for part in taken):
            if gone := _sweep(ws, config, key):
                ledger.append(ws, "expiry", run=run.id, rows=gone, days=config.inbox_days)
            raise BadInput(_unusable(taken))
        with database.reading(ws) as connection:  # git may have brought erased rows back
            gathered.drop(tombstone.buried(connection))
        if guessed := gathered.guessed():  # by what was there before these rows
            page = labeller.render(labels.labeller(), config.label_precision)
            jsonl.write_text(run.output(config.outputs.labels), page)
        jsonl.write_lines(run.output(config.outputs.failures), gathered.lines())
        buckets.write(run.output(config.outputs.buckets), gathered.by_bucket())
        tally, fresh_from = _link(run, gathered)
        sheet = datasheet.render(tally, policy, datasheet.quarantined(ws), [_UNBUILT])
        jsonl.write_text(run.output(config.outputs.datasheet), sheet)
        total, fresh = gathered.count()
        counts = _record(ws, run, taken, policy) | {"new": fresh}
        counts["expired"] = _sweep(ws, config, key)
        if counts["expired"]:
            run.event("expiry", rows=counts["expired"], days=config.inbox_days)
        unread = [names.told(ws.relative(path), cleaner.redact, key)
                  for path in shards.unread(ws, config.args, config.inputs.inbox)]  # fmt: skip
        run.note(guessed=guessed, unread=len(unread))
        missing = consent.undeclared(config.sources, fresh_from.elements())
    outcome = _with_guesses(_outcome(ws, config, run.id, counts, total), guessed, config)
    return _with_unread(_with_advice(outcome, missing), unread)


def _link(run: Run, gathered: Gathered) -> tuple[datasheet.Tally, Counter[str | None]]:
    """Say where each failure came from that the store does not know: the new ones, and those of an
    intake that died after it wrote them. What the datasheet counts, and the new ones' sources."""
    tally, sources, rows = datasheet.Tally(), Counter[str | None](), gathered.all()
    while part := list(islice(rows, BATCH)):
        known = _recorded(run, [failure.id for failure, _ in part])
        for failure, fresh in part:
            tally.add(failure)
            sources[failure.source] += fresh
        new = [failure for failure, _ in part if failure.id not in known]
        run.links((run.id, failure.id, "took in") for failure in new)
        run.links((str(release), failure.id, "failed in")
                  for failure in new if (release := failure.meta.get("release")))  # fmt: skip
        run.nodes((failure.id, "failure", failure.model_dump(include={"label", "source", "ts"}))
                  for failure in new)  # fmt: skip
    return tally, sources


def _recorded(run: Run, ids: list[str]) -> set[str]:
    """Those of the ids that the store has."""
    table = database.node
    with database.reading(run.ws) as connection:
        query = sa.select(table.c.id).where(table.c.id.in_(ids))
        return set(connection.execute(query).scalars())


def _sweep(ws: Workspace, config: Config, key: bytes) -> int:
    """Raw rows whose time is over leave the inbox."""
    today = datetime.datetime.now(datetime.UTC).date()

    def name(line: bytes) -> str:
        return hmac.new(key, line, hashlib.sha256).hexdigest()[:32]

    return inbox.sweep(ws, ws.path(config.inputs.inbox), config.inbox_days, name, today)


def _with_guesses(outcome: Outcome, guessed: dict[str, int], config: Config) -> Outcome:
    """What is said of rows that came without a label."""
    if not guessed:
        return outcome
    given, open_ = guessed.get(labeller.GUESSED, 0), guessed.get(labeller.ABSTAINED, 0)
    page = config.outputs.labels
    text = say(f"{given + open_} came without a label: {given} labelled by the classifier "
               f"({page}), {open_} wait for `errata review` and do not train until then.",
               f"{given + open_} 条没有标签：分类器标注 {given} 条（{page}），"
               f"{open_} 条等待 `errata review`，此前不参与训练。")  # fmt: skip
    return Outcome(outcome.code, f"{outcome.text}\n{text}", {**outcome.data, "guessed": guessed})


def _with_unread(outcome: Outcome, unread: Sequence[str]) -> Outcome:
    """What is said of files that nothing was read of."""
    if not unread:
        return outcome
    shown = ", ".join(unread[:5]) + (" …" if len(unread) > 5 else "")
    text = say(f"{len(unread)} files are of no kind that is read: {shown}; save them as .jsonl or "
               ".csv. What waits in the inbox is deleted after `inbox_days`.",
               f"{len(unread)} 个文件格式无法读取：{shown}；请另存为 .jsonl 或 .csv。"
               "收件箱中的文件超过 `inbox_days` 天会被删除。")  # fmt: skip
    return Outcome(outcome.code, f"{outcome.text}\n{text}", {**outcome.data, "unread": len(unread)})


def _with_advice(outcome: Outcome, missing: dict[str, int]) -> Outcome:
    """What is said of rows that will not train."""
    if not missing:
        return outcome
    told = ", ".join(f"{name} ({count})" for name, count in missing.items())
    step = consent.advice(missing)
    text = say(f"Will not train: {told}; to let them, add {step}.",
               f"不参与训练的来源：{told}；如需训练，请添加 {step}。")  # fmt: skip
    return Outcome(outcome.code, f"{outcome.text}\n{text}", {**outcome.data, "untrained": missing})


def _reading(
    ws: Workspace, paths: Sequence[Path], how: Reading, cleaner: Cleaner, config: Config
) -> AbstractContextManager[Iterable[tuple[Path, Iterator[Part]]]]:
    """What comes of each file, here or in Ray's workers."""
    if config.engine == "ray":
        work = scale.Work(ws.root, how, cleaner.policy, config.source, cleaner.labels)
        return scale.reading(ws, paths, work)
    return nullcontext(
        (path, parts(sources.read(path, how), cleaner, config.source)) for path in paths
    )


def _has_rows(path: Path) -> bool:
    return path.is_file() and any(True for _ in jsonl.lines(path))


def _named(config: Config) -> dict[str, str]:
    """Their words for our labels; BadInput for a label that is none."""
    return {word: _known(label, f"labels.{word}") for word, label in config.labels.items()}


def _known(label: str, where: str) -> Label:
    try:
        return canonical_label(label)
    except RowError as error:
        raise BadInput(f"configs/intake.yaml, or the call: {where}: {error.reason}") from None


def _unusable(taken: Sequence[Taken]) -> str:
    for part in taken:
        if bad := part.first_bad:
            where = f"{part.name}:{bad.line}: " + (f"{bad.field}: " if bad.field else "")
            return f"{where}{bad.reason}; no row is usable: mend the file and run intake again"
    first, step = taken[0], "put one JSON object a line"
    if first.path.suffix.lower() in (".csv", ".tsv"):
        step = "put the names of the columns in the first line and a row in each line below"
    return f"{first.name}: no rows that failed; {step}"


def _record(ws: Workspace, run: Run, taken: Sequence[Taken], policy: Policy) -> dict[str, int]:
    """One audit event a file; the numbers of all of them."""
    counts = {"rows": 0, "new": 0, "duplicates": 0, "quarantined": 0, "good": 0}
    facts = []
    for part in taken:
        fact: dict[str, Any] = {
            "file": part.name,
            "hmac": part.hmac,
            "rows": part.rows,
            "new": part.new,
            "duplicates": part.usable - part.new,
            "quarantined": part.quarantined,
            "good": part.good,
        }
        facts.append(fact)
        for name in counts:
            counts[name] += fact[name]
        ledger.append(ws, "intake", run=run.id, policy=policy.hash, **fact)
    run.note(files=facts, policy=policy.hash, **counts)
    return counts


def _outcome(
    ws: Workspace, config: Config, run_id: str, counts: dict[str, int], total: int
) -> Outcome:
    share = counts["quarantined"] / counts["rows"]
    text = say(
        f"{counts['rows']} rows read: {counts['new']} new failures, {counts['duplicates']} known, "
        f"{counts['quarantined']} quarantined. {total} failures in {config.outputs.failures}.",
        f"读入 {counts['rows']} 行：新增失败样本 {counts['new']}，已有 {counts['duplicates']}，"
        f"隔离 {counts['quarantined']}。{config.outputs.failures} 现有 {total} 条。",
    )
    if counts["good"]:
        text += say(f" {counts['good']} say that the answer was good: no failures.",
                    f"其中 {counts['good']} 行自述回答良好，不作为失败样本。")  # fmt: skip
    if counts["quarantined"]:
        text += "\n" + say("Reasons: ", "原因见：") + ws.relative(ws.state / "quarantine")
    code = 3 if share > config.accept.max_quarantined_share else 0
    text += "\n" + say("next: `errata build`", "下一步：`errata build`")
    return Outcome(code, text, {"run_id": run_id, **counts, "failures": total})
