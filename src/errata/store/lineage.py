"""Where a thing came from, and what came of it: one walk over what runs recorded.

Four kinds of step: a link that a run wrote (`became`, `trained`, …); a dataset version and the rows
in it; a run that wrote a file; a run that read or obeyed that file, known by its digest,
afterwards. Which rows a model was trained on, the run says by linking each of them.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from errata.errors import BadInput
from errata.store import database
from errata.workspace import Workspace

_READ = {"in": "read by", "rule": "obeyed by"}  # role of a file in a run → how it is told
_MEASURING = ("evaluate", "safety", "mtbench", "human", "bench", "gate", "compare")
_OF_RUN = ("stage", "status", "started", "seconds")  # what a trace tells of a run
_RUN_ID = re.compile(r"\d{8}-\d{6}-([a-z_]+)-[0-9a-f]{4}")
Step = tuple[str, str, str]  # from, to, kind

# All steps of one level in one statement, whose text is the same for any number of ids: a server
# plans it once and is asked once a level. `{ids}` is how each database takes a list in one
# parameter.
_IDS = {
    "sqlite": "IN (SELECT value FROM json_each(:ids))",
    "postgresql": "= ANY(:ids)",
}

# Of files: the runs that read or obeyed them. Who read the same bytes before anybody wrote them did
# not read this file.
_DOWN = """
SELECT src, dst, kind FROM edge WHERE src {ids}
UNION ALL SELECT "row", version, 'in' FROM member WHERE "row" {ids}
UNION ALL SELECT run_id, digest, 'wrote' FROM run_file WHERE run_id {ids} AND role = 'out'
UNION ALL SELECT digest, run_id, CASE role WHEN 'in' THEN 'read by' ELSE 'obeyed by' END
FROM (SELECT f.digest, f.run_id, f.role, began,
             min(CASE WHEN role = 'out' THEN began END) OVER (PARTITION BY f.digest) AS written
      FROM run_file f JOIN run ON run.id = f.run_id
      WHERE f.digest {ids} AND role IN ('in', 'out', 'rule')) AS opened
WHERE role <> 'out' AND (written IS NULL OR began >= written)
"""
# Of the rules that a run obeyed only those are told that somebody changed: a rule that is as it was
# laid down came from nothing.
_UP = """
SELECT src, dst, kind FROM edge WHERE dst {ids}
UNION ALL SELECT "row", version, 'in' FROM member WHERE version {ids}
UNION ALL SELECT digest, run_id, CASE role WHEN 'in' THEN 'read by' ELSE 'obeyed by' END
FROM run_file f WHERE run_id {ids} AND (role = 'in' OR role = 'rule' AND EXISTS (
    SELECT 1 FROM edge WHERE dst = f.digest AND kind IN ('changed', 'changed into')))
UNION ALL SELECT run_id, digest, 'wrote'
FROM (SELECT f.run_id, f.digest, f.role, began,
             max(CASE WHEN role <> 'out' THEN began END) OVER (PARTITION BY f.digest) AS read
      FROM run_file f JOIN run ON run.id = f.run_id
      WHERE f.digest {ids} AND role IN ('in', 'out', 'rule')) AS opened
WHERE role = 'out' AND (read IS NULL OR began <= read)
"""
# What a stage said of an id counts more than what the store knows by itself.
_WHAT = """
SELECT 1 AS place, digest AS id, 'file' AS kind, min(path) AS data
FROM run_file WHERE digest {ids} GROUP BY digest
UNION ALL SELECT 2, id, 'run', record FROM run WHERE id {ids}
UNION ALL SELECT 3, id, kind, data FROM node WHERE id {ids} ORDER BY place
"""


@dataclass
class Node:
    """One thing and what lies above it (what it came from) or below it (what came of it)."""

    id: str
    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    up: list[tuple[str, Node]] = field(default_factory=list)
    down: list[tuple[str, Node]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: each thing is spelled out where it is first met."""
        out: dict[str, Any] = {"id": self.id, "kind": self.kind, "data": self.data}
        for name, branches in (("up", self.up), ("down", self.down)):
            if branches:
                out[name] = [{"how": how, **node.as_dict()} for how, node in branches]
        return out


@lru_cache(maxsize=16)
def _said(statement: str, dialect: str) -> sa.TextClause:
    return sa.text(statement.format(ids=_IDS[dialect]))


def _ask(connection: sa.Connection, statement: str, ids: Iterable[str]) -> Sequence[sa.Row[Any]]:
    """The rows of one of the statements above."""
    dialect, asked = connection.dialect.name, list(ids)
    value = json.dumps(asked) if dialect == "sqlite" else asked
    return connection.execute(_said(statement, dialect), {"ids": value}).all()


def _ends(step: Step, down: bool) -> bool:
    """Whether what a step leads to is named and not walked on from.

    A version met on the way: its other rows are not what the row came to, nor what the run read. A
    failure found in a release: it did not come of what taught that release. A file that a run only
    measured by: what stood beside a candidate in a comparison did not make it.
    """
    src, dst, how = step
    if how == "failed in":
        return True
    if how == "read by":
        match = _RUN_ID.fullmatch(dst)
        return match is not None and match[1] in _MEASURING
    return how == ("in" if down else "is") and (dst if down else src).startswith("v-")


def walk(connection: sa.Connection, start: str, down: bool) -> list[Step]:
    """Every step reachable from `start` in one direction, breadth first."""
    seen, frontier, steps = {start}, {start}, dict[Step, None]()
    while frontier:
        fresh = sorted(tuple(row) for row in _ask(connection, _DOWN if down else _UP, frontier))
        steps.update(dict.fromkeys(fresh))
        frontier = {step[down] for step in fresh if not _ends(step, down)} - seen
        seen |= frontier
    return list(steps)


def describe(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Node]:
    """What each id is: a run, a file, something a stage described, or just an item."""
    out = {id: Node(id, "item") for id in ids}
    for row in _ask(connection, _WHAT, out):
        facts = {"path": row.data} if row.place == 1 else json.loads(row.data)
        if row.place == 2:
            facts = {key: facts[key] for key in _OF_RUN if key in facts}
        out[row.id] = Node(row.id, row.kind, facts)
    return out


def _grow(root: Node, steps: list[Step], things: dict[str, Node], down: bool) -> None:
    """Hang the steps below or above the root; each thing is opened once, at its shortest way."""
    after: dict[str, list[tuple[str, str]]] = {}
    for src, dst, how in steps:
        near, far = (src, dst) if down else (dst, src)
        after.setdefault(near, []).append((how, far))
    opened, queue = {root.id}, [root]
    while queue:
        here = queue.pop(0)
        branches = here.down if down else here.up
        for how, id in after.get(here.id, []):
            child = Node(id, things[id].kind, things[id].data)
            branches.append((how, child))
            if id not in opened:
                opened.add(id)
                queue.append(child)


def known(connection: sa.Connection, id: str) -> str:
    """The id as the store has it: whole, or the beginning of exactly one."""
    columns = [
        database.node.c.id,
        database.run.c.id,
        database.member.c.row,
        database.member.c.version,
        database.edge.c.src,
        database.edge.c.dst,
        database.run_file.c.digest,
    ]
    for column in columns:
        # The least of them, not any one: that goes by the index in a table without statistics too.
        if connection.execute(sa.select(sa.func.min(column)).where(column == id)).scalar():
            return id
    found: set[str] = set()
    for column in columns if len(id) >= 4 else ():
        query = sa.select(column).where(column.startswith(id, autoescape=True))
        if connection.dialect.name == "sqlite":  # an index serves a range, and no LIKE
            query = query.where(column >= id, column < id + "\U0010ffff")
        found |= set(connection.execute(query.distinct().limit(5)).scalars())
    if len(found) == 1:
        return found.pop()
    if found:
        raise BadInput(f"{id}: the beginning of several ids ({', '.join(sorted(found)[:3])}…)")
    close = difflib.get_close_matches(id, _like(connection, id), n=1)
    raise BadInput(
        f"{id}: nothing is recorded under this id"
        + (f"; did you mean `{close[0]}`?" if close else "; see `errata runs`")
    )


def _like(connection: sa.Connection, id: str) -> list[str]:
    """Ids among which a mistyped one is looked for: the newest runs, and what begins like it."""
    run, node = database.run, database.node
    newest = sa.select(run.c.id).order_by(run.c.began.desc()).limit(1000)
    found = [*connection.execute(newest).scalars()]
    for begun in (id[:4], id[:1]):
        like = node.c.id.startswith(begun, autoescape=True)
        near = sa.select(node.c.id).where(like).order_by(node.c.id).limit(2000)
        found += connection.execute(near).scalars()
    return found


class Lineage(NamedTuple):
    """A thing, the steps above and below it, and what each id in them is."""

    root: str
    up: list[Step]
    down: list[Step]
    things: dict[str, Node]


def lineage(ws: Workspace, id: str) -> Lineage:
    """All that a thing came from and all that came of it; BadInput for an unknown id."""
    with database.reading(ws) as connection:
        whole = known(connection, id)
        database.by_index(connection)
        above, below = walk(connection, whole, False), walk(connection, whole, True)
        ids = {whole} | {end for src, dst, _ in above + below for end in (src, dst)}
        return Lineage(whole, above, below, describe(connection, ids))


def everything(ws: Workspace) -> Lineage:
    """All steps of the store, as if they were below one root."""
    with database.reading(ws) as connection:
        edge, member, file = database.edge, database.member, database.run_file
        steps: list[Step] = [tuple(row) for row in connection.execute(
            sa.select(edge.c.src, edge.c.dst, edge.c.kind))]  # fmt: skip
        rows = sa.select(member.c.row, member.c.version).distinct()
        steps += [(row, version, "in") for row, version in connection.execute(rows)]
        opened = sa.select(file.c.run_id, file.c.digest, file.c.role)
        for run_id, digest, role in connection.execute(opened):
            if role == "out":
                steps.append((run_id, digest, "wrote"))
            elif role in _READ:
                steps.append((digest, run_id, _READ[role]))
        ids = {end for src, dst, _ in steps for end in (src, dst)}
        ids |= set(connection.execute(sa.select(database.run.c.id)).scalars())
        return Lineage("", [], sorted(set(steps)), describe(connection, ids))


def tree(found: Lineage) -> Node:
    """The steps as branches: each thing is opened once, at its shortest way."""
    thing = found.things[found.root]
    root = Node(thing.id, thing.kind, thing.data)
    _grow(root, found.up, found.things, False)
    _grow(root, found.down, found.things, True)
    return root


def trace(ws: Workspace, id: str) -> Node:
    """The thing with all that it came from and all that came of it; BadInput for an unknown id."""
    return tree(lineage(ws, id))


def trace_here(id: str, workspace: str | Path = ".") -> Node:
    """`errata.trace(id)`: lineage of an id in the workspace that holds it."""
    return trace(Workspace.find(Path(workspace)), id)
