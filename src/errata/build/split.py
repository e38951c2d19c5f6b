"""Training and validation rows, divided by group: validation has no near twin in training.

Rows belong to one group when they share a cluster of their suite, ask the same thing, or ask nearly
the same (Jaccard of character 5-grams at or above a threshold). Whole groups are dealt out, in an
order that the seed and the group's own ids decide.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from errata.build.near import Forest, clusters


class Item(NamedTuple):
    """A row as the split sees it."""

    id: str
    cluster: str | None
    text: str


def groups(items: Sequence[Item], near: float = 0.8) -> dict[str, str]:
    """Row id → group, named by the smallest id in it."""
    forest = Forest(len(items))
    first: dict[Hashable, int] = {}
    for place, item in enumerate(items):
        keys: list[Hashable] = [("id", item.id), ("text", item.text)]
        if item.cluster is not None:
            keys.append(("cluster", item.cluster))
        for key in keys:
            forest.join(first.setdefault(key, place), place)
    for place, twin in enumerate(clusters([item.text for item in items], near)):
        forest.join(twin, place)
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
