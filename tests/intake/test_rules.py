"""Every rule catches what it says it catches, exactly, and spares what it says it spares."""

from __future__ import annotations

import pytest

from errata.intake.checks import luhn, resident_id
from errata.intake.redact import apply
from errata.intake.rules import RULES, Rule

KEY = b"k" * 32


def marked(example: str) -> tuple[str, list[str]]:
    """The text without its marks, and the spans inside them."""
    spans, rest = [], example
    while "⟦" in rest:
        rest = rest[rest.index("⟦") + 1 :]
        spans.append(rest[: rest.index("⟧")])
    return example.replace("⟦", "").replace("⟧", ""), spans


def cases(kind: str) -> list[object]:
    return [
        pytest.param(rule, example, id=f"{rule.id}-{i}")
        for rule in RULES
        for i, example in enumerate(getattr(rule, kind))
    ]


@pytest.mark.parametrize(("rule", "example"), cases("catches"))
def test_catches_the_marked_span_and_nothing_else(rule: Rule, example: str) -> None:
    text, spans = marked(example)
    found = apply(text, [rule], KEY).findings
    assert spans, "an example to catch needs a ⟦marked⟧ span"
    assert [text[f.start : f.end] for f in found] == spans


@pytest.mark.parametrize(("rule", "example"), cases("spares"))
def test_spares(rule: Rule, example: str) -> None:
    assert apply(example, [rule], KEY).findings == []


@pytest.mark.parametrize(("rule", "example"), cases("catches"))
def test_all_rules_together_leave_nothing_of_a_caught_value(rule: Rule, example: str) -> None:
    text, spans = marked(example)
    clean = apply(text, RULES, KEY).text
    assert not [span for span in spans if span in clean]


def test_every_rule_has_examples_both_ways_and_one_id() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert len(rule.catches) >= 2, rule.id
        assert len(rule.spares) >= 2, rule.id


def test_luhn_by_hand() -> None:
    """79927398713 is the textbook number: 7+9+9+4+7+6+9+7+7+2+3 = 70."""
    assert luhn("79927398713")
    assert not any(luhn(f"7992739871{last}") for last in "012456789")


def test_resident_id_check_digit_by_hand() -> None:
    """11010519491231002X is the example of GB 11643: weighted sum 167, 167 mod 11 = 2, so X."""
    assert resident_id("11010519491231002X")
    assert not any(resident_id(f"11010519491231002{last}") for last in "0123456789")


def test_a_card_with_one_wrong_digit_is_not_a_card() -> None:
    good = "6222021234567890128"
    for place in range(4, 19):
        bad = good[:place] + str((int(good[place]) + 1) % 10) + good[place + 1 :]
        assert not luhn(bad)
