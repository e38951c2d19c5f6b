"""All readings of a text: what it says, and what it says once one or several codes are undone.

Breadth first, so what is written simply is found by its simple name. A decoder gives a view only
where it found something, and what it gives for further decoding is only what it decoded: what comes
out of blobs shrinks with each layer, and prose around a blob is read once. No part of a text is
left out for its length. Two bounds hold: DEPTH layers, and GROWTH times the text's length (plus
SLACK) in all readings together; a text that reaches the second is named as not read to its end.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import NamedTuple

import numpy as np

from errata.safety.leak import blocks, marks, words
from errata.safety.leak.needles import ATBASH, LEET, ROT13
from errata.safety.leak.view import Edit, View, around, edited, lowered, mapped, picked, root

DEPTH = 5
DENSE, DENSE_ESCAPES = 0.4, 0.1  # share of a region that is written in a code
GROWTH, SLACK = 60, 200_000
LEAST = 5  # characters that could still hold a secret in another layer
_ROT47 = {code: 33 + (code - 33 + 47) % 94 for code in range(33, 127)}
_FLIP = {
    "ɐ": "a", "q": "b", "ɔ": "c", "p": "d", "ǝ": "e", "ɟ": "f", "ƃ": "g", "ɓ": "g", "ɥ": "h",
    "ᴉ": "i", "ı": "i", "ɾ": "j", "ʞ": "k", "ן": "l", "ꞁ": "l", "ɯ": "m", "u": "n", "d": "p",
    "b": "q", "ɹ": "r", "ʇ": "t", "n": "u", "ʌ": "v", "ʍ": "w", "ʎ": "y", "6": "9", "9": "6",
    "Ɩ": "1", "⇂": "1", "ᄅ": "2", "Ɛ": "3", "ㄣ": "4", "ϛ": "5", "ㄥ": "7", "˙": ".",
}  # fmt: skip
FLIP = {ord(char): ord(letter) for char, letter in _FLIP.items()}
_TURNED = re.compile(r"(?:[ɐɔǝɟƃɥᴉɾʞɯɹʇʌʍʎƖᄅƐㄣϛㄥ][^\x00]{0,6}){3}")
# A token that is an ordinary word, after and before ordinary words: nothing to undo a cipher on.
_WORD = re.compile(r"\S\S+")
_TOKEN = re.compile(r"[!-~]+")
_ORDINARY = re.compile(
    r"[(\"'\[]*(?:[aAI]|(?!\w*[b-df-hj-np-tv-xz]{5})[A-Za-z][a-z'’]{1,20})[.,;:!?)\"'\]]*"
)


class Kind(Enum):
    """How much of a secret counts in a view."""

    FULL = "pieces count"
    WHOLE = "only a whole secret counts"
    LEET = "only a whole secret counts, in leet"


class Reading(NamedTuple):
    """A view to be searched."""

    view: View
    kind: Kind


class Unread(Exception):
    """The readings of a text grew beyond the bound."""


def unfold(text: str) -> Iterator[Reading]:
    """Every reading of the text, the simplest first; raises Unread at the bound."""
    first = root(text)
    yield Reading(first, Kind.FULL)
    left = GROWTH * len(text) + SLACK
    queue, seen, searched = deque([(first, 0)]), {first.text}, {(first.text, Kind.FULL)}
    while queue:
        view, depth = queue.popleft()
        for child, kind, layers in _children(view):
            left -= len(child.text)
            if left < 0:
                raise Unread
            if kind and (child.text, kind) not in searched:
                searched.add((child.text, kind))
                yield Reading(child, kind)
            deep = layers and depth + layers < DEPTH and len(child.text) >= LEAST
            if deep and child.text not in seen:
                seen.add(child.text)
                queue.append((child, depth + layers))


# A view, what it is searched for, and how many layers it took off; 0: not to be decoded further.
Child = tuple[View, Kind | None, int]


def _children(view: View) -> Iterator[Child]:
    """One layer undone, in every way, and two: a cipher, each once on the way, and a code in it."""
    odd = _odd(view)
    leet = _leet(view)
    yield leet, Kind.LEET, 0
    yield from _written(view, "escapes", marks.escapes(view.text))
    for name, edits in (*_spelled(view), *_listed(view)):
        yield from _written(view, name, edits)
    if "=\n" in view.text:  # quoted-printable breaks a long line so
        whole = [Edit(m.start(), m.end(), "") for m in re.finditer("=\n", view.text)]
        yield edited(view, whole, "quoted-printable"), Kind.FULL, 1
    yield from _unblocked(odd, 1)
    yield from _dense(leet, _spelled(leet))
    for name, places in marks.initials(view):
        if len(places) >= 5:
            yield picked(view, np.array(places), name), Kind.WHOLE, 0
    yield from _deciphered(view, odd)
    if _TURNED.search(view.text) and "upside-down" not in view.path:
        upright = mapped(view, FLIP, "upside-down")
        yield upright, Kind.FULL, 1
        yield _reversed(upright)._replace(path=upright.path), Kind.FULL, 1


def _deciphered(view: View, odd: View) -> Iterator[Child]:
    """Each cipher that is not undone yet, and the codes in what it hid."""
    for name, undo in CIPHERS.items():
        if name in view.path:
            continue
        undone = undo(view)
        yield from _dense(undone, _spelled(undone))
        if undo is _rot47:
            yield undone, Kind.FULL, 0
        if len(odd.text) >= LEAST:
            undone = undo(odd)
            if undo in (_rot13, _atbash):
                yield _rot47(undone), Kind.FULL, 0
            if undo not in (_reversed, _words_reversed):  # those are forms of the secrets
                yield _leet(undone), Kind.LEET, 0
            yield from _dense(undone, [("escapes", marks.escapes(undone.text)), *_listed(undone)])
            yield from _unblocked(undone, 2)


Edits = Iterable[tuple[str, list[Edit]]]


def _spelled(view: View) -> Edits:
    """What is written in words."""
    if not {"rot13", "atbash", "rot47"} & {*view.path[-1:]}:  # they leave Chinese as it is
        yield "numerals", words.numerals(view.text)
    yield "spelled", words.spelled(view.text)
    yield "counted", words.counted(view.text)


def _listed(view: View) -> Edits:
    """What is written in numbers, in dots and dashes, or piece by piece."""
    yield from marks.lists(view.text)
    yield "morse", marks.morse(view.text)
    yield "spaced", marks.singles(view.text)
    yield "list", marks.bullets(view.text)


def _written(view: View, name: str, edits: list[Edit]) -> Iterator[Child]:
    """The text with what was written so in its place; further, what hangs together with it."""
    if edits:
        yield edited(view, edits, name), Kind.FULL, 0
        yield around(view, edits, name, 0.0 if name in ("escapes", "list") else DENSE), None, 1


def _dense(view: View, found: Edits) -> Iterator[Child]:
    """Behind a cipher, where everything means something by chance: dense regions alone."""
    for name, edits in found:
        if edits:
            share = DENSE_ESCAPES if name == "escapes" else DENSE
            yield around(view, edits, name, share), Kind.FULL, 2


def _unblocked(view: View, layers: int) -> Iterator[Child]:
    for child, likely in blocks.decoded(view):
        yield child, Kind.FULL, 0
        yield likely, None, layers


def _rot13(view: View) -> View:
    return mapped(view, ROT13, "rot13")


def _atbash(view: View) -> View:
    return mapped(view, ATBASH, "atbash")


def _rot47(view: View) -> View:
    return mapped(view, _ROT47, "rot47")


def _reversed(view: View) -> View:
    return View(view.text[::-1], view.starts[::-1], view.ends[::-1], (*view.path, "reversed"))


def _words_reversed(view: View) -> View:
    index = np.arange(len(view.text))
    for match in _WORD.finditer(view.text):
        index[match.start() : match.end()] = index[match.start() : match.end()][::-1].copy()
    return picked(view, index, "reversed words")


CIPHERS: dict[str, Callable[[View], View]] = {
    "rot13": _rot13, "atbash": _atbash, "reversed": _reversed, "rot47": _rot47,
    "reversed words": _words_reversed,
}  # fmt: skip


def _leet(view: View) -> View:
    return mapped(view._replace(text=lowered(view.text)), LEET, "leet")


def _odd(view: View) -> View:
    """The tokens that are no ordinary words, and those next to them: where a code may be.

    Of three neighbouring pieces of base64, four characters each, all look like words once in 8,000.
    """
    spans, odd = [], [False]
    for match in _TOKEN.finditer(view.text):
        spans.append((match.start(), match.end()))
        odd.append(not _ORDINARY.fullmatch(match[0]))
    odd.append(False)
    keep = np.zeros(len(view.text) + 1, dtype=bool)
    for at, (start, end) in enumerate(spans):
        if odd[at] or odd[at + 1] or odd[at + 2]:
            keep[start : end + 1] = True
    index = np.flatnonzero(keep[:-1])
    return picked(view, index, "odd")._replace(path=view.path)
