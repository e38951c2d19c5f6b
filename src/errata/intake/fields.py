"""The parts of a raw row: texts, turns, labels, times. Each reader says in one line what is wrong.

Reasons never quote the row: it is not redacted yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast, get_args

from errata.intake import times
from errata.records import LABEL_ALIASES, Label, Message

LABELS: tuple[str, ...] = get_args(Label)
SUBJECTS = ("subject", "user", "user_id", "customer", "customer_id")
ROLES = ("system", "documents", "user", "assistant", "tool")
_DEEPEST = 32
# What other tools call these roles.
_ROLE = {"human": "user", "prompter": "user", "gpt": "assistant", "bot": "assistant",
         "chatgpt": "assistant", "model": "assistant", "ai": "assistant", "developer": "system",
         "function_call": "assistant", "function": "tool", "observation": "tool",
         "context": "documents"}  # fmt: skip


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


class RowError(ValueError):
    """What is wrong with one field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


class NoFailure(Exception):
    """A row that says of itself that the answer was good."""


def canonical_label(value: Any, names: Mapping[str, str] | None = None) -> Label:
    """One of the eight labels; the chapter's Chinese names, `hallucination` and the workspace's own
    `names` are aliases."""
    if not isinstance(value, str):
        raise RowError("label", "missing" if value is None else "not a string")
    name = value.strip()
    name = (names or {}).get(name, name)
    name = LABEL_ALIASES.get(name, LABEL_ALIASES.get(name.lower(), name.lower().replace("-", "_")))
    if name not in LABELS:
        raise RowError("label", f"not one of {', '.join(LABELS)}")
    return cast("Label", name)


def text(row: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that the row has, which must be a text."""
    name = next((name for name in names if row.get(name) is not None), names[0])
    value = row.get(name)
    if not isinstance(value, str):
        raise RowError(name, "missing" if value is None else "not a string")
    if blank(value):
        raise RowError(name, "empty")
    return value


def blank(value: str) -> bool:
    """Whether a text says nothing; NUL is taken out of texts, so it says nothing either."""
    return not value.replace("\0", "").strip()


def optional(row: Mapping[str, Any], field: str) -> str | None:
    """A text, or nothing."""
    value = row.get(field)
    if value is not None and not isinstance(value, str):
        raise RowError(field, "not a string")
    return value or None


def time(row: Mapping[str, Any], *names: str) -> str | None:
    """When it happened, as ISO 8601, whatever way the row writes it; None where it does not say."""
    name = next((name for name in names if row.get(name) not in (None, "")), "")
    if not name:
        return None
    found = times.read(row[name])
    if found is None:
        raise RowError(name, "not an ISO 8601 time, nor another that is read without a guess "
                       "(16 Dec 2025, 2025年12月16日, seconds since 1970)")  # fmt: skip
    return found


def turns(value: Any, field: str) -> list[Message]:
    """Messages of any of the usual shapes: {role, content} and {from, value}; contents as text or
    as parts; calls of tools as the `CALL name(argument)` that the desk's models write."""
    if not isinstance(value, list):
        raise RowError(field, "not a list of {role, content}")
    found = []
    for place, turn in enumerate(value):
        if not isinstance(turn, dict):
            raise RowError(f"{field}.{place}.role", f"not one of {', '.join(ROLES)}")
        role: Any = turn.get("role", turn.get("from"))
        role = _ROLE.get(role.lower(), role.lower()) if isinstance(role, str) else role
        if role not in ROLES:
            raise RowError(f"{field}.{place}.role", f"not one of {', '.join(ROLES)}")
        said = content(turn, f"{field}.{place}.content")
        if turn.get("from") == "function_call":  # ShareGPT's, whose text is the call as JSON
            said = _called_in(said)
        found.append(Message(role=role, content=said))
    return found


def content(turn: Mapping[str, Any], field: str) -> str:
    """What a turn says: its text, then the tools it calls."""
    value = turn.get("content", turn.get("value", turn.get("text")))
    if isinstance(value, dict):
        value = value.get("text")
    if isinstance(value, list):
        parts = [part.get("text") for part in value if isinstance(part, dict)]
        value = "\n".join(part for part in parts if isinstance(part, str))
    given = turn.get("tool_calls") or []
    if not isinstance(given, list):
        raise RowError(field, "tool_calls is not a list")
    calls = [called(call) for call in given if isinstance(call, dict)]
    if not isinstance(value, str) and not (value is None and calls):
        raise RowError(field, "not a string")
    return "\n".join([*([value] if value else []), *calls])


def called(call: Mapping[str, Any]) -> str:
    """A tool call in one line; a call with one argument shows its value alone."""
    function = call.get("function") if isinstance(call.get("function"), dict) else call
    assert isinstance(function, Mapping)
    name = function.get("name")
    if not isinstance(name, str):
        raise RowError("tool_call", "name is not a string")
    return f"CALL {name}({_arguments(function.get('arguments', function.get('input', {})))})"


def _called_in(said: str) -> str:
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return said
    return called(found) if isinstance(found, dict) and "name" in found else said


def _arguments(given: Any) -> str:
    """What stands between the brackets of a call; text that is no JSON stands there as it is."""
    try:
        found = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return str(given)
    except RecursionError:
        raise RowError("tool_call", f"arguments are nested more than {_DEEPEST} deep") from None
    if _deep(found):
        raise RowError("tool_call", f"arguments are nested more than {_DEEPEST} deep")
    told = _listed(found) if isinstance(found, dict) else json.dumps(found, ensure_ascii=False)
    try:
        told.encode()  # it was decoded here, so it is checked here
    except UnicodeEncodeError:
        raise RowError("tool_call", "arguments hold half a surrogate pair (\\ud8…)") from None
    return told


def _listed(given: Mapping[str, Any]) -> str:
    values = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
              for value in given.values()]  # fmt: skip
    named = map("=".join, zip(given, values, strict=True))
    return ", ".join(values if len(values) == 1 else named)


def meta(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the row says beyond its texts; a reference in it must be one."""
    found = row.get("meta") or {}
    if not isinstance(found, dict):
        raise RowError("meta", "not an object")
    reference = found.get("reference")
    if reference is not None and (not isinstance(reference, str) or not reference.strip()):
        raise RowError("meta.reference", "not a text; leave it out where no ideal answer is known")
    if _deep(found):
        raise RowError("meta", f"nested more than {_DEEPEST} deep")
    people = found.get("subjects")  # our own, of a failure that comes in again; or another's word
    if people is not None and not (isinstance(people, list) and all(map(_hashed, people))):
        return {name: value for name, value in found.items() if name != "subjects"}
    return found


def _hashed(person: Any) -> bool:
    """Whether this is how a person is known in the store."""
    return isinstance(person, str) and bool(re.fullmatch("u-[0-9a-f]{16}", person))


def _deep(value: Any, left: int = _DEEPEST) -> bool:
    """Whether a value is nested so deep that readers of JSON give up on it."""
    if left < 0:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_deep(item, left - 1) for item in inner)


def tags(row: Mapping[str, Any]) -> list[str]:
    """Words that somebody sorted the row by."""
    found = row.get("tags") or []
    if not isinstance(found, list) or not all(isinstance(tag, str) for tag in found):
        raise RowError("tags", "not a list of strings")
    return found


def subject(row: Mapping[str, Any]) -> str | None:
    """The person a row is about: a field of the row, or of its meta."""
    about = row.get("meta")
    for place in (row, about if isinstance(about, dict) else {}):
        for name in SUBJECTS:
            value = place.get(name)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
                return str(value).strip()
    return None


def known(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Those of the fields that the row has and that are plain."""
    return {name: row[name] for name in names if isinstance(row.get(name), (str, int, float, bool))}
