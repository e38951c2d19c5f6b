"""How much of the values is gone, and how much of what was taken was a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from dataset import frames, near, prose, values
from dataset.values import Make
from errata.intake.redact import Policy, redact_many

KEY = b"k" * 32
MAKERS: dict[tuple[str, str], tuple[Make, ...]] = {
    ("PHONE", "zh"): (values.mobile, values.mobile, values.mobile, values.landline),
    ("MOBILE", "zh"): (values.mobile,),
    ("CN_ID", "zh"): (values.resident_id,),
    ("CARD", "zh"): (values.card,),
    ("EMAIL", "zh"): (values.mail, values.qq_mail),
    ("PLATE", "zh"): (values.plate,),
    ("ORG_ID", "zh"): (values.credit_code,),
    ("PASSPORT", "zh"): (values.passport_cn,),
    ("IBAN", "zh"): (values.iban,),
    ("IP", "zh"): (values.ipv4, values.ipv4, values.ipv6),
    ("MAC", "zh"): (values.mac,),
    ("PERSON", "zh"): (values.name_zh,),
    ("ADDRESS", "zh"): (values.address_zh,),
    ("PHONE", "en"): tuple(map(values.phone_of, ("en_US", "en_GB", "de_DE", "fr_FR"))),
    ("CARD", "en"): (values.card,),
    ("EMAIL", "en"): (values.mail,),
    ("SSN", "en"): (values.ssn,),
    ("IBAN", "en"): (values.iban,),
    ("IP", "en"): (values.ipv4, values.ipv4, values.ipv6),
    ("MAC", "en"): (values.mac,),
}


class Row(NamedTuple):
    """A text and the value in it."""

    kind: str
    language: str
    text: str
    value: str


def rows(random: Random, each: int) -> list[Row]:
    """`each` texts of each kind and language."""
    values.seeded()
    made = []
    for (kind, language), makers in MAKERS.items():
        told = frames.frames("PHONE" if kind == "MOBILE" else kind, language)
        for _ in range(each):
            value = random.choice(makers)(random)
            made.append(Row(kind, language, random.choice(told).replace("{}", value), value))
    return made


def passwords(random: Random, each: int) -> list[Row]:
    """Each sentence with that many passwords."""
    return [
        Row("PASSWORD", language, frame.replace("{}", secret), secret)
        for language, told in (("en", prose.EN), ("zh", prose.ZH))
        for frame in told
        for secret in (prose.value(random) for _ in range(each))
    ]


def clean(texts: Sequence[str]) -> list[str]:
    """As the default policy leaves them."""
    return [done.text for done in redact_many(texts, Policy().rules, KEY)]


def left(value: str, text: str) -> bool:
    """Whether the value can still be read: all of it, or its last six digits or signs."""
    plain = "".join(char for char in value if char.isalnum())
    return value in text or plain in "".join(char for char in text if char.isalnum())


def recall(made: Sequence[Row]) -> tuple[dict[tuple[str, str], float], list[Row]]:
    """Share of values fully gone by kind and language, and the rows in which they are not."""
    out = clean([row.text for row in made])
    missed = [row for row, text in zip(made, out, strict=True) if left(row.value, text)]
    total = Counter((row.kind, row.language) for row in made)
    lost = Counter((row.kind, row.language) for row in missed)
    return {name: 1 - lost[name] / count for name, count in total.items()}, missed


def precision(made: Sequence[Row], misses: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """By tag: of what was taken from values and near misses, the share that was (in) a value."""
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    examples = []
    rules = Policy().rules
    for row, done in zip(made, redact_many([row.text for row in made], rules, KEY), strict=True):
        at = row.text.index(row.value)
        for found in done.findings:
            inside = found.start < at + len(row.value) and at < found.end
            (right if inside else wrong)[found.tag] += 1
            if not inside:
                examples.append(
                    f"{found.rule}: {row.text[found.start : found.end]!r} in {row.text}"
                )
    for text, done in zip(misses, redact_many(misses, rules, KEY), strict=True):
        for found in done.findings:
            wrong[found.tag] += 1
            examples.append(f"{found.rule}: {text[found.start : found.end]!r} in {text}")
    tags = {*right, *wrong}
    return {tag: right[tag] / (right[tag] + wrong[tag]) for tag in sorted(tags)}, examples


def near_misses(random: Random, count: int) -> list[str]:
    """As many near misses, and the sentences that only look like telling something."""
    return [*near.lines(random, count), *near.PROSE]
