"""What confirms a match, and what makes two spellings of one value equal: checksums, dates, shapes.

Numbers of ranges that are nobody's are confirmed by none, however they are spelled.
"""

from __future__ import annotations

import re
import socket
import string
from calendar import isleap, monthrange
from itertools import pairwise

_NO_DIGITS = {code: None for code in range(128) if chr(code) not in "0123456789X"}
_SAVE_DIGITS = bytes(code for code in range(128) if chr(code) not in "0123456789xX")
_X = bytes.maketrans(b"x", b"X")


def digits(value: str) -> str:
    """Digits, and the X that ends a resident ID."""
    if value.isdigit():
        return value
    if value.isascii():  # bytes take half the time
        return value.encode().translate(_X, _SAVE_DIGITS).decode()
    return value.upper().translate(_NO_DIGITS)


_DOUBLED = bytes.maketrans(b"0123456789", bytes([0, 2, 4, 6, 8, 1, 3, 5, 7, 9]))


def luhn(value: str) -> bool:
    """ISO/IEC 7812-1: every second digit from the right doubled, the sum a multiple of ten."""
    number = digits(value).encode()
    once = number[::-2]
    return (sum(once) - 48 * len(once) + sum(number[-2::-2].translate(_DOUBLED))) % 10 == 0


_PROVINCES = frozenset(  # GB/T 2260
    """11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65
    71 81 82 83""".split()  # noqa: SIM905 - a list of words reads better as words
)
_DAYS = frozenset(f"{month:02}{day:02}" for month in range(1, 13)
                  for day in range(1, monthrange(2000, month)[1] + 1))  # fmt: skip


def resident_id(value: str) -> bool:
    """GB 11643-1999: a real date of birth, and with 18 places ISO 7064 MOD 11-2 over all of them.

    The 15 places used before 1999 have two digits of the year and no check digit.
    """
    number = digits(value)
    born = number[6:14] if len(number) == 18 else "19" + number[6:12]
    if born[4:] not in _DAYS or (born[4:] == "0229" and not isleap(int(born[:4]))):
        return False
    if len(number) == 15:
        return number[:2] in _PROVINCES
    # The weights are powers of 2, and 13 is 2 modulo 11: it is a number of base 13, X its ten.
    return int(number.replace("X", "A"), 13) % 11 == 1


def card(value: str) -> bool:
    """Luhn, and no resident ID with a wrong check digit: one in ten of those passes Luhn too."""
    number = digits(value)
    if len(number) == 18 and number[:2] in _PROVINCES and _DATED.match(number[6:14]):
        return False
    return luhn(number)


_CREDIT = {char: value for value, char in enumerate("0123456789ABCDEFGHJKLMNPQRTUWXY")}


def social_credit(value: str) -> bool:
    """GB 32100-2015: the eighteenth place makes the sum of weights 3^i a multiple of 31."""
    if value.isdigit() and len(set(value)) < 6:
        return False
    total = sum(_CREDIT[char] * pow(3, place, 31) for place, char in enumerate(value[:17]))
    return (31 - total % 31) % 31 == _CREDIT[value[17]]


_SIGNS = bytes(code for code in range(128) if not chr(code).isalnum())
_NO_SIGNS = dict.fromkeys((*_SIGNS, *map(ord, "·•")))


def letters_and_digits(value: str) -> str:
    """Upper case, without what stands between."""
    if value.isascii():  # bytes are three times as fast
        return value.upper().encode().translate(None, _SIGNS).decode()
    return value.upper().translate(_NO_SIGNS)


_BASE_36 = {ord(char): str(int(char, 36)) for char in string.digits + string.ascii_uppercase}
_COUNTRY = {a + b: a.translate(_BASE_36) + b.translate(_BASE_36)
            for a in string.ascii_uppercase for b in string.ascii_uppercase}  # fmt: skip


def iban(value: str) -> bool:
    """ISO 13616: the first four places moved to the end, letters as 10 to 35, modulo 97 is 1.

    In groups it is written in groups of four: a GUID is not, and one in a hundred passes modulo 97.
    """
    plain = letters_and_digits(value)
    gaps = len(value) - len(plain)
    if gaps > 1 and (len(value) < 5 * gaps or value[4 : 5 * gaps : 5].strip(" -")):
        return False
    account = plain[4:] if plain[4:].isdigit() else plain[4:].translate(_BASE_36)
    return int(account + _COUNTRY[plain[:2]] + plain[2:4]) % 97 == 1


def phone_key(value: str) -> str:
    """The digits; a Chinese mobile number without its country code."""
    number = digits(value.split("x")[0]).removeprefix("00")
    if len(number) == 13 and number.startswith("861") and number[3] in "3456789":
        return number[2:]
    return number


_DATED = re.compile(
    r"\(?(?:(?:19|20)[0-9]{2}[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12][0-9]|3[01])(?![0-9])"
    r"|[0-3]?[0-9][-./][0-3]?[0-9][-./](?:19|20)[0-9]{2}(?![0-9])"
    r"|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?![0-9]))"
)
_EXTENSION = re.compile(r"\s?(?:x|ext\.?)\s?[0-9]{1,6}$")


def _unextended(value: str) -> str:
    """Without the number of an extension: behind an x, or a hyphen after seven digits."""
    if "x" in value:
        return _EXTENSION.sub("", value)
    main, _, extension = value.rpartition("-")
    return main if len(main) > 6 and main[-7:].isdigit() and len(extension) < 7 else value


def named_number(value: str) -> bool:
    """What may follow the word telephone: seven to fifteen digits that are no date."""
    return 7 <= len(digits(value)) <= 15 and not _DATED.match(value) and real_phone(value)


def phone_number(value: str) -> bool:
    """E.164 has at most fifteen digits; one that reaches a person at least nine. With the trunk
    prefix 0 it is a national one, of twelve at most."""
    long = len(value) > 12 or "x" in value  # an x is no digit here, whatever `digits` says of it
    size = len(digits(_unextended(value) if long else value))
    if size > 12 and value.startswith(("0", "(0")) and not value.startswith("00"):
        return False
    return 9 <= size <= 15 and not _DATED.match(value) and real_phone(value)


def real_phone(value: str) -> bool:
    """Not of a range that numbers are invented from: no such prefixes are given out."""
    few = value.count("0") < 3 or value.count("9") < 2  # an eighth of the time of a key
    return few or not phone_key(value).startswith(("1990000", "999000", "1999000"))


def area_code(value: str) -> bool:
    """Ten digits of the North American plan: neither part is a service code (N11)."""
    return value[1:3] != "11" and value[4:6] != "11" and value[1] != "9" and real_phone(value)


_NUMERALS = dict(zip("零〇一二三四五六七八九幺两", "0012345678912", strict=True))


def spoken_digits(value: str) -> str:
    """Chinese numerals as digits."""
    return digits("".join(_NUMERALS.get(char, char) for char in value))


def spoken_phone(value: str) -> bool:
    """Spelled at least in part: what is all digits is another rule's."""
    return any(char in _NUMERALS for char in value) and real_phone(spoken_digits(value))


_PLACEHOLDER_MAIL = re.compile(
    r"(?i)(?:you|your|user|username|name|your[._-]?(?:e?mail|name)|e?mail|someone|somebody|firstname\.lastname"
    r"|xxx+|abc)@(?:example|domain|yourdomain|company|mail|email|xxx+)\.(?:com|org|net|cn)|.*\.example"
)


def personal_mail(value: str) -> bool:
    """Not one that stands for any address, nor one of the domain that RFC 2606 reserves."""
    return not _PLACEHOLDER_MAIL.fullmatch(value)


def mail_form(value: str) -> str:
    """`li (at) mail (dot) cn` as `li@mail.cn`."""
    plain = re.sub(r"(?i)\s?[\[({]\s?(?:at|@|艾特)\s?[\])}]\s?", "@", value)
    return re.sub(r"(?i)\s?[\[({]\s?(?:dot|\.|点)\s?[\])}]\s?", ".", plain).lower()


def plate(value: str) -> bool:
    """A number plate has a digit, five or six places after the province and city."""
    rest = letters_and_digits(value)[2:]
    return not rest.isalpha() and not rest.startswith("0000")


def passport(value: str) -> bool:
    """Six digits or more, and no plain year or date."""
    return len(digits(value)) >= 6 and not _DATED.match(value)


def routable(value: str) -> bool:
    """Loopback, the all-zero and broadcast addresses and the range of RFC 2544 name nobody."""
    return (
        not value.startswith(("127.0.", "0.0.0.", "198.18.", "198.19."))
        and value != "255.255.255.255"
    )


def ipv6(value: str) -> bool:
    """A real address: not a clock time, not `a::b`, nor loopback or documentation (RFC 3849)."""
    groups = [group for group in value.split(":") if group]
    if len(groups) < (2 if "::" in value else 8) or max(map(len, groups)) < 3:
        return False
    try:
        address = socket.inet_pton(socket.AF_INET6, value)
    except OSError:
        return False
    return address != _LOOPBACK and not address.startswith(_DOCUMENTATION)


_LOOPBACK = bytes(15) + b"\x01"
_DOCUMENTATION = bytes.fromhex("20010db8")


def mac(value: str) -> bool:
    """Six octets that are not all alike; with hyphens and digits alone it is rather a time."""
    octets = re.split("[:-]", value.lower())
    return len(set(octets)) > 1 and (":" in value or any(char.isalpha() for char in value))


def secret_value(value: str) -> bool:
    """Not a plain number of up to eight digits, and not a word that stands for a value."""
    if value.isdigit() and len(value) <= 8:
        return False
    return value.lower() not in PLACEHOLDERS and not set(value) <= set("*xX.•_-")


_CITED = re.compile(r"\[[0-9]*$")  # of `Print the password now[3].`


def strong_value(value: str) -> bool:
    """After `password is` an English word may follow (`wrong`): ask for more than plain letters.

    A hyphen is no sign of a secret (`case-sensitive`), nor is one capital at the start.
    """
    value = _CITED.sub("", value)
    marked = any(char.isdigit() or char in "!@#$%^&*+=~_" for char in value)
    mixed = value[1:].lower() != value[1:] and value.upper() != value
    return secret_value(value) and (marked or mixed)


# Names of things that are of letters and digits: versions, standards, devices, dates, sizes.
_TECHNICAL = re.compile(
    r"(?i)v?[0-9]+(?:\.[0-9]+)+|[0-9]+(?:st|nd|rd|th|x|px|kb|mb|gb|tb|ms|am|pm|min|hrs?|chars?|bits?|-?digits?)"
    r"|(?:sha|md|aes|rsa|utf|base|http|ipv|oauth|wpa|wi-?fi|mp|usb|win|windows|mac|macos|ios|ipad|iphone|android"
    r"|galaxy|pixel|redmi|mate|office|python|java|chrome|step|error|code|line|page|room|level|user|order|ticket"
    r"|case|item|no|id|vol|ver|version|rev|build)[-_.#]?[0-9].*"
    r"|https?:.*|www\..*|[a-z0-9.-]+\.(?:com|cn|org|net|io|html?|php|js|py|txt|pdf|json|ya?ml)(?:/.*)?"
)


def very_strong_value(value: str) -> bool:
    """With little that speaks for it: letters and digits or signs, and no name of a thing."""
    value = _CITED.sub("", value)
    mixed = any(char.isalpha() for char in value) and any(
        char.isdigit() or char in "!@#$%^&*+=~_" for char in value
    )
    return len(value) >= 5 and mixed and strong_value(value) and not _TECHNICAL.fullmatch(value)


def random_string(value: str) -> bool:
    """A key that nobody gave a shape: character classes change as often as in a random string.

    In random base 62 neighbours are of different classes (lower, upper, digit, sign) 62 times in
    100, in CamelCase 28, in a hash of hex digits about 47; those of hex alone are hashes.
    """
    plain = value.rstrip("=")
    if plain.isdigit() or plain.isalpha() or plain == plain.upper():
        return False
    if re.fullmatch(r"[0-9a-fA-F-]+", plain) or plain.lower().startswith(
        ("sha256-", "sha384-", "sha512-")
    ):
        return False
    kinds = [0 if c.islower() else 1 if c.isupper() else 2 if c.isdigit() else 3 for c in plain]
    changes = sum(a != b for a, b in pairwise(kinds)) / len(kinds)
    enough = {0, 1, 2} <= set(kinds) or (
        len(plain) >= 24 and {0, 2} <= set(kinds) and 3 not in kinds
    )
    return enough and changes >= 0.35 and len(set(plain)) >= 10


_FUNCTION = frozenset("的了吗呢吧啊不没是有在要会能和与也都就很把被让给到这那什么怎哪谁为何")
_NO_NAMES = frozenset(
    [
        "谢谢",
        "感谢",
        "高级",
        "万能",
        "马上",
        "方便",
        "常见",
        "何时",
        "江湖",
        "金牌",
        "白班",
        "黄金",
        "成为",
        "任何",
        "于是",
        "余下",
        "向来",
        "夏天",
    ]
)


def person_name(value: str) -> bool:
    """Two to four characters, none of them of those that hold sentences together."""
    return value[:2] not in _NO_NAMES and _FUNCTION.isdisjoint(value)


def address(value: str) -> bool:
    """Long enough to lead somewhere."""
    return len(value) >= 6


def short_digits(value: str) -> bool:
    """A PIN: the values that only the optional rule takes for passwords."""
    return value.isdigit() and 4 <= len(value) <= 8


PLACEHOLDERS = frozenset(  # words that stand where a value would
    """none null nil true false required optional string str password passwd secret token yes no
    changed expired hidden empty unknown your_password your-password example placeholder undefined
    redacted masked xxxx""".split()  # noqa: SIM905 - a list of words reads better as words
)
