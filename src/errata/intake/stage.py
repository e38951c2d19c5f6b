"""Raw rows → data/failures.jsonl: redacted, counted, in buckets by label, with a datasheet.

    errata intake inbox/*.jsonl --source support_ticket

Without a file, everything in inbox/ is taken. Redaction and retention follow
policies/redaction.yaml. A row that cannot be used goes to .errata/quarantine/ with its reason and
stops nothing; exit 2 only when no row is usable. The same row twice is one failure: its id is the
hash of what was kept."""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from errata import jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.intake import buckets, consent, datasheet, inbox, sources
from errata.intake.cleaner import Cleaner
from errata.intake.fields import RowError, canonical_label
from errata.intake.files import KINDS, Bad
from errata.intake.redact import load_policy, redactor, workspace_key
from errata.intake.sources import Good, Reading
from errata.language import say
from errata.outcome import Outcome
from errata.privacy import vault
from errata.records import Failure
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


class Accept(Section):
    """When intake says no."""

    max_quarantined_share: float = Field(
        default=1.0, description="exit 3 above this share of rows in quarantine"
    )


class Config(Section):
    """Knobs of `errata intake FILE…`."""

    args: list[str] = Field(
        default_factory=list, description="files (.jsonl .json .csv .tsv); default: all of inbox/"
    )
    source: str | None = Field(
        default=None,
        description="source of rows that name none: online, support_ticket, red_team …",
    )
    label: str | None = Field(default=None, description="label of rows that have none")
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


@dataclass
class Taken:
    """What one file gave."""

    path: Path
    failures: list[Failure] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    good: int = 0  # rows that say themselves that the answer was good
    hmac: str = ""


def main(ws: Workspace, config: Config) -> Outcome:
    """Take the files in, and write failures, buckets and datasheet anew."""
    paths = _files(ws, config)
    how = Reading(
        canonical_label(config.label) if config.label else None, config.columns, _named(config)
    )
    policy, key = load_policy(ws), workspace_key(ws)
    cleaner = Cleaner(policy, key, redactor(ws, policy))
    with Run(ws, "intake", config) as run:
        target = ws.path(config.outputs.failures)
        known = jsonl.read(target, Failure) if _has_rows(target) else []
        all_rows = {failure.id: failure for failure in known}
        taken = [_take(path, how, cleaner, config.source) for path in paths]
        for part in taken:
            _quarantine(ws, part)
        if not any(part.failures for part in taken):
            if gone := _sweep(ws, config, key):
                ledger.append(ws, "expiry", run=run.id, rows=gone, days=config.inbox_days)
            raise BadInput(_unusable(ws, taken))
        for failure in (failure for part in taken for failure in part.failures):
            old = all_rows.get(failure.id)
            all_rows[failure.id] = _learnt(old, failure) if old else failure
        with database.reading(ws) as connection:  # erased once: a copy that turns up stays out
            for id in tombstone.buried(connection):
                all_rows.pop(id, None)
        vault.keep(ws, (box for id in all_rows for box in cleaner.boxes.get(id, ())))
        failures = list(all_rows.values())
        there = {failure.id for failure in known}
        fresh = [failure for failure in failures if failure.id not in there]
        jsonl.write(run.output(config.outputs.failures), failures)
        buckets.write(run.output(config.outputs.buckets), failures)
        sheet = datasheet.render(failures, policy, _quarantined(ws))
        jsonl.write_text(run.output(config.outputs.datasheet), sheet)
        run.links((run.id, failure.id, "took in") for failure in fresh)
        for failure in fresh:
            facts = {"label": failure.label, "source": failure.source, "ts": failure.ts}
            run.node(failure.id, "failure", **facts)
            if release := failure.meta.get("release"):
                run.link(str(release), failure.id, "failed in")
        counts = _record(ws, run, taken, fresh, cleaner)
        counts["expired"] = _sweep(ws, config, key)
        if counts["expired"]:
            run.event("expiry", rows=counts["expired"], days=config.inbox_days)
    outcome = _outcome(ws, config, run.id, counts, len(failures))
    missing = consent.undeclared(config.sources, (failure.source for failure in fresh))
    return _with_advice(outcome, missing)


def _sweep(ws: Workspace, config: Config, key: bytes) -> int:
    """Raw rows whose time is over leave the inbox."""
    today = datetime.datetime.now(datetime.UTC).date()

    def name(line: bytes) -> str:
        return hmac.new(key, line, hashlib.sha256).hexdigest()[:32]

    return inbox.sweep(ws, ws.path(config.inputs.inbox), config.inbox_days, name, today)


def _with_advice(outcome: Outcome, missing: dict[str, int]) -> Outcome:
    """What is said of rows that will not train."""
    if not missing:
        return outcome
    told = ", ".join(f"{name} ({count})" for name, count in missing.items())
    step = consent.advice(missing)
    text = say(f"Will not train: {told}; to let them, add {step}.",
               f"不参与训练的来源：{told}；如需训练，请添加 {step}。")  # fmt: skip
    return Outcome(outcome.code, f"{outcome.text}\n{text}", {**outcome.data, "untrained": missing})


def _learnt(old: Failure, new: Failure) -> Failure:
    """A known failure, with what it lacked: its source, its time, its reference, its people."""
    people = {*old.meta.get("subjects", []), *new.meta.get("subjects", [])}
    return old.model_copy(
        update={
            "source": old.source or new.source,
            "ts": old.ts or new.ts,
            "meta": {**new.meta, **old.meta} | ({"subjects": sorted(people)} if people else {}),
            "tags": list(dict.fromkeys([*old.tags, *new.tags])),
        }
    )


def _files(ws: Workspace, config: Config) -> list[Path]:
    if config.args:
        here = [Path(name).expanduser() for name in config.args]
        return [path.resolve() if path.exists() else ws.path(path) for path in here]
    there = sorted(ws.path(config.inputs.inbox).glob("*"))
    paths = [path for path in there if path.is_file() and path.suffix.lower() in KINDS]
    if not paths:
        kinds = " ".join(f"*{ending}" for ending in KINDS)
        raise BadInput(
            f"{config.inputs.inbox}/: nothing to take in ({kinds}); name a FILE, or put one there"
        )
    return paths


def _has_rows(path: Path) -> bool:
    return path.is_file() and any(True for _ in jsonl.lines(path))


def _named(config: Config) -> dict[str, str]:
    """Their words for our labels; BadInput for a label that is none."""
    return {word: _known(label, word) for word, label in config.labels.items()}


def _known(label: str, word: str) -> str:
    try:
        return canonical_label(label)
    except RowError as error:
        raise BadInput(f"configs/intake.yaml: labels.{word}: {error.reason}") from None


def _take(path: Path, how: Reading, cleaner: Cleaner, source: str | None) -> Taken:
    """Read one file; its hash is keyed: a plain one of a short raw file could be guessed."""
    part = Taken(path)
    for row in sources.read(path, how):
        if isinstance(row, Bad):
            part.bad.append(row)
        elif isinstance(row, Good):
            part.good += 1
        else:
            part.failures.append(cleaner.failure(row[1], source))
    with path.open("rb") as file:
        keyed = hmac.new(cleaner.key, digestmod=hashlib.sha256)
        while piece := file.read(1 << 20):
            keyed.update(piece)
        part.hmac = keyed.hexdigest()
    return part


def _quarantine(ws: Workspace, part: Taken) -> None:
    """Where and why, never the row itself: it is not redacted, and stays in the inbox."""
    path = ws.state / "quarantine" / f"{part.path.stem}.jsonl"
    if not part.bad:
        path.unlink(missing_ok=True)
        return
    name = ws.relative(part.path)
    jsonl.write(path, ({"file": name, **bad._asdict()} for bad in part.bad))


def _quarantined(ws: Workspace) -> dict[str, int]:
    folder = ws.state / "quarantine"
    return {path.name: sum(1 for _ in jsonl.lines(path)) for path in sorted(folder.glob("*.jsonl"))}


def _unusable(ws: Workspace, taken: Sequence[Taken]) -> str:
    for part in taken:
        if part.bad:
            bad = part.bad[0]
            where = f"{ws.relative(part.path)}:{bad.line}: " + (
                f"{bad.field}: " if bad.field else ""
            )
            return f"{where}{bad.reason}; no row is usable: mend the file and run intake again"
    return f"{ws.relative(taken[0].path)}: no rows; put one JSON object a line"


def _record(
    ws: Workspace, run: Run, taken: Sequence[Taken], fresh: Sequence[Failure], cleaner: Cleaner
) -> dict[str, int]:
    """One audit event a file; the numbers of all of them."""
    ids = {failure.id for failure in fresh}
    counts = {"rows": 0, "new": len(fresh), "duplicates": 0, "quarantined": 0, "good": 0}
    facts = []
    for part in taken:
        new = {failure.id for failure in part.failures} & ids
        ids -= new
        fact: dict[str, Any] = {
            "file": _told(ws, part, cleaner),
            "hmac": part.hmac,
            "rows": len(part.failures) + len(part.bad) + part.good,
            "new": len(new),
            "duplicates": len(part.failures) - len(new),
            "quarantined": len(part.bad),
            "good": part.good,
        }
        facts.append(fact)
        for name in ("rows", "duplicates", "quarantined", "good"):
            counts[name] += fact[name]
        ledger.append(ws, "intake", run=run.id, policy=cleaner.policy.hash, **fact)
    run.note(files=facts, policy=cleaner.policy.hash, **counts)
    return counts


def _told(ws: Workspace, part: Taken, cleaner: Cleaner) -> str:
    """A file as the ledger names it: nothing is ever taken out of there, so no name of a person."""
    name = ws.relative(part.path)
    spoken = Path(name).stem.replace("_", " ").replace("-", " ")
    if cleaner.redact(name).findings or cleaner.redact(spoken).findings:
        return f"{Path(name).parent.as_posix()}/{part.hmac[:12]}{part.path.suffix}"
    return name


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
    return Outcome(code, text, {"run_id": run_id, **counts, "failures": total})
