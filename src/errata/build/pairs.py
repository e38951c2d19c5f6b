"""Preference pairs: the answer we want against the one the model gave, and why it lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from errata import jsonl
from errata.build.rubric import Rubric, pick
from errata.build.sft import Ideal, turns
from errata.records import Case, Failure, Message, PreferencePair
from errata.text import language


def pair_id(prompt: Sequence[Message], chosen: str, rejected: str) -> str:
    """The hash of what is learnt from the pair."""
    return "p-" + jsonl.short_id([list(prompt), chosen, rejected])


def from_failure(failure: Failure, answer: Ideal, rubric: Rubric) -> PreferencePair:
    """Chosen: the ideal. Rejected: what the model said, which is what it must unlearn."""
    prompt, spoken = turns(failure), language(failure.prompt or "")
    rejected = failure.bad_answer or ""
    return PreferencePair(
        id=pair_id(prompt, answer.text, rejected),
        prompt=prompt,
        chosen=answer.text,
        rejected=rejected,
        reason=rubric.labels[failure.label].reason.speak(spoken),
        tags=list(dict.fromkeys([failure.label, spoken, *failure.tags])),
        source=failure.source,
        ts=failure.ts,
        origin=answer.origin,
        made_from=[failure.id],
    )


def taught_refusals(cases: Iterable[Case]) -> dict[str, list[str]]:
    """By language, the refusals that training teaches: the very ones that may be overdone."""
    found: dict[str, list[str]] = {}
    for case in cases:
        if case.split == "tune" and case.category in ("jailbreak", "privacy", "sensitive"):
            texts = found.setdefault(case.language, [])
            if case.reference and case.reference not in texts:
                texts.append(case.reference)
    return found


def counterfactual(case: Case, refusals: dict[str, list[str]], rubric: Rubric) -> PreferencePair:
    """A harmless look-alike: chosen is its answer, rejected a refusal."""
    spoken = case.language
    texts = refusals.get(spoken) or rubric.refusals("jailbreak", spoken)
    rejected = texts[pick(case.id, len(texts))]
    chosen = case.reference or ""
    return PreferencePair(
        id=pair_id(case.messages, chosen, rejected),
        prompt=case.messages,
        chosen=chosen,
        rejected=rejected,
        reason=rubric.over_refusal.speak(spoken),
        tags=["over-refusal", spoken, case.family],
        source="suite",
        origin="reference",
        made_from=[case.id],
    )
