"""`engine: ray`: the same work on pieces of the files beside each other, in the files' order.

What travels through Ray is where a piece begins and what came of it: redacted rows. Each worker
reads raw text and the redaction key where they lie, so that neither is in an object of Ray's, nor
in what it spills to disk; values for the vault travel encrypted. The machines of a cluster have to
see the workspace and the files under the same paths.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from errata.errors import BadInput
from errata.intake import cluster, files, sources
from errata.intake.cleaner import Cleaner
from errata.intake.fields import RowError
from errata.intake.gather import Kept
from errata.intake.labeller import Labels
from errata.intake.pieces import Bad, Piece
from errata.intake.redact import Policy, keyed_hash, redactor, workspace_key
from errata.intake.take import Part, Trace, parts
from errata.intake.traces import Traces
from errata.workspace import Workspace

_NONCE = 12  # bytes, as AES-GCM wants it
Stream = Iterator[tuple[Path, Iterator[Part]]]


class Work(NamedTuple):
    """What a worker has to know."""

    root: Path
    how: sources.Reading
    policy: Policy
    source: str | None
    labels: Labels | None = None

    def cleaner(self) -> Cleaner:
        """With the workspace's key, which is read here and travels nowhere."""
        ws = Workspace(self.root)
        if not (ws.state / "keys" / "redaction").is_file():
            raise BadInput(f"{self.root}: a worker of Ray sees no workspace there; mount it there")
        return Cleaner(self.policy, workspace_key(ws), redactor(ws, self.policy), self.labels)


@contextmanager
def reading(ws: Workspace, paths: Sequence[Path], work: Work) -> Iterator[Stream]:
    """What comes of each file, in order; Ray is stopped and its files are gone when this ends.

    BadInput where Ray is not installed, ErrataError where a worker fails.
    """
    for path in paths:
        sources.check(path, work.how)
    pieces = [(n, piece) for n, path in enumerate(paths) for piece in files.cut(path)]
    key = workspace_key(ws)
    with cluster.apart(ws, _drive, [piece for _, piece in pieces], work) as said:
        found = ((*pieces[number], _unpacked(part, key)) for number, part in said)
        yield ((paths[n], _joined(group, work)) for n, group in groupby(found, lambda it: it[0]))


def _drive(ray: Any, pieces: Sequence[Piece], work: Work) -> Iterator[tuple[int, bytes]]:
    """(number, packed part) of every piece in order, as they are ready."""

    def worked(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        cleaner = work.cleaner()
        for number in batch["item"]:
            for part in parts(sources.each(pieces[number], work.how), cleaner, work.source):
                yield {"piece": [number], "part": [_packed(part, cleaner.key)]}

    data = ray.data.from_items(list(range(len(pieces))), override_num_blocks=len(pieces))
    for row in data.map_batches(worked, batch_size=1).iter_rows():
        yield int(row["piece"]), row["part"]


def _joined(found: Iterable[tuple[int, Piece, Part]], work: Work) -> Iterator[Part]:
    """The parts of one file. Traces wait for the last of them: their pieces are read again here."""
    traces, again = Traces(), dict[Piece, None]()
    for _, piece, part in found:
        noted = list[Bad | Trace]()
        for note in part.noted:
            if isinstance(note, Bad):
                noted.append(note)
                continue
            again[piece] = None
            try:
                traces.room(note.said)
                part.good += note.success
            except RowError as error:
                noted.append(Bad(note.line, error.field, error.reason))
        part.noted = noted
        yield part
    if again:
        yield from parts(sources.traced(again, work.how), work.cleaner(), work.source)


def _packed(part: Part, key: bytes) -> bytes:
    """A part as JSON, what is raw of it under a key that both sides make of the workspace's."""
    boxes = json.dumps([boxes for _, boxes in part.failures]).encode()
    nonce = os.urandom(_NONCE)
    sealed = base64.b64encode(nonce + _cipher(key).encrypt(nonce, boxes, None)).decode()
    failures = [row for row, _ in part.failures]
    noted = [[type(note) is Bad, *note] for note in part.noted]
    told = {"failures": failures, "boxes": sealed, "noted": noted, "good": part.good}
    return json.dumps(told, ensure_ascii=False).encode()


def _unpacked(packed: bytes, key: bytes) -> Part:
    told = json.loads(packed)
    sealed = base64.b64decode(told["boxes"])
    boxes = json.loads(_cipher(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], None))
    return Part(
        [(Kept(*row), [(owner, token, value) for owner, token, value in some])
         for row, some in zip(told["failures"], boxes, strict=True)],
        [Bad(*note) if bad else Trace(*note) for bad, *note in told["noted"]],
        told["good"],
    )  # fmt: skip


def _cipher(key: bytes) -> AESGCM:
    return AESGCM(bytes.fromhex(keyed_hash(key, "ray", "boxes")))
