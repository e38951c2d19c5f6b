"""Where a thing came from, and what came of it: one walk over what runs recorded.

Four kinds of step: a link that a run wrote (`became`, `trained`, …); a dataset version and the rows
in it; a run that wrote a file; a run that read or obeyed that file, known by its digest,
afterwards. Which rows a model was trained on, the run says by linking each of them.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from errata.errors import BadInput
from errata.store import database
from errata.workspace import Workspace

_CHUNK = 500  # values in one statement
_READ = {"in": "read by", "rule": "obeyed by"}  # role of a file in a run → how it is told
_CHANGES = ("changed", "changed into")
_MEASURING = ("evaluate", "safety", "bench", "gate", "compare")
_RUN_ID = re.compile(r"\d{8}-\d{6}-([a-z_]+)-[0-9a-f]{4}")
Step = tuple[str, str, str]  # from, to, kind
Look = Callable[[sa.Connection, list[str], bool], list[Step]]


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


def _chunks(ids: Iterable[str]) -> Iterable[list[str]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]


def _links(connection: sa.Connection, ids: list[str], down: bool) -> list[Step]:
    table = database.edge
    near = table.c.src if down else table.c.dst
    rows = connection.execute(
        sa.select(table.c.src, table.c.dst, table.c.kind).where(near.in_(ids))
    ).all()
    return [(row.src, row.dst, row.kind) for row in rows]


def _versions_of(connection: sa.Connection, ids: list[str], down: bool) -> list[Step]:
    """Of rows: the versions that hold them (down). Of versions: the rows in them (up)."""
    table = database.member
    near = table.c.row if down else table.c.version
    query = sa.select(table.c.row, table.c.version).where(near.in_(ids))
    return [(row, version, "in") for row, version in connection.execute(query)]


def _runs_of(connection: sa.Connection, ids: list[str], down: bool) -> list[Step]:
    """Of files: the runs that read or obeyed them later (down) or wrote them earlier (up)."""
    table, run = database.run_file, database.run
    query = sa.select(table.c.digest, table.c.run_id, table.c.role, run.c.began).join(
        run, run.c.id == table.c.run_id
    )
    query = query.where(table.c.digest.in_(ids), table.c.role.in_(("in", "out", "rule")))
    rows = connection.execute(query).all()
    written: dict[str, float] = {}
    read: dict[str, float] = {}
    for row in rows:
        if row.role == "out":
            written[row.digest] = min(row.began, written.get(row.digest, row.began))
        else:
            read[row.digest] = max(row.began, read.get(row.digest, row.began))
    if down:  # a run that read the same bytes before anybody wrote them did not read this file
        return [
            (row.digest, row.run_id, _READ[row.role])
            for row in rows
            if row.role in _READ and row.began >= written.get(row.digest, row.began)
        ]
    return [
        (row.run_id, row.digest, "wrote")
        for row in rows
        if row.role == "out" and row.began <= read.get(row.digest, row.began)
    ]


def _files_of(connection: sa.Connection, ids: list[str], down: bool) -> list[Step]:
    """Of runs: the files they wrote (down), or read and obeyed (up).

    Of the rules that a run obeyed only those are told that somebody changed: a rule that is as it
    was laid down came from nothing.
    """
    table = database.run_file
    query = sa.select(table.c.run_id, table.c.digest, table.c.role).where(table.c.run_id.in_(ids))
    if down:
        rows = connection.execute(query.where(table.c.role == "out")).all()
        return [(row.run_id, row.digest, "wrote") for row in rows]
    edge = database.edge
    changed = sa.exists().where(edge.c.dst == table.c.digest, edge.c.kind.in_(_CHANGES))
    asked = sa.or_(table.c.role == "in", sa.and_(table.c.role == "rule", changed))
    return [
        (row.digest, row.run_id, _READ[row.role]) for row in connection.execute(query.where(asked))
    ]


def _looks(id: str) -> tuple[Look, ...]:
    """Where an id can have steps: digests name files, ids with a stage in them runs."""
    if id.startswith("sha256:"):
        return (_links, _runs_of)
    if _RUN_ID.fullmatch(id):
        return (_links, _files_of)
    return (_links, _versions_of)


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
        asked: dict[Look, list[str]] = {}
        for id in sorted(frontier):
            for look in _looks(id):
                asked.setdefault(look, []).append(id)
        fresh = [
            step
            for look, ids in asked.items()
            for part in _chunks(ids)
            for step in look(connection, part, down)
        ]
        steps.update(dict.fromkeys(sorted(fresh)))
        frontier = {step[down] for step in fresh if not _ends(step, down)} - seen
        seen |= frontier
    return list(steps)


def describe(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Node]:
    """What each id is: a run, a file, something a stage described, or just an item."""
    out: dict[str, Node] = {}
    for part in _chunks(ids):
        out.update({id: Node(id, "item") for id in part})
        files = database.run_file
        digests = [id for id in part if id.startswith("sha256:")]
        named = sa.select(files.c.digest, files.c.path).where(files.c.digest.in_(digests))
        for digest, path in connection.execute(named.distinct()) if digests else ():
            out[digest] = Node(digest, "file", {"path": path})
        runs = database.run
        ran = [id for id in part if _RUN_ID.fullmatch(id)]
        for row in connection.execute(sa.select(runs).where(runs.c.id.in_(ran))) if ran else ():
            record = json.loads(row.record)
            keep = {key: record[key] for key in ("started", "seconds") if key in record}
            out[row.id] = Node(row.id, "run", {"stage": row.stage, "status": row.status, **keep})
        nodes = database.node
        for row in connection.execute(sa.select(nodes).where(nodes.c.id.in_(part))):
            out[row.id] = Node(row.id, row.kind, json.loads(row.data))
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
        if connection.execute(sa.select(column).where(column == id).limit(1)).first():
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
    ids = connection.execute(sa.select(database.node.c.id).limit(5000)).scalars()
    close = difflib.get_close_matches(id, list(ids), n=1)
    raise BadInput(
        f"{id}: nothing is recorded under this id"
        + (f"; did you mean `{close[0]}`?" if close else "; see `errata runs`")
    )


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
