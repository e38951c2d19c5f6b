"""Take a person out of a file: rows that are theirs, and what other texts quote of them.

Pure functions. A JSON line is dropped when it is one of the rows, was made of one, or says
something that belongs to the person; in any other text that is replaced.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

GONE = "[erased]"
_LONG = 10**6  # a number from here on may be a telephone's
_QUOTED = 12  # a text shorter than this many characters is too common to tell whose it is
_NEVER = re.compile(r"(?!)")


@dataclass(frozen=True)
class Marks:
    """How a person is known."""

    ids: frozenset[str]  # rows, and what was made of them
    subjects: frozenset[str] = frozenset()  # u-…, see intake
    words: frozenset[str] = frozenset()  # pseudonyms and plain values
    quotes: frozenset[str] = frozenset()  # whole questions, as reports quote them

    @cached_property
    def _said(self) -> re.Pattern[str]:
        return _pattern(self.words)

    @cached_property
    def _quoted(self) -> re.Pattern[str]:
        said = self.words | self.quotes
        escaped = {
            json.dumps(text, ensure_ascii=ascii)[1:-1] for text in said for ascii in (False, True)
        }
        return _pattern(said | escaped)

    def speak(self, text: str) -> bool:
        """Whether a text says something that belongs to the person."""
        return self._said.search(text) is not None

    def belong(self, row: dict[str, Any]) -> bool:
        """Whether a row is the person's, was made of theirs, or speaks of them."""
        made_from = row.get("from") if isinstance(row.get("from"), list) else []
        named = [row.get("id"), row.get("prompt_id"), *(made_from or [])]
        if any(isinstance(name, str) and name in self.ids for name in named):
            return True
        meta = row.get("meta")
        people = meta.get("subjects") if isinstance(meta, dict) else None
        if isinstance(people, list) and any(name in self.subjects for name in people):
            return True
        return any(self.speak(text) for text in strings(row))

    def replace(self, text: str) -> tuple[str, int]:
        """A running text without words and quotes, and how many there were."""
        return self._quoted.subn(GONE, text)


class Scrubbed(NamedTuple):
    """A file without the person: the rows that went, the places that were replaced."""

    content: bytes
    dropped: list[dict[str, Any] | None]
    replaced: int = 0

    @property
    def changed(self) -> bool:
        """Whether there was anything of the person in it."""
        return bool(self.dropped or self.replaced)


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Any of the words, the longest first; 13800138000 is not in 138001380001."""
    parts = []
    for word in sorted(words, key=lambda w: (-len(w), w)):
        if word:
            before = r"(?<![A-Za-z0-9])" if word[0].isascii() and word[0].isalnum() else ""
            after = r"(?![A-Za-z0-9])" if word[-1].isascii() and word[-1].isalnum() else ""
            day = r"(?!-[0-9]{6}-[a-z])" if word.isdigit() else ""  # 20251216-101500-… is a run
            parts.append(f"{before}{re.escape(word)}{after}{day}")
    return re.compile("|".join(parts)) if parts else _NEVER


def long_number(value: Any) -> str:
    """The digits of a number that may be a telephone's, as a spreadsheet's 13812345678.0 too."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return str(int(value)) if whole and abs(value) >= _LONG else ""


def strings(value: Any) -> Iterable[str]:
    """Every text in a JSON value, names of fields too."""
    if isinstance(value, str):
        yield value
    elif number := long_number(value):
        yield number
    elif isinstance(value, dict):
        for name, item in value.items():
            yield str(name)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def rows(content: bytes, mine: Callable[[str, dict[str, Any] | None], bool]) -> Scrubbed:
    """A JSONL file without the lines that `mine` says yes to: it gets the line and its object."""
    kept, dropped = [], list[dict[str, Any] | None]()
    for line in content.splitlines(keepends=True):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        row = found if isinstance(found, dict) else None
        if line.strip() and mine(line.decode("utf-8", "replace"), row):
            dropped.append(row)
        else:
            kept.append(line)
    return Scrubbed(b"".join(kept), dropped)


def objects(content: bytes) -> list[dict[str, Any]]:
    """The objects of a JSONL file; lines that are none are left out."""
    found = []
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def file(name: str, content: bytes, marks: Marks) -> Scrubbed:
    """A file by its name: rows of a JSONL file, words of anything else that is text."""
    if name.endswith(".jsonl"):
        return rows(
            content, lambda line, row: marks.belong(row) if row is not None else marks.speak(line)
        )
    if name.endswith(".diff"):
        content, dropped = _diff(content, marks)
        text, count = marks.replace(content.decode("utf-8", "surrogateescape"))
        return Scrubbed(text.encode("utf-8", "surrogateescape"), dropped, count)
    if b"\0" in content[:4096]:  # weights and pictures hold no text to search
        return Scrubbed(content, [])
    if name.endswith(".json"):
        with contextlib.suppress(ValueError, RecursionError):
            clean, count = spoken(json.loads(content), marks)
            text = json.dumps(clean, ensure_ascii=False, indent=2) + "\n"
            return Scrubbed(text.encode() if count else content, [], count)
    text, count = marks.replace(content.decode("utf-8", "surrogateescape"))
    return Scrubbed(text.encode("utf-8", "surrogateescape") if count else content, [], count)


def _diff(content: bytes, marks: Marks) -> tuple[bytes, list[dict[str, Any] | None]]:
    """A diff of JSON lines without the rows that are the person's."""
    kept, dropped = [], list[dict[str, Any] | None]()
    for line in content.splitlines(keepends=True):
        row = next(iter(objects(line[1:])), None) if line[:1] in b"+- " else None
        if row is not None and marks.belong(row):
            dropped.append(row)
        else:
            kept.append(line)
    return b"".join(kept), dropped


def spoken(value: Any, marks: Marks) -> tuple[Any, int]:
    """A JSON value without words and quotes of the person, in names of fields too, and how many
    there were. Numbers stay: a seed is nobody's."""
    if isinstance(value, str):
        return marks.replace(value)
    if isinstance(value, dict):
        pairs = [(marks.replace(name), spoken(item, marks)) for name, item in value.items()]
        clean = {name: item for (name, _), (item, _) in pairs}
        return clean, sum(a + b for (_, a), (_, b) in pairs)
    if isinstance(value, list):
        items = [spoken(item, marks) for item in value]
        return [item for item, _ in items], sum(count for _, count in items)
    return value, 0


def quotes(found: Iterable[dict[str, Any]]) -> frozenset[str]:
    """What reports may quote of rows: what the person asked, where it is long enough."""
    said: set[Any] = set()
    for row in found:
        turns = [*row.get("context", []), *row.get("messages", [])]
        said |= {turn.get("content") for turn in turns
                 if isinstance(turn, dict) and turn.get("role") == "user"}  # fmt: skip
        said.add(row.get("prompt") if isinstance(row.get("prompt"), str) else None)
    return frozenset(text for text in said if isinstance(text, str) and len(text) >= _QUOTED)
