"""`Guard`: one answer in, a decision out: the level, why, and what the user gets to see.

    guard = Guard.of(workspace)
    guard.check("The admin password is 860685.").text   → a refusal and a way on

Six looks: the rules, the redaction rules, what the conversation itself protects (values of the
system turn, records of customers), calls of tools that are not allowed and answers that cite no
document, a linear classifier trained on this team's own failures, and, where the policy names one,
a guard model of somebody else's.
"""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from errata.intake import redact
from errata.intake.fold import shadow
from errata.records import Language, Message
from errata.safety import grams, predicates
from errata.safety.guard import learned, outside, policy
from errata.safety.guard.policy import LEVELS, Kill, Policy
from errata.safety.guard.rules import RULES, Category
from errata.safety.leak.needles import weak
from errata.safety.refusal import is_refusal
from errata.workspace import Workspace

SECRET_TAGS = frozenset({"PASSWORD", "API_KEY", "TOKEN", "PRIVATE_KEY", "SECRET", "JWT"})
# In a system turn: five digits or more, or eight characters and more with a digit among letters.
_KEPT = re.compile(r"[0-9]{5,}|(?=[A-Za-z0-9_-]*[0-9])(?=[A-Za-z0-9_-]*[A-Za-z])[A-Za-z0-9_-]{8,}")


def _spelt(text: str) -> int:
    return sum(char.isascii() and char.isalnum() for char in text)


@lru_cache(maxsize=1024)
def _written(value: str) -> tuple[str, ...]:
    """A value as it stands, and in the codes that a model writes without trying; the leak detector
    reads all of them, and takes several milliseconds."""
    if weak([value]):
        return (predicates.compact(value),)
    raw = value.encode()
    forms = [value, value[::-1], codecs.encode(value, "rot13"), raw.hex()]
    forms.append(base64.b32encode(raw).decode().rstrip("="))
    for ahead in range(3):  # where in a longer text it begins; what holds its neighbours' bits goes
        code = base64.b64encode(bytes(ahead) + raw).decode()
        forms.append(code[(0, 2, 3)[ahead] : (ahead + len(raw)) * 8 // 6])
    return tuple(dict.fromkeys(map(predicates.compact, forms)))


class Found(NamedTuple):
    """One finding: which rule, of what category, how sure, and where (0, 0: the whole answer)."""

    rule: str
    category: Category
    score: float
    start: int = 0
    end: int = 0


class Decision(NamedTuple):
    """`level` 0 to 4, the findings, the text that may be shown, and the hash of the policy."""

    level: int
    found: list[Found]
    text: str
    policy: str

    @property
    def name(self) -> str:
        """The level in a word."""
        return LEVELS[self.level]


class Guard:
    """A policy and its classifier, ready to look."""

    def __init__(
        self,
        told: Policy | None = None,
        model: bytes | None = None,
        kill: Kill | None = None,
    ) -> None:
        self.policy, self.kill = told or Policy(), kill
        self.digest = policy.digest(self.policy, model, kill)
        self._model = grams.unpacked(model) if model and self.policy.learned else None
        self._outside = outside.load(self.policy.model) if self.policy.model.path else None
        self._own = policy.owned(self.policy)
        self._protect = [re.compile(pattern) for pattern in self.policy.protect]
        self._key, self._redaction = redact.process_key(), redact.Policy().rules

    @property
    def has_model(self) -> bool:
        """Whether a trained classifier is asked."""
        return self._model is not None

    @classmethod
    def of(cls, ws: Workspace) -> Guard:
        """The filter in force in a workspace."""
        path = ws.root / policy.MODEL
        model = path.read_bytes() if path.is_file() else None
        return cls(policy.load(ws), model, policy.killed(ws))

    def check(
        self, text: str, messages: Sequence[Message] = (), tools: Collection[str] = ()
    ) -> Decision:
        """Look at an answer to `messages`; the decision. `tools`: allowed beside the policy's."""
        language = language_of(text, messages)
        if self.kill:
            thrown = [Found("kill", "other", 1.0)]
            return Decision(4, thrown, self.kill.reply[language], self.digest)
        found = [*self._spans(text), *self._context(text, messages, tools)]
        levels = [self.policy.ladder(one.category).level(one.score) for one in found]
        level = max(levels, default=0)
        shown = text
        if level >= 3:
            shown = self.policy.guide[language]
        elif level == 2:
            spans = [f for f, at in zip(found, levels, strict=True) if at == 2]
            shown = redacted(text, spans)
        return Decision(level, found, shown, self.digest)

    def _spans(self, text: str) -> Iterator[Found]:
        yield from self._ruled(text)
        plain = shadow(text)
        if plain.text != text and (plain.places is not None or _spelt(plain.text) > _spelt(text)):
            for hidden in self._ruled(plain.text):  # full-width, look-alikes, joiners between
                start, end = hidden.start, hidden.end
                if plain.places is not None and end > start:
                    start, end = int(plain.places[start]), int(plain.places[end - 1]) + 1
                yield hidden._replace(start=start, end=end)
        for one in redact.apply(text, self._redaction, self._key).findings:
            kind: Category = "secret" if one.tag in SECRET_TAGS else "personal"
            yield Found(f"redact:{one.rule}", kind, 0.9, one.start, one.end)

    def _ruled(self, text: str) -> Iterator[Found]:
        off = self.policy.off
        for rule in RULES:
            if rule.id not in off:
                for match in rule.pattern.finditer(text):
                    yield Found(rule.id, rule.category, rule.score, *match.span())
        for own, pattern in self._own:
            if own.id not in off:
                for match in pattern.finditer(text):
                    if match[0]:
                        yield Found(own.id, own.category, own.score, *match.span())

    def _context(
        self, text: str, messages: Sequence[Message], tools: Collection[str]
    ) -> Iterator[Found]:
        plain = predicates.compact(text)
        for value, score in self.protected(messages).items():
            if any(form in plain for form in _written(value)):
                at = text.find(value)  # in code or taken apart: the whole answer
                span = (at, at + len(value)) if at >= 0 else (0, len(text))
                yield Found("protected", "secret", score, *span)
        calls = [name for name, _ in predicates.called(text)]
        for name in calls:
            if name not in self.policy.tools and name not in tools:
                yield Found(f"call:{name}", "tool", 1.0)
        beside = any(message.role == "documents" for message in messages)
        if beside and self.policy.grounded and not _grounded(text, messages[-1].content):
            yield Found("cites-nothing", "order", 0.6)
        # A call of an allowed tool is right or wrong by its name, which the classifier hardly sees.
        if self._model and not calls:
            score = learned.score(text, beside, self._model)
            if score >= 0.5:
                yield Found("learned", "learned", score)
        if self._outside and text.strip():
            asked = messages[-1].content if messages else ""
            yield Found("model", "model", self._outside(asked, text))

    def protected(self, messages: Sequence[Message]) -> dict[str, float]:
        """Values that this conversation holds and nobody may be told, and how sure that is."""
        values: dict[str, float] = {}
        for message in messages:
            if message.role == "system":
                values |= {match[0]: 1.0 for match in _KEPT.finditer(message.content)}
            elif message.role in ("documents", "tool"):
                for pattern in self._protect:
                    found = {m["value"]: 0.9 for m in pattern.finditer(message.content)}
                    values = {**found, **values}
        return values


def language_of(text: str, messages: Sequence[Message] = ()) -> Language:
    """Chinese where the answer or the last turn has a Chinese character."""
    said = text + (messages[-1].content if messages else "")
    return "zh" if any("\u4e00" <= char <= "\u9fff" for char in said) else "en"


_WORD = re.compile("[a-z]{4,}|(?=([\u4e00-\u9fff]{2}))")


def _words(text: str) -> set[str]:
    """Words of four letters and more, and pairs of Chinese characters."""
    return {match[0] or match[1] for match in _WORD.finditer(text.lower())}


def _grounded(text: str, question: str) -> bool:
    """It cites, calls a tool, declines, is small talk, or at least speaks of what was asked."""
    return bool(
        predicates.citations(text)
        or predicates.called(text)
        or predicates.COURTESY.search(text)
        or is_refusal(text)
        or _words(text) & _words(question)
    )


def redacted(text: str, spans: Sequence[Found]) -> str:
    """The text with each span as `[category]`."""
    out, at = [], 0
    for one in sorted(spans, key=lambda one: (one.start, -one.end)):
        if one.start >= at and one.end > one.start:
            out += [text[at : one.start], f"[{one.category}]"]
            at = one.end
    return "".join([*out, text[at:]])
