"""What was changed for a failure besides training on it: a rule, a prompt, data or a policy.

    errata repair f-0001 kind=rule why="order numbers are no phones" files=policies/redaction.yaml

The repair becomes a node of the lineage: failure → repair → the file as it is now → the runs that
obey or read it → what they made → the release that holds it. Without `files`, the files below
configs/, policies/ and suites/, or with kind=data below data/, are taken that are not as git's last
commit has them.
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from pydantic import Field

from errata import git, jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.store import database, lineage, tree
from errata.store.runs import Run
from errata.workspace import Workspace


class Config(Section):
    """`errata repair FAILURE… kind=… why=…`."""

    args: list[str] = Field(default=[], description="the failures it was made for")
    kind: Literal["rule", "prompt", "data", "policy"] = Field(
        default="rule", description="what was changed: rule, prompt, data or policy"
    )
    why: str = Field(default="", description="what it mends, in one sentence")
    files: list[str] = Field(default=[], description="the changed files; default: as git tells")


def main(ws: Workspace, config: Config) -> Outcome:
    """Record the repair, and say how to see what holds it."""
    if not config.args or not config.why.strip():
        raise BadInput('repair: name the failures and say why: `errata repair f-… why="…"`')
    failures = _failures(ws, config.args)
    paths = _paths(ws, config)
    if same := _unchanged(ws, failures, paths):
        raise BadInput(f"repair: {same[0]} is as it was when {failures[0]} was taken in; change "
                       "it first, then say so")  # fmt: skip
    with Run(ws, "repair", config) as run:
        digests = {path: jsonl.digest_file(run.input(path, "repair")) for path in paths}
        name = "fix-" + jsonl.short_id([failures, config.kind, config.why, digests])
        run.node(name, "repair", kind=config.kind, why=config.why, ts=database.now())
        run.links((failure, name, "repaired by") for failure in failures)
        run.links((name, path, "changed") for path in paths)
        run.note(repair=name, files=digests)
        run.event("repair", id=name, of=failures, change=config.kind, files=digests)
    shown = ", ".join(paths)
    text = say(
        f"{name}: {len(failures)} failures, {shown}; who holds it: `errata trace {name}`",
        f"{name}：{len(failures)} 条失败样本，{shown}；去向：`errata trace {name}`",
    )
    return Outcome(0, text, {"run_id": run.id, "repair": name, "failures": failures,
                             "files": digests})  # fmt: skip


def _failures(ws: Workspace, names: list[str]) -> list[str]:
    """Their whole ids; BadInput for one that is no failure."""
    with database.reading(ws) as connection:
        found = sorted({lineage.known(connection, name) for name in names})
        things = lineage.describe(connection, found)
    for id in found:
        if things[id].kind != "failure":
            raise BadInput(f"repair: {id} is a {things[id].kind}, not a failure; "
                           "data/failures.jsonl has their ids")  # fmt: skip
    return found


def _unchanged(ws: Workspace, failures: list[str], paths: list[str]) -> list[str]:
    """Files that were the same when the failures were taken in: they can be no mend of them."""
    edge = database.edge
    taken = sa.select(edge.c.src).where(edge.c.kind == "took in", edge.c.dst.in_(failures))
    with database.reading(ws) as connection:
        runs = connection.execute(taken.distinct()).scalars().all()
        before = [tree.of_run(connection, run) for run in runs]
    now = {path: jsonl.digest_file(ws.path(path)) for path in paths}
    return [path for path in paths if before and all(
        path in files and files[path].digest == now[path] for files in before)]  # fmt: skip


def _paths(ws: Workspace, config: Config) -> list[str]:
    """The files of the repair, by the names that records have for them."""
    given = config.files
    folders = ["data"] if config.kind == "data" else [f for f in tree.FOLDERS if f != "data"]
    paths = sorted(ws.relative(path) for path in given) or sorted(git.changed(ws.root, folders))
    paths = [path for path in paths if given or ws.path(path).is_file()]
    if not paths:
        raise BadInput("repair: nothing differs from git's last commit; name the changed file: "
                       "files=policies/redaction.yaml")  # fmt: skip
    for path in paths:
        if path.split("/")[0] not in tree.FOLDERS or not ws.path(path).is_file():
            raise BadInput(f"repair: {path}: no file below {', '.join(tree.FOLDERS)}; "
                           "a repair is a change there")  # fmt: skip
    return paths
