"""What confirms a match: checksums, dates, and what a password does not look like."""

from __future__ import annotations

from datetime import date


def digits(value: str) -> str:
    """Digits, and the X that ends a resident ID."""
    return "".join(char for char in value.upper() if char.isdigit() or char == "X")


def luhn(value: str) -> bool:
    """ISO/IEC 7812-1: every second digit from the right doubled, the sum a multiple of ten."""
    total = 0
    for place, char in enumerate(reversed(digits(value))):
        digit = int(char) * (1 + place % 2)
        total += digit - 9 if digit > 9 else digit
    return total % 10 == 0


def resident_id(value: str) -> bool:
    """GB 11643-1999: a real date of birth, and ISO 7064 MOD 11-2 over all 18 places."""
    number = digits(value)
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    weights = (pow(2, 17 - place, 11) for place in range(18))
    values = (10 if char == "X" else int(char) for char in number)
    return sum(w * v for w, v in zip(weights, values, strict=True)) % 11 == 1


def cn_mobile_digits(value: str) -> str:
    """The eleven digits, without the country code."""
    return digits(value)[-11:]


def nine_digits(value: str) -> bool:
    """A phone number that reaches a person has at least nine digits; a shorter one is a number."""
    return 9 <= len(digits(value)) <= 15


def routable(value: str) -> bool:
    """Loopback and the all-zero and broadcast addresses name nobody."""
    return not value.startswith(("127.", "0.")) and value != "255.255.255.255"


def secret_value(value: str) -> bool:
    """Not a plain number of up to eight digits, and not a word that stands for a value."""
    if value.isdigit() and len(value) <= 8:
        return False
    return value.lower() not in PLACEHOLDERS and not set(value) <= set("*xX.•_-")


def strong_value(value: str) -> bool:
    """After `password is` an English word may follow (`wrong`): ask for more than plain letters.

    A hyphen is no sign of a secret (`case-sensitive`), nor is one capital at the start.
    """
    marked = any(char.isdigit() or char in "!@#$%^&*+=~_" for char in value)
    mixed = value[1:].lower() != value[1:] and value.upper() != value
    return secret_value(value) and (marked or mixed)


def short_digits(value: str) -> bool:
    """A PIN: the values that only the optional rule takes for passwords."""
    return value.isdigit() and 4 <= len(value) <= 8


PLACEHOLDERS = frozenset(  # words that stand where a value would
    """none null nil true false required optional string str password passwd secret token yes no
    changed expired hidden empty unknown your_password your-password example placeholder undefined
    redacted masked xxxx""".split()  # noqa: SIM905 - a list of words reads better as words
)
