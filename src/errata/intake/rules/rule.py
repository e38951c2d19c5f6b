"""What a redaction rule is, and the gates that keep it from looking where it finds nothing.

In an example `⟦…⟧` marks the exact span that must be replaced; a spared example has no mark.

Two traps decided the form of the patterns. `\\b` does not exist between a Chinese character and a
digit in Unicode mode, so every boundary is an ASCII look-around (`re.ASCII`). And plain numbers are
the life of a support desk: orders, prices and codes of up to eight digits are never touched, longer
ones only where a checksum, a fixed shape or the words beside them speak for a person.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Gate(NamedTuple):
    """A pattern that is found wherever a rule behind it could match, at hundreds of MB/s."""

    id: str
    pattern: re.Pattern[str]
    lower: bool = False  # looked for in the lower-case text: faster than ignoring case


def gate(id: str, pattern: str, lower: bool = False) -> Gate:
    """A gate; with `lower`, its pattern is of lower-case letters."""
    return Gate(id, re.compile(pattern, re.ASCII), lower)


AT = gate("at", "@")
SEVEN_DIGITS = gate("digits", r"[0-9](?:[-. ()/·_]{0,3}[0-9]){6}")
DOTS = gate("dots", r"[0-9]\.[0-9]{1,3}\.[0-9]")
COLONS = gate("colons", r"[:-](?:[0-9A-Fa-f]{1,4}[:-]|(?<=::)[0-9A-Fa-f])")
LONG = gate("long", r"[A-Za-z0-9_-]{16}")
# Where a letter of the province stands before a letter of the city.
PLATE = gate(
    "plate", r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领][A-Za-z]"
)
PRIVATE = gate("private", "PRIVATE KEY")
SECRET_WORD = gate(
    "secret word",
    r"pass|pwd|psw|pw\b|secret|token|key|pin\b|credential|bearer|密码|口令|密钥|暗号|秘钥|令牌",
    lower=True,
)
NUMERALS = gate(
    "numerals",
    r"[零〇一二三四五六七八九幺两](?:[\s、,-]?[零〇一二三四五六七八九幺两0-9]|(?<=[0-9].)|(?<=[0-9][\s、,-].))",
)
NAMED_PHONE = gate(
    "named phone", r"phone|tel\b|tel[.:]|mobile|cell|fax|whatsapp|call|text me|reach me|电话|座机|固话|热线|手机|传真",
    lower=True,
)  # fmt: skip
ACCOUNT_WORD = gate(
    "account word", r"qq|微信|wechat|weixin|telegram|whatsapp|\bline\b|支付宝", lower=True
)
PASSPORT_WORD = gate("passport word", r"护照|通行证|passport", lower=True)
NAME_WORD = gate(
    "name word",
    r"我叫|我是|名叫|姓名|名字|联系人|收件人|收货人|寄件人|持卡人|户名|经办人|负责人|申请人|投保人|患者|"
    r"客户|本人|先生|女士|小姐|老师|经理|医生|师傅|同学|律师|主任|阿姨",
)
ADDRESS_WORD = gate(
    "address word", r"[0-9零〇一二三四五六七八九十百A-Za-z]\s?(?:号|弄|室|栋|幢|单元|楼)"
)

# A number that these words announce is a number of theirs: an order, a parcel, a thing.
ORDER = re.compile(
    r"""(?:订单|单号|流水|运单|快递|编号|货号|序列|批号|批次|型号|工单|票号|发票|条码|合同|案号|期号|版本|款号|
        (?<![A-Za-z])(?:ref(?:erence)?|order|invoice|ticket|tracking|shipment|parcel|waybill|serial|sku|isbn|ean|upc|
        batch|lot|model|part|case|item|transaction|txn|trace|request|build|version|ver))
        [_\s-]?(?:号码?|编号|no\.?|num(?:ber)?|id|code|\#)?["']?\s?(?:is|was|[:：#是为=＝])?["'\s]{0,2}\Z""",
    re.ASCII | re.VERBOSE | re.IGNORECASE,
)
BEFORE = 32  # characters before a match in which such words are looked for


def _always(_: str) -> bool:
    return True


def _same(value: str) -> str:
    return value


@dataclass(frozen=True)
class Rule:
    """`pattern` finds, `check` confirms, `canon` makes two spellings of one value equal.

    Where the pattern has a group `value`, only that group is replaced. `gate` says where a match is
    possible at all (None: anywhere); `not_after`, what before a match says that it is none; `sheds`,
    that a match which is not confirmed may be one without what hangs on behind a gap.
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


def rx(pattern: str) -> re.Pattern[str]:
    """A verbose pattern whose classes are those of ASCII."""
    return re.compile(pattern, re.ASCII | re.VERBOSE)
