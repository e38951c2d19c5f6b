"""The model card, in Hugging Face's form, its bill of materials, and a signed manifest of both.

    errata card                    the release under way, else the serving one, else the newest run
    errata card model=RUN|FILE
    errata card verify             every byte of model, card and evidence is as it was signed

Everything comes of records: the manifest, the ledger, the evidence of that digest, the verdicts,
the waivers, the routing. What nobody measured stands there as missing; what nobody said
(policies/model-card.yaml, policies/datasheet.yaml) is asked for, and no card is written. Licences
that do not go together are shown, and are exit 3. A release, a rollback, a waiver and an erasure
write it anew; `errata check` calls it stale where that could not be done.
"""

from __future__ import annotations

from dataclasses import replace
from threading import Thread
from typing import Any

import yaml
from pydantic import Field

from errata import candidates, jsonl
from errata.build.card import hub_licence
from errata.config import Section
from errata.errors import BadInput
from errata.intake import human
from errata.language import say
from errata.outcome import Outcome
from errata.records import Candidate, Waiver
from errata.release import (
    again,
    bom,
    card_parts,
    evidence,
    licences,
    manifest,
    said,
    trained,
    verdicts,
    waivers,
)
from errata.release import subject as subjects
from errata.release.licences import Ruling
from errata.release.subject import Subject
from errata.store import database, ledger, lineage
from errata.store.runs import Run
from errata.workspace import Workspace

PAGE = "reports/model-card.md"
_WAIT = 120.0  # seconds for another process to hash tens of gigabytes of weights
MOVES = ("verdict", "rollout", "waiver", "erasure")  # events that make an earlier card stale
FOLDERS = ("evaluate", "safety", "bench", "mtbench", "human")


class Config(Section):
    """Knobs of `errata card`."""

    args: list[str] = Field(default=[], description="verify; nothing: write")
    model: str = Field(
        default="", description="run id, manifest, path or name; default: what users get, or newest"
    )
    inputs: list[str] = Field(
        default=[f"reports/{name}" for name in FOLDERS], description="folders of evidence"
    )
    outputs: list[str] = Field(
        default=[PAGE, bom.PAGE, manifest.PAGE], description="card, bill of materials, manifest"
    )


def waivers_of(ws: Workspace, candidate: Candidate) -> list[tuple[Waiver, str]]:
    """The waivers of a candidate, and why each does not count today; "" where it does."""
    return [(one, waivers.why_not(ws, one, candidate)) for one in waivers.all_of(ws)
            if one.candidate_digest == candidate.digest]  # fmt: skip


def outdated(ws: Workspace, seq: int, subject: Subject | None) -> str:
    """Why a card that the event `seq` tells of speaks of an earlier state; else ""."""
    told = head(ws)
    if subject is None or told.get("candidate_digest") != subject.candidate.digest:
        return say("about another candidate", "写的是另一个候选")
    for event in ledger.events(ws):
        if event["seq"] > seq and event["kind"] in MOVES:
            return say(f"older than a {event['kind']} of {event['ts']}",
                       f"早于 {event['ts']} 的 {event['kind']}")  # fmt: skip
    counting = [one.id for one, why in waivers_of(ws, subject.candidate) if not why]
    if told.get("waivers") != counting:
        return say("the waivers in force are others now", "有效的豁免已变化")
    return ""


def head(ws: Workspace) -> dict[str, Any]:
    """What the card's metadata says under `errata`; {} where that cannot be read."""
    own = said.front_matter(ws.path(PAGE)).get("errata")
    return own if isinstance(own, dict) else {}


def main(ws: Workspace, config: Config) -> Outcome:
    """Write the card of one candidate, or hold what was signed against what lies here."""
    if config.args == ["verify"]:
        return _verify(ws)
    if config.args:
        raise BadInput("card: `errata card` writes it, `errata card verify` checks it")
    ledger.adopt(ws)
    with ws.alone("card", _WAIT):  # the last to write has read the newest state
        subject = subjects.of(ws, config.model)
        if subject is None:
            raise BadInput("card: nothing was trained yet; `errata sft`, or name one with model=")
        return write(ws, config, subject)


def write(ws: Workspace, config: Config, subject: Subject) -> Outcome:
    """Card, bill of materials and manifest. BadInput while a field that people owe is empty, and
    where the weights are not those that the candidate's digest names."""
    candidate = subject.candidate
    files = trained.files(ws, candidate)
    if missing := said.missing(ws, candidate, files):
        raise BadInput(f"card: {', '.join(missing)}: nobody filled this in; say it, then "
                       "`errata card`")  # fmt: skip
    here = manifest.weight_files(ws, candidate)
    if here and not again.elsewhere(ws, candidate):
        candidates.verify(ws, candidate)
    with Run(ws, "card", config) as run:
        found = evidence.collect(ws, candidate.digest, config.inputs)
        for path in found.paths:
            run.input(path)
        rulings = said.rulings(ws, candidate, files)
        part = card_parts.Parts(ws, subject, found, waivers_of(ws, candidate), files, rulings,
                                lineage_digest(ws, candidate), trained.versions(ws),
                                said.load(ws), human.load(ws))  # fmt: skip
        weights = manifest.digests(here)
        page, materials, signed = config.outputs
        meta = yaml.safe_dump(_meta(part), allow_unicode=True, sort_keys=False, width=1000)
        body = "\n\n".join(text.strip() for text in card_parts.sections(part))
        jsonl.write_text(run.output(page), f"---\n{meta}---\n\n{body}\n")
        document = bom.document(part, weights, database.now())
        bom.check(document)
        jsonl.write_json(run.output(materials), document)
        about = {"candidate_digest": candidate.digest, "run_id": run.id, "lineage": part.lineage}
        covered = {**weights, **manifest.digests(_papers(ws, part, page, materials))}
        jsonl.write_json(run.output(signed), manifest.envelope(ws, covered, about))
        run.link(candidate.digest, page, "described in")
        run.note(candidate_digest=candidate.digest, files=len(covered))
    return _told(subject, run.id, config.outputs, rulings)


def _papers(ws: Workspace, part: card_parts.Parts, *own: str) -> dict[str, Any]:
    """The card, its bill of materials, the evidence and the last verdict, by name."""
    event = verdicts.given(ws, part.subject.candidate.digest)
    judged = [ws.path(str(event["data"]["path"]))] if event and event["data"].get("path") else []
    paths = [*(ws.path(name) for name in own), *part.evidence.paths, *judged]
    return {ws.relative(path): path for path in paths if path.is_file()}


def _told(subject: Subject, run_id: str, outputs: list[str], rulings: list[Ruling]) -> Outcome:
    open_ = [one for one in rulings if one.level in licences.OPEN]
    lines = [say(f"{outputs[0]}: {subject.name}", f"{outputs[0]}：{subject.name}")]
    lines += [f"✗ {one.part.id} ({one.part.licence}): {one.text}" for one in open_]
    if open_:
        lines.append(say(
            f"licences do not go together; change them, or say below `permissions:` in {said.FILE} "
            f"why it is fine: `{open_[0].part.id}: …`",
            f"许可不相容；请更换，或在 {said.FILE} 的 `permissions:` 下写明理由："
            f"`{open_[0].part.id}: …`"))  # fmt: skip
    else:
        lines.append(say("next: `errata card verify`, `errata check`",
                         "下一步：`errata card verify`、`errata check`"))  # fmt: skip
    facts = {"run_id": run_id, "card": outputs[0], "candidate_digest": subject.candidate.digest,
             "licences": [f"{one.level}: {one.part.id}" for one in rulings]}  # fmt: skip
    return Outcome(3 if open_ else 0, "\n".join(lines), facts)


def _verify(ws: Workspace) -> Outcome:
    """Exit 1 names what is not as it was signed, and a manifest that no run here wrote."""
    signed = manifest.statement(ws)
    ledger.adopt(ws)
    digest = str(signed["predicate"].get("candidate_digest"))
    wrong = list(manifest.problems(ws, again.find(ws, digest) or _of_run(ws, signed)))
    written = ledger.written(ws).get(manifest.PAGE)
    if written and evidence.now(ws, written.digest) != jsonl.digest_file(ws.path(manifest.PAGE)):
        # whoever may add a key to keys/ could sign anything: the ledger knows what was written
        wrong.append(say(f"{manifest.PAGE}: signed, but not what {written.run} wrote",
                         f"{manifest.PAGE}：有签名，但不是 {written.run} 写出的文件"))  # fmt: skip
    count, about = len(signed["subject"]), digest[:19]
    fine = say(f"{about}…: {count} files are as they were signed",
               f"{about}…：{count} 个文件与签名时一致")  # fmt: skip
    step = say("bring them back with git or from their runs, or `errata card` for what is now",
               "请用 git 或从其运行恢复，或对现状重新 `errata card`")  # fmt: skip
    text = "\n".join([*(f"✗ {line}" for line in wrong), step]) if wrong else fine
    return Outcome(1 if wrong else 0, text, {"files": count, "problems": wrong})


def _of_run(ws: Workspace, signed: dict[str, Any]) -> Candidate | None:
    """The candidate that a manifest is about, by the runs that are here."""
    digest = signed["predicate"].get("candidate_digest")
    for path in ws.runs.glob("*/candidate.json"):
        if digest in path.read_text(encoding="utf-8", errors="replace"):
            found = candidates.read(ws, path)
            if found.digest == digest:
                return found
    return None


def lineage_digest(ws: Workspace, candidate: Candidate) -> str:
    """Of all steps that led to a candidate: another row, rule or run is another digest."""
    with database.reading(ws) as connection:
        database.by_index(connection)
        return jsonl.digest(sorted(lineage.walk(connection, candidate.digest, False)))


def keep_up(ws: Workspace) -> str:
    """Write the card anew after a release, a rollback, a waiver or an erasure; a line to tell.

    Raises nothing, whatever is wrong with a card: the move that it follows has been made."""
    try:
        with ws.alone("card", _WAIT):
            subject = subjects.of(ws)
            outcome = write(ws, Config(), subject) if subject else None
    except Exception as error:
        return say(f"the model card was not written: {error}", f"模型卡未更新：{error}")
    return outcome.text.splitlines()[0] if outcome else ""


def kept_up(ws: Workspace, moved: Outcome) -> Outcome:
    """The outcome of such a move, with a line about the card."""
    line = keep_up(ws)
    return replace(moved, text=f"{moved.text.rstrip()}\n{line}") if line else moved


def keep_up_beside(ws: Workspace) -> None:
    """The same in a thread of its own: a control loop looks on while large weights are hashed. That
    loop is a daemon; the process ends when the card is written all the same."""
    Thread(target=keep_up, args=(ws,), name="model-card", daemon=False).start()


def _meta(part: card_parts.Parts) -> dict[str, Any]:
    """What the Hub reads, and what `errata check` holds the card against."""
    candidate, release = part.subject.candidate, part.subject.release
    stages = [candidate.run_id.split("-")[2]] if candidate.run_id else []
    return {
        "base_model": trained.first_base(part.ws, candidate),
        **hub_licence(licences.plain(part.told.licence)),
        "language": ["zh", "en"],
        **({"library_name": "peft"} if candidate.adapter else {}),
        "pipeline_tag": "text-generation",
        "tags": ["errata", *stages, *(["lora"] if candidate.adapter else [])],
        "model-index": _index(part),
        "errata": {
            "candidate_digest": candidate.digest,
            "release": release.id if release else None,
            "lineage": part.lineage,
            "waivers": [one.id for one, why in part.waivers if not why],
        },
    }


def _index(part: card_parts.Parts) -> list[dict[str, Any]]:
    """Measured values, a result a suite; the Hub wants numbers, so what has no data is left out."""
    suites: dict[str, list[dict[str, Any]]] = {}
    for name, metric in part.evidence.metrics.items():
        if metric.value is not None:
            row = {"type": name, "name": name, "value": round(metric.value, 6)}
            suites.setdefault(part.evidence.suites[name], []).append(row)
    results = [{"task": {"type": "text-generation"},
                "dataset": {"type": "errata-suite", "name": f"held-out suite {suite[:19]}",
                            "revision": suite},
                "metrics": rows} for suite, rows in suites.items()]  # fmt: skip
    name = part.told.called(part.subject.candidate)
    return [{"name": name, "results": results}] if results else []
