"""Dataset versions: which rows each holds, and what differs between two.

    errata diff V1 V2       rows added, removed and changed, by file, label and source

A version is named by the root hash over its rows' hashes in order, so the same rows are the same
version in whatever order they stand. A row's id is the hash of what is learnt from
it, so a corrected answer is another row: a removed and an added row that were made of the same
failure are told as one that changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import Field

from errata import jsonl, report
from errata.config import Section
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.store import database, lineage
from errata.workspace import Workspace


class Config(Section):
    """`errata diff V1 V2`."""

    args: list[str] = Field(default=[], description="two version ids, the older one first")
    limit: int = Field(default=12, ge=0, description="ids shown of each kind; --json has all")


class Member(NamedTuple):
    """A row as a version holds it; `leaf` is the hash of its file's name and all of its content."""

    row: str
    file: str
    leaf: str
    label: str
    source: str


class Change(NamedTuple):
    """A row that took another's place; the same id where only what surrounds it differs."""

    old: Member
    new: Member


class Diff(NamedTuple):
    """From one version to another."""

    added: list[Member]
    removed: list[Member]
    changed: list[Change]


def leaf(file: str, row: Any) -> str:
    """The hash of a row in a version: the name of its file and all that it holds."""
    return jsonl.digest([file, row])


def root(leaves: Iterable[str]) -> str:
    """The id of a version: the hash over the sorted hashes of its rows, so their order is none."""
    return "v-" + jsonl.short_id(sorted(leaves))


def members(connection: sa.Connection, version: str) -> list[Member]:
    """The rows of a version, by file and id; BadInput for an id that names none."""
    table = database.member
    query = sa.select(*(table.c[name] for name in Member._fields)).where(table.c.version == version)
    found = connection.execute(query.order_by(table.c.file, table.c.row)).all()
    if not found:
        kind = sa.select(database.node.c.kind).where(database.node.c.id == version)
        what = connection.execute(kind).scalar() or "nothing"
        raise BadInput(f"{version}: is {what}, not a dataset version; `errata runs stage=build` "
                       "lists the runs that made some")  # fmt: skip
    return [Member(*row) for row in found]


def compare(
    old: Iterable[Member], new: Iterable[Member], parents: Mapping[str, frozenset[str]]
) -> Diff:
    """What differs. `parents`: row → what it was made of. Pure."""
    before, after = {m.leaf: m for m in old}, {m.leaf: m for m in new}
    gone = [m for leaf, m in before.items() if leaf not in after]
    fresh = [m for leaf, m in after.items() if leaf not in before]
    changed: list[Change] = []
    for alike in (lambda m: (m.row,), lambda m: (m.row[:2], parents.get(m.row))):
        waiting: dict[Any, list[Member]] = {}
        for member in fresh:
            waiting.setdefault(alike(member), []).append(member)
        kept = []
        for member in gone:
            key = alike(member)
            if key[-1] and waiting.get(key):
                changed.append(Change(member, waiting[key].pop(0)))
            else:
                kept.append(member)
        taken = {change.new.leaf for change in changed}
        gone, fresh = kept, [member for member in fresh if member.leaf not in taken]
    return Diff(fresh, gone, changed)


def diff(ws: Workspace, old: str, new: str) -> Diff:
    """Two versions of the store; an id may be cut short."""
    with database.reading(ws) as connection:
        first, second = (members(connection, lineage.known(connection, id)) for id in (old, new))
        leaves = {m.leaf for m in first} ^ {m.leaf for m in second}
        rows = sorted({m.row for m in (*first, *second) if m.leaf in leaves})
        return compare(first, second, _parents(connection, rows))


def _parents(connection: sa.Connection, rows: list[str]) -> dict[str, frozenset[str]]:
    edge, found = database.edge, dict[str, set[str]]()
    for start in range(0, len(rows), 500):
        query = sa.select(edge.c.src, edge.c.dst).where(
            edge.c.dst.in_(rows[start : start + 500]), edge.c.kind == "became"
        )
        for src, dst in connection.execute(query):
            found.setdefault(dst, set()).add(src)
    return {row: frozenset(sources) for row, sources in found.items()}


def table(found: Diff) -> str:
    """Counts by file, label and source."""
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    told = [("added", found.added), ("removed", found.removed),
            ("changed", [change.new for change in found.changed])]  # fmt: skip
    for what, rows in told:
        for member in rows:
            key = (member.file, member.label, member.source)
            counts.setdefault(key, Counter())[what] += 1
    head = [say("file", "文件"), say("label", "标签"), say("source", "来源"),
            say("added", "新增"), say("removed", "删除"), say("changed", "修改")]  # fmt: skip
    body = [[*key, *(str(of[what]) for what, _ in told)] for key, of in sorted(counts.items())]
    return report.markdown_table(head, body)


def _shown(title: str, ids: list[str], limit: int) -> list[str]:
    more = len(ids) - limit
    cut = [say(f"… and {more} more", f"…… 另有 {more} 行")] if more > 0 and limit else []
    return [f"{title}:", *(f"  {id}" for id in ids[:limit]), *(f"  {c}" for c in cut)]


def main(ws: Workspace, config: Config) -> Outcome:
    """Say what differs; equal versions are one version."""
    if len(config.args) != 2:
        raise BadInput("diff: give two versions: `errata diff V1 V2`; data/version.json has one")
    old, new = config.args
    found = diff(ws, old, new)
    lines = [say(f"{old} → {new}: {len(found.added)} rows added, {len(found.removed)} removed, "
                 f"{len(found.changed)} changed",
                 f"{old} → {new}：新增 {len(found.added)} 行，删除 {len(found.removed)} 行，"
                 f"修改 {len(found.changed)} 行")]  # fmt: skip
    if any(found):
        lines += ["", table(found)]
    swaps = [
        f"{old.row} → {new.row}  " + " → ".join(dict.fromkeys((old.file, new.file)))
        for old, new in found.changed
    ]
    for title, ids in ((say("added", "新增"), [m.row for m in found.added]),
                       (say("removed", "删除"), [m.row for m in found.removed]),
                       (say("changed", "修改"), swaps)):  # fmt: skip
        if ids and config.limit:
            lines += ["", *_shown(title, ids, config.limit)]
    data = {
        "added": [m._asdict() for m in found.added],
        "removed": [m._asdict() for m in found.removed],
        "changed": [{"old": c.old._asdict(), "new": c.new._asdict()} for c in found.changed],
    }
    return Outcome(0, "\n".join(lines), data)
