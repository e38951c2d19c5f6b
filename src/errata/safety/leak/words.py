"""Digits, letters and signs that are spelled out: English, Chinese, pinyin, the NATO alphabet."""

from __future__ import annotations

import re
from functools import lru_cache

from errata.safety.leak.view import Edit

_COUNT = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_BY_TEN = "twenty thirty forty fifty sixty seventy eighty ninety"
_RADIO = (
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar "
    "papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu"
)
_TONELESS = "ling yi er san si wu liu qi ba jiu"
_ONES, _TENS, _NATO, _PINYIN = (said.split() for said in (_COUNT, _BY_TEN, _RADIO, _TONELESS))
_SIGNS = {
    "dash": "-", "hyphen": "-", "minus": "-", "underscore": "_", "dot": ".", "point": ".",
    "period": ".", "at": "@", "slash": "/", "colon": ":", "plus": "+", "space": " ", "comma": ",",
    "hash": "#", "star": "*", "equals": "=",
}  # fmt: skip
WORDS: dict[str, str] = {
    **{word: str(value) for value, word in enumerate(_ONES)},
    **{word: str(10 * value) for value, word in enumerate(_TENS, 2)},
    **{f"{ten}{one}": str(10 * value + unit) for value, ten in enumerate(_TENS, 2)
       for unit, one in enumerate(_ONES[:10]) if unit},
    **{word: word[0] for word in _NATO},
    "alfa": "a", "juliett": "j", "whisky": "w", "x-ray": "x", "niner": "9", "oh": "0", "nil": "0",
    **{word: str(value) for value, word in enumerate(_PINYIN)},
    "liang": "2", "yao": "1", "dong": "0", "guai": "7", "gou": "9",
    **_SIGNS,
}  # fmt: skip
# Leet cannot tell l from i.
WORDS |= {word.replace("l", "i"): said for word, said in WORDS.items() if "l" in word}
_KNOWN = frozenset([*WORDS, "x", "ray"])
_LETTERS = re.compile("[a-z]+")
_AS_IN = re.compile(r"\b([a-z0-9]),?(?: for | as in )[a-z]+\b", re.IGNORECASE | re.ASCII)


@lru_cache(maxsize=256)
def _pattern(known: frozenset[str]) -> re.Pattern[str]:
    """For texts that have these of the words: all of them at once are five times slower."""
    tens = [word for word in _TENS if word in known]
    ones = [word for word in _ONES[1:10] if word in known]
    said = [word for word in WORDS if word in known]
    if {"x", "ray"} <= known:
        said.append("x-ray")
    said.sort(key=len, reverse=True)
    before = r"(?:(?P<times>double|triple)\s+)?(?:(?:capital|upper\s?case|lower\s?case)\s+)?"
    pair = f"(?P<tens>{'|'.join(tens)})[ -](?P<unit>{'|'.join(ones)})|" if tens and ones else ""
    return re.compile(
        rf"\b{before}(?:{pair}(?P<word>{'|'.join(said)}))\b", re.IGNORECASE | re.ASCII
    )


_SCALE = re.compile(
    r"\b(?:(?:{}|hundred|thousand|million|and)\b[\s,-]*){{2,}}".format(
        "|".join(sorted([*_ONES, *_TENS], key=len, reverse=True))
    ),
    re.IGNORECASE | re.ASCII,
)
_HANZI = dict(zip("零〇一二三四五六七八九幺两壹贰叁肆伍陆柒捌玖貳參陸",
                  "0012345678912123456789236", strict=True))  # fmt: skip
HANZI = {ord(char): ord(digit) for char, digit in _HANZI.items()}
_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_LARGE = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_NUMERAL = re.compile(f"[{''.join([*_HANZI, *_UNITS, *_LARGE])}]+")
_SPOKEN = {"横杠": "-", "短横": "-", "减号": "-", "杠": "-", "下划线": "_", "小数点": ".",
           "点": ".", "艾特": "@", "斜杠": "/", "冒号": ":", "加号": "+", "空格": " ",
           "大写": "", "小写": ""}  # fmt: skip
_SIGN = re.compile("|".join(sorted(_SPOKEN, key=len, reverse=True)))


def spelled(text: str) -> list[Edit]:
    """`seven three nine`, `seventy-three`, `double two`, `sierra kilo dash`, `S as in Sugar`."""
    low = text.lower()
    known = _KNOWN.intersection(_LETTERS.findall(low))
    if not known & WORDS.keys():
        return []
    edits = [Edit(match.start(), match.end(), match[1]) for match in _AS_IN.finditer(text)]
    taken = {at for edit in edits for at in range(edit.first, edit.end)}
    for match in _pattern(known).finditer(text):
        found = match.groupdict()
        said = WORDS[(found.get("tens") or match["word"]).lower()]
        if found.get("unit"):
            said = str(int(said) + int(WORDS[match["unit"].lower()]))
        times = {"double": 2, "triple": 3}.get((match["times"] or "").lower(), 1)
        if match.start() not in taken:
            edits.append(Edit(match.start(), match.end(), said * times))
    return sorted(edits)


def counted(text: str) -> list[Edit]:
    """`seven hundred thirty-nine thousand two hundred four` → 739204."""
    if "hundred" not in text.lower() and "thousand" not in text.lower():
        return []
    edits = []
    for match in _SCALE.finditer(text):
        words = re.findall("[a-z]+", match[0].lower())
        if {"hundred", "thousand", "million"} & set(words):
            edits.append(Edit(match.start(), match.start() + len(match[0].rstrip(" ,-\n")),
                              str(_english(words))))  # fmt: skip
    return edits


def _english(words: list[str]) -> int:
    whole = part = 0
    for word in words:
        if word == "hundred":
            part = max(part, 1) * 100
        elif word in ("thousand", "million"):
            whole += max(part, 1) * (1000 if word == "thousand" else 10**6)
            part = 0
        elif word != "and":
            part += int(WORDS[word])
    return whole + part


def numerals(text: str) -> list[Edit]:
    """`七三九二零四`, `柒叁玖`, `七十三万九千二百零四`, and the names of signs."""
    if text.isascii():
        return []
    edits = [Edit(m.start(), m.end(), _SPOKEN[m[0]]) for m in _SIGN.finditer(text)]
    for match in _NUMERAL.finditer(text):
        said = match[0]
        if any(char in _UNITS or char in _LARGE for char in said):
            edits.append(Edit(match.start(), match.end(), str(_chinese(said))))
        else:
            edits += [Edit(match.start() + i, match.start() + i + 1, _HANZI[char])
                      for i, char in enumerate(said)]  # fmt: skip
    return sorted(edits)


def _chinese(said: str) -> int:
    whole = part = digit = 0
    for char in said:
        if char in _UNITS:
            part += (digit or 1) * _UNITS[char]
            digit = 0
        elif char in _LARGE:
            whole = (whole + part + digit or 1) * _LARGE[char]
            part = digit = 0
        else:
            digit = 10 * digit + int(_HANZI[char])
    return whole + part + digit
