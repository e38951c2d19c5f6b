"""Read raw rows, whatever shape they come in; a bad one is set aside with its reason, never fatal.

A row's own shape says what it is: `messages` is a chat log whose last answer was bad, anything else
is a failure (`prompt, bad_answer, label` and, if known, `source, ts, context, meta, tags`). A new
shape is a function `row -> Raw` and its line in `FORMS`.

Reasons never quote the row: it is not redacted yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

from errata.errors import BadInput
from errata.jsonl import lines, parse_row
from errata.records import LABEL_ALIASES, Label, Message

LABELS: tuple[str, ...] = get_args(Label)
SUBJECTS = ("subject", "user", "user_id", "customer", "customer_id")
ROLES = ("system", "documents", "user", "assistant", "tool")


class Raw(NamedTuple):
    """One row as it came: nothing redacted, nothing made up."""

    prompt: str
    bad_answer: str
    label: Label | None
    source: str | None
    ts: str | None
    context: list[Message]
    meta: dict[str, Any]
    tags: list[str]
    subject: str | None = None  # whom the row is about, as the source calls them


class Bad(NamedTuple):
    """A row that cannot be used, and why."""

    line: int
    field: str
    reason: str


class RowError(ValueError):
    """What is wrong with one field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


def canonical_label(value: Any) -> Label:
    """One of the eight labels; the chapter's Chinese names and `hallucination` are aliases."""
    if not isinstance(value, str):
        raise RowError("label", "missing" if value is None else "not a string")
    name = value.strip()
    name = LABEL_ALIASES.get(name, LABEL_ALIASES.get(name.lower(), name.lower().replace("-", "_")))
    if name not in LABELS:
        raise RowError("label", f"not one of {', '.join(LABELS)}")
    return cast("Label", name)


def read(path: Path, label: str | None = None) -> Iterator[tuple[int, Raw] | Bad]:
    """Every row of a JSONL file in order, as (line, row) or as `Bad`.

    `label` is what rows without one get. A missing file raises BadInput.
    """
    for number, raw in lines(path):
        try:
            row = parse_row(raw, "")
        except BadInput as error:
            yield Bad(number, "", str(error).removeprefix(": ").split(";")[0])
            continue
        try:
            found = canonical_label(row.get("label", label))
            yield number, _form(row)(row)._replace(label=found, subject=subject(row))
        except RowError as error:
            yield Bad(number, error.field, error.reason)


def _form(row: dict[str, Any]) -> Callable[[dict[str, Any]], Raw]:
    return next(form for mark, form in FORMS if mark in row or not mark)


def failure_form(row: dict[str, Any]) -> Raw:
    """`prompt, bad_answer, label`, the chapter's minimal form, and our fields beyond it."""
    return Raw(
        prompt=_text(row, "prompt"),
        bad_answer=_text(row, "bad_answer"),
        label=None,
        source=_optional(row, "source"),
        ts=_time(row),
        context=_messages(row.get("context", []), "context"),
        meta=_meta(row),
        tags=_tags(row),
    )


def chat_log(row: dict[str, Any]) -> Raw:
    """A conversation: the last answer was bad, the user turn before it asked for it."""
    turns = _messages(row["messages"], "messages")
    if not turns or turns[-1].role != "assistant" or not turns[-1].content.strip():
        raise RowError("messages", "the last turn is not an answer of the assistant")
    if len(turns) < 2 or turns[-2].role != "user" or not turns[-2].content.strip():
        raise RowError("messages", "no user turn before the last answer")
    return Raw(
        prompt=turns[-2].content,
        bad_answer=turns[-1].content,
        label=None,
        source=_optional(row, "source"),
        ts=_time(row),
        context=turns[:-2],
        meta=_meta(row),
        tags=_tags(row),
    )


def _text(row: dict[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise RowError(field, "missing" if value is None else "not a string")
    if not value.strip():
        raise RowError(field, "empty")
    return value


def _optional(row: dict[str, Any], field: str) -> str | None:
    value = row.get(field)
    if value is not None and not isinstance(value, str):
        raise RowError(field, "not a string")
    return value or None


def _time(row: dict[str, Any]) -> str | None:
    value = _optional(row, "ts")
    if value is not None:
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise RowError(
                "ts", "not an ISO 8601 time (2025-12-16 or 2025-12-16T09:30:00Z)"
            ) from None
    return value


def _messages(value: Any, field: str) -> list[Message]:
    if not isinstance(value, list):
        raise RowError(field, "not a list of {role, content}")
    found = []
    for place, turn in enumerate(value):
        role = turn.get("role") if isinstance(turn, dict) else None
        content = turn.get("content") if isinstance(turn, dict) else None
        if role not in ROLES:
            raise RowError(f"{field}.{place}.role", f"not one of {', '.join(ROLES)}")
        if not isinstance(content, str):
            raise RowError(f"{field}.{place}.content", "not a string")
        found.append(Message(role=role, content=content))
    return found


def _meta(row: dict[str, Any]) -> dict[str, Any]:
    meta = row.get("meta") or {}
    if not isinstance(meta, dict):
        raise RowError("meta", "not an object")
    reference = meta.get("reference")
    if reference is not None and (not isinstance(reference, str) or not reference.strip()):
        raise RowError("meta.reference", "not a text; leave it out where no ideal answer is known")
    json.dumps(meta)
    return meta


def subject(row: dict[str, Any]) -> str | None:
    """The person a row is about: a field of the row, or of its meta."""
    meta = row.get("meta")
    for place in (row, meta if isinstance(meta, dict) else {}):
        for name in SUBJECTS:
            value = place.get(name)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
                return str(value).strip()
    return None


def _tags(row: dict[str, Any]) -> list[str]:
    tags = row.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise RowError("tags", "not a list of strings")
    return tags


# Looked through in order; the first whose mark is a key of the row reads it.
FORMS: tuple[tuple[str, Callable[[dict[str, Any]], Raw]], ...] = (
    ("messages", chat_log),
    ("", failure_form),
)
