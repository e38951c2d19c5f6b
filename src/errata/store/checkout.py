"""Bring back what a run found or a dataset version is: data/, configs/ and policies/, exactly.

    errata checkout v-ab118e569041fdbf        the state after the run that made the version
    errata checkout 20251216-101500-dpo-1a2b  the state in which the run began

Every copy is checked against its hash before anything is touched, and what was there is kept: the
command is a run itself, so `errata checkout` of its own id takes it back. A file that an erasure
has rewritten since comes without the erased rows. suites/ stay as they are, unless `suites=true`,
and policies/roles.yaml always: who may do what is no part of an earlier state.
"""

from __future__ import annotations

import json
import shutil
from typing import NamedTuple

import sqlalchemy as sa
from pydantic import Field

from errata.config import Section
from errata.errors import BadInput
from errata.jsonl import digest_file, replacing
from errata.language import say
from errata.outcome import Outcome
from errata.store import database, lineage, objects, people, rolled_back, tombstone, tree
from errata.store.runs import Run
from errata.workspace import Workspace

FOLDERS = ("data", "configs", "policies")
STAYS = people.FILE  # who may do what is decided today, not by an earlier state


class Config(Section):
    """`errata checkout VERSION|RUN`."""

    args: list[str] = Field(default=[], description="a dataset version or a run")
    suites: bool = Field(default=False, description="bring suites/ back too")


class State(NamedTuple):
    """Files of an earlier state, path → digest, and which of them an erasure has rewritten."""

    id: str
    files: dict[str, str]
    erased: dict[str, str]


def state(connection: sa.Connection, name: str) -> State:
    """What a run found when it began or, for a version, what its build left; else BadInput."""
    id = lineage.known(connection, name)
    edge, table = database.edge, database.run_file
    maker = sa.select(edge.c.run_id).where(edge.c.src == id, edge.c.kind.in_(("is", "erased into")))
    run_id = connection.execute(maker.limit(1)).scalar() if id.startswith("v-") else id
    found = {path: file.digest for path, file in tree.of_run(connection, run_id or id).items()}
    if not found and not _looked(connection, run_id or id):
        raise BadInput(f"{id}: neither a dataset version nor a run whose files were kept; "
                       "see `errata runs`")  # fmt: skip
    if id != run_id:
        is_file = sa.select(edge.c.dst).where(edge.c.src == id, edge.c.kind == "is")
        written = sa.select(table.c.path, table.c.digest).where(
            table.c.run_id == run_id, table.c.role == "out", table.c.path.startswith("data/"),
            sa.or_(table.c.digest.in_(is_file), table.c.name.in_(("version", "data"))))  # fmt: skip
        found |= {row.path: row.digest for row in connection.execute(written)}
    later = {path: tombstone.successor(connection, digest) for path, digest in found.items()}
    changed = {path: digest for path, digest in later.items() if digest != found[path]}
    return State(id, found | changed, changed)


def _looked(connection: sa.Connection, id: str) -> bool:
    """Whether this is a run that looked at what lay there, and found nothing."""
    query = sa.select(database.run.c.record).where(database.run.c.id == id)
    record = connection.execute(query).scalar()
    return record is not None and "actor" in json.loads(record)


def _missing(ws: Workspace, files: dict[str, str]) -> list[str]:
    """What cannot be brought back, and why; found before anything is touched."""
    problems = []
    for path, digest in sorted(files.items()):
        full = ws.path(path)
        if full.is_file() and digest_file(full) == digest:
            continue
        try:
            objects.get(ws, digest)
        except BadInput as error:
            problems.append(f"{path}: {error}")
    return problems


def restore(ws: Workspace, files: dict[str, str], folders: tuple[str, ...]) -> tuple[int, int]:
    """Make the folders hold these files and no others; how many were written and removed."""
    wanted = {path: digest for path, digest in files.items()
              if path.split("/")[0] in folders and path != STAYS}  # fmt: skip
    for path in wanted:
        if not ws.path(path).resolve().is_relative_to(ws.root.resolve()):
            raise BadInput(f"{path}: leads out of the workspace; a link, or the store was changed "
                           "by hand")  # fmt: skip
    if problems := _missing(ws, wanted):
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise BadInput(f"{problems[0]}{more}; nothing was changed")
    written = removed = 0
    for path, digest in wanted.items():
        full = ws.path(path)
        if full.is_file() and digest_file(full) == digest:
            continue
        with replacing(full) as target, objects.get(ws, digest).open("rb") as source:
            shutil.copyfileobj(source, target, 1 << 20)
        written += 1
    for _, full in list(tree.paths(ws, folders)):
        if ws.relative(full) not in (*wanted, STAYS):
            full.unlink()
            removed += 1
    differ = [path for path, digest in wanted.items() if digest_file(ws.path(path)) != digest]
    if differ:
        raise BadInput(f"{differ[0]}: is not what was written; another program changes it: stop it "
                       "and run the command again")  # fmt: skip
    return written, removed


def main(ws: Workspace, config: Config) -> Outcome:
    """Check all copies, then put them in place."""
    if len(config.args) != 1:
        raise BadInput("checkout: give one dataset version or run: `errata checkout ID`")
    folders = (*FOLDERS, "suites") if config.suites else FOLDERS
    with database.reading(ws) as connection:
        found = state(connection, config.args[0])
    with Run(ws, "checkout", config) as run:
        written, removed = restore(ws, found.files, folders)
        there = [path for path in found.files if path.split("/")[0] in folders]
        with database.writing(ws) as connection:
            rolled_back.restored(ws, connection, run.id, there)
        run.note(of=found.id, written=written, removed=removed, erased=sorted(found.erased))
    return Outcome(0, _text(found, run.id, written, removed, folders),
                   {"run_id": run.id, "of": found.id, "written": written, "removed": removed,
                    "files": len(there), "erased": sorted(found.erased)})  # fmt: skip


def _text(found: State, run_id: str, written: int, removed: int, folders: tuple[str, ...]) -> str:
    names = ", ".join(f"{folder}/" for folder in folders)
    lines = [say(f"{found.id}: {names} are as they were ({written} files written, {removed} "
                 "removed), every hash checked",
                 f"{found.id}：{names} 已恢复（写入 {written} 个文件，移除 {removed} 个），"
                 "哈希均已核对")]  # fmt: skip
    if found.erased:
        shown = ", ".join(sorted(found.erased)[:3])
        count = len(found.erased)
        lines.append(say(f"rows erased since stay out of {count} of them: {shown}",
                         f"此后被删除的行不会恢复，涉及 {count} 个文件：{shown}"))  # fmt: skip
    lines.append(say(f"to go back: `errata checkout {run_id}`",
                     f"撤销：`errata checkout {run_id}`"))  # fmt: skip
    return "\n".join(lines)
