"""What a text claims: every piece that can be checked without understanding its sentence.

A number with its unit, a price, a date, a code, an address, a colour, a name in quotes or capitals;
each in one canonical form in both languages:

    2 kg = 2000 g = 两公斤        3 May 2024 = 2024年5月3日        two years = 24个月

What is claimed in words alone ("it is waterproof") is not seen.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

CITED = re.compile(r"\[(\d+)\]")
# Unit → (what is measured, how many of its smallest unit).
_UNITS = {
    "yuan": ("yuan", 1), "rmb": ("yuan", 1), "cny": ("yuan", 1), "元": ("yuan", 1),
    "块钱": ("yuan", 1),
    "dollar": ("dollar", 1), "dollars": ("dollar", 1), "usd": ("dollar", 1), "美元": ("dollar", 1),
    "gram": ("mass", 1), "grams": ("mass", 1), "g": ("mass", 1), "克": ("mass", 1),
    "kg": ("mass", 1000), "kilogram": ("mass", 1000), "kilograms": ("mass", 1000),
    "公斤": ("mass", 1000), "千克": ("mass", 1000),
    "mm": ("length", 1), "毫米": ("length", 1), "cm": ("length", 10), "厘米": ("length", 10),
    "公分": ("length", 10), "m": ("length", 1000), "metre": ("length", 1000),
    "metres": ("length", 1000), "meter": ("length", 1000), "meters": ("length", 1000),
    "米": ("length", 1000),
    "minute": ("time", 1), "minutes": ("time", 1), "分钟": ("time", 1), "hour": ("time", 60),
    "hours": ("time", 60), "小时": ("time", 60), "个小时": ("time", 60), "day": ("time", 1440),
    "days": ("time", 1440), "天": ("time", 1440), "日": ("time", 1440), "week": ("time", 10080),
    "weeks": ("time", 10080), "周": ("time", 10080), "星期": ("time", 10080),
    "个星期": ("time", 10080),
    "month": ("months", 1), "months": ("months", 1), "个月": ("months", 1), "year": ("months", 12),
    "years": ("months", 12), "年": ("months", 12),
    "piece": ("pieces", 1), "pieces": ("pieces", 1), "件": ("pieces", 1), "个": ("pieces", 1),
    "pill": ("pills", 1), "pills": ("pills", 1), "片": ("pills", 1), "times": ("times", 1),
    "次": ("times", 1), "%": ("percent", 1), "percent": ("percent", 1),
}  # fmt: skip
_SIGNS = {"¥": "yuan", "$": "dollar", "€": "euro", "£": "pound"}
_COUNTED = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
_WORDS = {word: n for n, word in enumerate(_COUNTED.split(), 2)}
_WORDS |= {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "ninety": 90}
_DIGITS = {char: n for n, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_TENS = {"十": 10, "百": 100, "千": 1000}
_COLOURS = {name: n for n, names in enumerate((
    ("red", "红色"), ("blue", "蓝色"), ("green", "绿色"), ("black", "黑色"), ("white", "白色"),
    ("yellow", "黄色"), ("pink", "粉色", "粉红色"), ("grey", "gray", "灰色"),
    ("orange", "橙色"), ("purple", "紫色"), ("brown", "棕色"))) for name in names}  # fmt: skip
_YEAR = "january february march april may june july august september october november december"
_MONTHS = _YEAR.split()


def _any(words: Iterable[str]) -> str:
    """The longest first, so that 个月 is not read as 个."""
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_LATIN = _any(u for u in _UNITS if u.isascii() and u.isalpha())
_OTHER = _any(u for u in _UNITS if not u.isascii() or not u.isalpha())
_UNIT = rf"(?:[ -]?(?:{_LATIN})(?![A-Za-z])| ?(?:{_OTHER}))"
_FIGURE = r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?"
_START = r"(?<![A-Za-z0-9_.])(?<![A-Za-z0-9]-)(?<![0-9],)"
_MONTH = "(?:" + "|".join(f"{name[:3]}(?:{name[3:]})?" for name in _MONTHS) + ")"
_TH = "(?:st|nd|rd|th)?"
# In this order: what an earlier one has taken is not looked at again.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("address", r"https?://[^\s，。]+|www\.[^\s，。]+|[\w.+-]+@[\w-]+\.[A-Za-z.]+"),
        ("date", r"(?<![0-9])([0-9]{4})(?:-|/|年)([0-9]{1,2})(?:-|/|月)([0-9]{1,2})(?![0-9])[日号]?"
                 rf"|([0-9]{{1,2}})月([0-9]{{1,2}})[日号]"
                 rf"|(?<![0-9])([0-9]{{1,2}}){_TH}(?: of)? ({_MONTH})\b,?(?: ([0-9]{{4}}))?"
                 rf"|({_MONTH}) ([0-9]{{1,2}}){_TH}(?![0-9]),?(?: ([0-9]{{4}}))?"),
        ("number", rf"{_START}([¥$€£]?) ?({_FIGURE})({_UNIT})?(?![A-Za-z_]|-?[0-9])"),
        ("code", r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*[0-9])(?=[A-Za-z0-9_-]*[A-Za-z-])"
                 r"[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)*"),
        ("worded", rf"(?<![A-Za-z])({'|'.join(_WORDS)})({_UNIT})"
                   rf"|([零〇一二两三四五六七八九十百千]+)({_UNIT})"),
        ("colour", rf"(?<![A-Za-z])(?:{_any(c for c in _COLOURS if c.isascii())})(?![A-Za-z])"
                   rf"|{_any(c for c in _COLOURS if not c.isascii())}"),
        ("name", r"“([^”\n]{2,40})”|「([^」\n]{2,40})」|《([^》\n]{2,40})》|\"([^\"\n]{2,40})\""),
    )
)  # fmt: skip
# Two or more words in capitals; not with IGNORECASE, and without how letters begin.
_CAPITALS = re.compile(r"\b(?:[A-Z][a-z]+)(?: [A-Z][a-z]+)+\b")
_OPENING = "the customer dear hello hi thank please best kind good our your this sorry yes no"
_OPENERS = frozenset(_OPENING.split())


class Claim(NamedTuple):
    """What is claimed at text[start:end], in a form that is the same for the same thing."""

    kind: str  # number, date, code, address, colour, name
    value: str
    unit: str
    start: int
    end: int


def claims(text: str) -> list[Claim]:
    """Every claim of a text, in order; offsets are into its NFKC form. Citations are none."""
    plain = bare(text)
    found: list[Claim] = []
    free = list(plain)
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer("".join(free)):
            claim = _claim(kind, match)
            if claim:
                found.append(claim)
                free[claim.start : claim.end] = "\0" * (claim.end - claim.start)
    for match in _CAPITALS.finditer("".join(free)):
        words = match[0].split()
        if words[0].lower() in _OPENERS:
            words = words[1:]
        if len(words) > 1:
            start = match.end() - len(" ".join(words))
            found.append(Claim("name", " ".join(words).casefold(), "", start, match.end()))
    return sorted(found, key=lambda claim: claim.start)


def bare(text: str) -> str:
    """NFKC, citations blanked out at their length."""
    folded = unicodedata.normalize("NFKC", text)
    return CITED.sub(lambda match: " " * len(match[0]), folded)


def _claim(kind: str, match: re.Match[str]) -> Claim | None:
    start, end = match.span()
    if kind == "number":
        unit, factor = _UNITS.get((match[3] or "").strip(" -").casefold(), ("", 1))
        unit = _SIGNS.get(match[1], unit)
        return Claim(kind, _number(float(match[2].replace(",", "")) * factor), unit, start, end)
    if kind == "worded":
        word, said = (match[1], match[2]) if match[1] else (match[3], match[4])
        if word == "一" and said in ("个", "件", "次", "片", "天", "年", "日"):
            return None  # an article more than a number
        unit, factor = _UNITS[said.strip(" -").casefold()]
        count = _WORDS.get(word.lower()) or _chinese(word)
        return Claim("number", _number(count * factor), unit, start, end)
    if kind == "date":
        return Claim(kind, _date(match), "", start, end)
    if kind == "colour":
        return Claim(kind, str(_COLOURS[match[0].lower()]), "", start, end)
    said = next((group for group in match.groups() if group), match[0])
    return Claim(kind, said.casefold().rstrip("."), "", start, end)


def _number(value: float) -> str:
    return f"{round(value, 6):.12g}"


def _chinese(word: str) -> int:
    """三十五 → 35, 一百二十 → 120, 二〇二四 → 2024."""
    if not any(char in _TENS for char in word):
        return int("".join(str(_DIGITS[char]) for char in word))
    total, digit = 0, 0
    for char in word:
        if char in _TENS:
            total += (digit or 1) * _TENS[char]
            digit = 0
        else:
            digit = _DIGITS[char]
    return total + digit


def _date(match: re.Match[str]) -> str:
    """`year-month-day`; the year is empty where none is said."""
    if match[1]:
        return f"{match[1]}-{int(match[2])}-{int(match[3])}"
    if match[4]:
        return f"-{int(match[4])}-{int(match[5])}"
    day, name, year = (match[6], match[7], match[8]) if match[7] else (
        match[10], match[9], match[11])  # fmt: skip
    month = next(n for n, full in enumerate(_MONTHS, 1) if full.startswith(name[:3].lower()))
    return f"{year or ''}-{month}-{int(day)}"


def known_unit(unit: str) -> bool:
    """Whether claims are read in this unit."""
    return unit.casefold() in _UNITS


def unit_of(unit: str) -> tuple[str, float]:
    """(what it measures, how many of the smallest unit): cm → (length, 10). KeyError: unknown."""
    name, factor = _UNITS[unit.casefold()]
    return name, float(factor)
