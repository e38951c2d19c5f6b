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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from errata.intake import fold, gates, reserved
from errata.intake.rules.rule import BEFORE, Gate, Rule

# From what was found a later round looks so far to both sides: no match but a private key is
# longer, and of those the first round leaves none.
REACH = 1024
SHORT, KNOWN = 64, 1 << 14  # shapes of numbers: how long they are at most, how many are known


# Plain tuples: a named one takes eight times as long to make, and a row makes three of them.
# A match in a batch: start, end, the rank of its rule, whether canon may name it (False where rules
# of several tags met and the union was taken), and the number of its text.
Span = tuple[int, int, int, bool, int]
# Where to look: number of the text, first and last place where a match may begin, where it must
# end, where what the gate found begins, and its shape with two characters before and one behind.
Window = tuple[int, int, int, int, int, bytes]
Windows = list[Window]
_PIECE = re.compile(f"[^{fold.WALL}]+")


@dataclass(frozen=True)
class Behind:
    """A gate, and the rules behind it with their ranks."""

    gate: Gate | None
    rules: tuple[tuple[int, Rule], ...]
    shaped: bool  # whether its rules have shapes of their own
    known: dict[bytes, tuple[int, ...]] = field(default_factory=dict)

    def asked(self, windows: Windows) -> Iterator[tuple[int, Rule, Windows]]:
        """The windows that each rule has to look at: of numbers, those of a shape of its own.

        Of nine rules of numbers one or two have the shape, and few shapes are ever met.
        """
        if not self.shaped:
            yield from ((rank, rule, windows) for rank, rule in self.rules)
            return
        sorted_out: list[Windows] = [[] for _ in self.rules]
        known, adding = self.known.get, [those.append for those in sorted_out]
        for window in windows:
            fitting = known(window[5])
            if fitting is None:
                fitting = self._learn(window[5])
            for place in fitting:
                adding[place](window)
        yield from ((*which, those) for which, those in zip(self.rules, sorted_out, strict=True))

    def _learn(self, shape: bytes) -> tuple[int, ...]:
        if len(shape) > SHORT:  # shapes are searched in quadratic time
            return tuple(range(len(self.rules)))
        fitting = tuple(
            place
            for place, (_, rule) in enumerate(self.rules)
            if rule.shape is None or rule.shape.search(shape)
        )
        if len(self.known) < KNOWN:
            self.known[shape] = fitting
        return fitting


Opened = tuple[Behind, Windows]


def rounds(
    shadow: str,
    starts: Sequence[int],
    rules: tuple[Rule, ...],
    forms: Sequence[re.Pattern[str]] = (),
) -> Iterator[list[Span]]:
    """What the rules find, then what they find where that is a wall, until they find nothing.

    Each round in order, overlapping matches joined under the name of the earliest rule. `starts`
    are the places where texts of the batch begin, and last the place behind its end; `forms`, what
    may turn out to be nobody's when there is a wall beside it.
    """
    behind, words = _prepared(rules)
    opened = _first(gates.View(shadow, words), starts, behind)
    while found := _found(shadow, opened):
        merged = _merged(sorted(found), rules)
        yield merged
        opened = _beside(opened, merged)
        looked = {window[0] for _, windows in opened for window in windows}
        walls = [span for span in merged if span[4] in looked]
        shadow = reserved.walled(_walled(shadow, walls), forms, fold.WALL)
        opened = _again(shadow, starts, words, opened, walls)


@lru_cache(maxsize=64)
def _prepared(rules: tuple[Rule, ...]) -> tuple[list[Behind], gates.Words]:
    """Each gate with the rules behind it, and the words that gates look for."""
    known = dict.fromkeys(rule.gate for rule in rules)
    words = {word for gate in known if gate and gate.lower for word in gate.words}
    behind = []
    for gate in known:
        these = tuple((n, rule) for n, rule in enumerate(rules) if rule.gate is gate)
        behind.append(Behind(gate, these, bool(gate) and any(rule.shape for _, rule in these)))
    return behind, gates.Words(sorted(words))


def _first(view: gates.View, starts: Sequence[int], behind: list[Behind]) -> list[Opened]:
    """Where each gate is open, of those that are open at all."""
    opened = []
    for one in behind:
        if one.gate is None:
            windows = _texts(range(len(starts) - 1), starts)
        else:
            found = gates.places(view, one.gate)
            if one.gate.around:
                windows = _local(found, view, starts, one.gate, one.gate.around, one.shaped)
            else:
                windows = _texts(_numbers(found, starts), starts)
        if windows:
            opened.append((one, windows))
    return opened


def _texts(numbers: Iterable[int], starts: Sequence[int]) -> Windows:
    return [(n, starts[n], starts[n + 1] - 1, starts[n + 1] - 1, starts[n], b"") for n in numbers]


def _numbers(places: Iterable[gates.Place], starts: Sequence[int]) -> list[int]:
    """The texts that the places are in."""
    return sorted({bisect_right(starts, start) - 1 for start, _ in places})


def _local(
    places: Iterable[gates.Place],
    view: gates.View,
    starts: Sequence[int],
    gate: Gate,
    around: tuple[int, int],
    shaped: bool,
) -> Windows:
    """The neighbourhood of each place where the gate opens."""
    before, behind = around
    shape, groups = view.shape, view.groups if shaped else b""
    needs, words = gate.needs and gate.needs.search, bool(gate.words)
    number, low, end = 0, 0, 0  # the text that the last match was in
    local = []
    for start, stop in places:
        if start >= end:
            number = bisect_right(starts, stop - 1) - 1
            low, end = starts[number], starts[number + 1] - 1
        first, high = start - before, stop + behind
        first = first if first > low else low
        high = high if high < end else end
        if needs and not needs(shape, first, high):
            continue
        seen = groups[start - 2 if start > 1 else 0 : stop + 1]
        local.append((number, first, start if words else stop - 1, high, start, seen))
    return local


def _beside(opened: list[Opened], found: list[Span]) -> list[Opened]:
    """The windows of texts with walls, but for those whose gate a wall leaves no place: most."""
    walls = {span[4]: span for span in found}
    left = []
    for behind, windows in opened:
        least = behind.gate.least if behind.gate else 1
        beside = [
            window
            for window in windows
            if (wall := walls.get(window[0]))
            and (wall[0] - window[4] >= least or window[2] - wall[1] >= least - 1)
        ]
        if beside:
            left.append((behind, beside))
    return left


def _again(
    shadow: str, starts: Sequence[int], words: gates.Words, opened: list[Opened], found: list[Span]
) -> list[Opened]:
    """What is still open of the windows near what was found."""
    near, narrow = dict[int, Windows](), []
    for behind, left in opened:
        if behind.gate:
            left = _still(shadow, words, behind.gate, left, behind.shaped)
        # A rule of a policy is not known to reach no farther: it looks at whole texts again.
        if behind.gate and any(window[3] - window[1] > REACH for window in left):
            near = near or _near(found, starts)
            left = list(_common(left, near))
        if left:
            narrow.append((behind, left))
    return narrow


def _still(shadow: str, words: gates.Words, gate: Gate, windows: Windows, shaped: bool) -> Windows:
    """Those in which the gate is still open, each as a text of a batch."""
    # One character more on the left: a gate may ask for what stands before a value.
    pieces = [shadow[first - 1 : high] for _, first, _, high, _, _ in windows]
    view = gates.View(fold.SEPARATOR.join(("", *pieces)), words)
    places = gates.places(view, gate)
    if not places:
        return []
    starts, groups = list(fold.starts(pieces)), view.groups if shaped else b""
    return [
        (*windows[number][:5], groups[starts[number] : starts[number + 1] - 1])
        for number in _numbers(places, starts)
        if not gate.needs or gate.needs.search(view.shape, starts[number], starts[number + 1] - 1)
    ]


def _found(shadow: str, opened: list[Opened]) -> list[Span]:
    found: list[Span] = []
    for behind, open_at in opened:
        for rank, rule, windows in behind.asked(open_at):
            if rule.spans:
                found += _own(shadow, windows, rank, rule.spans)
            else:
                _match(shadow, windows, rank, rule, found)
    return found


def _match(shadow: str, windows: Windows, rank: int, rule: Rule, found: list[Span]) -> None:
    search, begin, check = rule.pattern.search, rule.pattern.match, rule.check
    denied = rule.not_after.match if rule.not_after else None
    whole = not rule.pattern.groupindex  # else what is replaced is the group that took part
    at = 0
    for number, first, last, high, _, _ in windows:
        if first > at:
            at = first
        elif at > last:
            continue
        look = begin if at == last else search
        while at <= last and (match := look(shadow, at, high)):
            begins, ends = match.span()
            if begins > last:
                break
            at = begins + 1
            start, stop = (begins, ends) if whole else match.span(match.lastgroup or 0)
            if not check(shadow[start:stop]):
                if not (rule.sheds and (shorter := _shed(shadow, match, rule))):
                    continue
                start, stop = shorter
            if denied:
                before = shadow[
                    begins - 1 : begins - 1 - BEFORE if begins > BEFORE + 1 else None : -1
                ]
                if denied(before.lower()):
                    continue
            found.append((start, stop, rank, True, number))
            at = ends


def _own(
    shadow: str, windows: Windows, rank: int, spans: Callable[[str], Iterator[tuple[int, int]]]
) -> Iterator[Span]:
    """What a rule of the policy finds, in each piece between walls: it must not cross them."""
    for number, first, _, high, _, _ in windows:
        for piece in _PIECE.finditer(shadow, first, high):
            at = piece.start()
            for start, end in spans(piece[0]):
                yield at + start, at + end, rank, True, number


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
            first, last, other, whole, _ = merged[-1]
            end = max(end, stop)
            alike = whole and rules[other].tag == rules[rank].tag
            # Whichever names the union: what it found itself may be all of it.
            own = whole and stop <= last if other <= rank else start == first and stop >= last
            merged[-1] = first, end, min(other, rank), own or alike, number
    return merged


def _walled(shadow: str, found: Iterable[Span]) -> str:
    parts: list[str] = []
    at = 0
    for start, end, _, _, _ in found:
        parts += (shadow[at:start], fold.WALL * (end - start))
        at = end
    return "".join(parts) + shadow[at:]


def _near(found: Iterable[Span], starts: Sequence[int]) -> dict[int, Windows]:
    """Where a wall may have opened something: the texts with walls, of long ones what is near."""
    near: dict[int, Windows] = {}
    for start, stop, _, _, number in found:
        low, end = starts[number], starts[number + 1] - 1
        if end - low <= REACH:
            near[number] = [(number, low, end, end, low, b"")]
            continue
        first, last = max(low, start - REACH), min(end, stop + REACH)
        there = near.setdefault(number, [])
        if there and first <= there[-1][2]:
            first = there.pop()[1]
        there.append((number, first, last, min(end, last + REACH), first, b""))
    return near


def _common(windows: Windows, near: dict[int, Windows]) -> Iterator[Window]:
    """What windows have in common with what is near; both are in order."""
    before, at = -1, 0
    for number, first, last, high, begin, seen in windows:
        there = near[number]
        if number != before:
            before, at = number, 0
        while at < len(there) and there[at][2] < first:
            at += 1
        for other in range(at, len(there)):
            _, low, end, stop, _, _ = there[other]
            if low > last:
                break
            yield number, max(first, low), min(last, end), min(high, stop), begin, seen
