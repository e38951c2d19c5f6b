"""Ways to write a secret down, each from its definition, and what each of them can carry.

An encoder gives None for a text that it would lose a part of: leet of base64 cannot be read back by
anybody, so it is no leak.
"""

from __future__ import annotations

import base64
import codecs
import quopri
import urllib.parse
from collections.abc import Callable

Encoder = Callable[[str], str | None]
ABC = "abcdefghijklmnopqrstuvwxyz"
ENGLISH = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
PINYIN = ["ling", "yi", "er", "san", "si", "wu", "liu", "qi", "ba", "jiu"]
NATO = [
    "Alfa",
    "Bravo",
    "Charlie",
    "Delta",
    "Echo",
    "Foxtrot",
    "Golf",
    "Hotel",
    "India",
    "Juliett",
    "Kilo",
    "Lima",
    "Mike",
    "November",
    "Oscar",
    "Papa",
    "Quebec",
    "Romeo",
    "Sierra",
    "Tango",
    "Uniform",
    "Victor",
    "Whiskey",
    "Xray",
    "Yankee",
    "Zulu",
]
SIGNS = {"-": "dash", ".": "dot", "_": "underscore", "@": "at", "/": "slash", "+": "plus"}
MORSE = dict(zip(
    ABC + "0123456789",
    [".-", "-...", "-.-.", "-..", ".", "..-.", "--.", "....", "..", ".---", "-.-", ".-..", "--", "-.", "---", ".--.", "--.-", ".-.", "...", "-", "..-", "...-", ".--", "-..-", "-.--", "--..", "-----", ".----", "..---", "...--", "....-", ".....", "-....", "--...", "---..", "----."],
    strict=True))  # fmt: skip
TURNED = dict(zip(ABC + "0123456789", "ɐqɔpǝɟƃɥᴉɾʞlɯuodbɹsʇnʌʍxʎz0ƖᄅƐㄣϛ9ㄥ86", strict=True))
LOOKS = dict(zip("aceopxyAEOPCTBHKMX", "асеорхуАЕОРСТВНКМХ", strict=True))
LEET = str.maketrans("aeiost", "431057")


def _one_case(text: str) -> bool:
    """ASCII letters and digits in which case says nothing, with blanks and simple signs."""
    bare = [c for c in text if c not in SIGNS and c != " "]
    single = text == text.lower() or text == text.upper()
    return single and bool(bare) and all(c.isascii() and c.isalnum() for c in bare)


def _solid(text: str) -> bool:
    return not any(c.isspace() for c in text)


def _digits(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _spaced(gap: str) -> Encoder:
    def encode(text: str) -> str | None:
        return gap.join(text) if _solid(text) and gap.strip() not in [*text] else None

    return encode


def _numbered(text: str) -> str | None:
    lines = [f"{number}. {char}" for number, char in enumerate(text, 1)]
    return "\n" + "\n".join(lines) + "\n" if _solid(text) else None


def _shifted(first: int, last: int, base: int) -> Encoder:
    """Each ASCII character from `first` to `last` moved to a block that begins at `base`."""

    def encode(text: str) -> str | None:
        moved = [chr(base + ord(c) - first) if first <= ord(c) <= last else c for c in text]
        return "".join(moved) if text.isascii() and moved != [*text] else None

    return encode


def _mathematical(text: str) -> str | None:
    def bold(c: str) -> str:
        if c.isdigit():
            return chr(0x1D7CE + int(c))
        if c.isalpha():
            return chr((0x1D41A if c.islower() else 0x1D400) + ord(c.lower()) - 97)
        return c

    return "".join(map(bold, text)) if text.isascii() else None


def _letters(text: str, other: Callable[[str], str]) -> str | None:
    """A cipher of ASCII letters; None for a text without them."""
    said = other(text)
    return None if said == text else said


def _atbash(text: str) -> str:
    table = str.maketrans(ABC + ABC.upper(), ABC[::-1] + ABC[::-1].upper())
    return text.translate(table)


def _rot47(text: str) -> str | None:
    if not text.isascii():
        return None
    return "".join(chr(33 + (ord(c) + 14) % 94) if 33 <= ord(c) <= 126 else c for c in text)


def _leet(text: str) -> str | None:
    plain = text == text.lower() and text.isascii() and any(c in "aeiost" for c in text)
    return text.translate(LEET) if plain and not set(text) & set("0134579") else None


def _words(words: list[str], gap: str = " ") -> Encoder:
    return lambda text: gap.join(words[int(c)] for c in text) if _digits(text) else None


def _nato(text: str) -> str | None:
    if not _one_case(text) or " " in text:
        return None
    said = {**dict(zip(ABC, NATO, strict=True)), **dict(zip("0123456789", ENGLISH, strict=True))}
    return " ".join({**said, **SIGNS}[c] for c in text.lower())


def _morse(text: str) -> str | None:
    if not _one_case(text) or set(text) & {*SIGNS}:
        return None
    words = [" ".join(MORSE[c] for c in word) for word in text.lower().split()]
    return " / ".join(words)


def _turned(text: str) -> str | None:
    plain = text.isascii() and text == text.lower() and any(c.isalpha() for c in text)
    return "".join(TURNED.get(c, c) for c in reversed(text)) if plain else None


def _homoglyph(text: str) -> str | None:
    said = "".join(LOOKS.get(c, c) for c in text)
    return None if said == text else said


def _words_reversed(text: str) -> str | None:
    return " ".join(w[::-1] for w in text.split()) if " " in text else None


def _codes(form: str, gap: str, *, wide: bool = True) -> Encoder:
    def encode(text: str) -> str | None:
        units = [ord(c) for c in text] if wide else [*text.encode()]
        return gap.join(form.format(u) for u in units)

    return encode


def _ascii_codes(form: str, gap: str) -> Encoder:
    return lambda text: gap.join(form.format(ord(c)) for c in text) if text.isascii() else None


def _wrapped(text: str) -> str:
    said = base64.b64encode(text.encode()).decode()
    return "\n" + "\n".join(said[i : i + 16] for i in range(0, len(said), 16)) + "\n"


def _within(text: str) -> str:
    said = f"Notes of today: the delivery is late. {text} was told to them; nothing else is new."
    return base64.b64encode(said.encode()).decode()


ENCODERS: dict[str, Encoder] = {
    "plain": lambda text: text,
    "spaced": _spaced(" "),
    "hyphens": _spaced("-"),
    "one a line": _spaced("\n"),
    "numbered list": _numbered,
    "zero-width": lambda text: "\u200b".join(text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 url, unpadded": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64 wrapped": _wrapped,
    "base64 of a longer text": _within,
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "hex, spaced": lambda text: text.encode().hex(" "),
    "base85": lambda text: base64.b85encode(text.encode()).decode(),
    "ascii85": lambda text: base64.a85encode(text.encode(), adobe=True).decode(),
    "url": lambda text: "".join(f"%{b:02X}" for b in text.encode()),
    "url, as needed": lambda text: _letters(text, lambda t: urllib.parse.quote(t, safe="")),
    "quoted-printable": lambda text: _letters(text, lambda t: quopri.encodestring(t.encode()).decode()),
    "html decimal": _codes("&#{};", ""),
    "html hex": _codes("&#x{:x};", ""),
    "unicode escapes": lambda text: "".join(f"\\u{ord(c):04x}" for c in text) if max(text) < "\U00010000" else None,
    "byte escapes": _codes("\\x{:02x}", "", wide=False),
    "U+": _codes("U+{:04X}", " "),
    "decimal codes": _codes("{}", " "),
    "octal codes": _ascii_codes("{:03o}", " "),
    "binary": _codes("{:08b}", " ", wide=False),
    "0x codes": _codes("0x{:02x}", ", ", wide=False),
    "rot13": lambda text: _letters(text, lambda t: codecs.encode(t, "rot13")),
    "atbash": lambda text: _letters(text, _atbash),
    "rot47": _rot47,
    "reversed": lambda text: text[::-1],
    "words reversed": _words_reversed,
    "tag characters": _shifted(0x20, 0x7E, 0xE0020),
    "full width": _shifted(0x21, 0x7E, 0xFF01),
    "mathematical": _mathematical,
    "homoglyphs": _homoglyph,
    "leet": _leet,
    "upside down": _turned,
    "spelled digits": _words(ENGLISH),
    "Chinese numerals": _words([*"零一二三四五六七八九"], ""),
    "Chinese capitals": _words([*"零壹贰叁肆伍陆柒捌玖"], ""),
    "pinyin": _words(PINYIN),
    "NATO": _nato,
    "Morse": _morse,
}  # fmt: skip
