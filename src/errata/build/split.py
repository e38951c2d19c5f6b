"""Training and validation rows, divided by group: validation has no near twin in training.

Rows belong to one group when they share a cluster of their suite, ask the same thing, or ask nearly
the same (Jaccard of character 5-grams at or above a threshold). Whole groups are dealt out, in an
order that the seed and the group's own ids decide.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from errata.text import bare, jaccard, shingles


class Item(NamedTuple):
    """A row as the split sees it."""

    id: str
    cluster: str | None
    text: str


class Forest:
    """Union-find over positions."""

    def __init__(self, size: int) -> None:
        self.parent = list(range(size))

    def find(self, place: int) -> int:
        while self.parent[place] != place:
            self.parent[place] = self.parent[self.parent[place]]
            place = self.parent[place]
        return place

    def join(self, a: int, b: int) -> None:
        a, b = self.find(a), self.find(b)
        self.parent[max(a, b)] = min(a, b)


def near_pairs(sets: Sequence[frozenset[str]], threshold: float) -> Iterator[tuple[int, int]]:
    """All pairs with Jaccard ≥ threshold, found exactly.

    Prefix filter (Chaudhuri, Ganti and Kaushik, ICDE 2006): with tokens ordered from rare to
    common, two such sets share a token among their first n - ⌈t·n⌉ + 1.
    """
    counts = Counter(token for tokens in sets for token in tokens)
    index: dict[str, list[int]] = {}
    for place, tokens in enumerate(sets):
        ordered = sorted(tokens, key=lambda token: (counts[token], token))
        size = len(ordered)
        prefix = ordered[: size - math.ceil(threshold * size - 1e-9) + 1]
        others = {other for token in prefix for other in index.get(token, ())}
        for other in sorted(others):
            if jaccard(tokens, sets[other]) >= threshold:
                yield other, place
        for token in prefix:
            index.setdefault(token, []).append(place)


def groups(items: Sequence[Item], near: float = 0.8) -> dict[str, str]:
    """Row id → group, named by the smallest id in it."""
    forest = Forest(len(items))
    first: dict[Hashable, int] = {}
    for place, item in enumerate(items):
        keys: list[Hashable] = [("id", item.id), ("text", bare(item.text) or item.text)]
        if item.cluster is not None:
            keys.append(("cluster", item.cluster))
        for key in keys:
            forest.join(first.setdefault(key, place), place)
    texts = list(dict.fromkeys(item.text for item in items))
    where = {item.text: place for place, item in reversed(list(enumerate(items)))}
    for a, b in near_pairs([shingles(text) for text in texts], near):
        forest.join(where[texts[a]], where[texts[b]])
    names: dict[int, str] = {}
    for place, item in enumerate(items):
        root = forest.find(place)
        names[root] = min(names.get(root, item.id), item.id)
    return {item.id: names[forest.find(place)] for place, item in enumerate(items)}


def validation(group_of: dict[str, str], share: float, seed: int) -> set[str]:
    """The ids of rows for validation: whole groups, never more than `share` of all rows."""
    sizes = Counter(group_of.values())
    room = int(share * len(group_of))
    taken: set[str] = set()
    for name in sorted(sizes, key=lambda name: _order(seed, name)):
        if sizes[name] <= room:
            room -= sizes[name]
            taken.add(name)
    return {id for id, name in group_of.items() if name in taken}


def crossing(group_of: dict[str, str], held: set[str]) -> list[str]:
    """Groups with rows on both sides: always empty, and checked all the same."""
    inside = {group_of[id] for id in held}
    return sorted({name for id, name in group_of.items() if id not in held and name in inside})


def _order(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}|{name}".encode()).hexdigest()
