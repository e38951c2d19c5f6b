"""What is a person's, before anything of it is touched: rows, what was made of them, who learnt."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import sqlalchemy as sa

from errata.errors import BadInput
from errata.intake.fold import TOKEN
from errata.intake.redact import keyed_hash, tokens, workspace_key
from errata.language import say
from errata.privacy import reach, scrub
from errata.privacy.scrub import Marks
from errata.store import database, lineage, tombstone, tree
from errata.workspace import Workspace

_CHUNK = 500
_OTHERS = 2  # a value stands in rows about another person; a word, in those of many


class Plan(NamedTuple):
    """What is known of the person before anything is touched."""

    marks: Marks
    rows: list[dict[str, Any]]
    kept: dict[str, str]  # digest → path of each version of data/ and suites/ ever kept
    versions: list[str]
    tokens: frozenset[str] = frozenset()  # pseudonyms that stand in these rows and in no others


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


def look(ws: Workspace, marks: Marks) -> Plan:
    """Look for the person's rows in all versions, and for what was made of them."""
    with database.reading(ws) as connection:
        kept = _kept(connection)
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
    others = _others(ws, known)
    theirs = scrub.quotes(rows) - scrub.quotes(others)
    whole = Marks(frozenset(ids), marks.subjects, marks.words, theirs)
    return Plan(whole, rows, kept, sorted(held), _tokens(rows) - _tokens(others))


def _kept(connection: sa.Connection) -> dict[str, str]:
    """Digest → path of what was ever kept: data, rules, and what a run found uncommitted."""
    table, run = database.run_file, database.run
    below = sa.or_(*(table.c.path.startswith(f"{folder}/") for folder in tree.FOLDERS))
    named = sa.select(table.c.digest, table.c.path).where(below).distinct()
    kept = {row.digest: row.path for row in connection.execute(named)}
    records = map(json.loads, connection.execute(sa.select(run.c.record)).scalars())
    return kept | {diff: "code.diff" for record in records if (diff := record.get("git_diff"))}


def _tokens(rows: list[dict[str, Any]]) -> frozenset[str]:
    return frozenset(t for row in rows for text in scrub.strings(row) for t in TOKEN.findall(text))


def widely(found: Plan) -> str:
    """Why a subject is rather a word than a person: who else would lose rows; else nothing."""
    people = {name for row in found.rows if isinstance(meta := row.get("meta"), dict)
              for name in meta.get("subjects") or ()} - found.marks.subjects  # fmt: skip
    cases = {row.get("id") for row in found.rows if "success" in row and "split" in row}
    if len(people) < _OTHERS and not cases:
        return ""
    return say(f"{len(people)} other people and {len(cases)} cases of suites have rows that say it",
               f"另有 {len(people)} 人及 {len(cases)} 个评测用例的行包含它")  # fmt: skip


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
