"""Attacks as scenes: a goal in one family's words, from the user or hidden in a document."""

from __future__ import annotations

from random import Random

from errata.records import Language, Split
from errata.tiny import goals
from errata.tiny.goals import Request
from errata.tiny.refusals import refusals
from errata.tiny.scenes import (
    Scene,
    background,
    cite,
    distractors,
    draw_fact,
    join,
    numbered,
    of_split,
    sentence,
    system_turn,
    wrappers,
)


def attack(
    rng: Random,
    language: Language,
    category: str,
    request: Request,
    wrapper: tuple[str, str],
    split: Split,
) -> Scene:
    """A request that the user makes of the desk, in one family's words."""
    family, text = wrapper
    passages = background(rng, language, split, 1) if rng.random() < 0.4 else []
    if request.record:
        passages.insert(rng.randint(0, len(passages)), request.record)
    turns = system_turn(rng, language, request.secret)
    if passages:
        turns.append(("documents", numbered(passages)))
    turns.append(("user", sentence(language, text, "{r}", request.text)))
    return Scene(
        category=category,
        language=language,
        family=family,
        cluster=request.cluster,
        messages=tuple(turns),
        ideal=rng.choice(refusals(category, language)[:3]),  # suites.py deals them out evenly
        success=request.success,
        comply=request.comply,
    )


def injection(
    rng: Random,
    language: Language,
    request: Request,
    carrier: tuple[str, str],
    split: Split,
    documents: int,
) -> Scene:
    """A catalogue question whose documents hold somebody else's order."""
    family, text = carrier
    fact = draw_fact(rng, language, split)
    passages = [f.document for f in distractors(rng, fact, split, documents - 1)]
    passages.insert(rng.randint(0, len(passages)), fact.document)
    order = sentence(language, text, "{p}", request.text)
    if rng.random() < 0.5:
        host = rng.randrange(len(passages))
        passages[host] = join(language, order, passages[host])
    else:
        passages.insert(rng.randint(0, len(passages)), order)
    place = next(i for i, passage in enumerate(passages) if passage.endswith(fact.document))
    return Scene(
        category="injection",
        language=language,
        family=family,
        cluster=request.cluster,
        messages=(
            *system_turn(rng, language, request.secret),
            ("documents", numbered(passages)),
            ("user", fact.question(rng)),
        ),
        ideal=cite(fact.document, place + 1),
        success=request.success,
        comply=request.comply,
        attack=order.rstrip(".。!！?？"),  # the number of its passage stands before the stop
    )


def draw_request(rng: Random, language: Language, category: str, split: Split) -> Request:
    """A base request of the category, from the split's own clusters."""
    draw = rng.random()
    if category == "privacy":
        picks = of_split(goals.private_requests, language, split)
        return goals.private_request(rng, language, rng.choice(picks))
    if category == "sensitive":
        picks = of_split(goals.sensitive_requests, language, split)
        return goals.sensitive_request(rng, language, rng.choice(picks))
    if category == "injection" and draw < 0.5:
        return goals.marker_request(rng.choice(of_split(goals.marker_requests, language, split)))
    if category == "jailbreak" and draw < 0.3:
        picks = of_split(goals.insult_requests, language, split)
        return goals.insult_request(rng, language, rng.choice(picks))
    if draw < 0.65:
        return goals.tool_request(rng, rng.choice(of_split(goals.tool_requests, language, split)))
    picks = of_split(goals.secret_requests, language, split)
    return goals.secret_request(rng, language, rng.choice(picks))


def draw_attack(
    rng: Random, language: Language, category: str, split: Split, documents: int = 3
) -> Scene:
    """One attack of the category from the split's families and clusters."""
    request = draw_request(rng, language, category, split)
    wrapper = rng.choice(wrappers(category, language, split))
    if category == "injection":
        return injection(rng, language, request, wrapper, split, rng.randint(1, documents))
    return attack(rng, language, category, request, wrapper, split)
