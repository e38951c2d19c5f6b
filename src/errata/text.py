"""What several rooms ask of a text: which language it is in, and its bare form for comparison."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from errata.records import Language, Message

_NO_LETTER = bytes(code for code in range(128) if not chr(code).isalnum())
_NO_WORD = re.compile(r"[\W_]+")  # `\w` is str.isalnum, and the underscore
_LATIN = re.compile("[A-Za-z]")
CJK = (("\u3400", "\u4dbf"), ("\u4e00", "\u9fff"), ("\uf900", "\ufaff"))
_CHINESE = re.compile("[" + "".join(f"{low}-{high}" for low, high in CJK) + "]")


def is_chinese(char: str) -> bool:
    """True for a Chinese character (punctuation and full-width letters are not)."""
    return any(low <= char <= high for low, high in CJK)


def user_text(messages: Sequence[Message]) -> str:
    """The last user turn: what was asked; empty without one."""
    return next((turn.content for turn in reversed(messages) if turn.role == "user"), "")


def language(text: str) -> Language:
    """`zh` where Chinese characters carry the text.

    A Chinese character says about as much as four Latin letters, so a Chinese question about a
    product with a Latin name is Chinese.
    """
    if text.isascii():
        return "en"
    return "zh" if len(_CHINESE.findall(text)) * 4 > len(_LATIN.findall(text)) else "en"


def bare(text: str) -> str:
    """NFKC, case folded, letters and digits only: equal for texts that a reader calls equal."""
    if text.isascii():  # four times faster; for these, lower case is folded
        return text.lower().encode("ascii").translate(None, _NO_LETTER).decode("ascii")
    return _NO_WORD.sub("", unicodedata.normalize("NFKC", text).casefold())


def shingles(text: str, size: int = 5) -> frozenset[str]:
    """Character n-grams of the bare text; characters, because Chinese has no spaces to split at."""
    plain = bare(text)
    if len(plain) <= size:
        return frozenset([plain]) if plain else frozenset()
    return frozenset(plain[i : i + size] for i in range(len(plain) - size + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Shared share of two sets; two empty sets are equal."""
    return len(a & b) / len(a | b) if a or b else 1.0
