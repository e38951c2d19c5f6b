"""The one place where the build looks for personal data and credentials that are left in a text."""

from __future__ import annotations

from collections.abc import Sequence

from errata.intake.redact import Finding, redact_many
from errata.intake.rules import Rule

_BATCH = 2000  # texts in one go


def left_in(texts: Sequence[str], rules: Sequence[Rule]) -> list[list[Finding]]:
    """What the rules find in each text; the same text is looked at once."""
    once = list(dict.fromkeys(texts))
    found: dict[str, list[Finding]] = {}
    for at in range(0, len(once), _BATCH):
        part = once[at : at + _BATCH]
        clean = redact_many(part, rules, b"")
        found |= {text: done.findings for text, done in zip(part, clean, strict=True)}
    return [found[text] for text in texts]
