"""Numbers that stand for one person, company, account or car."""

from __future__ import annotations

from errata.intake.checks import (
    card,
    digits,
    iban,
    letters_and_digits,
    passport,
    plate,
    resident_id,
    social_credit,
)
from errata.intake.rules.rule import (
    NUMBER,
    ORDER,
    PASSPORT_WORD,
    PLATE,
    Rule,
    gate,
    number,
    rx,
)

RESIDENT_ID = Rule(
    "cn-resident-id",
    "CN_ID",
    rx(
        r"""[1-9](?<![0-9].)[0-9]{5}[-\ ]?(?:18|19|20)[0-9]{2}[-\ ]?(?:0[1-9]|1[0-2])[-\ ]?
            (?:0[1-9]|[12][0-9]|3[01])[-\ ]?[0-9]{3}[-\ ]?[0-9Xx](?![0-9])"""
    ),
    NUMBER,
    catches=(
        "身份证号⟦11010519491231002X⟧请核对",
        "证件⟦440524188001010014⟧，",
        "ID ⟦110105 19491231 002x⟧",
        "⟦110105-1949-12-31-002X⟧",
        "⟦１１０１０５１９４９１２３１００２Ｘ⟧",
    ),
    spares=("身份证号110105194912310021", "流水 110105194902310025", "编号 110105194912310"),
    check=resident_id,
    canon=digits,
    shape=number(r"(?<![0oi])[0i]d{5}[- ]?dddd[- ]?dd[- ]?dd[- ]?ddd"),
)
RESIDENT_ID_15 = Rule(
    "cn-resident-id-15",
    "CN_ID",
    rx(
        r"""[1-8](?<![0-9A-Za-z].)(?<![0-9\x00][-.].)[0-9]{7}
            (?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}(?![0-9A-Za-z])"""
    ),
    NUMBER,
    catches=("老身份证⟦110105491231002⟧", "证件号：⟦440524800101001⟧。"),
    spares=("110105491331002", "订单号 110105491231002", "990105491231002", "1101054912310021"),
    check=resident_id,
    canon=digits,
    not_after=ORDER,
    shape=number(r"(?<![0oia])[0i]d{14}(?![0oia])"),
)
SSN = Rule(
    "us-ssn",
    "SSN",
    rx(
        r"""[0-9](?<![0-9A-Za-z.-].)[0-9]{2}(?<!000)(?<!666)([-\ .])
            (?!00)(?:(?<!9...)[0-9]|[5-9])[0-9]\1(?!0000)[0-9]{4}(?![0-9A-Za-z])(?!-[0-9])"""
    ),
    NUMBER,
    catches=("my ssn is ⟦536-22-1234⟧.", "社保号⟦536 22 1234⟧", "ITIN ⟦912-70-1234⟧"),
    spares=(
        "666-22-1234",
        "536-00-1234",
        "part 536-22-1234",
        "2025-12-1234",
        "536-22.1234",
        "987-12-1234",
    ),
    canon=digits,
    not_after=ORDER,
    shape=number(r"(?<![0oia])ddd([- .])dd\1dddd(?![0oia])"),
)
PASSPORT = Rule(
    "passport",
    "PASSPORT",
    rx(
        r"""[EGHMDSPeghmdsp](?<![0-9A-Za-z].)(?:(?<=[EDSPedsp])[A-HJ-NP-Za-hj-np-z][0-9]{7}
            |(?<=[EGHMeghm])[0-9]{8})(?![0-9A-Za-z])"""
    ),
    NUMBER,
    catches=("护照⟦E12345678⟧已过期", "passport ⟦EA1234567⟧", "通行证⟦H12345678⟧，"),
    spares=("型号 E12345678", "E1234567", "order G12345678", "E123456789", "abcE12345678"),
    canon=str.upper,
    not_after=ORDER,
    shape=number(r"ad{7,8}(?![0oia])"),
)
PASSPORT_NAMED = Rule(
    "passport-named",
    "PASSPORT",
    rx(
        r"""(?:护照|通行证|(?i:passport))(?:号码?|是|为|\ (?i:number|no\.?|is|\#
          |id)){0,3}[\s:：\#]{0,3}
            (?P<value>[A-Za-z]{0,2}[0-9]{6,10}[A-Za-z]?)(?![0-9A-Za-z])"""
    ),
    PASSPORT_WORD,
    catches=("passport number ⟦533380006⟧", "护照号：⟦K0123456⟧。", "Passport No. ⟦X1234567⟧"),
    spares=("passport 2025 edition", "护照办理需要10天", "passport control opens at 0900"),
    check=passport,
    canon=str.upper,
)
PLATE_CN = Rule(
    "cn-plate",
    "PLATE",
    rx(
        r"""[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领][A-Za-z]
            [-·•.\ ]{0,2}
            (?:[A-HJ-NP-Za-hj-np-z0-9]{4,5}[A-HJ-NP-Za-hj-np-z0-9挂学警港澳]
              |[0-9]{4}[挂学警港澳])(?![0-9A-Za-z])"""
    ),
    PLATE,
    catches=(
        "车牌⟦京A12345⟧停在门口",
        "⟦粤B·D12345⟧",
        "⟦沪AD12345⟧绿牌",
        "港车⟦粤Z1234港⟧",
        "⟦苏e 88k66⟧。",
    ),
    spares=("京ABCDE", "川A的路", "新A1234", "京A1234567", "湘A股2025"),
    check=plate,
    canon=letters_and_digits,
)
SOCIAL_CREDIT = Rule(
    "cn-social-credit",
    "ORG_ID",
    rx(r"""[1-9ANY](?<![0-9A-Za-z].)[1239](?:10|1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3])
            [0-9]{4}[0-9A-HJ-NPQRTUWXY]{10}(?![0-9A-Za-z])"""),
    NUMBER,
    catches=("税号⟦91350100M000100Y43⟧开票", "信用代码：⟦91110000600037341L⟧"),
    spares=("91350100M000100Y44", "91110000600037341A", "913501000000000000"),
    check=social_credit,
    shape=number(r"(?<![0oi])(?:d{7,17}a|d{17,18}(?!d))"),
)
BANK_CARD = Rule(
    "bank-card",
    "CARD",
    rx(
        r"""[0-689](?<![0-9].)(?<![0-9\x00][-.].)(?<![0-9A-Fa-f]{3}.)(?:(?<=4)[0-9]{3}
          |(?<=6)[0-9]{3}|(?<=5)[0-8][0-9]{2}
            |(?<=3)(?:0[0-5]|[4-9][0-9])[0-9]|(?<=2)(?:2(?:2[1-9]|[3-9][0-9])|[3-6][0-9]{2}
            |7[01][0-9]|720|131)
            |(?<=8)1[0-9]{2}|(?<=9)558|(?<=1)800
            |(?<=0)604)(?:[-\ ]?[0-9]){8,15}(?![0-9])(?![0-9A-Fa-f]{3})"""
    ),
    NUMBER,
    catches=(
        "卡号⟦4111111111111111⟧请核对",
        "银联⟦6222021234567890128⟧。",
        "card ⟦5500 0055 5555 5559⟧ exp",
        "amex ⟦3782-822463-10005⟧",
        "diners ⟦30569309025904⟧, jcb ⟦3530111333300000⟧",
        "四位一组⟦6222 0212 3456 7890 128⟧",
        "maestro ⟦6759649826438453⟧",
        "⟦4111 1111 1111 1111⟧ 03/27 cvv 123",
        "visa⟦4111111111111111⟧",
    ),
    spares=(
        "卡号4111111111111112",
        "订单 48213",
        "单号 1234567890123452",
        "2025121600000000",
        "订单号4111111111111111",
        "tracking id: 4111111111111111",
        "身份证420111199311081802末位不对",
    ),
    check=card,
    canon=digits,
    not_after=ORDER,
    sheds=True,
    shape=number(r"(?<![0oi])dddd(?:[- ]?d){8,15}(?!d)"),
)
# Length of an IBAN by country: the registry of ISO 13616.
_IBAN = {
    15: "NO", 16: "BE", 18: "DK FO FI NL GL", 19: "MK SI", 20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV", 22: "BG DE GB IE ME RS BH VA GE CR", 23: "AE GI IL TL IQ OM",
    24: "AD CZ ES PK RO SA SE SK TN VG MD", 25: "LY PT", 26: "IS TR", 27: "FR GR IT MC MR SM BI DJ",
    28: "AL AZ CY DO GT HU LB PL BY SV NI", 29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC",
    32: "LC", 33: "RU",
}  # fmt: skip
# Countries whose accounts are digits alone, by the same registry. Of the rest some have letters: of
# a hundred ids in hexadecimal that begin with `be` and two digits one passes modulo 97.
_DIGITS_ALONE = (
    "AE AT BA BE BI CR CZ DE DJ DK EE EG ES FI FO GL HR HU IL IS LT LY ME MR NO PL PT RS SE SI SK "
    "TL TN VA XK"
)


def _places(count: int, signs: str) -> str:
    """So many signs, gaps between them; told by fours it takes half the time."""
    fours, rest = divmod(count, 4)
    last = rf"[-\ ]?[{signs}]{{{rest}}}" if rest else ""
    return rf"(?:(?:[-\ ]?[{signs}]{{4}}){{{fours}}}{last}|(?:[-\ ]?[{signs}]){{{count}}})"


def _of_country(letter: str) -> str:
    """The countries of a first letter, each with two check digits and as many places as it has."""
    seconds: dict[tuple[int, str], str] = {}
    for size, names in _IBAN.items():
        for name in (name for name in names.split() if name[0] == letter):
            kind = (size, "0-9" if name in _DIGITS_ALONE.split() else "0-9A-Za-z")
            seconds[kind] = seconds.get(kind, "") + name[1]
    ways = (
        rf"[{second}{second.lower()}][0-9]{{2}}{_places(size - 4, signs)}"
        for (size, signs), second in seconds.items()
    )
    return f"[{letter}{letter.lower()}](?:{'|'.join(ways)})"


_COUNTRIES = "|".join(
    map(_of_country, sorted({name[0] for name in " ".join(_IBAN.values()).split()}))
)
IBAN = Rule(
    "iban",
    "IBAN",
    rx(rf"(?<![0-9A-Za-z])(?:{_COUNTRIES})(?![0-9A-Za-z])"),
    gate(
        "iban",
        rb"0(?<=aa0)(?=0[- ]?[0a]{4}[- ]?[0a]{3})",
        around=(2, 70),
    ),
    catches=(
        "转到⟦DE89370400440532013000⟧",
        "⟦GB82 WEST 1234 5698 7654 32⟧ please",
        "iban ⟦fr1420041010050500013m02606⟧",
    ),
    spares=("DE89370400440532013001", "GB82 WEST 1234", "AB12 3456 7890 1234", "be130772e44be76e"),
    check=iban,
    canon=letters_and_digits,
)
