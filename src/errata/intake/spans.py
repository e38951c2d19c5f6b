"""Where the rules find something in a batch of texts: gates first, then patterns, then checks.

A batch is one long text. A gate is a cheap pattern that is there wherever its rules could match; it
runs over the batch at hundreds of MB/s, and only texts that it hits are looked at by the rules
behind it. Ten thousand chat lines of which a hundred hold anything cost the gates alone.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from errata.intake import fold
from errata.intake.rules.rule import BEFORE, Gate, Rule

WHOLE = 0.5  # of the texts behind a gate: from there on one look at all of them is cheaper


class Span(NamedTuple):
    """A match in a batch: its place, the rank of its rule, and whether canon may name it."""

    start: int
    end: int
    rank: int
    whole: bool  # False where rules of several tags met and the union was taken


def find(shadow: str, starts: Sequence[int], rules: Sequence[Rule]) -> list[Span]:
    """All confirmed matches in order, overlapping ones joined under the name of the earliest rule.

    `starts` are the places where texts of the batch begin, and last the place behind its end.
    """
    found: list[Span] = []
    low: str | None = None
    ranked = sorted(enumerate(rules), key=lambda item: item[1].gate.id if item[1].gate else "")
    for _, group in groupby(ranked, key=lambda item: item[1].gate):
        behind = list(group)
        gate = behind[0][1].gate
        if gate and gate.lower and low is None:
            low = fold.lower(shadow)
        windows = _windows(low if gate and gate.lower else shadow, starts, gate)
        for rank, rule in behind:
            found += _matches(shadow, windows, rank, rule)
    return _merged(sorted(found), rules)


def _windows(text: str | None, starts: Sequence[int], gate: Gate | None) -> list[tuple[int, int]]:
    """The texts of the batch in which the gate's pattern stands, as (start, end)."""
    size = len(text or "")
    if gate is None:
        return [(0, size)]
    hit: list[tuple[int, int]] = []
    at, end = 0, 0
    for match in gate.pattern.finditer(text or ""):
        if (place := match.start()) >= end:
            number = bisect_right(starts, place) - 1
            at, end = starts[number], starts[number + 1] - 1
            hit.append((at, end))
    return [(0, size)] if len(hit) > WHOLE * (len(starts) - 1) else hit


def _matches(shadow: str, windows: list[tuple[int, int]], rank: int, rule: Rule) -> Iterator[Span]:
    search = rule.pattern.search
    for at, high in windows:
        while match := search(shadow, at, high):
            if span := _confirmed(shadow, match, rule):
                yield Span(*span, rank, True)
                at = max(match.end(), match.start() + 1)
            else:
                at = match.start() + 1


def _confirmed(shadow: str, match: re.Match[str], rule: Rule) -> tuple[int, int] | None:
    """The span of a match, or of the shorter match that ends at a gap inside it (a card number with
    its date behind it), that the rule's check confirms."""
    first = match.start()
    if rule.not_after and rule.not_after.search(shadow, max(first - BEFORE, 0), first):
        return None
    shorter: re.Match[str] | None = match
    while shorter:
        group = shorter.lastgroup if shorter.lastgroup != "gap" else None
        start, end = shorter.span(group or 0)
        if rule.check(shadow[start:end]):
            return start, end
        if not rule.sheds:
            return None
        gap = max(shadow.rfind(" ", start, end), shadow.rfind("-", start, end))
        shorter = rule.pattern.match(shadow, first, gap) if gap > start else None
    return None


def _merged(found: Sequence[Span], rules: Sequence[Rule]) -> list[Span]:
    merged: list[Span] = []
    for span in found:
        last = merged[-1] if merged else None
        if last and span.start < last.end:
            same = rules[last.rank].tag == rules[span.rank].tag
            merged[-1] = Span(last.start, max(last.end, span.end), min(last.rank, span.rank),
                              last.whole and same)  # fmt: skip
        else:
            merged.append(span)
    return merged
