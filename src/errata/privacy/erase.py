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
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import Field

from errata import jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.intake.redact import keyed_hash, tokens, workspace_key
from errata.language import say, word
from errata.outcome import Outcome
from errata.privacy import reach, scrub, unreached, vault
from errata.privacy.scrub import Marks
from errata.store import database, lineage, objects, people, rolled_back, tombstone
from errata.store import versions as datasets
from errata.store.runs import Run
from errata.workspace import Workspace

_CHUNK = 500


class Config(Section):
    """`errata erase --subject ID why=…`."""

    args: list[str] = Field(default=[], description="ids of rows, instead of a subject")
    subject: str = Field(default="", description="the person; - reads it from stdin")
    why: str = Field(default="", description="the request, for the ledger; no personal data")
    dry_run: bool = Field(default=False, description="only say what would go")


class Plan(NamedTuple):
    """What is known of the person before anything is touched."""

    marks: Marks
    rows: list[dict[str, Any]]
    kept: dict[str, str]  # digest → path of each version of data/ and suites/ ever kept
    versions: list[str]


class Successor(NamedTuple):
    """A version without the rows: its id, and the members that are left."""

    id: str
    members: list[datasets.Member]


class Affected(NamedTuple):
    """Who learnt from the rows."""

    runs: list[str]
    candidates: list[str]
    releases: list[dict[str, Any]]


def plain_marks(ws: Workspace, subject: str, ids: list[str]) -> Marks:
    """How the person is known by name, before their rows have been looked for."""
    if not subject:
        return Marks(frozenset(ids))
    if len(subject) < 2:
        raise BadInput("erase: a subject of one character would be found everywhere; write more")
    key = workspace_key(ws)
    name = f"u-{keyed_hash(key, 'subject', subject)[:16]}"
    # `42` is a customer's number in one file and a price in all others: it is no word to look for.
    telling = not subject.isascii() or len(subject) >= (7 if subject.isdigit() else 4)
    words = tokens(subject, key) | ({subject} if telling else set())
    return Marks(frozenset(ids), frozenset({name}), frozenset(words))


def plan(ws: Workspace, marks: Marks) -> Plan:
    """Look for the person's rows in all versions, and for what was made of them."""
    with database.reading(ws) as connection:
        table = database.run_file
        below = sa.or_(table.c.path.startswith("data/"), table.c.path.startswith("suites/"))
        named = sa.select(table.c.digest, table.c.path).where(below).distinct()
        kept = {row.digest: row.path for row in connection.execute(named)}
        rows, ids = list[dict[str, Any]](), set(marks.ids)
        while True:  # a row made of a row made of theirs is theirs
            known = Marks(frozenset(ids), marks.subjects, marks.words)
            rows = reach.found(ws, kept, known)
            after = ids | {row["id"] for row in rows if isinstance(row.get("id"), str)}
            after |= _made_of(connection, after)
            if after == ids:
                break
            ids = after
        held = _holding(connection, ids)
    others = scrub.quotes(_others(ws, known))
    whole = Marks(frozenset(ids), marks.subjects, marks.words, scrub.quotes(rows) - others)
    return Plan(whole, rows, kept, sorted(held))


def _parts(ids: set[str]) -> list[list[str]]:
    ordered = sorted(ids)
    return [ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK)]


def _holding(connection: sa.Connection, ids: set[str]) -> set[str]:
    """Versions that hold one of the rows."""
    table = database.member
    asked = sa.select(table.c.version).distinct()
    return {
        version
        for part in _parts(ids)
        for version in connection.execute(asked.where(table.c.row.in_(part))).scalars()
    }


def _made_of(connection: sa.Connection, ids: set[str]) -> set[str]:
    edge = database.edge
    return {
        dst
        for part in _parts(ids)
        for dst in connection.execute(
            sa.select(edge.c.dst).where(edge.c.src.in_(part), edge.c.kind == "became")
        ).scalars()
    }


def _others(ws: Workspace, marks: Marks) -> list[dict[str, Any]]:
    """Rows of other people: what they asked too is nobody's alone."""
    out = []
    for path in reach.files(ws, "data", "suites"):
        if path.suffix == ".jsonl":
            kept = scrub.file(path.name, path.read_bytes(), marks).content
            out += scrub.objects(kept)
    return out


def affected(ws: Workspace, ids: frozenset[str]) -> Affected:
    """Training runs that learnt from the rows, and what came of them."""
    edge, runs = database.edge, set[str]()
    steps: list[lineage.Step] = []
    with database.reading(ws) as connection:
        for part in _parts(set(ids)):
            query = sa.select(edge.c.dst).where(
                edge.c.src.in_(part), edge.c.kind.in_(tombstone.LEARNT)
            )
            runs |= set(connection.execute(query.distinct()).scalars())
        for run in sorted(runs):
            steps += lineage.walk(connection, run, True)
        things = lineage.describe(connection, {end for src, dst, _ in steps for end in (src, dst)})
    made = {id for id, node in things.items() if node.kind == "candidate"}
    later = {dst for _, dst, how in steps if how in ("started", "rewarded")}
    out = [{"id": id, "state": str(node.data.get("state"))}
           for id, node in sorted(things.items()) if node.kind == "release"]  # fmt: skip
    return Affected(sorted(runs | later), sorted(made), out)


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
    ws: Workspace, run: Run, found: Plan, copies: list[reach.Copy], after: dict[str, Successor]
) -> None:
    """Successors, tombstones and clean records, in one transaction."""
    new, edge = {copy.old: copy.new for copy in copies}, database.edge
    with database.writing(ws) as connection:
        steps = [(old, later, "erased into") for old, later in new.items()]
        for old, later in after.items():
            told = [{"version": later.id, **member._asdict()} for member in later.members]
            database.insert_new(connection, database.member, told)
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
        _clean_records(ws, connection, found.marks)


def _clean_records(ws: Workspace, connection: sa.Connection, marks: Marks) -> None:
    """Samples and first rows in the records of runs."""
    table, forms = database.run, reach.written_forms(ws, marks)
    for id, record in connection.execute(sa.select(table.c.id, table.c.record)).all():
        clean, count = reach.mentions(json.loads(record), marks, forms)
        if count:
            values = {"record": jsonl.canonical(clean)}
            connection.execute(table.update().where(table.c.id == id).values(**values))


def erase(ws: Workspace, run: Run, found: Plan) -> dict[str, Any]:
    """New copies first, then the records, then the files, the old copies last: cut off anywhere,
    the same command goes on."""
    after = successors(ws, found)
    copies = _copies(ws, found, after)
    _write_down(ws, run, found, copies, after)
    changed = reach.clean(ws, found.marks, "data", "suites", "reports", "runs", ".errata")
    for path in (ws.root / "data").glob("*.json"):
        content = _version_file(path.read_bytes(), after, {copy.old: copy.new for copy in copies})
        if content is not None:
            jsonl.write_text(path, content.decode())
            changed.append(ws.relative(path))
    for name in changed:
        if name.startswith("data/"):
            run.output(name, "data")
    raw = reach.clean_inbox(ws, found.marks, found.rows)
    boxes = vault.drop(ws, found.marks.subjects, found.marks.words)
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
    if bool(subject) == bool(config.args) or not config.why.strip():
        usage = '`errata erase --subject … why="…"`'
        raise BadInput(f"erase: name one subject, or rows, and why: {usage}")
    people.entitled(ws, "erase")
    with database.reading(ws) as connection:
        ids = [lineage.known(connection, id) for id in config.args]
    found = plan(ws, plain_marks(ws, subject, ids))
    who = next(iter(found.marks.subjects), None)
    hit = affected(ws, found.marks.ids)
    if config.dry_run:
        facts = {"rows": len(found.marks.ids), "versions": dict.fromkeys(found.versions)}
        return _outcome(None, facts, hit, [])
    with Run(ws, "erase", {"subject": who, "why": config.why, "rows": ids}) as run:
        facts = erase(ws, run, found)
        left = unreached.steps(ws, found.marks, hit.candidates)
        run.note(subject=who, affected=hit._asdict(), left=left, **facts)
        run.event("erasure", subject=who, why=config.why, rows=sorted(found.marks.ids),
                  versions=facts["versions"], affected=hit._asdict(),
                  left=[step.place for step in left])  # fmt: skip
    database.forget(ws)
    return _outcome(run.id, facts, hit, left)


def _outcome(
    run_id: str | None, facts: dict[str, Any], hit: Affected, left: list[unreached.Step]
) -> Outcome:
    """The answer to the person who asked for it."""
    count, versions = facts["rows"], len(facts["versions"])
    lines = [say(f"{count} rows and what was made of them, in {versions} dataset versions",
                 f"涉及 {count} 行（含由其生成的数据）、{versions} 个数据版本")]  # fmt: skip
    if run_id is None:
        lines[0] += say(": nothing was erased (dry_run)", "：仅预览，未删除（dry_run）")
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
