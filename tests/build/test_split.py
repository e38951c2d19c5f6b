"""A group never crosses the split, and the order of rows decides nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from errata.build.split import Item, crossing, groups, validation
from errata.text import jaccard, shingles

WORDS = st.sampled_from(
    ["where", "is", "my", "order", "灯", "多少钱", "please", "cancel", "48213", "48214"]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
ITEMS = st.lists(st.tuples(st.sampled_from([None, "a", "b", "c"]), TEXTS), max_size=30).map(
    lambda rows: [Item(f"r{i}", cluster, text) for i, (cluster, text) in enumerate(rows)]
)


@settings(max_examples=150, deadline=None)
@given(ITEMS, st.floats(0, 0.9), st.integers(0, 5))
def test_no_group_crosses(items: list[Item], share: float, seed: int) -> None:
    group_of = groups(items)
    held = validation(group_of, share, seed)
    assert crossing(group_of, held) == []
    assert len(held) <= share * len(items)
    train = [item for item in items if item.id not in held]
    for row in (item for item in items if item.id in held):
        for other in train:
            assert row.cluster is None or row.cluster != other.cluster
            assert row.text != other.text
            assert jaccard(shingles(row.text), shingles(other.text)) < 0.8


@given(ITEMS, st.integers(0, 5))
def test_order_of_rows_does_not_matter(items: list[Item], seed: int) -> None:
    forward, backward = groups(items), groups(items[::-1])
    assert forward == backward
    assert validation(forward, 0.3, seed) == validation(backward, 0.3, seed)


def test_crossing_sees_a_group_on_both_sides() -> None:
    assert crossing({"r1": "g", "r2": "g", "r3": "h"}, {"r1"}) == ["g"]
