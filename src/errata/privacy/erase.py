"""Erase a person, everywhere a workspace can reach, and say what it cannot.

    errata erase --subject li@example.com why="request of 2025-12-16"
    errata erase --subject - < name.txt      a name that is to stay out of the shell's history
    errata erase f-0001 f-0002 why="…"       rows by their ids

A subject is what the source called the person (`user`, `customer_id` …), or a value that is theirs:
an e-mail address, a phone number, a name. Rows go, what was made of them goes, each dataset version
that held one gets a successor without it, and what is left is a tombstone: the hash, no text. A
model that learnt from them keeps what it learnt: it has to be trained again, or needs a signed
waiver, and the gate knows.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import Field

from errata import jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.intake.redact import (
    load_policy,
    redactor,
)
from errata.language import say, word
from errata.outcome import Outcome
from errata.privacy import plan as plans
from errata.privacy import reach, unreached, vault
from errata.privacy.plan import Affected, Plan
from errata.privacy.scrub import Marks
from errata.release import card
from errata.store import database, ledger, lineage, objects, people, rolled_back, tombstone, tree
from errata.store import versions as datasets
from errata.store.runs import Run
from errata.workspace import Workspace

_SILENT = ("failure", "sft", "pair", "candidate", "version", tombstone.KIND)  # nodes without text


class Config(Section):
    """`errata erase --subject ID why=…`."""

    args: list[str] = Field(default=[], description="ids of rows, instead of a subject")
    subject: str = Field(default="", description="the person; - reads it from stdin")
    why: str = Field(default="", description="the request, for the ledger; no personal data")
    dry_run: bool = Field(default=False, description="only say what would go")
    history: bool = Field(
        default=False,
        description="print what `git filter-repo --replace-text` is to replace; erase nothing",
    )
    wide: bool = Field(
        default=False, description="also where others have rows that say the name, or suites do"
    )


class Successor(NamedTuple):
    """A version without the rows: its id, and the members that are left."""

    id: str
    members: list[datasets.Member]


def successors(ws: Workspace, found: Plan) -> dict[str, Successor]:
    """Version → the one without the rows."""
    after = {}
    with database.reading(ws) as connection:
        for version in found.versions:
            rows = datasets.members(connection, version)
            left = [member for member in rows if member.row not in found.marks.ids]
            after[version] = Successor(datasets.root(member.leaf for member in left), left)
    return after


def _version_file(content: bytes, after: dict[str, Successor], new: dict[str, str]) -> bytes | None:
    """data/version.json of a version that has a successor, as that one's; None for other files."""
    try:
        facts = json.loads(content)
        later = after[facts["id"]]
        files = {name: new.get(digest, digest) for name, digest in facts["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    counts = Counter(member.file for member in later.members)
    rows = {name: counts[name] for name in files}
    told = {**facts, "id": later.id, "rows": rows, "files": files}
    return (json.dumps(told, ensure_ascii=False, indent=2) + "\n").encode()


def _copies(ws: Workspace, found: Plan, after: dict[str, Successor]) -> list[reach.Copy]:
    """Clean copies of all objects that hold something of the person, or name what is replaced."""
    copies = reach.rewritten(ws, found.kept, found.marks)
    new = {copy.old: copy.new for copy in copies}
    for digest, name in sorted(found.kept.items()):
        if name.endswith(".json") and digest not in new and objects.there(ws, digest):
            content = _version_file(objects.get(ws, digest).read_bytes(), after, new)
            if content is not None:
                copies.append(reach.Copy(name, digest, objects.keep(ws, content), []))
    return copies


def _write_down(
    ws: Workspace,
    run: Run,
    found: Plan,
    copies: list[reach.Copy],
    after: dict[str, Successor],
    told: dict[str, Any],
) -> None:
    """Successors, tombstones, clean records and the event, in one transaction: whoever is cut off
    behind it has said who learnt from the rows."""
    new, edge = {copy.old: copy.new for copy in copies}, database.edge
    with database.writing(ws) as connection:
        steps = [(old, later, "erased into") for old, later in new.items()]
        for old, later in after.items():
            left = [{"version": later.id, **member._asdict()} for member in later.members]
            database.insert_new(connection, database.member, left)
            files = sa.select(edge.c.dst).where(edge.c.src == old, edge.c.kind == "is")
            steps += [(later.id, new.get(digest, digest), "is")
                      for digest in connection.execute(files).scalars()]  # fmt: skip
            steps.append((old, later.id, "erased into"))
        keys = ("src", "dst", "kind", "run_id")
        rows = [dict(zip(keys, (*step, run.id), strict=True)) for step in steps]
        database.insert_new(connection, edge, rows)
        nodes = [{"id": later.id, "kind": "version", "data": jsonl.canonical({"without": old})}
                 for old, later in after.items()]  # fmt: skip
        database.insert_new(connection, database.node, nodes)
        tombstone.bury(connection, found.marks.ids, database.now())
        _clean_records(ws, connection, found.marks, new)
        versions = {old: later.id for old, later in after.items()}
        of_each = {made: tombstone.carried(connection, made)
                   for made in told["affected"]["candidates"]}  # fmt: skip
        told = {**told, "carried": {made: [list(run) for run in runs]
                                    for made, runs in of_each.items()}}  # fmt: skip
        ledger.add(ws, connection, [("erasure", {"run": run.id, "versions": versions, **told})])


def _clean_records(
    ws: Workspace, connection: sa.Connection, marks: Marks, new: dict[str, str]
) -> None:
    """Samples and first rows in the records of runs, and what was said of repairs and the like."""
    table, forms = database.run, reach.written_forms(ws, marks)
    for id, text in connection.execute(sa.select(table.c.id, table.c.record)).all():
        record = json.loads(text)
        clean, count = reach.mentions(record, marks, forms)
        if record.get("git_diff") in new:
            clean, count = {**clean, "git_diff": new[record["git_diff"]]}, 1
        if count:
            values = {"record": jsonl.canonical(clean)}
            connection.execute(table.update().where(table.c.id == id).values(**values))
    node = database.node
    spoken = sa.select(node.c.id, node.c.data).where(node.c.kind.not_in(_SILENT))
    for id, text in connection.execute(spoken).all():
        clean, count = reach.mentions(json.loads(text), marks, forms)
        if count:
            changed = {"data": jsonl.canonical(clean)}
            connection.execute(node.update().where(node.c.id == id).values(**changed))


def _clean_files(ws: Workspace, run: Run, found: Plan) -> list[str]:
    """Files of the workspace, each noted as the successor of what it was before it is replaced:
    evidence that an erasure has shortened is still evidence, in a clone too."""
    replaced: dict[str, str] = {}

    def note(old: str, new: str) -> None:
        replaced[old] = new
        step = {"src": old, "dst": new, "kind": "erased into", "run_id": run.id}
        with database.writing(ws) as connection:
            database.insert_new(connection, database.edge, [step])

    changed = reach.clean(ws, found.marks, *tree.FOLDERS, "reports", "runs", ".errata", note=note)
    if replaced:
        run.event("erasure files", replaced=replaced)
    return changed


def erase(ws: Workspace, run: Run, found: Plan, told: dict[str, Any]) -> dict[str, Any]:
    """New copies first, then the records, then the files, the old copies last: cut off anywhere,
    the same command goes on."""
    after = successors(ws, found)
    copies = _copies(ws, found, after)
    _write_down(ws, run, found, copies, after, told)
    changed = _clean_files(ws, run, found)
    for path in (ws.root / "data").glob("*.json"):
        content = _version_file(path.read_bytes(), after, {copy.old: copy.new for copy in copies})
        if content is not None:
            jsonl.write_text(path, content.decode())
            changed.append(ws.relative(path))
    for name in changed:
        if name.startswith("data/"):
            run.output(name, "data")
    raw = reach.clean_inbox(ws, found.marks, found.rows)
    boxes = vault.drop(ws, found.marks.subjects, found.marks.words | found.tokens)
    caches = reach.empty_caches(ws)
    with database.writing(ws) as connection:  # else `errata status` would take it for an edit
        rolled_back.restored(ws, connection, run.id, rolled_back.look(ws, connection).edited)
    for copy in copies:
        objects.drop(ws, copy.old)
    return {"rows": len(found.marks.ids), "raw_rows": raw, "vault": boxes, "caches": caches,
            "versions": {old: later.id for old, later in after.items()}, "objects": len(copies),
            "files": sorted(set(changed))}  # fmt: skip


def main(ws: Workspace, config: Config) -> Outcome:
    """Find, erase, and say who has to be trained again and what is left to do by hand."""
    subject = (sys.stdin.read() if config.subject == "-" else config.subject).strip()
    if bool(subject) == bool(config.args) or not (config.why.strip() or config.history):
        usage = '`errata erase --subject … why="…"`'
        raise BadInput(f"erase: name one subject, or rows, and why: {usage}")
    people.entitled(ws, "erase")
    with database.reading(ws) as connection:
        ids = [lineage.known(connection, id) for id in config.args]
    marks = plans.plain_marks(ws, subject, ids)
    if config.history:
        text = unreached.expressions(replace(marks, ids=_erased(ws, marks)))
        return Outcome(0, text, {"expressions": text.splitlines()})
    found = plans.look(ws, marks)
    who, wide = next(iter(found.marks.subjects), None), plans.widely(found) if subject else ""
    hit = plans.affected(ws, found.marks.ids)
    left = unreached.steps(ws, found.marks, hit.candidates)
    if config.dry_run:
        facts = {"rows": len(found.marks.ids), "versions": dict.fromkeys(found.versions),
                 "files": reach.counted(ws, found.marks), "wide": wide}  # fmt: skip
        return _outcome(None, facts, hit, left)
    if wide and not config.wide:
        raise BadInput(f"erase: {wide}; look with dry_run=true, then add wide=true, or name the "
                       "person as their source does, or their rows by id")  # fmt: skip
    why = redactor(ws, load_policy(ws))(config.why).text  # the ledger is for ever
    told = {"subject": who, "why": why, "rows": sorted(found.marks.ids),
            "affected": hit._asdict(), "left": [step.place for step in left]}  # fmt: skip
    with Run(ws, "erase", {"subject": who, "why": why, "rows": ids}) as run:
        facts = erase(ws, run, found, told)
        run.note(subject=who, affected=hit._asdict(), left=left, **facts)
    database.forget(ws)
    return card.kept_up(ws, _outcome(run.id, facts, hit, left))


def _erased(ws: Workspace, marks: Marks) -> frozenset[str]:
    """Ids of rows that were erased for the person, as the ledger has them."""
    told = [event["data"] for event in ledger.events(ws, "erasure")]
    mine = (data["rows"] for data in told
            if data["subject"] in marks.subjects or marks.ids & set(data["rows"]))  # fmt: skip
    return marks.ids.union(*mine)


def _outcome(
    run_id: str | None, facts: dict[str, Any], hit: Affected, left: list[unreached.Step]
) -> Outcome:
    """The answer to the person who asked for it."""
    count, versions = facts["rows"], len(facts["versions"])
    lines = [say(f"{count} rows and what was made of them, in {versions} dataset versions",
                 f"涉及 {count} 行（含由其生成的数据）、{versions} 个数据版本")]  # fmt: skip
    if run_id is None:
        lines[0] += say(": nothing was erased (dry_run)", "：仅预览，未删除（dry_run）")
        lines += [f"  {name}: {rows}" for name, rows in facts["files"].items()]
        if facts["wide"]:
            lines.append(say(f"  careful: {facts['wide']}", f"  注意：{facts['wide']}"))
    else:
        lines[0] += say(": erased", "：已删除")
        lines += [f"  {old} → {new}" for old, new in facts["versions"].items()]
        raw, boxes = facts["raw_rows"], facts["vault"]
        files, caches = len(facts["files"]), len(facts["caches"])
        lines.append(say(f"  also {raw} raw rows in inbox/, {boxes} values in the vault, "
                         f"{files} files, {caches} caches",
                         f"  另有 inbox/ 原始行 {raw}，保险库 {boxes}，文件 {files}，"
                         f"缓存 {caches}"))  # fmt: skip
    lines += [f"  run {run}" for run in hit.runs]
    lines += [f"  release {release['id']} ({word(release['state'])})" for release in hit.releases]
    if hit.candidates:
        lines.append(say(
            f"{len(hit.candidates)} models learnt from these rows and keep what they learnt: train "
            "them again on the new version, or have a waiver for `erasure` signed; the gate blocks "
            "them until then",
            f"{len(hit.candidates)} 个模型学过这些数据：请用新版本重新训练，或签署 `erasure` 豁免；"
            "在此之前门禁会阻断"))  # fmt: skip
    if left:
        lines.append(say("not reached from here:", "此处无法触及："))
        lines += [f"  {step.place}: {step.what}\n    {step.command}" for step in left]
    data = {"run_id": run_id, **facts, "affected": hit._asdict(),
            "left": [step._asdict() for step in left]}  # fmt: skip
    return Outcome(0, "\n".join(lines), data)
