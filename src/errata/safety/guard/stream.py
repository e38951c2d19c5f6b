"""A stream through the filter: what is shown was looked at, and stays as it was shown.

The last `hold` characters are kept back, as many as the longest span a rule may find. A finding
that is to be refused or blocked ends the stream with the guide; what was shown before stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from errata.records import Message
from errata.safety.guard.filter import Decision, Guard, redacted

STEP = 32  # new characters between two looks: a look at 300 characters takes half a millisecond
GROWTH = 8  # and an eighth of what was said, so that a long answer is not read a hundred times


class Stream:
    """One answer as it comes: `feed` its pieces, then `end` it. What both return may be shown.

    `decision` is set once the answer is decided: at its end, or before when it is stopped; from
    then on nothing more of it is shown."""

    def __init__(
        self, guard: Guard, messages: Sequence[Message] = (), tools: Collection[str] = ()
    ) -> None:
        self.guard, self.messages, self.tools = guard, messages, tools
        self.said, self.shown = "", ""
        self.decision: Decision | None = None
        self._seen = 0

    def feed(self, piece: str) -> str:
        """Take a piece; what of the answer may be shown now."""
        if self.decision:
            return ""
        self.said += piece
        if len(self.said) - self._seen < max(STEP, len(self.said) // GROWTH):
            return ""
        self._seen = len(self.said)
        decision = self.guard.check(self.said, self.messages, self.tools)
        if decision.level >= 3 and not _only_unfinished(decision, len(self.said)):
            return self._stop(decision)
        return self._show(_ready(self.guard, self.said, decision))

    def end(self, unseen: str = "") -> str:
        """The answer is whole; the rest of it. `unseen` is decided on with it and never shown: the
        calls of tools, that stand beside the text."""
        if self.decision:
            return ""
        whole = "\n".join(part for part in (self.said, unseen) if part) if unseen else self.said
        decision = self.guard.check(whole, self.messages, self.tools)
        if decision.level >= 3:
            return self._stop(decision)
        mine = (one for one in decision.found if one.end <= len(self.said))
        level = self.guard.policy.ladder
        spans = [one for one in mine if level(one.category).level(one.score) == 2]
        self.decision = decision._replace(text=redacted(self.said, spans))
        return self._show(self.decision.text)

    def _stop(self, decision: Decision) -> str:
        self.decision = decision
        return f"\n{decision.text}" if self.shown else decision.text

    def _show(self, ready: str) -> str:
        rest = ready[len(self.shown) :]
        self.shown += rest
        return rest


def stream(
    guard: Guard, pieces: Iterable[str], messages: Sequence[Message] = ()
) -> Iterator[str | Decision]:
    """Pieces that may be shown, and last the decision: on the whole, or on what ended it."""
    held = Stream(guard, messages)
    for piece in pieces:
        if ready := held.feed(piece):
            yield ready
        if held.decision:
            yield held.decision
            return
    if rest := held.end():
        yield rest
    assert held.decision
    yield held.decision


def _only_unfinished(decision: Decision, size: int) -> bool:
    """Refused only for what a later part may mend: a citation that is still to come, a span that
    reaches the end of what is said and may go on."""
    open_ended = ("cites-nothing", "learned", "model")
    return all(one.rule in open_ended or one.end == size for one in decision.found)


def _ready(guard: Guard, said: str, decision: Decision) -> str:
    """What may be shown of an unfinished answer: all but the held-back end, spans redacted."""
    end = len(said) - guard.policy.hold
    level = guard.policy.ladder
    spans = [one for one in decision.found if level(one.category).level(one.score) == 2]
    for one in decision.found:
        if level(one.category).level(one.score) > 2 and one.end == len(said):
            end = min(end, one.start)
    for one in sorted(spans, key=lambda one: one.start):
        if one.start < end < one.end:
            end = one.start
    if any(one.rule == "cites-nothing" for one in decision.found):
        return ""  # nothing is shown before it is known to be an answer
    return redacted(said[: max(end, 0)], [one for one in spans if one.end <= end])
