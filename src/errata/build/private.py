"""The one place where the build looks for personal data and credentials that are left in a text."""

from __future__ import annotations

from collections.abc import Sequence

from errata.intake.redact import Finding, apply
from errata.intake.rules import Rule


def left_in(texts: Sequence[str], rules: Sequence[Rule]) -> list[list[Finding]]:
    """What the rules find in each text; the same text is looked at once."""
    found = {text: apply(text, rules, b"").findings for text in dict.fromkeys(texts)}
    return [found[text] for text in texts]
