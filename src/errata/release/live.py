"""What was answered while serving: a row an answer, a judgement or a probe, in the store.

    live.append(ws, rows)            what a gateway has seen since it last wrote
    live.read(ws, rollout, after)    all of it since, from every gateway, in the order of writing

No text and no user is in it: those stay where they are served. Rows that were written together are
one window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple
from uuid import uuid4

import sqlalchemy as sa
from pydantic import Field

from errata.jsonl import canonical
from errata.records import Label, Language, Record
from errata.store import database
from errata.workspace import Workspace

Arm = Literal["stable", "canary"]


class Live(Record):
    """One answered request, or what was said of one later.

    `kind`: an answer; feedback of its user; the judgement of a sampled one; a probe (a question of
    the attack suite that was put through the canary); a shadow (asked, shown to nobody).
    `error` is the code of what kept it from its end.
    `flags` are what can go wrong, by name: true where it did, null where it could not be told.
    `sizes`: ms, first_ms, tokens_in, tokens_out, cost, chars, users (see the gateway)."""

    kind: Literal["answer", "feedback", "judged", "probe", "shadow"] = "answer"
    window: str = ""
    ts: float = 0.0
    gateway: str = ""
    stage: int
    arm: Arm
    release: str
    digest: str
    answer: str = ""
    conversation: str = ""
    subject: str = ""
    case: str = ""
    failed: bool | None = None
    error: str = ""
    label: Label = "other"
    hard: str | None = None
    flags: dict[str, bool | None] = Field(default_factory=dict)
    sizes: dict[str, float] = Field(default_factory=dict)
    language: Language | None = None


class Seen(NamedTuple):
    """A row and its number in the store."""

    seq: int
    row: Live


def append(ws: Workspace, rows: Iterable[Live]) -> None:
    """Write down rows of one window, all of them or none. What was written in a window before, by a
    writer that was not told so, is not written twice."""
    batch = [
        {
            "place": f"{row.window}:{number}" if row.window else uuid4().hex,
            "rollout": row.release,
            "ts": row.ts,
            "answer": row.answer if row.kind == "answer" else "",
            "conversation": row.conversation,
            "data": canonical(row),
        }
        for number, row in enumerate(rows)
    ]
    if batch:
        with database.writing(ws) as connection:
            database.insert_new(connection, database.live, batch)


def read(ws: Workspace, rollout: str, after: int = 0) -> list[Seen]:
    """Rows that belong to a release's rollout, or to its time at 100 %, after one of them."""
    t = database.live
    query = sa.select(t.c.seq, t.c.data).where(t.c.rollout == rollout, t.c.seq > after)
    with database.reading(ws) as connection:
        found = connection.execute(query.order_by(t.c.seq)).all()
    return [Seen(seq, Live.model_validate_json(data)) for seq, data in found]


def since(ws: Workspace, rollout: str, ts: float) -> list[Live]:
    """Rows of a rollout from a time on."""
    t = database.live
    return _rows(ws, sa.select(t.c.data).where(t.c.rollout == rollout, t.c.ts >= ts))


def before(ws: Workspace, rollout: str, ts: float, most: int) -> list[Live]:
    """The newest rows of a rollout from before a time."""
    t = database.live
    query = sa.select(t.c.data).where(t.c.rollout == rollout, t.c.ts < ts)
    return _rows(ws, query.order_by(t.c.seq.desc()).limit(most))


def _rows(ws: Workspace, query: sa.Select[Any]) -> list[Live]:
    with database.reading(ws) as connection:
        found = connection.execute(query).scalars().all()
    return [Live.model_validate_json(data) for data in found]


def answered(ws: Workspace, answer: str) -> Live | None:
    """The answer of this id, whichever gateway gave it."""
    return _newest(ws, database.live.c.answer == answer) if answer else None


def begun(ws: Workspace, conversation: str) -> Live | None:
    """The last answer of a conversation."""
    return _newest(ws, database.live.c.conversation == conversation) if conversation else None


def _newest(ws: Workspace, found: sa.ColumnElement[bool]) -> Live | None:
    t = database.live
    query = sa.select(t.c.data).where(found).order_by(t.c.seq.desc()).limit(1)
    with database.reading(ws) as connection:
        data = connection.execute(query).scalar()
    return Live.model_validate_json(data) if data else None


def pace(ws: Workspace, now: float) -> int:
    """Requests that were answered in the 24 hours before."""
    t = database.live
    query = sa.select(sa.func.count()).where(t.c.ts > now - 86400, t.c.answer != "")
    with database.reading(ws) as connection:
        return connection.execute(query).scalar() or 0


def prune(ws: Workspace, before: float, keep: Sequence[str] = ()) -> int:
    """Forget rows older than a time, but for these releases; how many went."""
    t = database.live
    old = sa.delete(t).where(t.c.ts < before, t.c.rollout.not_in(list(keep)))
    with database.writing(ws) as connection:
        return connection.execute(old).rowcount
