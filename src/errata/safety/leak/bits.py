"""How many bits a secret, or a piece of it, tells: what chance has to beat.

Letters and digits only, without case: that is what is compared. A digit is log2(10) bits, a letter
in a random run log2(26). Letters that follow each other as in English words count 2 bits each
(Shannon 1951: about 2.1 a letter for words in a row) and at most 15 a word, which is the choice
among 30,000; a Chinese character 5. Runs such as 1234 or aaaa say nothing after their second
character.
"""

from __future__ import annotations

import math
import re

from errata.text import is_chinese

LEAST = 19.0  # bits a secret needs: a code of six digits has 19.9, one of five 16.6
DIGIT, LETTER = math.log2(10), math.log2(26)
WORD, WORD_MOST, HANZI, OTHER = 2.0, 15.0, 5.0, 5.0
# The commonest pairs of letters in English words (Norvig 2012), and those of pinyin.
_TOLD = (
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve "
    "co me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no "
    "ct us ac ot il tr ly nc et ut ss so rs un lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts "
    "mo ow pa im mi ai sh ir su id os iv ia am fi ci vi pl ig tu ev ld ry mp fe bl ab gh ty op wo "
    "sa ay ex ke fr oo av ag if ap gr od bo sp rd do uc bu ei ov by rm ep tt oc fa ef cu rn sc gi "
    "da yo cr cl du ga qu ue ff ba ey ls va um pp ua up lu go ht ru ug ds lt pi rc rr eg au ck ew "
    "mu br bi pt ak pu ui rg ib tl ny ki rk ys ob mm fu ph og ms ye ud mb ip ub oi rl gu dr hr cc "
    "zh xi gx wu xu yu zi"
)
_PAIRS = frozenset(_TOLD.split())
_WORDS = re.compile("[a-z]+")
_YEAR = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}(?=[^0-9]|[01][0-9][0-3][0-9](?![0-9])|$)")
# Of an address and of an e-mail the parts that everybody may say.
_PUBLIC = (
    (re.compile(r"(?<=@)[\w.-]+"), 0.0),
    (re.compile(r"https?://(?:www\.)?"), 0.0),
    (re.compile(r"[\u4e00-\u9fff]{2,4}?(?:省|自治区|市|区|县|州|镇|乡)"), 1.2),
    (re.compile(r"[\u4e00-\u9fff]{2,4}?(?:路|街|大道|巷)"), 2.5),
)


def weights(text: str, bare: str, *, public: bool = True) -> list[float]:
    """Bits of each character of `bare`, the letters and digits of the folded, lower-case `text`.

    With `public`, what everybody may say (domains, towns, years) counts less.
    """
    told = [0.0 if not char.isalnum() else _char(char) for char in text]
    for match in _WORDS.finditer(text):
        if _is_word(match[0]):
            size = len(match[0])
            each = min(WORD, WORD_MOST / size) if size <= 14 else WORD
            told[match.start() : match.end()] = [each] * size
    if public:
        for match in _YEAR.finditer(text):
            told[match.start() : match.start() + 4] = [1.5] * 4
        for pattern, most in _PUBLIC:
            for match in pattern.finditer(text):
                span = slice(match.start(), match.end())
                told[span] = [min(most, bits) for bits in told[span]]
    found = [bits for char, bits in zip(text, told, strict=True) if char.isalnum()]
    return [0.5 if _runs_on(bare, at) else bits for at, bits in enumerate(found)]


def signs(text: str) -> float:
    """Bits of what is neither letter, digit nor blank: a password may be made of signs."""
    return OTHER * len({char for char in text if not char.isalnum() and not char.isspace()})


def _char(char: str) -> float:
    if char.isascii():
        return DIGIT if char.isdigit() else LETTER
    return HANZI if is_chinese(char) else LETTER


def _is_word(letters: str) -> bool:
    pairs = [letters[i : i + 2] in _PAIRS for i in range(len(letters) - 1)]
    return bool(pairs) and sum(pairs) * 2 >= len(pairs)


def _runs_on(bare: str, at: int) -> bool:
    """The third and later characters of 1234, 4321 and 7777."""
    for first in range(max(0, at - 3), min(at - 1, len(bare) - 3)):
        step = {ord(bare[i + 1]) - ord(bare[i]) for i in range(first, first + 3)}
        if len(step) == 1 and abs(step.pop()) <= 1:
            return True
    return False
