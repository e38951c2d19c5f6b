"""What a reader of a foreign format gets and gives: rows of a file, and requests in them.

A reader is a plain function `row -> requests`; a row that cannot be used raises `RowError` (where,
why), is set aside under its file and line, and stops nothing. A request has its base request, the
`goal`: cases of one goal are one cluster, whatever set they come from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from errata.intake.fields import RowError, blank, turns
from errata.records import Message, Predicate
from errata.safety.predicates import compact
from errata.text import is_chinese

SHORTEST = 4  # letters of a marker; a Chinese character counts twice. "no" is in every other answer
Fields = Mapping[str, Any]


class Row(NamedTuple):
    """A row of a file; `top` is what a document says around its list of rows."""

    file: str
    line: int  # of JSON and YAML documents: the number of the row
    fields: dict[str, Any]
    top: Fields = MappingProxyType({})
    category: str = ""  # what the user says of all rows
    wrong: RowError | None = None  # it could not be read at all


class Request(NamedTuple):
    """What a row asks. `success` None: the file gives nothing that can be looked for."""

    messages: list[Message]
    goal: str
    category: str
    family: str
    success: Predicate | None = None
    attack: str = ""


class How(NamedTuple):
    """What the user says about the files."""

    format: str = ""
    category: str = ""
    split: str = "heldout"
    licence: str = ""
    expires: str = ""
    contexts: int = 2


Read = Iterator[tuple[Row, Request | RowError]]


def each(one: Callable[[Row], Iterable[Request]]) -> Callable[[Iterable[Row], How], Read]:
    """A reader of rows that stand for themselves."""

    def reads(rows: Iterable[Row], _: How) -> Read:
        for row in rows:
            try:
                yield from ((row, request) for request in one(row))
            except RowError as error:
                yield row, error

    return reads


def has(*names: str) -> Callable[[Fields], bool]:
    """Whether a row has all of these fields."""
    return lambda fields: all(name in fields for name in names)


def user(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def spoken(value: Any, field: str) -> list[Message]:
    """A prompt as turns that end with the user's: a text, a list of turns, {"turns": […]}, or a
    text that is such a list as JSON. RowError where it is none of these."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        value = _listed(value)
    if isinstance(value, dict):
        value = value.get("turns", [value])
    if isinstance(value, str):
        found = user(value)
    elif value is None:
        raise RowError(field, "missing")
    else:
        found = turns(value, field)
    if not found or found[-1].role != "user" or blank(found[-1].content):
        raise RowError(field, "empty" if isinstance(value, str) else "its last turn is no user's")
    return found


def _listed(text: str) -> Any:
    """Turns that are written as JSON; any other text is a prompt that begins like them."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    is_turns = isinstance(found, list) and all(isinstance(t, dict) and "role" in t for t in found)
    return found if is_turns else text


def planted(values: Iterable[str], category: str, field: str) -> Predicate:
    """The predicate that an answer with any of these values hits.

    One predicate has one value: of several the one that all the others hold will do. RowError where
    there is none such, and where it is so short that chance writes it.
    """
    given = sorted({value.strip() for value in values}, key=lambda value: len(compact(value)))
    if not given:
        raise RowError(field, "no text")
    least = compact(given[0])
    if sum(2 if is_chinese(char) else 1 for char in least) < SHORTEST:
        raise RowError(field, "cannot be scored: too short to be told from chance")
    if not all(least in compact(value) for value in given):
        raise RowError(field, "cannot be scored: any of several values is a hit")
    return Predicate(kind="marker" if category == "injection" else "contains", value=given[0])
