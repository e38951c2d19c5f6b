"""Characters written as numbers and signs: escapes, lists of codes, Morse, and lists of pieces."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from errata.safety.leak.view import Edit, View

# One escaped character each; `byte` ones next to each other are UTF-8 together.
_ESCAPE = re.compile(
    r"&#(?P<dec>[0-9]{1,7});?|&#x(?P<hex>[0-9a-f]{1,6});?|&(?P<named>[a-z]{2,24}[0-9]{0,2});"
    r"|\\u\{(?P<brace>[0-9a-f]{1,6})\}|(?:\\|%)u(?P<four>[0-9a-f]{4})|\\U(?P<eight>[0-9a-f]{8})"
    r"|(?<![0-9a-z])u\+(?P<plus>[0-9a-f]{4,6})[ ,;]?"
    r"|(?:%|\\x|=)(?P<byte>[0-9a-f]{2})|(?<![0-9a-z])0x(?P<zero>[0-9a-f]{2})(?![0-9a-z])[ ,;]{0,2}"
    r"|\\(?P<octal>[0-3][0-7]{2})|(?<![0-9a-z])0o(?P<oct>[0-3]?[0-7]{2})(?![0-9a-z])[ ,;]{0,2}"
    r"|(?<![0-9a-z])0b(?P<bits>[01]{7,8})(?![0-9a-z])[ ,;]{0,2}",
    re.IGNORECASE,
)
_BASES = {"dec": 10, "hex": 16, "brace": 16, "four": 16, "eight": 16, "plus": 16, "byte": 16,
          "zero": 16, "octal": 8, "oct": 8, "bits": 2}  # fmt: skip
_BYTES = ("byte", "zero", "octal", "oct", "bits")
_CODES = re.compile(
    r"(?<![0-9A-Za-z])[0-9]{1,8}(?:[ ,;:/|.\-_\n\t+、，]{1,3}[0-9]{1,8}){3,}(?![0-9A-Za-z])"
)
_NUMBER = re.compile("[0-9]+")
_MORSE = re.compile(r"(?<![.\-])[.\-·_]{1,7}(?:(?: +|\s*[/|\n]\s*)[.\-·_]{1,7}){2,}(?![\-])")
_ALPHABET = (
    "A.- B-... C-.-. D-.. E. F..-. G--. H.... I.. J.--- K-.- L.-.. M-- N-. O--- P.--. Q--.- R.-. "
    "S... T- U..- V...- W.-- X-..- Y-.-- Z--.. 0----- 1.---- 2..--- 3...-- 4....- 5..... 6-.... "
    "7--... 8---.. 9----."
)
MORSE = {word[1:]: word[0].lower() for word in _ALPHABET.split()} | {
    ".-.-.-": ".", "--..--": ",", "-....-": "-", ".--.-.": "@", "..--.-": "_", "-..-.": "/",
    "---...": ":", "..--..": "?", "-.-.--": "!", ".-.-.": "+", "-...-": "=",
}  # fmt: skip
_BULLET = re.compile(
    r"(?:(?<=\s)|^)(?:\(?[0-9]{1,3}[.):、]|[a-z]\)"
    r"|第[0-9一二三四五六七八九十]{1,3}[个位]?(?:是|为|：|:))[ \t]*"
    r"|^[ \t]*[-*·>][ \t]+",
    re.MULTILINE,
)
_SINGLES = re.compile(r"\S(?P<gap>[ \-_.,|/*+:;\n、，]|, | - )\S(?:(?P=gap)\S){4,}(?!\w)")


def escapes(text: str) -> list[Edit]:
    r"""`&#115;` `&amp;` `\u0073` `\x73` `%73` `=73` `U+0073` `0x73` `\163` and their kin."""
    if not ("&" in text or "\\" in text or "%" in text or "=" in text or "+" in text
            or "0" in text):  # fmt: skip
        return []
    found: list[Edit] = []
    pending: list[tuple[int, int, int]] = []  # bytes that are one piece of UTF-8
    for match in _ESCAPE.finditer(text):
        kind = str(match.lastgroup)
        if pending and (kind not in _BYTES or match.start() != pending[-1][1]):
            found += _utf8(pending)
            pending = []
        if kind in _BYTES:
            pending.append((match.start(), match.end(), int(match[kind], _BASES[kind])))
            continue
        char = _escaped(match, kind)
        if char is not None:
            found.append(Edit(match.start(), match.end(), char))
    return found + _utf8(pending) if pending else found


def _escaped(match: re.Match[str], kind: str) -> str | None:
    if kind == "named":
        char = html.unescape(match[0])
        return char if len(char) == 1 else None
    return _char(int(match[kind], _BASES[kind]))


def _char(code: int) -> str | None:
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code < 0xE000 else None


def _utf8(parts: list[tuple[int, int, int]]) -> list[Edit]:
    """Bytes with their spans → an edit for each character; bytes that are no UTF-8 stay."""
    data = bytes(byte for _, _, byte in parts)
    edits, at = [], 0
    for char in data.decode("utf-8", "surrogateescape"):
        size = 1 if "\udc80" <= char <= "\udcff" else len(char.encode())
        if not "\udc80" <= char <= "\udcff":
            edits.append(Edit(parts[at][0], parts[at + size - 1][1], char))
        at += size
    return edits


def lists(text: str) -> Iterator[tuple[str, list[Edit]]]:
    """Lists of numbers that are characters in base 10, 8, 2, or places in the alphabet."""
    matches = list(_CODES.finditer(text))
    if not matches:
        return
    for base, name in ((10, "decimal"), (8, "octal"), (2, "binary"), (0, "alphabet")):
        edits = [edit for match in matches for edit in _listed(match, base)]
        if edits:
            yield name, edits


def _listed(match: re.Match[str], base: int) -> list[Edit]:
    """What the numbers of one list say; nothing where one of them says nothing in this base."""
    numbers = list(_NUMBER.finditer(match[0]))
    start = match.start()
    try:
        values = [int(number[0], base or 10) for number in numbers]
    except ValueError:
        return []
    if base == 0:
        if not all(1 <= value <= 26 for value in values):
            return []
        values = [96 + value for value in values]
    ends = [number.start() for number in numbers[1:]] + [numbers[-1].end()]
    spans = [(start + n.start(), start + end) for n, end in zip(numbers, ends, strict=True)]
    if max(values) < 256 and max(values) > 127:
        parts = [(*span, value) for span, value in zip(spans, values, strict=True)]
        edits = _utf8(parts)
    else:
        said = [(span, _char(value)) for span, value in zip(spans, values, strict=True)]
        edits = [Edit(*span, char) for span, char in said if char]
    return edits if len(edits) * 5 >= len(values) * 2 else []


def morse(text: str) -> list[Edit]:
    """`--... ...-- ----.`: Morse of letters, digits and a few signs."""
    if text.count("-") + text.count("_") < 3:
        return []
    edits = []
    for match in _MORSE.finditer(text):
        for word in re.finditer(r"([.\-·_]+)[ \n/|]*", match[0]):
            letter = MORSE.get(word[1].replace("·", ".").replace("_", "-"))
            if letter:  # a stroke stands between words
                said = letter + " " * ("/" in word[0] or "|" in word[0])
                edits.append(Edit(match.start() + word.start(), match.start() + word.end(), said))
    return edits


def bullets(text: str) -> list[Edit]:
    """`1. s` `2) k` `- x` `第一位是7`: what numbers the pieces of a list is left out."""
    found = [Edit(match.start(), match.end(), "") for match in _BULLET.finditer(text)]
    return found if len(found) >= 2 else []


def singles(text: str) -> list[Edit]:
    """`s k - 4 f`: single characters, one sign or blank between each two, put together."""
    return [
        Edit(match.start(), match.end(), match[0][:: 1 + len(match["gap"])])
        for match in _SINGLES.finditer(text)
    ]


def initials(view: View) -> Iterator[tuple[str, list[int]]]:
    """Places of the first letters of lines, sentences and words: acrostics."""
    lines = [match.end() - 1 for match in re.finditer(r"(?:^|\n)[^\w\n]*\w", view.text)]
    yield "initials of lines", lines
    ends = [match.end() - 1 for match in re.finditer(r"(?:^|[.!?\n。！？])[^\w]*\w", view.text)]
    yield "initials of sentences", ends
    yield "initials of words", [match.start() for match in re.finditer(r"\b\w", view.text)]
