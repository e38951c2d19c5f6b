"""Templates: answers that say the same sentence around another number, name or pseudonym.

A skeleton is the answer with what changes from row to row masked. Skeletons that are near twins are
one template. A share far above the others is a sentence learnt by heart instead of a skill.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from errata.build import near

ALIKE = 0.8
# `<PHONE:7f3a12c4>`, as intake/redact.py writes them: what is masked is which one.
PSEUDONYM = re.compile(r"<([A-Z][A-Z_]{1,20}):[0-9a-f]{8}>")
# A name in quotes of either language; not across a line, and no longer than a name.
QUOTED = re.compile(r"“[^”\n]{1,40}”|「[^」\n]{1,40}」|『[^』\n]{1,40}』|《[^》\n]{1,40}》"
                    r"|\"[^\"\n]{1,40}\"|(?<![A-Za-z])'[^'\n]{1,40}'(?![A-Za-z])")  # fmt: skip
# A number, or an id: ASCII letters and digits with a digit among them (`A-48213`, `ord_7f3a`).
NUMBER = re.compile(r"[A-Za-z_-]*[0-9][A-Za-z0-9_-]*(?:[.,:/][0-9]+)*")


class Template(NamedTuple):
    """A skeleton with how many answers have it, and the place of the first."""

    skeleton: str
    rows: int
    first: int


def skeleton(text: str) -> str:
    """The text with pseudonyms, quoted names, numbers and ids masked; one line, small letters."""
    text = unicodedata.normalize("NFKC", text)
    text = PSEUDONYM.sub(r"<\1>", text)
    text = QUOTED.sub('"#"', text)
    return " ".join(NUMBER.sub("#", text).casefold().split())


def templates(answers: Sequence[str]) -> list[Template]:
    """All templates, the most frequent first; each is shown by its most frequent skeleton."""
    masked = [skeleton(answer) for answer in answers]
    counts = Counter(masked)
    kinds = list(counts)
    first = {text: place for place, text in reversed(list(enumerate(masked)))}
    members: dict[int, list[str]] = {}
    for text, root in zip(kinds, near.clusters(kinds, ALIKE), strict=True):
        members.setdefault(root, []).append(text)
    found = []
    for texts in members.values():
        shown = min(texts, key=lambda text: (-counts[text], text))
        total = sum(counts[text] for text in texts)
        found.append(Template(shown, total, min(first[text] for text in texts)))
    return sorted(found, key=lambda item: (-item.rows, item.skeleton))


def share(found: Sequence[Template]) -> float:
    """Of the most frequent template; 0 where there is no answer."""
    total = sum(item.rows for item in found)
    return found[0].rows / total if total else 0.0
