"""Where the rules find something in a batch of texts: gates first, then patterns, then checks.

A batch is one long text. A gate is something cheap that stands wherever its rules could match; it
is looked for in the whole batch at hundreds of MB/s, and only what it opens, a text or the
neighbourhood of a number, is looked at by the rules behind it. Ten thousand chat lines of which a
hundred hold anything cost the gates alone.

The rules look again where something was found, with walls in its place, until nothing new appears.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from errata.intake import fold
from errata.intake.rules.rule import BEFORE, Gate, Rule

# From what was found a later round looks so far to both sides: no match but a private key is
# longer, and of those the first round leaves none.
REACH = 1024


class Span(NamedTuple):
    """A match in a batch: its place, the rank of its rule, and whether canon may name it."""

    start: int
    end: int
    rank: int
    whole: bool  # False where rules of several tags met and the union was taken


class Window(NamedTuple):
    """Where to look in a text: a match begins between `first` and `last`, and ends before `high`."""

    text: int
    first: int
    last: int
    high: int


Windows = list[Window]


def rounds(shadow: str, starts: Sequence[int], rules: Sequence[Rule]) -> Iterator[list[Span]]:
    """What the rules find, then what they find where that is a wall, until they find nothing.

    Each round in order, overlapping matches joined under the name of the earliest rule. `starts`
    are the places where texts of the batch begin, and last the place behind its end.
    """
    windows = _first(shadow, starts, rules)
    while found := _merged(sorted(_found(shadow, windows, rules)), rules):
        yield found
        shadow = _walled(shadow, found)
        windows = _again(shadow, windows, _near(found, starts))


def _found(
    shadow: str, windows: dict[Gate | None, Windows], rules: Sequence[Rule]
) -> Iterator[Span]:
    for rank, rule in enumerate(rules):
        if opened := windows[rule.gate]:
            yield from _matches(shadow, opened, rank, rule)


def _first(shadow: str, starts: Sequence[int], rules: Sequence[Rule]) -> dict[Gate | None, Windows]:
    """For each gate where it is open."""
    low = fold.lower(shadow)
    ascii_only = shadow.isascii()
    everything = [Window(n, start, end - 1, end - 1) for n, (start, end) in enumerate(pairwise(starts))]
    windows: dict[Gate | None, Windows] = {None: everything}
    numbers: list[tuple[Window, int]] | None = None
    for gate in {rule.gate for rule in rules if rule.gate}:
        text = low if gate.lower else shadow
        if gate.wide and ascii_only:
            windows[gate] = []
        elif gate.digits:
            if numbers is None:
                numbers = list(_numbers(text, starts, gate))
            windows[gate] = [window for window, count in numbers if count >= gate.digits]
        elif gate.around:
            windows[gate] = [window for window, _ in _local(text, starts, gate)]
        else:
            windows[gate] = [everything[n] for n in sorted(_hit(text, starts, gate))]
    return windows


def _hit(text: str, starts: Sequence[int], gate: Gate) -> set[int]:
    """The texts in which the gate opens."""
    hit: set[int] = set()
    if gate.pattern:
        search = gate.pattern.search
        match = search(text)
        while match:
            hit.add(number := bisect_right(starts, match.start()) - 1)
            match = search(text, starts[number + 1])
    for word in gate.words:
        place = text.find(word)
        while place >= 0:
            hit.add(number := bisect_right(starts, place) - 1)
            place = text.find(word, starts[number + 1])
    return hit


def _local(text: str, starts: Sequence[int], gate: Gate) -> Iterator[tuple[Window, str]]:
    """The neighbourhood of each match of the gate, and the match."""
    before, behind = gate.around or (0, 0)
    number, low, end = 0, 0, 0  # the text that the last match was in
    assert gate.pattern
    for match in gate.pattern.finditer(text):
        start, stop = match.span()
        if start >= end:
            number = bisect_right(starts, start) - 1
            low, end = starts[number], starts[number + 1] - 1
        yield Window(number, max(start - before, low), stop, min(stop + behind, end)), match[0]


_NO_DIGIT = {ord(char): None for char in "-. ()/·_"}


def _numbers(text: str, starts: Sequence[int], gate: Gate) -> Iterator[tuple[Window, int]]:
    """The neighbourhood of each number, and how many digits it has."""
    for window, number in _local(text, starts, gate):
        yield window, len(number if number.isdigit() else number.translate(_NO_DIGIT))


def _again(
    shadow: str, windows: dict[Gate | None, Windows], near: dict[int, Windows]
) -> dict[Gate | None, Windows]:
    """What is still open of the windows near what was found."""
    low = fold.lower(shadow)
    narrow = {}
    for gate, opened in windows.items():
        left = [window for window in opened if window[0] in near]
        if gate and gate.pattern:
            search, text = gate.pattern.search, low if gate.lower else shadow
            left = [window for window in left if search(text, window[1], window[3])]
        elif gate:
            text = low if gate.lower else shadow
            left = [
                window
                for window in left
                if any(text.find(word, window[1], window[3]) >= 0 for word in gate.words)
            ]
        narrow[gate] = [part for window in left for part in _common(window, near[window[0]])]
    return narrow


def _matches(shadow: str, windows: Windows, rank: int, rule: Rule) -> Iterator[Span]:
    search = rule.pattern.search
    at = 0
    for _, first, last, high in windows:
        if first > at:
            at = first
        while (match := search(shadow, at, high)) and match.start() <= last:
            if span := _confirmed(shadow, match, rule):
                yield Span(*span, rank, True)
                at = max(match.end(), match.start() + 1)
            else:
                at = match.start() + 1


def _confirmed(shadow: str, match: re.Match[str], rule: Rule) -> tuple[int, int] | None:
    """The span of a match, or of the shorter match that ends at a gap inside it (a card number with
    its date behind it), that the rule's check confirms."""
    first = match.start()
    span = _checked(shadow, match, rule)
    while span is None and rule.sheds:
        start, end = match.span()
        gap = max(shadow.rfind(" ", start, end), shadow.rfind("-", start, end))
        shorter = rule.pattern.match(shadow, first, gap) if gap > start else None
        if shorter is None:
            return None
        match = shorter
        span = _checked(shadow, match, rule)
    if span and rule.not_after:
        before = shadow[max(first - BEFORE, 0) : first]
        if rule.not_after.match(before[::-1].lower()):
            return None
    return span


def _checked(shadow: str, match: re.Match[str], rule: Rule) -> tuple[int, int] | None:
    group = match.lastgroup if match.lastgroup != "gap" else None
    start, end = match.span(group or 0)
    return (start, end) if rule.check(shadow[start:end]) else None


def _merged(found: Sequence[Span], rules: Sequence[Rule]) -> list[Span]:
    merged: list[Span] = []
    end = -1
    for span in found:
        if span.start < end:
            last = merged[-1]
            same = rules[last.rank].tag == rules[span.rank].tag
            end = max(end, span.end)
            merged[-1] = Span(last.start, end, min(last.rank, span.rank), last.whole and same)
        else:
            merged.append(span)
            end = span.end
    return merged


def _walled(shadow: str, found: Iterable[Span]) -> str:
    parts, at = [], 0
    for start, end, _, _ in found:
        parts += (shadow[at:start], fold.WALL * (end - start))
        at = end
    return "".join(parts) + shadow[at:]


def _near(found: Iterable[Span], starts: Sequence[int]) -> dict[int, Windows]:
    """Where a wall may have opened something: the texts with walls, of long ones what is near."""
    near: dict[int, Windows] = {}
    low = end = number = -1
    for start, stop, _, _ in found:
        if start > end:
            number = bisect_right(starts, start) - 1
            low, end = starts[number], starts[number + 1] - 1
            near[number] = []
            if end - low <= REACH:
                near[number].append(Window(number, low, end, end))
        if end - low > REACH:
            first, last = max(low, start - REACH), min(end, stop + REACH)
            if near[number] and first <= near[number][-1].last:
                first = near[number].pop().first
            near[number].append(Window(number, first, last, min(end, last + REACH)))
    return near


def _common(window: Window, near: Windows) -> Iterator[Window]:
    """What a window has in common with what is near."""
    number, first, last, high = window
    for other in near:
        if other.first <= last and first <= other.last:
            yield Window(number, max(first, other.first), min(last, other.last), min(high, other.high))
