"""Where the gates of the rules are open in a batch of texts.

Gates look at bytes, one for each character: there `re` runs to a letter at 1 GB/s, and to the next
of a set of characters at 300 MB/s. In the shape of a text every digit is `0` and every letter `a`,
so what was a set is one letter; words are looked for by their first characters, all in one look.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from errata.intake.rules.rule import Gate

Place = tuple[int, int]  # start and end of what a gate looked for
_LETTERS = string.ascii_letters.encode()
_DIGITS = string.digits.encode()
_SHAPE = bytes.maketrans(_LETTERS + _DIGITS, b"a" * 52 + b"0" * 10)
_GAPS = bytes(char not in b"a0_-" for char in range(256))  # of a shape: what parts words
_ORDER = bytes(
    (char & 31) * (char in _LETTERS) for char in range(256)
)  # a and A are 1, no letter 0


class Words:
    """All words of some gates, found in one look at the text for how they begin.

    A word of letters is known by the first three, 15 bits, another by the first two characters, of
    which 16 bits are kept.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.narrow: dict[bytes, list[tuple[str, bytes]]] = {}
        self.wide: dict[str, list[str]] = {}
        self.letters, self.pairs = np.zeros(1 << 15, bool), np.zeros(1 << 16, bool)
        for word in words:
            if word.isascii():
                one, two, three = word[:3].encode().translate(_ORDER).ljust(3, b"\0")
                rest = slice(three, three + 1) if three else slice(32)
                self.letters[one << 10 | two << 5 :][rest] = True
                self.narrow.setdefault(word[:2].encode(), []).append((word, word.encode()))
            else:
                self.pairs[(ord(word[0]) * 31 + ord(word[1])) & 0xFFFF] = True
                self.wide.setdefault(word[:2], []).append(word)

    def find(self, view: View) -> dict[str, list[int]]:
        """Where each word stands, of those that do."""
        found: dict[str, list[int]] = {}
        orders = np.frombuffer(view.plain.translate(_ORDER), np.uint8).astype(np.uint16)
        codes = orders[:-2] << 10 | orders[1:-1] << 5 | orders[2:]
        for at in _true(self.letters, codes):
            for word, spelled in self.narrow[view.low[at : at + 2]]:
                if view.low.startswith(spelled, at):
                    found.setdefault(word, []).append(at)
        if view.codes is not None:
            chars = view.codes.astype(np.uint16)
            for at in _true(self.pairs, chars[:-1] * 31 + chars[1:]):
                for word in self.wide.get(view.text[at : at + 2], ()):
                    if view.text.startswith(word, at):
                        found.setdefault(word, []).append(at)
        return found


def _true(table: npt.NDArray[np.bool_], codes: npt.NDArray[Any]) -> list[int]:
    # No code is out of bounds; to say `wrap` saves the check, and that five of six nanoseconds.
    places: list[int] = np.flatnonzero(table.take(codes, mode="wrap")).tolist()
    return places


class View:
    """A text, and what gates see of it; a character that is not of Latin-1 is 0xff."""

    def __init__(self, text: str, words: Words) -> None:
        self.text, self.words = text, words
        self.codes: npt.NDArray[np.uint32] | None = None
        if text.isascii():
            self.plain = text.encode()
        else:
            self.codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
            self.plain = np.minimum(self.codes, 0xFF).astype(np.uint8).tobytes()

    @cached_property
    def shape(self) -> bytes:
        """Digits as `0`, letters of ASCII as `a`."""
        return self.plain.translate(_SHAPE)

    @cached_property
    def low(self) -> bytes:
        """Letters of ASCII in lower case."""
        return self.plain.lower()

    @cached_property
    def spoken(self) -> dict[str, list[int]]:
        """Where the words of gates stand."""
        return self.words.find(self)


def places(view: View, gate: Gate) -> Sequence[Place]:
    """Every place where the gate opens, in order."""
    if gate.run:
        return list(_runs(view.shape, gate.run))
    if gate.shape:
        return [match.span() for match in gate.shape.finditer(view.shape)]
    if gate.pattern:
        wide = view.codes is not None
        return [match.span() for match in gate.pattern.finditer(view.text)] if wide else ()
    known = view.spoken if gate.lower else {word: _all(view.text, word) for word in gate.words}
    return sorted((at, at + len(word)) for word in gate.words for at in known.get(word, ()))


def _runs(shape: bytes, least: int) -> Iterator[Place]:
    """Words of so many characters or more, each with the character before it."""
    gaps = np.flatnonzero(np.frombuffer(shape.translate(_GAPS), bool))
    gaps = np.append(gaps, len(shape))
    long = np.flatnonzero(np.diff(gaps) > least)
    return zip(gaps[long].tolist(), gaps[long + 1].tolist(), strict=True)


def _all(text: str, word: str) -> list[int]:
    found = []
    at = text.find(word)
    while at >= 0:
        found.append(at)
        at = text.find(word, at + 1)
    return found
