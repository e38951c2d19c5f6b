"""Training text looks like life: pseudonyms become invented values of the same kind and language.

A model that is trained on `<PHONE:7f3a12c4>` learns to answer pseudonyms, and an attack with real
digits passes it by. What is written instead is nobody's: it is of the forms of intake/reserved.py,
which redaction and lint spare. The same pseudonym is the same value within a row, another one in
the next row, so that nothing can be put together from two of them.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from random import Random

from errata.intake.fold import TOKEN
from errata.intake.reserved import NAMES_EN, NAMES_ZH, marked, unnamed, walled
from errata.text import language

Inventor = Callable[[Random, bool], str]  # whether the text is Chinese
_LETTERS = string.ascii_letters + string.digits
_NEAR = 2  # characters beside a value that decide whether it is still read as one
_TRIES = 32  # for a value that the row does not have yet; there are only nine Chinese names


def _signs(random: Random, count: int, signs: str = string.digits) -> str:
    return "".join(random.choice(signs) for _ in range(count))


def _phone(random: Random, chinese: bool) -> str:
    return ("1990000" if chinese else "(999) 000-") + _signs(random, 4)


def _mail(random: Random, _: bool) -> str:
    name = random.choice(["amy", "ben", "chen", "dana", "eli", "feng", "gina", "hao", "ivy", "jun"])
    place = random.choice(["mail", "post", "home", "desk", "work"])
    return f"{name}.{_signs(random, 3)}@{place}.example"


def _card(random: Random, chinese: bool) -> str:
    """With its Luhn digit, as a card has it."""
    body = ("6200" if chinese else "4000") + "0" * 8 + _signs(random, 3)
    total = sum(sum(divmod(int(digit) * (2 - n % 2), 10)) for n, digit in enumerate(body))
    number = body + str(-total % 10)
    return " ".join(number[at : at + 4] for at in range(0, 16, 4))


def _resident_id(random: Random, _: bool) -> str:
    """With its check digit, of a province that there is not."""
    born = f"{random.randint(1950, 2009)}{random.randint(1, 12):02}{random.randint(1, 28):02}"
    body = f"990000{born}{_signs(random, 3)}"
    total = sum(int(digit) * pow(2, 17 - n, 11) for n, digit in enumerate(body))
    return body + "10X98765432"[total % 11]


def _iban(random: Random, _: bool) -> str:
    return f"DE00 0000 0000 {_signs(random, 4)} {_signs(random, 4)} {_signs(random, 2)}"


def _plate(random: Random, _: bool) -> str:
    return (
        f"{random.choice('京沪粤苏浙川')}A0000{random.choice('0123456789ABCDEFGHJKLMNPQRSTUVWXYZ')}"
    )


def _person(random: Random, chinese: bool) -> str:
    return random.choice(NAMES_ZH if chinese else NAMES_EN)


def _address(random: Random, chinese: bool) -> str:
    if chinese:
        return f"示范市样例区虚构路{random.randint(1, 999)}号{random.randint(101, 2999)}室"
    return f"{random.randint(1, 999)} Sample Street, Anytown"


def _marked(before: str, count: int, signs: str = _LETTERS, after: str = "") -> Inventor:
    return lambda random, _: f"{before}{_signs(random, count, signs)}{after}"


def _jwt(random: Random, _: bool) -> str:
    parts = (_signs(random, size, _LETTERS) for size in (12, 12, 16))
    return "eyJXmpl_{}.eyJ{}.{}".format(*parts)


def _account(random: Random, _: bool) -> str:
    return f"xmpl_{random.choice(['panda', 'river', 'maple', 'cloud', 'tiger'])}{_signs(random, 3)}"


INVENTORS: dict[str, Inventor] = {
    "PHONE": _phone,
    "EMAIL": _mail,
    "CARD": _card,
    "CN_ID": _resident_id,
    "IBAN": _iban,
    "PLATE": _plate,
    "PERSON": _person,
    "ADDRESS": _address,
    "SSN": lambda random, _: f"000-0{_signs(random, 1)}-{_signs(random, 4)}",
    "PASSPORT": _marked("EO0", 6, string.digits),
    "ORG_ID": _marked("91000000MA", 8, "0123456789ABCDEFGHJKLMNPQRTUWXY"),
    "IP": lambda random, _: f"198.18.{random.randint(0, 255)}.{random.randint(1, 254)}",
    "MAC": _marked("00:00:5e:00:53:", 2, "0123456789abcdef"),
    "ACCOUNT": _account,
    "PASSWORD": _marked("Xmpl_", 8, string.ascii_lowercase + string.digits),
    "TOKEN": _marked("Xmpl_", 24),
    "SECRET": _marked("Xmpl_", 28),
    "API_KEY": _marked("sk-Xmpl_", 24),
    "JWT": _jwt,
    "PRIVATE_KEY": _marked(
        "-----BEGIN PRIVATE KEY-----\nXmpl_", 40, _LETTERS, "\n-----END PRIVATE KEY-----"
    ),
}


def lifelike_all(texts: Sequence[str], seed: str) -> list[str]:
    """The texts of one row (prompt, chosen, rejected), with invented values for pseudonyms: one
    value for one pseudonym in all. `seed` is the id of the row.

    A pseudonym of a tag that has no inventor (of a rule of the policy) stays as it is.
    """
    chinese = language(TOKEN.sub("", "\n".join(texts))) == "zh"
    values: dict[str, str] = {}
    for text in texts:
        for match in TOKEN.finditer(text):
            if match[0] not in values:
                values[match[0]] = _invented(match[0], seed, chinese, set(values.values()))
    return [_filled(text, values) for text in texts]


def _filled(text: str, values: Mapping[str, str]) -> str:
    """The text with the values, set apart by spaces where a neighbour would make them another
    word: a model's broken answer may go on with letters, and redaction would find that."""
    filled, last = "", 0
    for match in TOKEN.finditer(text):
        filled, value = filled + text[last : match.start()], values[match[0]]
        before, behind = filled[-_NEAR:], text[match.end() : match.end() + _NEAR]
        if _walls(before + value + behind)[len(before) :][: len(value)] != _walls(value):
            value = " " * bool(before.strip()) + value + " " * bool(behind.strip())
        filled, last = filled + value, match.end()
    return filled + text[last:]


def _walls(text: str) -> str:
    return unnamed(walled(text, marked(text), "\0"), "\0")


def _invented(token: str, seed: str, chinese: bool, taken: set[str]) -> str:
    make = INVENTORS.get(token[1:].partition(":")[0])
    if make is None:
        return token
    random = Random(f"{seed}\x1f{token}")
    value = make(random, chinese)
    for _ in range(_TRIES):
        if value not in taken:
            break
        value = make(random, chinese)
    return value
