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

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from errata.jsonl import canonical, write_text
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
        end, line = lines.tail(file)
        try:
            last = _parse(line) if line else None
        except (ValueError, TypeError):
            return f"the last line of audit/checkpoints/{path.name} is not a checkpoint"
        for point in filter(None, (remembered(ws), last)):
            if point.size > size:
                return f"it has {size} events and the checkpoint of {point.ts} saw {point.size}"
            if hash_of(point.size) != point.head:
                return f"event {point.size} is not the one that the checkpoint of {point.ts} saw"
        if last and last.size == size:
            _publish(ws, key, last)
            return None
        prev = hashlib.sha256(_line(last).encode()).hexdigest() if last else ZERO
        point = Checkpoint(size, str(hash_of(size)), database.now(), name, prev, "")
        point = point._replace(signature=keys.sign(key, _body(point)))
        lines.add(file, end, _line(point) + "\n")
    _publish(ws, key, point)
    return None


def _publish(ws: Workspace, key: Ed25519PrivateKey, point: Checkpoint) -> None:
    """After the checkpoint: a key that is there has signed. This machine remembers what it was."""
    keys.publish(ws, "ledger", key.public_key())
    if remembered(ws) != point:
        write_text(_memory(ws), _line(point) + "\n")


def _memory(ws: Workspace) -> Path:
    return ws.state / "keys" / "ledger.seen"


def remembered(ws: Workspace) -> Checkpoint | None:
    """The last checkpoint that this machine has signed, as it kept it for itself; None without one,
    or where somebody else wrote it."""
    try:
        point = _parse(_memory(ws).read_bytes())
    except (OSError, ValueError, TypeError):
        return None
    key = _own(ws).get(point.key)
    return point if key and keys.holds(key, _body(point), point.signature) else None


def check(ws: Workspace) -> tuple[list[Checkpoint], list[str]]:
    """All checkpoints whose signatures hold, oldest first, and what is wrong with the others."""
    trusted, problems = keys.public(ws, "ledger")
    signers, own = set(trusted), _own(ws)  # a key that was published has signed
    good: list[Checkpoint] = []
    for path in sorted(folder(ws).glob("*.jsonl")):
        points, odd = _read(path)
        problems += odd
        prev = ZERO
        known = trusted | own if len(points) == 1 else trusted  # published right after its first
        for point in points:
            name = f"audit/checkpoints/{path.name}: checkpoint of {point.ts} ({point.size} events)"
            key = known.get(point.key)
            if key is None:
                problems.append(f"{name}: signed by {point.key}, which is not in keys/")
            elif not keys.holds(key, _body(point), point.signature):
                problems.append(f"{name}: its signature does not hold")
            elif point.prev != prev:
                problems.append(f"{name}: the checkpoint before it is missing")
            else:
                good.append(point)
                signers.discard(point.key)
            prev = hashlib.sha256(_line(point).encode()).hexdigest()
    problems += [f"audit/checkpoints/{name}.jsonl: missing; its key has signed"
                 for name in sorted(signers)]  # fmt: skip
    return sorted(good), problems


def _own(ws: Workspace) -> dict[str, Ed25519PublicKey]:
    """This machine's key, where it has one."""
    if not (ws.state / "keys" / "ledger.pem").is_file():
        return {}
    key = keys.secret(ws, "ledger").public_key()
    return {keys.key_id(key): key}
