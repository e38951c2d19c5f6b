"""Where a thing came from, and what came of it: one walk over what runs recorded.

    errata trace f-0001          a failure, a row, a run, a digest, a verdict or a release

Three kinds of step: a link that a run wrote (`became`, `in`, …); a run that wrote a file; a run
that read that file, known by its digest, afterwards. A file stands for all that is in it; which
rows a model was trained on, the run says by linking each of them.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import Field

from errata.config import Section
from errata.errors import BadInput
from errata.jsonl import plain
from errata.language import say, word
from errata.outcome import Outcome
from errata.store import database
from errata.workspace import Workspace

_CHUNK = 500  # values in one statement
Step = tuple[str, str, str]  # from, to, kind


class Config(Section):
    """`errata trace ID`."""

    args: list[str] = Field(default=[], description="the id to trace")
    limit: int = Field(default=12, description="branches of one kind drawn at one place")


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


def _runs_of(connection: sa.Connection, ids: list[str], down: bool) -> list[Step]:
    """Of files: the runs that read them later (down) or wrote them earlier (up)."""
    table, run = database.run_file, database.run
    query = sa.select(table.c.digest, table.c.run_id, table.c.role, run.c.began).join(
        run, run.c.id == table.c.run_id
    )
    query = query.where(table.c.digest.in_(ids), table.c.role != "restored")
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
            (row.digest, row.run_id, "read by")
            for row in rows
            if row.role == "in" and row.began >= written.get(row.digest, row.began)
        ]
    return [
        (row.run_id, row.digest, "wrote")
        for row in rows
        if row.role == "out" and row.began <= read.get(row.digest, row.began)
    ]


def _files_of(connection: sa.Connection, ids: list[str], down: bool) -> list[Step]:
    """Of runs: the files they wrote (down) or read (up)."""
    table = database.run_file
    role = "out" if down else "in"
    rows = connection.execute(
        sa.select(table.c.run_id, table.c.digest).where(
            table.c.run_id.in_(ids), table.c.role == role
        )
    ).all()
    if down:
        return [(row.run_id, row.digest, "wrote") for row in rows]
    return [(row.digest, row.run_id, "read by") for row in rows]


def walk(connection: sa.Connection, start: str, down: bool) -> list[Step]:
    """Every step reachable from `start` in one direction, breadth first."""
    seen, frontier, steps = {start}, {start}, dict[Step, None]()
    while frontier:
        fresh = [
            step
            for ids in _chunks(frontier)
            for look in (_links, _runs_of, _files_of)
            for step in look(connection, ids, down)
        ]
        steps.update(dict.fromkeys(sorted(fresh)))
        frontier = {dst if down else src for src, dst, _ in fresh} - seen
        seen |= frontier
    return list(steps)


def _describe(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Node]:
    """What each id is: a run, a file, something a stage described, or just an item."""
    out: dict[str, Node] = {}
    for part in _chunks(ids):
        out.update({id: Node(id, "item") for id in part})
        files = database.run_file
        for row in connection.execute(sa.select(files).where(files.c.digest.in_(part))):
            out[row.digest] = Node(row.digest, "file", {"path": row.path})
        runs = database.run
        for row in connection.execute(sa.select(runs).where(runs.c.id.in_(part))):
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


def _known(connection: sa.Connection, id: str) -> str:
    """The id as the store has it: whole, or the beginning of exactly one."""
    columns = [
        database.run.c.id,
        database.node.c.id,
        database.edge.c.src,
        database.edge.c.dst,
        database.run_file.c.digest,
    ]
    found: set[str] = set()
    for column in columns:
        if connection.execute(sa.select(column).where(column == id).limit(1)).first():
            return id
        like = sa.select(column).where(column.startswith(id, autoescape=True)).distinct().limit(5)
        found |= set(connection.execute(like).scalars()) if len(id) >= 4 else set()
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


def trace(ws: Workspace, id: str) -> Node:
    """The thing with all that it came from and all that came of it; BadInput for an unknown id."""
    with database.reading(ws) as connection:
        known = _known(connection, id)
        above, below = walk(connection, known, False), walk(connection, known, True)
        ids = {known} | {end for src, dst, _ in above + below for end in (src, dst)}
        things = _describe(connection, ids)
    root = Node(known, things[known].kind, things[known].data)
    _grow(root, above, things, False)
    _grow(root, below, things, True)
    return root


def trace_here(id: str, workspace: str | Path = ".") -> Node:
    """`errata.trace(id)`: lineage of an id in the workspace that holds it."""
    return trace(Workspace.find(Path(workspace)), id)


def _line(node: Node) -> str:
    facts = " ".join(
        f"{key}={word(value) if key == 'status' else value}"
        for key, value in node.data.items()
        if value is not None and not isinstance(value, (dict, list))  # those are for --json
    )
    name = node.id if len(node.id) < 60 else node.id[:19] + "…"
    return f"{word(node.kind)} {name}" + (f"  {facts}" if facts else "")


def _draw(branches: list[tuple[str, Node]], down: bool, limit: int, indent: str) -> list[str]:
    lines: list[str] = []
    drawn: dict[tuple[str, str], int] = {}
    for how, node in branches:
        key = (how, node.kind)
        drawn[key] = drawn.get(key, 0) + 1
        if drawn[key] > limit:
            continue
        lines.append(f"{indent}{'↳' if down else '↰'} {word(how)}: {_line(node)}")
        lines += _draw(node.down if down else node.up, down, limit, indent + "  ")
    for (how, kind), count in drawn.items():
        if count > limit:
            more = say(f"… and {count - limit} more", f"…… 另有 {count - limit} 个")
            lines.append(f"{indent}{more} ({word(how)}: {word(kind)})")
    return lines


def render(root: Node, limit: int = 12) -> str:
    """The tree as text: what it came from, then what came of it."""
    lines = [_line(root)]
    for title, branches, down in (
        (say("came from", "来源"), root.up, False),
        (say("led to", "去向"), root.down, True),
    ):
        lines.append(f"{title}:" + ("" if branches else say(" nothing recorded", " 无记录")))
        lines += _draw(branches, down, limit, "  ")
    return "\n".join(lines)


def main(ws: Workspace, config: Config) -> Outcome:
    """Trace one id both ways."""
    if len(config.args) != 1:
        raise BadInput("trace: give one id (a failure, a run, a release): `errata trace ID`")
    root = trace(ws, config.args[0])
    return Outcome(0, render(root, config.limit), plain(root.as_dict()))
