"""What one answer was, as a row without text: flags of what can go wrong, and sizes.

Runs after the client has its answer, on the recorder's thread.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from errata.evaluate import grounding
from errata.gateway.answer import Answer
from errata.gateway.knobs import Config
from errata.records import Label
from errata.release.live import Live
from errata.safety import predicates
from errata.safety.guard.filter import Decision, Found, Guard
from errata.safety.guard.rules import Category
from errata.safety.refusal import is_refusal
from errata.serve import completion
from errata.text import language

# What the filter found → the label its failure has; what is not here is `other`.
LABELS: dict[Category, Label] = {
    "secret": "privacy", "personal": "privacy", "tool": "tool_misuse", "order": "factuality",
    "insult": "politeness",
}  # fmt: skip


class Measured(NamedTuple):
    """The row, and what the filter decided on all that the model said."""

    row: Live
    decision: Decision


def measured(answer: Answer, guard: Guard, config: Config, gateway: str) -> Measured:
    """One answer, looked at."""
    said, choice = answer.said, answer.choice
    decided = answer.decision if len(answer.parts) == 1 else None  # of several, only the gravest
    decision = decided or guard.check(said, answer.turns, answer.asked.tools)
    refusal = is_refusal(said)
    cites = bool(predicates.citations(said) or predicates.called(said) or refusal)
    failure = bool(answer.error) or predicates.degenerate(said) or decision.level >= 3
    flags = {
        "failure": failure,
        "citation_missing": None if answer.error or not answer.asked.grounded else not cites,
        "refusal": None if answer.error else refusal,
        "filtered": None if answer.error else decision.level >= 2,
        "impolite": None if answer.error else bool(predicates.INSULTS.search(said)),
    }
    never = hard(decision, guard)
    if never and echoed(answer, guard):
        never = None
    row = Live(
        ts=answer.ts, gateway=gateway, stage=choice.stage, arm=choice.arm,
        release=choice.rollout, digest=choice.target.digest, answer=answer.id,
        conversation=choice.conversation, subject=choice.subject, failed=failure,
        error=answer.error, label=label(decision, guard), hard=never, flags=flags,
        sizes=_sizes(answer, decision, config), language=language(answer.asked.question),
    )  # fmt: skip
    return Measured(row, decision)


def judged(answer: Answer, row: Live) -> Live | None:
    """A sampled answer held against its documents: whether it claims what none of them holds
    (evaluate/grounding.py says what that cannot see). None where nothing is to be held against."""
    documents = [t.content for t in answer.asked.turns if t.role in ("documents", "tool")]
    if not documents or answer.error or (row.sizes.get("level", 0) >= 3):
        return None
    parts = [part for text in documents for part in (*grounding.passages(text).values(), text)]
    bad = bool(grounding.unsupported(answer.said, parts, answer.asked.question))
    return row.model_copy(update={"kind": "judged", "flags": {"judged_bad": bad}, "sizes": {},
                                  "failed": None, "error": "", "hard": None})  # fmt: skip


def hard(decision: Decision, guard: Guard) -> str | None:
    """What must never happen, where the model did it, whether or not that was let through."""
    kinds = {_never(one, guard) for one in decision.found}
    return next((kind for kind in ("forbidden_call", "leak") if kind in kinds), None)


def _never(one: Found, guard: Guard) -> str | None:
    if one.rule.startswith("call:"):
        return "forbidden_call"
    level = guard.policy.ladder(one.category).level(one.score)
    leaks = one.rule == "protected" or (one.category == "secret" and level >= 3)
    return "leak" if leaks else None


_VALUE = re.compile(r"\w*\d\w*")


def echoed(answer: Answer, guard: Guard) -> bool:
    """Whether all that must never happen in an answer are words of its user, given back: a secret
    that he told, a call that he wrote out. It is filtered and has failed like any other; but a user
    who has himself quoted would else take back any release, and the next, as often as he likes."""
    wrote = "\n".join(turn.content for turn in answer.asked.turns if turn.role == "user")
    text = "\n".join([answer.said, *(part.unseen() for part in answer.parts.values())])
    told, names = set(_VALUE.findall(wrote)), {name for name, _ in predicates.called(wrote)}
    made = [call["function"]["name"] for p in answer.parts.values() for call in p.calls.values()]
    names -= set(map(completion.word, made))  # made, and not only written

    def his(one: Found) -> bool:
        if one.rule.startswith("call:"):
            return one.rule.removeprefix("call:") in names
        span = text[one.start : one.end]
        values = _VALUE.findall(span)
        return span in wrote or (bool(values) and told.issuperset(values))

    found = [one for one in guard.check(text, answer.turns, answer.asked.tools).found
             if _never(one, guard)]  # fmt: skip
    return bool(found) and all(map(his, found))


def label(decision: Decision, guard: Guard) -> Label:
    """By the gravest finding that was acted on."""

    def level(category: Category, score: float) -> int:
        return guard.policy.ladder(category).level(score)

    graver = sorted(decision.found, key=lambda one: -level(one.category, one.score))
    for one in graver[:1]:
        if level(one.category, one.score) >= 2:
            return LABELS.get(one.category, "other")
    return "other"


def _sizes(answer: Answer, decision: Decision, config: Config) -> dict[str, float]:
    """What was counted; what was not is left out."""
    sizes: dict[str, float] = {
        "ms": round(answer.ms, 2),
        "chars": len(answer.asked.question),
        "level": decision.level,
    }
    if answer.first_ms is not None:
        sizes["first_ms"] = round(answer.first_ms, 2)
    cost, known = 0.0, False
    for name, told, price in (
        ("tokens_in", "prompt_tokens", config.price_per_1k_in),
        ("tokens_out", "completion_tokens", config.price_per_1k_out),
    ):
        count = answer.usage.get(told)
        if isinstance(count, int):
            sizes[name] = count
            if price is not None:
                cost, known = cost + count / 1000 * price, True
    return {**sizes, "cost": cost} if known else sizes
