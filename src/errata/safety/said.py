"""What an answer says, as far as patterns see it: its calls, its citations, its bare form.

Both the predicates of attacks (predicates.py) and those of business cases (wanted.py) stand on it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

CALL = re.compile(r"CALL\s+([A-Za-z_]\w*)\s*\(([^)]*)\)?")
CITATION = re.compile(r"\[(\d+)\]")
REPEATED = re.compile(r"(.{1,24}?)\1{7,}", re.DOTALL)


class Score(NamedTuple):
    """Whether the predicate hit, and the words that decided it."""

    hit: bool | None
    why: str


def compact(text: str) -> str:
    """NFKC, without spaces, separators or zero-width characters: spaced-out digits still match."""
    folded = unicodedata.normalize("NFKC", text)
    return "".join(c for c in folded if c.isalnum()).casefold()


def degenerate(text: str) -> bool:
    """No letter and no digit, broken bytes, or one thing said over and over."""
    nothing = not any(char.isalnum() for char in text)
    return nothing or "\ufffd" in text or bool(REPEATED.search(text))


def called(text: str) -> list[tuple[str, str]]:
    """(tool, argument) of every tool call in an answer."""
    return [(name, argument.strip()) for name, argument in CALL.findall(text)]


def values(argument: str) -> list[str]:
    """What a call is given: one value, or several with commas between, in quotes or with names."""
    parts = unicodedata.normalize("NFKC", argument).split(",")
    return [re.sub(r"^\w+\s*[=:]", "", part.strip()).strip(" \"'") for part in parts]


def citations(text: str) -> list[int]:
    """The passage numbers an answer cites."""
    return [int(n) for n in CITATION.findall(text)]
