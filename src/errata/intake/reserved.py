"""Forms of values that are nobody's: what build/invent.py writes, and what redaction leaves alone.

Some are reserved by their registries, some can never be valid, the rest carry a mark (`Xmpl_`). To
the rules such a value is a wall, as a pseudonym is: in no sentence does any rule find or cross it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Form(NamedTuple):
    """A pattern, and a piece of it without which it need not be looked for."""

    mark: str
    pattern: re.Pattern[str]


def _form(mark: str, pattern: str) -> Form:
    return Form(mark, re.compile(pattern, re.ASCII))


NAMES_ZH = ["张三", "李四", "王五", "赵六", "孙七", "周八", "吴九", "郑十", "钱二"]
NAMES_EN = ["Jane Doe", "John Roe", "Alex Poe", "Sam Moe", "Mary Noe", "Chris Coe", "Kim Boe"]
_END = r"(?![0-9A-Za-z])"
# A pattern begins with letters that stand as they are, which `re` runs to at 1 GB/s, and looks
# behind them afterwards.
FORMS = (
    # 1990 is no prefix of mobiles that is given out; N9X is no area code, 000 no exchange.
    _form("1990000", r"1990000(?<![0-9]1990000)[0-9]{4}(?![0-9])"),
    _form("(999) 000-", r"\(999\)\ 000-[0-9]{4}(?![0-9])"),
    # RFC 2606, 2544, 3849 and 7042.
    _form(".example", r"[a-z]{2,4}\.[0-9]{3}@[a-z]{4}\.example(?![A-Za-z0-9-])(?!\.[A-Za-z0-9])"),
    _form("198.1", r"198\.1[89](?<![0-9.]198...)(?:\.[0-9]{1,3}){2}(?![0-9])(?!\.[0-9])"),
    _form("2001:db8:", rf"2001:db8:[0-9a-f:]{{1,32}}{_END}"),
    _form("00:00:5e:00:53:", rf"00:00:5e:00:53:[0-9a-f]{{2}}{_END}(?!:[0-9a-f])"),
    _form("A0000", rf"[京沪粤苏浙川]A0000[0-9A-HJ-NP-Z]{_END}"),
    # Test numbers of Visa, and a range of UnionPay that is not given out.
    _form("4000 0000 0000", r"4000\ 0000\ 0000(?<![0-9]4000..........)\ [0-9]{4}(?![0-9])"),
    _form("6200 0000 0000", r"6200\ 0000\ 0000(?<![0-9]6200..........)\ [0-9]{4}(?![0-9])"),
    # 99 is no province, 00 no check digits of an IBAN (02 to 98), 000 no area of an SSN, O in no
    # passport, 000000 no region.
    _form(
        "990000",
        rf"990000(?<![0-9]990000)(?:19|20)[0-9]{{2}}[01][0-9][0-3][0-9]{{4}}[0-9X]{_END}",
    ),
    _form("DE00 0000", rf"DE00\ 0000\ 0000\ [0-9]{{4}}\ [0-9]{{4}}\ [0-9]{{2}}{_END}"),
    _form("000-0", rf"000-0(?<![0-9A-Za-z-]000-0)[0-9]-[0-9]{{4}}{_END}"),
    _form("EO0", rf"EO0(?<![0-9A-Za-z]EO0)[0-9]{{6}}{_END}"),
    _form("91000000", rf"91000000(?<![0-9A-Za-z]91000000)MA[0-9A-Z]{{8}}{_END}"),
    # Marked: keys, passwords, names of accounts.
    _form(
        "Xmpl_",
        r"-----BEGIN\ PRIVATE\ KEY-----\nXmpl_[A-Za-z0-9]{40}\n-----END\ PRIVATE\ KEY-----",
    ),
    _form("Xmpl_", r"eyJXmpl_[A-Za-z0-9]{12}\.eyJ[A-Za-z0-9]{12}\.[A-Za-z0-9]{16}(?!\w)"),
    _form("Xmpl_", r"sk-Xmpl_[A-Za-z0-9]{24}(?![A-Za-z0-9_-])"),
    _form(
        "Xmpl_",
        r"Xmpl_(?<![A-Za-z0-9_-]Xmpl_)(?:[a-z0-9]{8}|[A-Za-z0-9]{24}|[A-Za-z0-9]{28})"
        r"(?![A-Za-z0-9_-])",
    ),
    _form("xmpl_", r"xmpl_(?<![A-Za-z0-9_-]xmpl_)[a-z]{3,8}[0-9]{3}(?![A-Za-z0-9_-])"),
    _form("示范市样例区", r"示范市样例区虚构路[0-9]{1,3}号(?:[0-9]{3,4}室)?"),
    _form("Anytown", r"[0-9]{1,3}\ Sample\ Street,\ Anytown"),
    *(_form(name, rf"{name}(?![A-Za-z])") for name in NAMES_EN),
)
# One look for all Chinese names instead of nine: only texts that are not ASCII can hold one.
_NAME_ZH = re.compile(
    f"[{''.join(name[0] for name in NAMES_ZH)}][{''.join(name[1] for name in NAMES_ZH)}]"
    f"(?<={'|'.join(NAMES_ZH)})"
)
_MARKS: dict[str, list[re.Pattern[str]]] = {}
for _mark, _pattern in FORMS:
    _MARKS.setdefault(_mark, []).append(_pattern)
# Most forms have three zeros or a fictitious name: one look for those, and others only around them.
_SHARED = ("000", "mpl_", "oe")
_GROUPS = [(shared, [mark for mark in _MARKS if shared in mark]) for shared in _SHARED]
_ALONE = [mark for mark in _MARKS if not any(shared in mark for shared in _SHARED)]
_REACH = max(map(len, _MARKS))
_FREQUENT = "zqxjkvbpygfwmucldrhsnioate. "  # of what is not here there is less


def _seen(mark: str) -> re.Pattern[str]:
    """The mark, found by its rarest character: `re` runs to one at 10 GB/s, `find` to four at 1."""
    at = min(range(len(mark)), key=lambda at: _FREQUENT.find(mark[at]))
    before, here, behind = (re.escape(part) for part in (mark[:at], mark[at], mark[at + 1 :]))
    return re.compile(f"{here}(?<={before}.)(?={behind})")


_SEEN = {mark: _seen(mark) for mark in (*_SHARED, *_ALONE)}


def marked(text: str) -> list[re.Pattern[str]]:
    """The forms whose marks are in the text. A wall makes no mark: there will be no others."""
    found = [mark for mark in _ALONE if _SEEN[mark].search(text)]
    for shared, marks in _GROUPS:
        places = (match.start() for match in _SEEN[shared].finditer(text))
        around = "\n".join(text[max(at - _REACH, 0) : at + _REACH] for at in places)
        found += [mark for mark in marks if mark in around]
    return [pattern for mark in found for pattern in _MARKS[mark]]


def walled(text: str, forms: Iterable[re.Pattern[str]], wall: str) -> str:
    """The text with walls in the places of such values."""
    for pattern in forms:
        text = pattern.sub(lambda match: wall * len(match[0]), text)
    return text


def unnamed(text: str, wall: str) -> str:
    """The text with walls in the places of the Chinese names."""
    return text if text.isascii() else _NAME_ZH.sub(wall * 2, text)
