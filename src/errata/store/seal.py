"""Signed checkpoints: how long the ledger was, and what its last event's hash was, when seen.

    audit/checkpoints/<key>.jsonl     {"size","head","ts","key","prev","signature"}

One file a key, so that machines that share a database do not write to the same one; each line
names the hash of the line before. The signature is over the canonical JSON of all other fields.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from errata import git
from errata.jsonl import canonical
from errata.store import database, keys, lines
from errata.store.chain import ZERO, Checkpoint
from errata.workspace import Workspace


def folder(ws: Workspace) -> Path:
    """Where the checkpoints are; git tracks it."""
    return ws.audit / "checkpoints"


def _body(point: Checkpoint) -> str:
    fields = point._asdict()
    del fields["signature"]
    return canonical(fields)


def _line(point: Checkpoint) -> str:
    return canonical(point._asdict())


def _parse(line: bytes) -> Checkpoint:
    """ValueError or TypeError for a line that is none."""
    point = Checkpoint(**json.loads(line))
    if type(point.size) is not int or not all(isinstance(v, str) for v in point[1:]):
        raise TypeError
    return point


def _read(path: Path) -> tuple[list[Checkpoint], list[str]]:
    """Checkpoints of a file, and which of its lines are none."""
    found, problems = [], []
    for number, line in enumerate(lines.read(path), 1):
        try:
            found.append(_parse(line))
        except (ValueError, TypeError):
            problems.append(f"audit/checkpoints/{path.name}:{number}: not a checkpoint")
    return found, problems


def sign(ws: Workspace, size: int, hash_of: Callable[[int], str | None]) -> str | None:
    """Add a checkpoint of this machine's key for a chain of `size` events; None when done, or why
    it must not be signed: it does not go on from what the key has signed before."""
    key = keys.secret(ws, "ledger")
    name = keys.key_id(key.public_key())
    path = folder(ws) / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        keys.publish(ws, "ledger", key.public_key())  # after its file: without one it was deleted
        end, line = lines.tail(file)
        try:
            last = _parse(line) if line else None
        except (ValueError, TypeError):
            return f"the last line of audit/checkpoints/{path.name} is not a checkpoint"
        if last and last.size > size:
            return f"it has {size} events and the checkpoint of {last.ts} saw {last.size}"
        if last and hash_of(last.size) != last.head:
            return f"event {last.size} is not the one that the checkpoint of {last.ts} saw"
        if last and last.size == size:
            return None
        prev = hashlib.sha256(_line(last).encode()).hexdigest() if last else ZERO
        point = Checkpoint(size, str(hash_of(size)), database.now(), name, prev, "")
        point = point._replace(signature=keys.sign(key, _body(point)))
        lines.add(file, end, _line(point) + "\n")
    return None


def check(ws: Workspace) -> tuple[list[Checkpoint], list[str]]:
    """All checkpoints whose signatures hold, oldest first, and what is wrong with the others."""
    trusted, problems = keys.public(ws, "ledger")
    good: list[Checkpoint] = []
    for path in sorted(folder(ws).glob("*.jsonl")):
        points, odd = _read(path)
        problems += odd
        prev = ZERO
        for point in points:
            name = f"audit/checkpoints/{path.name}: checkpoint of {point.ts} ({point.size} events)"
            key = trusted.get(point.key)
            if key is None:
                problems.append(f"{name}: signed by {point.key}, which is not in keys/")
            elif not keys.holds(key, _body(point), point.signature):
                problems.append(f"{name}: its signature does not hold")
            elif point.prev != prev:
                problems.append(f"{name}: the checkpoint before it is missing")
            else:
                good.append(point)
            prev = hashlib.sha256(_line(point).encode()).hexdigest()
    signers = {*trusted, *_own(ws)}
    for name in sorted(signers):
        if not (folder(ws) / f"{name}.jsonl").is_file():
            problems.append(f"audit/checkpoints/{name}.jsonl: missing; its key has signed")
    return sorted(good), problems + _against_git(ws)


def _own(ws: Workspace) -> list[str]:
    """This machine's key, where it has one: its checkpoints cannot be deleted with its public half
    unnoticed."""
    if not (ws.state / "keys" / "ledger.pem").is_file():
        return []
    return [keys.key_id(keys.secret(ws, "ledger").public_key())]


def _against_git(ws: Workspace) -> list[str]:
    """What the last commit holds against audit/ and the keys: they grow, and nothing in them
    changes. A file that is shorter was rolled back, and is completed by the next command."""
    there = ("audit/ledger.jsonl", "audit/checkpoints", "keys")
    listed = git.git(
        ws.root, "ls-tree", "-r", "-z", "--name-only", "HEAD", "--", *there, check=False
    )
    problems = []
    for name in filter(None, listed.stdout.split("\0")):
        if name.startswith("keys/") and not name.startswith("keys/ledger-"):
            continue
        if not ws.path(name).is_file():
            problems.append(f"{name}: deleted; the last commit has it")
            continue
        committed = git.git(ws.root, "show", f"HEAD:{name}", check=False).stdout.encode()
        now = ws.path(name).read_bytes()
        if not (now.startswith(committed) or committed.startswith(now)):
            problems.append(f"{name}: is not what the last commit has, gone on; rewritten since")
    return problems
