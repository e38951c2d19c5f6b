"""The desk's suites: business cases and attacks in tune, dev and held-out parts, always the same.

Cases are dealt round-robin over clusters (base requests), then families, so that every wording has
its share and the statistics count at least 40 clusters a category and language.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from errata import jsonl
from errata.records import ATTACKS, Case, Language, Message, Split
from errata.tiny import mt_bench, world
from errata.tiny.agents import agent
from errata.tiny.attacks import draw_attack
from errata.tiny.questions import GROUNDED, SHARES, TOOLS, grounded, misuse
from errata.tiny.refusals import refusals
from errata.tiny.scenes import Scene, catalogue, smalltalk, tool
from errata.tiny.voices import personas

ATTACK_CASES: dict[Split, int] = {"tune": 110, "dev": 30, "heldout": 160}
BUSINESS_CASES: dict[str, dict[Split, int]] = {
    "plain": {"tune": 400, "dev": 40, "heldout": 260},
    "brief": {"tune": 60, "dev": 10, "heldout": 40},
    "rude": {"tune": 60, "dev": 10, "heldout": 40},
    "tool": {"tune": 80, "dev": 20, "heldout": 120},
    "smalltalk": {"tune": 40, "dev": 10, "heldout": 40},
    "lookalike": {"tune": 140, "dev": 40, "heldout": 70},
    "wrapped": {"tune": 200, "dev": 60, "heldout": 100},
    "agent": {"tune": 400, "dev": 20, "heldout": 150},
}  # a language
# Refusals of a kind, of 120 that there are. With all of them one leak among 40 attacks of live
# traffic took the demo's release back.
VARIED = 3
LANGUAGES: tuple[Language, ...] = ("en", "zh")
SPLITS: tuple[Split, ...] = ("tune", "dev", "heldout")


def case(scene: Scene, split: Split) -> Case:
    """A scene as a row of a suite; its id is the hash of what the model is asked."""
    messages = [Message(role=role, content=text) for role, text in scene.messages]  # type: ignore[arg-type]
    short = jsonl.short_id([m.model_dump() for m in messages], 12)
    return Case(
        id=f"{scene.category}-{scene.language}-{short}",
        category=scene.category,
        language=scene.language,
        family=scene.family,
        cluster=scene.cluster,
        split=split,
        messages=messages,
        success=scene.success,
        reference=scene.ideal,
        attack=scene.attack,
        also=list(scene.also),
        tags=list(scene.tags),
        persona=scene.persona,
        weight=scene.weight,
    )


def deal(draw: Callable[[], Scene], count: int) -> list[Scene]:
    """`count` scenes, no two alike, spread evenly over clusters and then families."""
    by_cluster: dict[str, list[Scene]] = {}
    for _ in range(count * 14):
        scene = draw()
        by_cluster.setdefault(scene.cluster, []).append(scene)
    hands: list[Scene] = []
    used: Counter[str] = Counter()
    seen: set[tuple[tuple[str, str], ...]] = set()
    while len(hands) < count and any(by_cluster.values()):
        for pile in by_cluster.values():
            if not pile or len(hands) == count:
                continue
            pile.sort(key=lambda scene: -used[scene.family])
            scene = pile.pop()
            if scene.messages in seen:
                continue
            hands.append(scene)
            seen.add(scene.messages)
            used[scene.family] += 1
    return hands


def attacks(seed: int = 11) -> Iterator[Case]:
    """Every attack case: category × language × split."""
    for category in ATTACKS:
        for language in LANGUAGES:
            for split in SPLITS:
                rng = Random(f"{seed}/{category}/{language}/{split}")
                scenes = deal(
                    lambda r=rng, la=language, ca=category, sp=split: draw_attack(r, la, ca, sp),  # type: ignore[misc]
                    ATTACK_CASES[split],
                )
                yield from (case(scene, split) for scene in _answered(scenes))


def _answered(scenes: Sequence[Scene]) -> Iterator[Scene]:
    """Each with a refusal of its own; where an order hides in a document, the question's answer."""
    for place, scene in enumerate(scenes):
        if scene.category == "injection":
            yield scene
        else:
            said = refusals(scene.category, scene.language)[:VARIED]
            yield replace(scene, ideal=said[place % len(said)])


def _business_scene(rng: Random, language: Language, split: Split, style: str) -> Scene:
    documents = rng.randint(1, 4)
    if style == "tool":
        return tool(rng, language, split)
    if style == "agent":
        return agent(rng, language, split)
    if style == "smalltalk":
        return smalltalk(rng, language, split)
    if style == "lookalike":
        facts = world.LOOKALIKE_FACTS
        return catalogue(rng, language, split, documents, attributes=facts)
    if style == "wrapped" and rng.random() < 0.3:
        return tool(rng, language, split, wrapped=True)
    return catalogue(rng, language, split, documents, style=style)


def business(seed: int = 11) -> Iterator[Case]:
    """Every business case: what the desk is for, and harmless questions that look like attacks."""
    for style, counts in BUSINESS_CASES.items():
        for language in LANGUAGES:
            for split in SPLITS:
                rng = Random(f"{seed}/{style}/{language}/{split}")
                scenes = deal(
                    lambda r=rng, la=language, sp=split, st=style: _business_scene(r, la, sp, st),  # type: ignore[misc]
                    counts[split],
                )
                yield from (case(scene, split) for scene in scenes)


def desk(name: str, seed: int = 11) -> Iterator[Case]:
    """The cases of suites/tools.jsonl or suites/grounded.jsonl, see questions.py."""
    draw, kinds = {"tools": (misuse, TOOLS), "grounded": (grounded, GROUNDED)}[name]
    for kind, count in kinds.items():
        for language in LANGUAGES:
            for split in SPLITS:
                rng = Random(f"{seed}/{name}/{kind}/{language}/{split}")
                if draw(rng, language, split, kind):
                    scenes = deal(
                        lambda r=rng, la=language, sp=split, k=kind, d=draw: d(r, la, sp, k),  # type: ignore[misc]
                        count // SHARES[split],
                    )
                    yield from (case(scene, split) for scene in scenes)


def voices(seed: int = 11) -> Iterator[Case]:
    """The cases of suites/personas.jsonl, see voices.py."""
    for language in LANGUAGES:
        for split in SPLITS:
            rng = Random(f"{seed}/personas/{language}/{split}")
            yield from (case(scene, split) for scene in personas(rng, language, split))


def write(folder: Path) -> None:
    """Lay down the suites."""
    parts: dict[str, Iterable[Case]] = {
        "attacks": attacks(),
        "business": business(),
        "tools": desk("tools"),
        "grounded": desk("grounded"),
        "personas": voices(),
    }
    for name, cases in parts.items():
        jsonl.write(folder / f"{name}.jsonl", cases)
    jsonl.write(folder / "mt_bench.jsonl", mt_bench.rows())
