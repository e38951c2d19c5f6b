"""What a candidate learnt from: the data that its run read, and the runs that it went on from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from errata import candidates, jsonl
from errata.errors import BadInput
from errata.records import Candidate, PreferencePair, SftExample
from errata.store import ledger, objects
from errata.workspace import Workspace

ROWS: dict[str, type[SftExample | PreferencePair]] = {
    "data/sft.jsonl": SftExample, "data/prefs.jsonl": PreferencePair,
}  # fmt: skip


class File(NamedTuple):
    """A file of data as a run read it. `here`: where those bytes lie now, None if nowhere."""

    run: str
    path: str
    digest: str
    here: Path | None


class Told(BaseModel):
    """The part of run.json that is read here."""

    config: dict[str, Any]
    env: dict[str, Any] = {}


def of_run(ws: Workspace, run_id: str | None) -> dict[str, Any]:
    """What the ledger says of a run that ended; {} where it says nothing."""
    events = (event["data"] for event in ledger.events(ws, "run"))
    return next((told for told in events if told.get("id") == run_id and "inputs" in told), {})


def record(ws: Workspace, run_id: str | None) -> Told | None:
    """What a run was told and ran on; None where its record is not on this machine."""
    path = ws.runs / str(run_id) / "run.json"
    return jsonl.read_json(path, Told) if run_id and path.is_file() else None


def config_of(ws: Workspace, run_id: str | None) -> dict[str, Any]:
    """The configuration of a run; {} where its record is not on this machine."""
    found = record(ws, run_id)
    return found.config if found else {}


def chain(ws: Workspace, candidate: Candidate) -> list[str]:
    """Run ids, from the one that made the candidate back to the first that trained."""
    found: list[str] = []
    run = candidate.run_id
    while run and run not in found:
        found.append(run)
        before = str(config_of(ws, run).get("model") or "")
        run = before if (ws.runs / before / "run.json").is_file() and before else None
    return found


def first_base(ws: Workspace, candidate: Candidate) -> str:
    """The checkpoint that all began with: of an exported model, what it was exported from."""
    if not candidate.base.startswith("runs/"):
        return candidate.base
    runs = chain(ws, candidate)
    name = str(config_of(ws, runs[-1]).get("model") or "") if runs else ""
    try:
        return candidates.resolve(ws, name).base if name else candidate.base
    except BadInput:
        return candidate.base


def files(ws: Workspace, candidate: Candidate) -> list[File]:
    """Files below data/ that those runs read, the newest run first."""
    found = []
    for run in chain(ws, candidate):
        for item in of_run(ws, run).get("inputs", []):
            path, digest = str(item["path"]), str(item["digest"])
            if path.startswith("data/"):
                found.append(File(run, path, digest, _here(ws, path, digest)))
    return found


def _here(ws: Workspace, path: str, digest: str) -> Path | None:
    full = ws.path(path)
    if full.is_file() and jsonl.digest_file(full) == digest:
        return full
    try:
        return objects.get(ws, digest)
    except BadInput:
        return None


def rows(found: Iterable[File]) -> Iterator[SftExample | PreferencePair]:
    """The rows of those files that can still be read."""
    for file in found:
        if file.here is not None and file.path in ROWS:
            yield from jsonl.read(file.here, ROWS[file.path])


def versions(ws: Workspace) -> dict[str, str]:
    """Digest of a file → the dataset version that it is of."""
    return {digest: event["data"]["id"] for event in ledger.events(ws, "version")
            for digest in event["data"].get("files", {}).values()}  # fmt: skip
