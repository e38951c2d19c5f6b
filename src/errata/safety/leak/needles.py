"""The secrets as they are looked for: their bare forms, and where a piece of one stands in a text.

A cipher that maps letter to letter is undone on the secret, once, and not on every text. Pieces
are found by their first SEED characters: a table of those of all secrets is asked for all places of
a text at once, so fifty secrets cost little more than one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from errata.errors import BadInput
from errata.language import say
from errata.safety.leak import bits
from errata.safety.leak.bits import LETTER
from errata.safety.leak.view import NOTHING, Codes, Places, codes, lowered, plain, string
from errata.text import is_chinese

SEED = 3
LEAST_PIECE = 8.0  # bits below which a piece says nothing even among others
_ABC = "abcdefghijklmnopqrstuvwxyz"
ROT13 = str.maketrans(_ABC + _ABC.upper(), _ABC[13:] + _ABC[:13] + (_ABC[13:] + _ABC[:13]).upper())
ATBASH = str.maketrans(_ABC + _ABC.upper(), _ABC[::-1] + _ABC[::-1].upper())
LEET = str.maketrans("01l!|34@5$7+892", "oiiiieaassttbgz")


CIPHERS: tuple[tuple[tuple[dict[int, int], ...], str], ...] = (
    ((), ""),
    ((ROT13,), "rot13"),
    ((ATBASH,), "atbash"),
    ((ROT13, ATBASH), "rot13+atbash"),
)


class Needle(NamedTuple):
    """One form of a secret: `text` is looked for; `order[i]` is the place in the secret of its i-th
    character."""

    secret: int
    text: str
    form: str  # "" as it is
    order: tuple[int, ...]
    sums: tuple[float, ...]  # bits of the characters before each place


class Secret(NamedTuple):
    """`bare`: letters and digits, folded, without case; `own`: bits that each of them tells."""

    raw: str
    bare: str
    own: tuple[float, ...]
    total: float

    @property
    def numeric(self) -> bool:
        """Digits alone: then a neighbouring digit makes it another number."""
        return self.bare.isdecimal()


class Piece(NamedTuple):
    """hay[at : at + size] is needle.text[offset : offset + size]."""

    needle: Needle
    offset: int
    at: int
    size: int


@lru_cache(maxsize=4096)
def secret(raw: str) -> Secret:
    """What there is to look for."""
    folded = lowered(plain(raw))
    found = hay(folded).text
    own = tuple(bits.weights(folded, found))
    if sum(own) < bits.LEAST:  # towns and domains count after all, where there is nothing else
        own = tuple(bits.weights(folded, found, public=False))
    return Secret(raw, found, own, sum(own))


def weak(secrets: Sequence[str]) -> list[int]:
    """Indices of those that cannot be told from chance: fewer than 19 bits of letters and digits.

    A PIN of four digits stands in one text in some hundreds that has numbers of four digits; an
    ordinary word, in every text about it. Nothing found would then mean nothing.
    """
    return [at for at, raw in enumerate(secrets) if secret(raw).total < bits.LEAST
            and _solid_bits(raw) < bits.LEAST]  # fmt: skip


def _solid_bits(raw: str) -> float:
    return secret(raw).total + bits.signs(plain(raw))


def too_weak(raw: str, where: str) -> BadInput:
    """The error that names a secret which cannot be looked for, without saying it."""
    told = secret(raw).total
    return BadInput(
        say(
            f"{where}: {told:.0f} bits, which chance writes too ({bits.LEAST:.0f} are needed: six "
            "digits, or five random letters); leave it out, or write it with what stands beside it "
            "(a name, an account)",
            f"{where}：只有 {told:.0f} 比特，无法与巧合区分（至少 {bits.LEAST:.0f}：六位数字或五个"
            "随机字母）；请删去，或连同旁边的内容（姓名、账号）一起写",
        )
    )


class Index:
    """Forms of secrets, and the table of their seeds.

    A seed is four characters, or three where all are digits or Chinese: they tell as much. With
    `whole` only the first of a needle is one: nobody asks for its pieces.
    """

    def __init__(self, needles: Iterable[Needle], *, whole: bool = False) -> None:
        self.seeds: dict[str, list[tuple[Needle, int]]] = defaultdict(list)
        for needle in needles:
            for at in range(1 if whole else len(needle.text) - SEED + 1):
                three = needle.text[at : at + SEED]
                seed = three if _dense(three) else needle.text[at : at + SEED + 1]
                if len(seed) > SEED or _dense(seed):
                    self.seeds[seed].append((needle, at))
        self.size = 1 << (64 * len(self.seeds) + 1).bit_length()  # 1 in 64 places by chance
        self.tables = [np.zeros(self.size, dtype=bool) for _ in range(2)]
        for seed in self.seeds:
            self.tables[len(seed) - SEED][_hashes(codes(seed), len(seed)) & (self.size - 1)] = True

    def pieces(self, hay: str) -> Iterator[Piece]:
        """Every piece of a needle in the bare text `hay`, of LEAST_PIECE bits and more, that cannot
        be made longer."""
        points = codes(hay)
        for size, table in enumerate(self.tables, SEED):
            if len(hay) >= size:
                places = np.flatnonzero(table[_hashes(points, size) & (self.size - 1)]).tolist()
                yield from self._pieces(hay, places, size)

    def _pieces(self, hay: str, places: list[int], size: int) -> Iterator[Piece]:
        reached: dict[tuple[int, int], int] = {}
        for at in places:
            for needle, offset in self.seeds.get(hay[at : at + size], ()):
                key = (id(needle), at - offset)
                if reached.get(key, -1) > at:
                    continue
                back = _before(hay, at, needle.text, offset)
                ahead = _common(hay, at, needle.text, offset)
                reached[key] = at + ahead
                first = offset - back
                if needle.sums[offset + ahead] - needle.sums[first] >= LEAST_PIECE:
                    yield Piece(needle, first, at - back, back + ahead)


def _dense(seed: str) -> bool:
    return seed.isdecimal() or all(map(is_chinese, seed))


def _before(hay: str, at: int, needle: str, offset: int) -> int:
    """How many characters before are the same, too."""
    size = 0
    while size < min(at, offset) and hay[at - size - 1] == needle[offset - size - 1]:
        size += 1
    return size


def _common(hay: str, at: int, needle: str, offset: int) -> int:
    """How long the two are the same from there."""
    most = min(len(hay) - at, len(needle) - offset)
    if hay.startswith(needle[offset : offset + most], at):
        return most
    size = 0
    while size < most and hay[at + size] == needle[offset + size]:
        size += 1
    return size


def _hashes(points: Codes, size: int) -> npt.NDArray[np.int64]:
    """A number for every `size` neighbours, (n - size + 1,)."""
    wide = points.astype(np.int64)
    count = len(wide) - size + 1
    found = wide[:count].copy()
    for step in range(1, size):
        found *= 1009
        found += wide[step : count + step]
    return found ^ (found >> 20)


def forms(at: int, told: Secret) -> list[Needle]:
    """The secret as it is, reversed, and each word reversed, of each in ciphers; each text once."""
    size = len(told.bare)
    if size < SEED:
        return []
    straight, back = tuple(range(size)), tuple(range(size - 1, -1, -1))
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    words = _words_reversed(told)
    for table, name in CIPHERS:
        for order, way in ((straight, ""), (back, "reversed"), (words, "reversed words")):
            text = "".join(told.bare[i] for i in order)
            for step in table:
                text = text.translate(step)
            found.setdefault(text, ("+".join(filter(None, (way, name))), order))
    return [
        Needle(at, text, name, order, (0.0, *accumulate(told.own[i] for i in order)))
        for text, (name, order) in found.items()
    ]


def in_leet(at: int, told: Secret) -> list[Needle]:
    """The same forms, in which letters and the digits and signs that stand for them are one.

    Nothing for what is mostly digits: 739204 is not `te9zoa`.
    """
    letters = sum(char.isalpha() for char in told.bare)
    if letters * 2 < len(told.bare):
        return []
    signs = "".join(c for c in lowered(plain(told.raw)).translate(LEET) if c.isalnum())
    each = tuple([LETTER] * len(signs))
    written = told._replace(raw=signs, bare=signs, own=each, total=sum(each))
    found = [*forms(at, written), *forms(at, told)]
    return [needle._replace(text=needle.text.translate(LEET)) for needle in found]


def _words_reversed(told: Secret) -> tuple[int, ...]:
    """`revir regit`: each word from its end."""
    order: list[int] = []
    for word in lowered(plain(told.raw)).split():
        size, at = len(hay(word).text), len(order)
        order += range(at + size - 1, at - 1, -1)
    return tuple(order)


class Hay(NamedTuple):
    """What is searched, and the place in the view of each of its characters."""

    text: str
    places: Places


@lru_cache(maxsize=1)
def _lower() -> Codes:
    """For each code point below 0x30000 its lower case if it is a letter or digit."""
    table = np.full(0x30001, NOTHING, dtype=np.uint32)
    for code in range(0x30000):
        char = chr(code)
        if char.isalnum():
            low = char.lower()
            table[code] = ord(low) if len(low) == 1 else code
    return table


def hay(text: str) -> Hay:
    """The bare form of a folded text."""
    points = _lower().take(codes(text), mode="clip")
    places = np.flatnonzero(points != NOTHING)
    return Hay(string(points[places]), places)
