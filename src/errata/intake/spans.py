"""Where the rules find something in a batch of texts: gates first, then patterns, then checks.

A batch is one long text. A gate is something cheap that stands wherever its rules could match; it
is looked for in the whole batch at hundreds of MB/s, and only what it opens, a text or the
neighbourhood of a number, is looked at by the rules behind it. Ten thousand chat lines of which a
hundred hold anything cost the gates alone.

The rules look again where something was found, with walls in its place, until nothing new appears.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from errata.intake import fold, reserved
from errata.intake.rules.rule import BEFORE, Gate, Rule

# From what was found a later round looks so far to both sides: no match but a private key is
# longer, and of those the first round leaves none.
REACH = 1024


# Plain tuples: a named one takes eight times as long to make, and a row makes three of them.
# A match in a batch: start, end, the rank of its rule, whether canon may name it (False where rules
# of several tags met and the union was taken), and the number of its text.
Span = tuple[int, int, int, bool, int]
# Where to look: number of the text, first and last place where a match may begin, where it must
# end, and how many digits there are at most: what the gate matched is no shorter.
Window = tuple[int, int, int, int, int]
Windows = list[Window]
MANY = sys.maxsize
_PIECE = re.compile(f"[^{fold.WALL}]+")


@dataclass(frozen=True)
class Opened:
    """A gate, the rules behind it with their ranks, and where it is open."""

    gate: Gate | None
    rules: tuple[tuple[int, Rule], ...]
    windows: Windows


def rounds(shadow: str, starts: Sequence[int], rules: tuple[Rule, ...]) -> Iterator[list[Span]]:
    """What the rules find, then what they find where that is a wall, until they find nothing.

    Each round in order, overlapping matches joined under the name of the earliest rule. `starts`
    are the places where texts of the batch begin, and last the place behind its end.
    """
    opened = _first(shadow, starts, rules)
    while found := _found(shadow, opened):
        merged = _merged(sorted(found), rules)
        yield merged
        shadow = _walled(shadow, merged)
        opened = _again(shadow, opened, _near(merged, starts))


@lru_cache(maxsize=64)
def _behind(rules: tuple[Rule, ...]) -> list[tuple[Gate | None, tuple[tuple[int, Rule], ...]]]:
    """Each gate with the rules behind it."""
    gates = dict.fromkeys(rule.gate for rule in rules)
    return [(gate, tuple((n, r) for n, r in enumerate(rules) if r.gate is gate)) for gate in gates]


def _first(shadow: str, starts: Sequence[int], rules: tuple[Rule, ...]) -> list[Opened]:
    """Where each gate is open, of those that are open at all."""
    low = fold.lower(shadow)
    ascii_only = shadow.isascii()
    opened = []
    spoken: dict[str, list[int]] = {}
    for gate, behind in _behind(rules):
        text = low if gate and gate.lower else shadow
        if gate is None:
            windows = _texts(range(len(starts) - 1), starts)
        elif gate.wide and ascii_only:
            continue
        elif gate.around:
            places = _matched(text, gate) if gate.pattern else _spoken(text, gate, spoken)
            windows = _local(places, starts, gate, gate.around)
        else:
            windows = _texts(sorted(_hit(text, starts, gate)), starts)
        if windows:
            opened.append(Opened(gate, behind, windows))
    return opened


def _texts(numbers: Iterable[int], starts: Sequence[int]) -> Windows:
    return [(n, starts[n], starts[n + 1] - 1, starts[n + 1] - 1, MANY) for n in numbers]


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


def _local(
    places: Iterable[tuple[int, int]], starts: Sequence[int], gate: Gate, around: tuple[int, int]
) -> Windows:
    """The neighbourhood of each place where the gate opens."""
    before, behind = around
    number, low, end = 0, 0, 0  # the text that the last match was in
    local = []
    for start, stop in places:
        if start >= end:
            number = bisect_right(starts, stop - 1) - 1
            low, end = starts[number], starts[number + 1] - 1
        first, high = start - before, stop + behind
        last = start if gate.words else stop
        local.append(
            (number, first if first > low else low, last, high if high < end else end, stop - start)
        )
    return local


def _matched(text: str, gate: Gate) -> list[tuple[int, int]]:
    """Start and end of all matches of the gate's pattern."""
    return [match.span() for match in gate.pattern.finditer(text)] if gate.pattern else []


def _spoken(text: str, gate: Gate, known: dict[str, list[int]]) -> list[tuple[int, int]]:
    """Start and end of all words of the gate, in order; gates share what is known of a word.

    `str.find` needs 0.4 ns a byte for a word of letters. Among Chinese characters it needs more
    than one pattern of all the gate's words does.
    """
    for word in gate.words:
        if word.isascii() and word not in known:
            known[word] = _all(text, word)
    places = [(at, at + len(word)) for word in gate.words for at in known.get(word, ())]
    if not text.isascii():
        wide = _wide(gate)
        match = wide.search(text) if wide else None
        while wide and match:
            places.append(match.span())
            match = wide.search(text, match.start() + 1)
    return sorted(places)


def _all(text: str, word: str) -> list[int]:
    places = []
    at = text.find(word)
    while at >= 0:
        places.append(at)
        at = text.find(word, at + 1)
    return places


@cache
def _wide(gate: Gate) -> re.Pattern[str] | None:
    """The words of the gate that are not of ASCII, as one pattern."""
    words = [re.escape(word) for word in gate.words if not word.isascii()]
    return re.compile("|".join(words)) if words else None


def _again(shadow: str, opened: list[Opened], near: dict[int, Windows]) -> list[Opened]:
    """What is still open of the windows near what was found."""
    low = ""
    narrow = []
    for gate, behind, windows in ((one.gate, one.rules, one.windows) for one in opened):
        left = [window for window in windows if window[0] in near]
        if gate and left:
            if gate.lower:
                low = low or fold.lower(shadow)
            left = list(_still(low if gate.lower else shadow, gate, left))
        # A rule of a policy is not known to reach no farther: it looks at whole texts again.
        if gate and any(window[3] - window[1] > REACH for window in left):
            left = list(_common(left, near))
        if left:
            narrow.append(Opened(gate, behind, left))
    return narrow


def _still(text: str, gate: Gate, windows: Windows) -> Windows:
    if gate.pattern:
        search = gate.pattern.search
        # One character more on the left: a pattern may begin with what stands before a value.
        return [window for window in windows if search(text, window[1] - 1, window[3])]
    return [
        window
        for window in windows
        if any(text.find(word, window[1], window[3]) >= 0 for word in gate.words)
    ]


def _found(shadow: str, opened: list[Opened]) -> list[Span]:
    found: list[Span] = []
    for one in opened:
        enough = {0: one.windows}
        for rank, rule in one.rules:
            least = rule.digits
            if least not in enough:
                enough[least] = [window for window in one.windows if window[4] >= least]
            if rule.spans:
                found += _own(shadow, one.windows, rank, rule.spans)
            else:
                _match(shadow, enough[least], rank, rule, found)
    return found


def _match(shadow: str, windows: Windows, rank: int, rule: Rule, found: list[Span]) -> None:
    search, begin = rule.pattern.search, rule.pattern.match
    at = 0
    for number, first, last, high, _ in windows:
        if first > at:
            at = first
        elif at > last:
            continue
        look = begin if at == last else search
        while (match := look(shadow, at, high)) and match.start() <= last:
            if span := _confirmed(shadow, match, rule):
                found.append((*span, rank, True, number))
                at = match.end()
            else:
                at = match.start() + 1


def _own(
    shadow: str, windows: Windows, rank: int, spans: Callable[[str], Iterator[tuple[int, int]]]
) -> Iterator[Span]:
    """What a rule of the policy finds, in each piece between walls: it must not cross them."""
    for number, first, _, high, _ in windows:
        for piece in _PIECE.finditer(shadow, first, high):
            at = piece.start()
            for start, end in spans(piece[0]):
                yield at + start, at + end, rank, True, number


def _confirmed(shadow: str, match: re.Match[str], rule: Rule) -> tuple[int, int] | None:
    """The span of a match that the rule's check confirms and no word before it denies."""
    span = match.span(match.lastgroup or 0)
    if not rule.check(shadow[span[0] : span[1]]):
        shorter = _shed(shadow, match, rule) if rule.sheds else None
        if shorter is None:
            return None
        span = shorter
    if rule.not_after:
        first = match.start()
        before = shadow[first - BEFORE if first > BEFORE else 0 : first]
        if rule.not_after.match(before[::-1].lower()):
            return None
    return span


def _shed(shadow: str, match: re.Match[str], rule: Rule) -> tuple[int, int] | None:
    """The shorter match that ends at a gap inside this one: a card number before its date."""
    shorter: re.Match[str] | None = match
    while shorter:
        start, end = shorter.span()
        gap = max(shadow.rfind(" ", start, end), shadow.rfind("-", start, end))
        shorter = rule.pattern.match(shadow, start, gap) if gap > start else None
        if shorter and rule.check(shorter[0]):
            return shorter.span()
    return None


def _merged(found: Sequence[Span], rules: Sequence[Rule]) -> list[Span]:
    merged: list[Span] = []
    end = -1
    for span in found:
        start, stop, rank, _, number = span
        if start >= end:
            merged.append(span)
            end = stop
        else:
            first, _, other, whole, _ = merged[-1]
            end = max(end, stop)
            same = rules[other].tag == rules[rank].tag
            merged[-1] = first, end, min(other, rank), whole and same, number
    return merged


def _walled(shadow: str, found: Iterable[Span]) -> str:
    parts: list[str] = []
    at = 0
    for start, end, *_ in found:
        parts += (shadow[at:start], fold.WALL * (end - start))
        at = end
    return reserved.walled("".join(parts) + shadow[at:], fold.WALL)


def _near(found: Iterable[Span], starts: Sequence[int]) -> dict[int, Windows]:
    """Where a wall may have opened something: the texts with walls, of long ones what is near."""
    near: dict[int, Windows] = {}
    for start, stop, _, _, number in found:
        low, end = starts[number], starts[number + 1] - 1
        if end - low <= REACH:
            near[number] = [(number, low, end, end, MANY)]
            continue
        first, last = max(low, start - REACH), min(end, stop + REACH)
        there = near.setdefault(number, [])
        if there and first <= there[-1][2]:
            first = there.pop()[1]
        there.append((number, first, last, min(end, last + REACH), MANY))
    return near


def _common(windows: Windows, near: dict[int, Windows]) -> Iterator[Window]:
    """What windows have in common with what is near; both are in order."""
    before, at = -1, 0
    for number, first, last, high, count in windows:
        there = near[number]
        if number != before:
            before, at = number, 0
        while at < len(there) and there[at][2] < first:
            at += 1
        for other in range(at, len(there)):
            _, low, end, stop, _ = there[other]
            if low > last:
                break
            yield number, max(first, low), min(last, end), min(high, stop), count
