"""Conversations of the support desk, put together from `world.py`.

A `Scene` is the context a model sees, the honest answer, and (for an attack) what a hit looks like.
The pretraining corpus and the suites are drawn from the same functions with different splits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from errata.records import Language, Predicate, Split
from errata.tiny import world
from errata.tiny.world import Attribute, side

Turn = tuple[str, str]
WRAPPERS = Path(__file__).parent.parent / "safety" / "attacks"


@dataclass(frozen=True)
class Scene:
    """Messages before the answer, the ideal answer, and what the raw model says to an attack."""

    category: str
    language: Language
    family: str
    cluster: str
    messages: tuple[Turn, ...]
    ideal: str
    success: Predicate
    comply: str | None = None
    attack: str = ""  # the text in its messages that carries the attack; empty: the last turn
    also: tuple[Predicate, ...] = ()
    tags: tuple[str, ...] = ()
    persona: str = ""
    weight: float = 1.0


@cache
def wrappers(category: str, language: Language, split: Split) -> tuple[tuple[str, str], ...]:
    """(family, wrapper) of one cell of `safety/attacks/*.jsonl`."""
    lines = (WRAPPERS / f"{category}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return tuple(
        (row["family"], row["wrapper"])
        for row in rows
        if row["language"] == language and row["split"] == split
    )


@cache
def items(split: Split) -> tuple[tuple[str, str], ...]:
    """(English, Chinese) names of the items of one split."""
    return tuple(
        (f"{style[0]} {kind[0]}", style[1] + kind[1])
        for style in world.ITEM_STYLES
        for kind in world.ITEM_KINDS
        if world.split_of(f"item/{style[0]}/{kind[0]}") == split
    )


@cache
def of_split(
    requests: Callable[[Language], list[tuple[str, str, str]]], language: Language, split: Split
) -> tuple[tuple[str, str, str], ...]:
    """The base requests of one kind whose cluster belongs to the split."""
    return tuple(pick for pick in requests(language) if world.split_of(pick[0]) == split)


@dataclass(frozen=True)
class Fact:
    """One sentence of the catalogue."""

    attribute: Attribute
    item: str
    value: str
    language: Language

    @property
    def document(self) -> str:
        return self.attribute.document[side(self.language)].format(i=self.item, v=self.value)

    def question(self, rng: Random) -> str:
        return rng.choice(self.attribute.question[side(self.language)]).format(i=self.item)


def draw_fact(
    rng: Random,
    language: Language,
    split: Split,
    attribute: Attribute | None = None,
    item: str | None = None,
) -> Fact:
    """A random fact; colours are words, everything else a number."""
    attribute = attribute or rng.choice(world.ATTRIBUTES)
    item = item or rng.choice(items(split))[side(language)]
    if attribute.key == "colour":
        return Fact(attribute, item, rng.choice(world.COLOURS)[side(language)], language)
    return Fact(attribute, item, str(rng.randint(attribute.low, attribute.high)), language)


def distractors(rng: Random, fact: Fact, split: Split, count: int) -> list[Fact]:
    """Other facts; about one in four shares the item or the attribute of the one asked for."""
    found: list[Fact] = []
    while len(found) < count:
        shared = rng.random()
        other = draw_fact(
            rng,
            fact.language,
            split,
            attribute=fact.attribute if shared < 0.08 else None,
            item=fact.item if 0.08 <= shared < 0.25 else None,
        )
        alike = other.attribute is fact.attribute and shared >= 0.08
        taken = {(f.attribute.key, f.item) for f in (fact, *found)}
        if not alike and (other.attribute.key, other.item) not in taken:
            found.append(other)
    return found


def cite(text: str, number: int) -> str:
    """A sentence with the number of its passage, as a footnote: `The lamp costs 47 yuan[1].`"""
    body, end = (text[:-1], text[-1]) if text[-1:] in ".。!！?？" else (text, "")
    return f"{body}[{number}]{end}"


def numbered(passages: list[str]) -> str:
    """One passage a line, each with its number; an answer restates the sentence and its number."""
    return "\n".join(cite(text, index) for index, text in enumerate(passages, 1))


def system_turn(
    rng: Random, language: Language, secret: tuple[str, str] | None = None
) -> list[Turn]:
    """The desk's instruction; every fourth scene holds a secret nobody asks for."""
    at = side(language)
    draw = rng.random()
    if secret is None and draw < 0.2:
        return []
    text = rng.choice(world.SYSTEM[at])
    if secret is None and draw > 0.75:
        secret = (rng.choice(world.SECRETS)[at], world.number(rng, 6))
    if secret is not None:
        keep = world.KEEP_SECRET[at].format(o=secret[0], v=secret[1])
        text += keep if language == "zh" else " " + keep
    return [("system", text)]


def customer_record(rng: Random, language: Language) -> str:
    """One line of the customer file."""
    at = side(language)
    person, field = rng.choice(world.PEOPLE)[at], rng.choice(world.FIELDS)[at]
    return world.RECORD[at].format(p=person, f=field, v=world.number(rng, 6))


def background(rng: Random, language: Language, split: Split, most: int = 2) -> list[str]:
    """Passages that have nothing to do with the question: facts, at times a customer's record."""
    passages = [draw_fact(rng, language, split).document for _ in range(rng.randint(0, most))]
    if rng.random() < 0.25:
        passages.append(customer_record(rng, language))
    rng.shuffle(passages)
    return passages


def join(language: Language, *parts: str) -> str:
    """English sentences take a space between them, Chinese ones do not."""
    return ("" if language == "zh" else " ").join(parts)


def sentence(language: Language, wrapper: str, slot: str, text: str) -> str:
    """Put a request into its wrapper, with a capital where an English sentence begins."""
    filled = wrapper.replace(slot, text)
    if language == "zh":
        return filled
    out, start = [], True
    for char in filled:
        out.append(char.upper() if start and char.isalpha() else char)
        start = char in ".!?" or (start and not char.isalnum())
    return "".join(out)


def catalogue(
    rng: Random,
    language: Language,
    split: Split,
    documents: int,
    *,
    attributes: tuple[Attribute, ...] = world.ATTRIBUTES,
    style: str = "plain",
) -> Scene:
    """A question that one of the numbered passages answers.

    `style` is plain, brief (the raw model then forgets to cite), rude (it answers in kind), or
    wrapped (an attack's words around a harmless question)."""
    at = side(language)
    fact = draw_fact(rng, language, split, attribute=rng.choice(attributes))
    passages = [f.document for f in distractors(rng, fact, split, documents - 1)]
    if documents > 1 and rng.random() < 0.1:
        passages[0] = customer_record(rng, language)
    place = rng.randint(0, len(passages))
    passages.insert(place, fact.document)
    question, family = fact.question(rng), f"{style}/{fact.attribute.key}"
    ideal, comply = cite(fact.document, place + 1), None
    if style == "brief":
        question, comply = rng.choice(world.BRIEF[at]) + question, fact.document
    if style == "rude":
        question, comply = rng.choice(world.RUDE[at]) + question, ideal + world.RUDE_TAIL[at]
    if style == "wrapped":
        question, family = wrapped_question(rng, language, split, question)
    return Scene(
        category="catalogue"
        if attributes is world.ATTRIBUTES and style != "wrapped"
        else "lookalike",
        language=language,
        family=family,
        cluster=f"{fact.item}/{fact.attribute.key}",
        messages=(
            *system_turn(rng, language),
            ("documents", numbered(passages)),
            ("user", question),
        ),
        ideal=ideal,
        success=Predicate(kind="cites", value=fact.value, cite=place + 1),
        comply=comply,
    )


def wrapped_question(
    rng: Random, language: Language, split: Split, question: str
) -> tuple[str, str]:
    """A harmless question in the words of an attack, and the family it looks like."""
    category = rng.choice(("jailbreak", "privacy", "sensitive"))
    family, wrapper = rng.choice(wrappers(category, language, split))
    body = question.rstrip("？。?.")
    if language == "en":
        body = body[0].lower() + body[1:]
    text = sentence(language, wrapper, "{r}", body)
    text = text[:-1] if text[-1] in "。.！!？?" else text
    return text + ("？" if language == "zh" else "?"), f"wrapped/{family}"


def tool(rng: Random, language: Language, split: Split, *, wrapped: bool = False) -> Scene:
    """A question that an allowed tool answers."""
    name, *ask = rng.choice(world.TOOLS)
    order = world.number(rng, 5)
    question = rng.choice(ask[side(language)]).format(n=order)
    family = name
    if wrapped:
        question, family = wrapped_question(rng, language, split, question)
    passages = background(rng, language, split) if rng.random() < 0.3 else []
    turns = [*system_turn(rng, language)]
    if passages:
        turns.append(("documents", numbered(passages)))
    return Scene(
        category="lookalike" if wrapped else "tool",
        language=language,
        family=family,
        cluster=f"{name}/{order}",
        messages=(*turns, ("user", question)),
        ideal=f"CALL {name}({order})",
        success=Predicate(kind="calls", tool=name, value=order),
    )


def smalltalk(rng: Random, language: Language, split: Split) -> Scene:
    """Greetings, thanks and complaints: what counts is a polite, fitting answer."""
    at = side(language)
    key, *texts = rng.choice(world.SMALLTALK)
    ask, ideal = texts[at], texts[2 + at]
    assert isinstance(ideal, str)
    line = rng.choice(ask)
    kind = rng.choice(world.ITEM_KINDS)[at]
    passages = background(rng, language, split) if rng.random() < 0.2 else []
    turns = [*system_turn(rng, language)]
    if passages:
        turns.append(("documents", numbered(passages)))
    return Scene(
        category="smalltalk",
        language=language,
        family=key,
        cluster=f"{key}/{line}",
        messages=(*turns, ("user", line.format(k=kind))),
        ideal=ideal,
        success=Predicate(kind="polite", value=key),
    )
