"""The plain shadow of a text, which is what the redaction rules look at.

A value is a value however it is spelled: full-width or mathematical digits, Cyrillic letters that
look Latin, and joiners nobody sees hide nothing. Each character of the shadow stands for one of the
text, so an offset in it is an offset in the text, but where something invisible was left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from errata.intake import reserved

WALL = "\x00"  # what was found already, or is nobody's; no rule crosses it
SEPARATOR = "\x1e"  # between the texts of a batch; no rule crosses it either
TOKEN = re.compile(r"<[A-Z][A-Z_]{1,20}:[0-9a-f]{8}>")
_OURS = re.compile(f"[{WALL}{SEPARATOR}]")
_NOTHING = 0xFFFFFFFF
# Where characters live that NFKC turns into another one.
_COMPATIBLE = ((0x80, 0x3400), (0xA640, 0xAC00), (0xF900, 0x10000), (0x1D400, 0x1F200))
_SIZE = 0xE0200
# Controls but tab and line ends, soft hyphen, combining marks, joiners, directions, variation
# selectors, fillers, keycaps, and the tag characters that spell ASCII invisibly.
_INVISIBLE = ((0x01, 0x09), (0x0B, 0x0D), (0x0E, 0x1E), (0x1F, 0x20), (0x7F, 0xA0), (0xAD, 0xAE),
              (0x300, 0x370), (0x115F, 0x1161), (0x180B, 0x180F), (0x200B, 0x2010),
              (0x202A, 0x202F), (0x2060, 0x2070), (0x20D0, 0x20F1), (0x3164, 0x3165),
              (0xFE00, 0xFE10), (0xFEFF, 0xFF00), (0xFFA0, 0xFFA1), (0xE0000, 0xE0200))  # fmt: skip
_CONTROLS = bytes(code for low, high in _INVISIBLE for code in range(low, min(high, 128)))
# Letters that a reader takes for the Latin one (a part of Unicode's confusables.txt).
_ALIKE = dict(zip("асеорхуіјѕһԁԛԝАВСЕНІЈКМОРЅТХУΑΒΕΖΗΙΚΜΝΟΡΤΥΧοѵνаɡɑ",
                  "aceopxyijshdqwABCEHIJKMOPSTXYABEZHIKMNOPTYXovvaga", strict=True))  # fmt: skip


# Hyphens and minus signs, as word processors write numbers with them.
_ALIKE |= dict.fromkeys("‐‑‒–−", "-")
# Of traditional Chinese the words that lead to a value, and common surnames: rules are written in
# simplified.
TRADITIONAL = (
    "碼電話機號郵帳戶賬證護車牌銀險張陳劉楊趙黃吳孫馬羅鄭謝許鄧馮蕭葉呂蘇盧蔣賈韋鄒陸"
    "郝龔邵萬錢湯賴龐樊蘭殷閻賀顧龍鍾簡饒覃聶齊嚴賓園鄉縣區門樓彎灣廈東廣處聯絡寶為設"
    "換變從舊給發誰記"
)
SIMPLIFIED = (
    "码电话机号邮账户账证护车牌银险张陈刘杨赵黄吴孙马罗郑谢许邓冯萧叶吕苏卢蒋贾韦邹陆"
    "郝龚邵万钱汤赖庞樊兰殷阎贺顾龙钟简饶覃聂齐严宾园乡县区门楼弯湾厦东广处联络宝为设"
    "换变从旧给发谁记"
)
_ALIKE |= dict(zip(TRADITIONAL, SIMPLIFIED, strict=True))


@cache
def _table() -> npt.NDArray[np.uint32]:
    """For each code point up to the tag characters, the one that stands for it in the shadow."""
    table = np.arange(_SIZE, dtype=np.uint32)
    for low, high in _COMPATIBLE:
        for code in range(low, high):
            folded = unicodedata.normalize("NFKC", chr(code)) if not 0xD800 <= code < 0xE000 else ""
            if len(folded) == 1:
                table[code] = ord(folded)
    for char, latin in _ALIKE.items():
        table[ord(char)] = ord(latin)
    for low, high in _INVISIBLE:
        table[low:high] = _NOTHING
    return table


def joined(texts: Iterable[str]) -> str:
    """The texts of a batch as one, a separator before each."""
    return SEPARATOR.join(("", *texts))


def unmarked(whole: str, texts: Sequence[str]) -> str:
    """The same, but our own marks in the texts are characters that are left out."""
    if WALL in whole or whole.count(SEPARATOR) > len(texts):
        return joined(_OURS.sub("\x1f", text) for text in texts)
    return whole


class Shadow(NamedTuple):
    """The shadow, and the place in the text of each of its characters (None: the same place)."""

    text: str
    places: npt.NDArray[np.intp] | None
    forms: list[re.Pattern[str]]  # those of reserved.py that may still show up behind a wall


def shadow(text: str) -> Shadow:
    """What the rules look at; pseudonyms, and what is nobody's, are walls."""
    plain, places = text, None
    if not text.isascii() or len(text.encode().translate(None, _CONTROLS)) < len(text):
        plain, places = _folded(text)
    if "<" in plain:
        plain = TOKEN.sub(lambda match: WALL * len(match[0]), plain)
    forms = reserved.marked(plain)
    return Shadow(reserved.unnamed(reserved.walled(plain, forms, WALL), WALL), places, forms)


def _folded(text: str) -> tuple[str, npt.NDArray[np.intp] | None]:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    plain = _table().take(codes, mode="clip")
    if codes.max(initial=0) >= _SIZE:
        plain = np.where(codes < _SIZE, plain, codes)
    seen = plain != _NOTHING
    places = None
    if not seen.all():
        places = np.flatnonzero(seen)
        plain = plain[seen]
    return plain.tobytes().decode("utf-32-le", "surrogatepass"), places


def lower(text: str) -> str:
    """ASCII letters in lower case, every character in its place (`str.lower` makes two of some)."""
    if text.isascii():
        return text.lower()
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").copy()
    codes[(codes >= 65) & (codes <= 90)] += 32
    return codes.tobytes().decode("utf-32-le", "surrogatepass")


def starts(texts: Sequence[str]) -> Iterator[int]:
    """Where each text begins in the joined one, and last where the next would begin."""
    at = 1
    for text in texts:
        yield at
        at += len(text) + 1
    yield at
