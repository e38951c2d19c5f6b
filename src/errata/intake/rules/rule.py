"""What a redaction rule is, and the gates that keep it from looking where it finds nothing.

In an example `⟦…⟧` marks the exact span that must be replaced; a spared example has no mark.

Two traps decided the form of the patterns. `\\b` does not exist between a Chinese character and a
digit in Unicode mode, so every boundary is an ASCII look-around (`re.ASCII`). And plain numbers are
the life of a support desk: orders, prices and codes of up to eight digits are never touched, longer
ones only where a checksum, a fixed shape or the words beside them speak for a person.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Gate:
    """Something that stands wherever a rule behind the gate could match, and is found fast.

    Of `words`, `shape` and `pattern` a gate has one. A shape is of the text in which every digit is
    `0`, every letter of ASCII `a`, and what is not of Latin-1 the byte 0xff; with `begins` it is
    tried at those bytes alone, with `run` at each run of so many letters, digits, hyphens and
    underscores, from the character before it. A pattern needs a character that is not ASCII. A gate
    asks only for what is there, never for what is not: then it cannot open when a part of the text
    is taken away, and the later rounds of spans.py look only behind gates that were open in the
    first.

    Without `around` the rules look at the whole text; with it, at what the gate found, as far
    before it as the first number says and as far behind it as the second. A match begins no later
    than a word begins, and before what else was found ends. `needs` is a shape that each
    neighbourhood has. `least` is how long a part of what was found must be to open the gate again.
    """

    id: str
    words: tuple[str, ...] = ()
    lower: bool = False  # words of lower-case letters, however they are written
    shape: re.Pattern[bytes] | None = None
    begins: bytes = b""
    run: int = 0
    pattern: re.Pattern[str] | None = None
    around: tuple[int, int] | None = None
    needs: re.Pattern[bytes] | None = None
    least: int = 1


def words(id: str, told: str, **more: Any) -> Gate:
    """A gate of words, told with spaces between; those of letters are in lower case."""
    return Gate(id, tuple(told.split()), lower=True, **more)


def gate(id: str, pattern: str | bytes, **more: Any) -> Gate:
    """A gate of a shape, or of a pattern that needs a character that is not ASCII."""
    if isinstance(pattern, bytes):
        return Gate(id, shape=re.compile(pattern), **more)
    return Gate(id, pattern=re.compile(pattern, re.ASCII), **more)


AT = Gate("at", ("@",), around=(64, 540))
# Digits and what may stand between them: all rules of numbers look only there, each where the shape
# is one of its own. `+(` or two letters may stand before, an extension behind.
NUMBER = gate("number", rb"0[-. ()/\xb7_0]{6,}", around=(4, 24), least=7)
DOTS = gate("dots", rb"\.0{1,3}\.0{1,3}\.", around=(3, 8))
# No key is of digits alone, but for one that is longer, and those that begin with a name and a dot.
LONG = gate("long", rb"(?s)\.|.*a|.{33}", run=16, around=(11, 180), least=16)
# Where a letter of the province stands before a letter of the city.
PLATE = gate(
    "plate",
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领][A-Za-z]",
    around=(0, 16),
)
NUMERALS = gate(
    "numerals",
    r"[零〇一二三四五六七八九幺两](?:[\s、,-]?[零〇一二三四五六七八九幺两0-9]"
    r"|(?<=[0-9].)|(?<=[0-9][\s、,-].))",
)
# A parameter of a link, or an `at` in brackets.
SIGNS = gate("signs", rb".(?:[a_-]{2,24}=|\s?(?:aa|@|\xff\xff)\s?[\])}])", begins=rb"?&;#[({")
NAMED_PHONE = words(
    "named phone",
    "phone tel mobile cell fax whatsapp call text reach ring 电话 座机 固话 热线 手机 传真",
    around=(0, 100),
    needs=re.compile(rb"0[-. ()/0]{6}"),
)
ACCOUNT_WORD = words("account word", "qq 微信 wechat weixin telegram line", around=(0, 64))
PASSPORT_WORD = words("passport word", "护照 通行证 passport", around=(0, 64))
NAME_WORD = words(
    "name word",
    "我叫 我是 名叫 姓名 名字 收件人 寄件人 收货人 联系人 持卡人 户名 经办人 负责人 申请人 "
    "投保人 患者",
    around=(0, 32),
)
TITLE = words(
    "title",
    "先生 女士 小姐 老师 经理 医生 师傅 同学 律师 主任 阿姨",
    around=(12, 2),
)
ADDRESS_WORD = gate(
    "address word",
    r"[号弄室栋幢单楼座](?:(?<=[0-9零〇一二三四五六七八九十百A-Za-z].)"
    r"|(?<=[0-9零〇一二三四五六七八九十百A-Za-z]\s.))",
)

# A number that these words announce is a number of theirs: an order, a parcel, a thing.
_THINGS = """订单 单号 流水 运单 快递 编号 货号 序列 批号 批次 型号 工单 票号 发票 条码 合同
    案号 期号 版本 款号 章节 条款 固件
    ref reference order invoice ticket tracking shipment parcel waybill serial sku isbn ean upc
    batch lot model part case item transaction txn trace request build version ver
    chapter section clause figure table appendix step release firmware"""
_ACCOUNTS = "account acct routing member customer user policy employee id no. zip"
BEFORE = 32  # characters before a match in which such words are looked for


def _backwards(told: str) -> str:
    """An alternation of words, each from its end to its beginning and none inside a longer one.

    Those that end alike stand in one branch: `re` tries branch after branch.
    """
    ends: dict[str, list[str]] = {}
    for word in sorted(told.split(), key=len, reverse=True):
        last = re.escape(word[-2::-1]) + ("(?![a-z])" if word[0].isascii() else "")
        ends.setdefault(re.escape(word[-1]), []).append(last)
    return "|".join(f"{end}(?:{'|'.join(words)})" for end, words in ends.items())


def announced(told: str) -> re.Pattern[str]:
    """Whether one of the words ends where a number begins: `order no. `, `tracking id: `, `单号：`.

    To be matched with the lower-case text before the number, read from its end: one attempt instead
    of one a character.
    """
    unit = _backwards("号码 号 码 编号 no no. num number id code #")
    return re.compile(
        rf"""["'\s]{{0,2}}+(?:si|saw|[:：\#是为=＝])?\s?+["']?+(?:(?:{unit})[_\s-]?)?(?:{_backwards(told)})""",
        re.ASCII | re.VERBOSE,
    )


ORDER = announced(_THINGS)
ORDER_OR_ACCOUNT = announced(f"{_THINGS} {_ACCOUNTS}")


def _always(_: str) -> bool:
    return True


def _same(value: str) -> str:
    return value


@dataclass(frozen=True, eq=False)
class Rule:
    """`pattern` finds, `check` confirms, `canon` makes two spellings of one value equal.

    Where the pattern has a group `value`, only that group is replaced. `gate` says where a match is
    possible at all (None: anywhere); `not_after`, the words before a match that say it is none;
    `sheds`, that a match which is not confirmed may be one without what hangs on behind a gap;
    `shape`, what is in the shape of all that the rule matches behind the gate NUMBER, with two
    characters before it and one behind. `spans` takes the place of all this for a rule of a policy
    (own.py): it looks at a piece of a text by itself.
    """

    id: str
    tag: str
    pattern: re.Pattern[str]
    gate: Gate | None
    catches: tuple[str, ...]
    spares: tuple[str, ...]
    check: Callable[[str], bool] = _always
    canon: Callable[[str], str] = _same
    not_after: re.Pattern[str] | None = None
    sheds: bool = False
    shape: re.Pattern[bytes] | None = None
    spans: Callable[[str], Iterator[tuple[int, int]]] | None = None


def number(pattern: str, flags: int = 0) -> re.Pattern[bytes]:
    """The shape of a number, in which `d` is any digit: in the shapes that are asked for it `i` is
    a one and `o` a zero that begin a group of digits, and `0` is any other digit."""
    return re.compile(pattern.replace("d", "[0oi]").encode("latin-1"), flags)


def rx(pattern: str) -> re.Pattern[str]:
    """A verbose pattern whose classes are those of ASCII."""
    return re.compile(pattern, re.ASCII | re.VERBOSE)
