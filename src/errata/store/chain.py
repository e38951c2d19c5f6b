"""The arithmetic of the audit ledger: how events are chained, and what a broken chain tells.

    hash = sha256(canonical({"data","kind","prev","seq","ts"}))        prev of the first: 64 zeros

Each event names the hash of the one before, so whoever edits, deletes, inserts or moves an event
breaks a link there. A chain alone cannot tell that its end was cut off, or that all of it was
written anew: signed checkpoints of (size, last hash) can (after RFC 6962, section 2.1: what was
logged once stays a prefix). Pure functions; no file, no database.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from json.encoder import encode_basestring as quoted
from typing import NamedTuple

ZERO = "0" * 64
_NEAR = 64  # how far an event is looked for from the place where it should be
_TEXT = r'"(?:[^"\\]|\\.)*"'
_LINE = re.compile(
    rf'{{"data":(.*),"hash":"([0-9a-f]{{64}})","kind":({_TEXT}),"prev":"([0-9a-f]{{64}})",'
    rf'"seq":(\d+),"ts":({_TEXT})}}'
)


class Event(NamedTuple):
    """One event; `data` is canonical JSON text."""

    seq: int
    ts: str
    kind: str
    data: str
    prev: str
    hash: str

    @property
    def name(self) -> str:
        """How a person finds it."""
        return f"event {self.seq} ({self.kind}, {self.ts})"


class Checkpoint(NamedTuple):
    """What a key holder saw: so many events, the last with this hash; `prev` chains checkpoints."""

    size: int
    head: str
    ts: str
    key: str
    prev: str
    signature: str


def event_hash(seq: int, ts: str, kind: str, data: str, prev: str) -> str:
    """The hash of one event over its canonical JSON; `data` is canonical text already."""
    text = f'{{"data":{data},"kind":{quoted(kind)},"prev":{quoted(prev)},'
    text += f'"seq":{seq},"ts":{quoted(ts)}}}'
    return hashlib.sha256(text.encode()).hexdigest()


def to_line(event: Event) -> str:
    """The event as canonical JSON; its data are spliced in, not written anew."""
    seq, ts, kind, data, prev, digest = event
    text = f'{{"data":{data},"hash":{quoted(digest)},"kind":{quoted(kind)},"prev":{quoted(prev)},'
    return text + f'"seq":{seq},"ts":{quoted(ts)}}}'


def from_line(line: str) -> Event:
    """The other way; ValueError for a line that is not canonical, or no event."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("not an event")
    data, digest, kind, prev, seq, ts = match.groups()
    return Event(int(seq), json.loads(ts), json.loads(kind), data, prev, digest)


def chained(last: Event | None, rows: Iterable[tuple[str, str, str]]) -> Iterator[Event]:
    """Events (ts, kind, data) that follow `last`."""
    seq, prev = (last.seq, last.hash) if last else (0, ZERO)
    for ts, kind, data in rows:
        seq += 1
        event = Event(seq, ts, kind, data, prev, event_hash(seq, ts, kind, data, prev))
        prev = event.hash
        yield event


def breaks(events: Iterable[Event]) -> list[str]:
    """Each place where the chain does not hold, with what was done there; [] when it holds.

    After a break the walk goes on from the event as it stands, so that one edited event is one
    problem, and a second one further on is found too.
    """
    found: list[tuple[Event | None, Event]] = []
    places: dict[str, int] = {}
    before: Event | None = None
    shift = 0  # places that events stand before their true one, where some are gone
    for event in events:
        seq, prev = (before.seq + 1, before.hash) if before else (1, ZERO)
        places[event.hash] = event.seq
        number = true_number(event)
        if (event.seq, event.prev, number) != (seq, prev, seq + shift):
            found.append((before, event))
            shift = 0 if number is None else number - event.seq
        before = event
    return [_what(before, event, places) for before, event in found]


def true_number(event: Event) -> int | None:
    """The number under which an event was written; None where none near makes its hash right: then
    its contents were changed."""
    if event.hash == event_hash(*event[:5]):
        return event.seq
    for step in range(1, _NEAR):
        for seq in (event.seq + step, event.seq - step):
            if seq > 0 and event.hash == event_hash(seq, *event[1:5]):
                return seq
    return None


def _what(before: Event | None, event: Event, places: dict[str, int]) -> str:
    """What was done where `event` does not follow `before`."""
    last, head = (before.seq, before.hash) if before else (0, ZERO)
    if event.prev == head:
        if event.seq != last + 1:
            return f"{event.name}: expected number {last + 1}; an event is missing or was moved"
        return f"{event.name}: was changed after it was written"
    follows = 0 if event.prev == ZERO else places.get(event.prev)
    if follows is not None and follows < last:
        inserted = span(follows + 1, last)
        return f"{inserted} inserted or moved: {event.name} was written after event {follows}"
    if follows is not None:
        return f"{event.name}: was moved: it was written after what is now event {follows}"
    gone = (true_number(event) or 0) - 1
    if gone > last:
        return f"{span(last + 1, gone)} missing: deleted before {event.name}"
    if before is None:
        return f"{event.name}: does not begin the chain; what came before it is gone"
    return f"{before.name}: was rewritten, hash and all: event {event.seq} names another hash"


def span(first: int, last: int) -> str:
    """`event 3 is`, `events 3 to 5 are`."""
    return f"event {first} is" if first == last else f"events {first} to {last} are"


def unsealed(checkpoints: Sequence[Checkpoint], heads: Sequence[str]) -> list[str]:
    """What the checkpoints, oldest first, hold against a chain with these hashes; [] when nothing.

    Their signatures have been checked before.
    """
    held = 0
    for point in checkpoints:
        if point.size > len(heads):
            last = max(checkpoints, key=lambda other: other.size)
            gone = span(len(heads) + 1, last.size)
            return [f"{gone} missing, which the checkpoint of {last.ts} has seen: the tail was "
                    "cut off, or the database is an old copy"]  # fmt: skip
        if point.size and heads[point.size - 1] != point.head:
            return [f"{span(held + 1, point.size)} not what the checkpoint of {point.ts} has "
                    "seen: rewritten since"]  # fmt: skip
        held = max(held, point.size)
    return []
