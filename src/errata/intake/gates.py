"""Where the gates of the rules are open in a batch of texts.

Gates look at bytes, one for each character: there `re` runs to a letter at 1 GB/s, and to the next
of a set of characters at 300 MB/s. In the shape of a text every digit is `0` and every letter `a`,
so what was a set is one letter; words are looked for by their first characters, all in one look.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from errata.intake.rules.rule import Gate

Place = tuple[int, int]  # start and end of what a gate looked for
_LETTERS = string.ascii_letters.encode()
_DIGITS = string.digits.encode()
_SHAPE = bytes.maketrans(_LETTERS + _DIGITS, b"a" * 52 + b"0" * 10)
_GROUPS = bytes.maketrans(_LETTERS + _DIGITS, b"a" * 52 + b"oi00000000")
_GAPS = bytes(char not in b"a0_-" for char in range(256))  # of a shape: what parts words
# Of letters: a and A are 1, what is none is 0.
_ORDER = bytes((char & 31) * (char in _LETTERS) for char in range(256))


class Words:
    """All words of some gates, found in one look at the text for how they begin.

    A word of letters is known by the first three, 15 bits, and the three behind the first; another
    by the first two characters, of which 16 bits are kept.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.narrow: dict[bytes, list[tuple[str, bytes]]] = {}
        self.wide: dict[str, list[str]] = {}
        self.letters, self.pairs = np.zeros((2, 1 << 15), bool), np.zeros(1 << 16, bool)
        for word in words:
            if word.isascii():
                _allow(self.letters[0], word[:3])
                _allow(self.letters[1], word[1:4])
                self.narrow.setdefault(word[:2].encode(), []).append((word, word.encode()))
            else:
                self.pairs[(ord(word[0]) * 31 + ord(word[1])) & 0xFFFF] = True
                self.wide.setdefault(word[:2], []).append(word)

    def find(self, view: View) -> dict[str, list[int]]:
        """Where each word stands, of those that do."""
        found: dict[str, list[int]] = {}
        letters = view.plain.translate(_ORDER) + bytes(3)
        orders = np.frombuffer(letters, np.uint8).astype(np.uint16)
        codes = orders[:-2] << 10 | orders[1:-1] << 5 | orders[2:]
        begin, low = _true(self.letters[0], codes), view.low
        for at in begin[self.letters[1][codes[begin + 1]]].tolist():
            for word, spelled in self.narrow.get(low[at : at + 2], ()):
                if low.startswith(spelled, at):
                    found.setdefault(word, []).append(at)
        if view.codes is not None:
            chars = view.codes.astype(np.uint16)
            for at in _true(self.pairs, chars[:-1] * 31 + chars[1:]).tolist():
                for word in self.wide.get(view.text[at : at + 2], ()):
                    if view.text.startswith(word, at):
                        found.setdefault(word, []).append(at)
        return found


def _allow(table: npt.NDArray[np.bool_], letters: str) -> None:
    """Three letters, or with fewer any that begin so."""
    code = 0
    for order in letters.encode().translate(_ORDER):
        code = code << 5 | order
    missing = 5 * (3 - len(letters))
    table[code << missing : code + 1 << missing] = True


def _true(table: npt.NDArray[np.bool_], codes: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    # No code is out of bounds; to say `wrap` saves the check, and that four fifths of the time.
    return np.flatnonzero(table.take(codes, mode="wrap"))


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
    def groups(self) -> bytes:
        """The shape, but `i` for a one and `o` for a zero that begin a group of digits."""
        digit = np.frombuffer(self.shape, np.uint8) == ord("0")
        out = np.frombuffer(self.plain.translate(_GROUPS), np.uint8).copy()
        np.copyto(out[1:], ord("0"), where=digit[1:] & digit[:-1])
        return out.tobytes()

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
    if gate.shape:
        return _shaped(view.shape, gate, gate.shape)
    if gate.pattern:
        wide = view.codes is not None
        return [match.span() for match in gate.pattern.finditer(view.text)] if wide else ()
    known = view.spoken if gate.lower else {word: _all(view.text, word) for word in gate.words}
    return sorted((at, at + len(word)) for word in gate.words for at in known.get(word, ()))


def _shaped(shape: bytes, gate: Gate, pattern: re.Pattern[bytes]) -> list[Place]:
    if gate.run:
        gaps = _bytes(shape + b" ", _GAPS)
        long = np.flatnonzero(np.diff(gaps) > gate.run)
        runs = zip(gaps[long].tolist(), gaps[long + 1].tolist(), strict=True)
        return [run for run in runs if pattern.match(shape, *run)]
    if gate.begins:
        tried = (pattern.match(shape, at) for at in _bytes(shape, _among(gate.begins)).tolist())
        return [match.span() for match in tried if match]
    return [match.span() for match in pattern.finditer(shape)]


def _bytes(shape: bytes, among: bytes) -> npt.NDArray[np.intp]:
    """Where the bytes of a set stand: a third of what `re` needs to run from one to the next."""
    return np.flatnonzero(np.frombuffer(shape.translate(among), bool))


@cache
def _among(these: bytes) -> bytes:
    return bytes(char in these for char in range(256))


def _all(text: str, word: str) -> list[int]:
    found = []
    at = text.find(word)
    while at >= 0:
        found.append(at)
        at = text.find(word, at + 1)
    return found
