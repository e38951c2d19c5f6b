"""Base64, base32, base16, base85 and bits, whatever stands between their characters.

Everything outside an alphabet is left out and what remains is decoded at every offset, in one
pass of array operations: a blob may be wrapped, spaced, unpadded, cut at its start or run into the
words before it. What comes out is kept where it is printable UTF-8 for a while; the rest is what
ordinary prose decodes to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from errata.safety.leak.view import Places, View, codes, folded

RUN = 6  # bytes: 0.4 % of the positions in decoded prose begin so many printable ones by chance
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWER = _UPPER.lower()
_DIGITS = "0123456789"
_A85 = "".join(map(chr, range(33, 118)))
_B85 = _DIGITS + _UPPER + _LOWER + "!#$%&()*+-;<=>?@^_`{|}~"
DEEP = 6  # bytes that could still hold a secret in another code
CHANCE = 0.05  # runs that chance may write before one is decoded further
Runs = npt.NDArray[np.int64]


class Code(NamedTuple):
    """`chars` characters of `alphabet` are `size` bytes; `folds`: case says nothing.

    `pads`: at a gap a block ends, and lacks what follows (base85 has no bits to cut at);
    `needs`: without one of these the code is another one of the table.
    """

    name: str
    alphabet: str
    chars: int
    size: int
    folds: bool = False
    pads: bool = False
    needs: str = ""


CODES = (
    Code("base64", _UPPER + _LOWER + _DIGITS + "+/", 4, 3),
    Code("base64", _UPPER + _LOWER + _DIGITS + "-_", 4, 3, needs="-_"),
    Code("base32", _UPPER + "234567", 8, 5, folds=True),
    Code("base16", _DIGITS + "ABCDEF", 2, 1, folds=True),
    Code("binary", "01", 8, 1),
    Code("base85", _A85, 5, 4, pads=True),
    Code("base85", _B85, 5, 4, pads=True),
    Code("base85", _A85, 5, 4, needs="\n"),
    Code("base85", _B85, 5, 4, needs="\n"),
)


@cache
def _values(code: Code) -> npt.NDArray[np.int64]:
    """For each ASCII character its value in the alphabet; -1 for one outside."""
    table = np.full(129, -1, dtype=np.int64)
    for value, char in enumerate(code.alphabet):
        table[ord(char)] = value
        if code.folds:
            table[ord(char.lower())] = value
    if code.name in ("base64", "base32"):
        table[ord("=")] = 0  # what ends a blob is a character of its last block
    return table


def decoded(view: View) -> Iterator[tuple[View, View]]:
    """For each code that the text has something of: all of it, and what may be another code."""
    points = np.minimum(codes(view.text), 128)
    for code in CODES:
        if code.needs and not any(sign in view.text for sign in code.needs):
            continue
        values = _values(code)[points]
        places = np.flatnonzero(values >= 0)
        if len(places) < code.chars * RUN // code.size:
            continue
        if code.pads:
            values, places = _padded(code, values, places)
        else:
            values = values[places]
        said = _unblocked(code, values, places)
        runs = _runs(_readable(said.data))
        if len(runs):
            yield _text(view, said, runs), _text(view, said, _likely(view, said, runs))


def _padded(
    code: Code, values: npt.NDArray[np.int64], places: Places
) -> tuple[npt.NDArray[np.int64], Places]:
    """Between two runs the highest digit, so often that the last block is whole."""
    wide = np.append(np.diff(places) > 1, True)
    owner = np.repeat(np.arange(len(places)), np.where(wide, code.chars, 1))
    first = np.append(True, owner[1:] != owner[:-1])
    index = places[owner]
    return np.where(first, values[index], len(code.alphabet) - 1), index


class Bytes(NamedTuple):
    """What characters of a view say in a code; data[i] is in view.text[low[i] : high[i] + 1]."""

    name: str
    data: npt.NDArray[np.uint8]
    low: Places
    high: Places


def _unblocked(code: Code, values: npt.NDArray[np.int64], places: Places) -> Bytes:
    """All offsets at once: (offsets, blocks, chars) → bytes, and the characters of each byte."""
    count = -(-len(values) // code.chars)
    index = np.arange(code.chars)[:, None] + np.arange(count * code.chars)
    index = index.reshape(code.chars, count, code.chars)
    last = len(values) - 1
    digits = np.where(index <= last, values[np.minimum(index, last)], len(code.alphabet) - 1)
    number = digits[..., 0]
    for place in range(1, code.chars):
        number = number * len(code.alphabet) + digits[..., place]
    shifts = 8 * np.arange(code.size - 1, -1, -1)
    data = (number[..., None] >> shifts) & 0xFF
    if code.name == "base85":
        data[number >= 1 << 32] = 0
    width = 8 * code.size / code.chars  # bits that a character holds; for base85 nearly
    bits = 8 * np.arange(code.size)
    low = index[..., :1] + (bits / width).astype(np.int64)
    high = np.minimum(index[..., :1] + ((bits + 7) / width).astype(np.int64), last)
    data[low > last] = 0
    data, low, high = (_rows(at, code.chars) for at in (data, np.minimum(low, last), high))
    return Bytes(code.name, data.astype(np.uint8), places[low], places[high])


def _rows(cube: Places, chars: int) -> Places:
    """The offsets one after the other; a byte that is no text (0) stands between two."""
    rows = cube.reshape(chars, -1)
    return np.concatenate([rows, rows[:, -1:] * 0], axis=1).ravel()


def _runs(fine: npt.NDArray[np.bool_]) -> Runs:
    """Where RUN and more in a row are fine, (k, 2)."""
    edges = np.diff(np.concatenate([[0], fine.astype(np.int8), [0]]))
    runs: Runs = np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)
    kept: Runs = runs[runs[:, 1] - runs[:, 0] >= RUN]
    return kept


def _likely(view: View, said: Bytes, runs: Runs) -> Runs:
    """The runs that may be another code: longer than chance writes them, or whole tokens.

    Of N places N * 0.4 ** L begin L printable bytes by chance.
    """
    least = max(DEEP, math.log(len(said.data) / CHANCE) / math.log(2.5))
    kept = [
        (begin, stop)
        for begin, stop in runs.tolist()
        if stop - begin >= DEEP
        and (stop - begin >= least or _token(view.text, said.low[begin], said.high[stop - 1]))
    ]
    return np.array(kept, dtype=np.int64).reshape(-1, 2)


def _token(text: str, first: int, last: int) -> bool:
    """Nothing that belongs to it stands before or after text[first : last + 1]."""
    before, after = text[max(0, first - 1) : first], text[last + 1 : last + 2]
    edges = [char.isascii() and char.isalnum() for char in (before, after) if char]
    return not any(edges) and not any(char.isspace() for char in text[first : last + 1])


def _text(view: View, said: Bytes, runs: Runs) -> View:
    """The runs, a line each."""
    if not len(runs):
        return View("", view.starts[:0], view.ends[:0], (*view.path, said.name))
    sizes = runs[:, 1] - runs[:, 0] + 1  # the last byte again, to be a line end
    stops = np.cumsum(sizes) - 1
    index = np.repeat(runs[:, 0] - stops - 1 + sizes, sizes) + np.arange(sizes.sum())
    index[stops] -= 1
    data, low, high = said.data[index], said.low[index], said.high[index]
    data[stops] = 10
    lead = np.flatnonzero((data & 0xC0) != 0x80)
    close = np.append(lead[1:], len(data)) - 1
    low, high = low[lead], high[close]
    first = np.minimum(view.starts[low], view.starts[high])
    end = np.maximum(view.ends[low], view.ends[high])
    text = data.tobytes().decode("utf-8")
    return folded(View(text, first, end, (*view.path, said.name)))


def _readable(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which bytes are printable ASCII, a line end, or a UTF-8 sequence of the scripts we read.

    Those are Latin, Greek and Cyrillic (C2-D4), small capitals (E1 B4, 84), punctuation and Chinese
    (E2-E9), full width (EF), mathematical letters and emoji (F0 9D, 9F), tags (F3 A0): other
    scripts are what chance writes.
    """
    fine: npt.NDArray[np.bool_] = (data >= 32) & (data < 127) | (data == 10) | (data == 9)
    if not (data >= 0xC2).any():
        return fine
    follows = (data & 0xC0) == 0x80
    one, two, three = (np.append(follows[n:], np.zeros(min(n, len(data)), bool)) for n in (1, 2, 3))
    after = np.append(data[1:], 0)
    pair = (data >= 0xC2) & (data <= 0xD4) & one
    triple = (data >= 0xE2) & (data <= 0xE9) | (data == 0xEF)
    triple |= (data == 0xE1) & ((after == 0xB4) | (after == 0x84))
    quad = (data == 0xF0) & ((after == 0x9D) | (after == 0x9F)) | (data == 0xF3) & (after == 0xA0)
    for leads, size in ((pair, 2), (triple & one & two, 3), (quad & one & two & three, 4)):
        places = np.flatnonzero(leads)
        for step in range(size):
            fine[places + step] = True
    return fine
