"""Rules of a team's own, from policies/redaction.yaml.

    rules:
      - id: ticket
        tag: TICKET
        pattern: 'TK-(?P<value>[0-9]{6})'
        catches: ["ticket TK-⟦482913⟧", "工单TK-⟦482913⟧已关闭"]
        spares: ["TK-12", "TK-ABCDEF"]

Patterns run in google-re2, which takes time linear in the text whatever the pattern is: `(a+)+$`
stops no intake. It knows no look-around, and `\\b` in it is a boundary of ASCII words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import Field

from errata.config import Section
from errata.errors import BadInput
from errata.intake.rules.rule import Rule

_TAG = re.compile("[A-Z][A-Z_]{1,20}")
Finder = Callable[[str], Iterator[tuple[int, int]]]


class OwnRule(Section):
    """A rule of the policy: what it finds, and the examples that it is held to."""

    id: str = Field(min_length=1, description="its name, in findings and in `off`")
    tag: str = Field(description="what a value becomes: TICKET gives <TICKET:7f3a12c4>")
    pattern: str = Field(
        min_length=1, description="google-re2; a group `value` is what is replaced"
    )
    catches: list[str] = Field(
        min_length=1, description="texts it must catch; between ⟦ ⟧ the exact span"
    )
    spares: list[str] = Field(min_length=1, description="texts in which it must find nothing")


def compiled(own: OwnRule, where: str) -> Rule:
    """The rule, ready to look; BadInput says what is wrong with it."""
    if not _TAG.fullmatch(own.tag):
        raise BadInput(f"{where}: rule `{own.id}`: tag `{own.tag}`: write capitals, such as TICKET")
    pattern = _linear(own, where)
    group = pattern.groupindex.get("value", 0)

    def spans(text: str) -> Iterator[tuple[int, int]]:
        for match in pattern.finditer(text):
            if match.end(group) > match.start(group) >= 0:
                yield match.span(group)

    return Rule(own.id, own.tag, pattern, None, tuple(own.catches), tuple(own.spares), spans=spans)


def _linear(own: OwnRule, where: str) -> Any:
    try:
        import re2  # an optional dependency, asked for by whoever writes rules
    except ImportError:
        raise BadInput(
            f"{where}: rules of your own need google-re2: pip install 'errata[fast]'"
        ) from None
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(own.pattern, options)
    except re2.error as error:
        told = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise BadInput(
            f"{where}: rule `{own.id}`: pattern: {told}; google-re2 has no look-around"
        ) from None


def held_to_examples(rule: Rule, found: Callable[[str], list[str]], where: str) -> None:
    """BadInput where a rule does not catch its own example, or catches what it must spare."""
    for example in rule.catches:
        marked = re.findall("⟦(.*?)⟧", example, re.DOTALL)
        text = example.replace("⟦", "").replace("⟧", "")
        caught = found(text)
        if not caught or (marked and caught != marked):
            wanted = f"must catch {marked}" if marked else "must catch something"
            raise BadInput(f"{where}: rule `{rule.id}`: {wanted} in `{text}`, finds {caught}")
    for example in rule.spares:
        if caught := found(example):
            raise BadInput(f"{where}: rule `{rule.id}`: must spare `{example}`, finds {caught}")
