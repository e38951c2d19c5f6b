"""Near twins: found like a double loop finds them, whatever the order, in large buckets too."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.build import near
from errata.text import bare, jaccard, shingles

WORDS = st.sampled_from(
    ["where", "is", "my", "order", "灯", "多少钱", "please", "cancel", "48213", "48214", "!", "ß"]
)
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)
HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 2500)]
LATIN = "abcdefghijklmnopqrstuvwxyz "


def drawn(rng: Random, size: int) -> str:
    return "".join(rng.choices(HAN if rng.random() < 0.5 else LATIN, k=size))


def edited(rng: Random, text: str, edits: int) -> str:
    found = list(text)
    for _ in range(edits):
        found[rng.randrange(len(found))] = rng.choice("xyz")
    return "".join(found)


def naive(texts: list[str], threshold: float) -> list[tuple[int, int]]:
    sets = [shingles(text) for text in texts]
    return [
        (i, j)
        for j in range(len(sets))
        for i in range(j)
        if sets[i] and sets[j] and jaccard(sets[i], sets[j]) >= threshold
    ]


def joined(size: int, pairs: list[tuple[int, int]]) -> list[int]:
    forest = near.Forest(size)
    for a, b in pairs:
        forest.join(a, b)
    return [forest.find(place) for place in range(size)]


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=20), st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_clusters_are_those_of_the_naive_double_loop(texts: list[str], threshold: float) -> None:
    pairs = naive(texts, threshold)
    equal = [(texts.index(text), place) for place, text in enumerate(texts)]
    assert near.clusters(texts, threshold) == joined(len(texts), pairs + equal)


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, max_size=20), st.randoms())
def test_clusters_are_an_equivalence_that_no_order_changes(texts: list[str], rng: Random) -> None:
    found = near.clusters(texts)
    assert all(found[root] == root <= place for place, root in enumerate(found))
    order = list(range(len(texts)))
    rng.shuffle(order)
    again = near.clusters([texts[place] for place in order])
    together = {(a, b) for a in order for b in order if found[a] == found[b]}
    now = {(order[a], order[b]) for a in order for b in order if again[a] == again[b]}
    assert now == together


@given(st.text(max_size=60))
def test_grams_are_the_shingles(text: str) -> None:
    assert len(np.unique(near.grams([bare(text)])[0])) == len(shingles(text))


@pytest.mark.parametrize("size", [12, 30, 60, 200, 500])
def test_recall_at_the_threshold_is_99_percent(size: int) -> None:
    rng = Random(size)
    texts: list[str] = []
    for _ in range(80):
        texts.append(drawn(rng, size))
        base = texts[-1]
        if size < 60:  # one letter inside would change too much
            texts += [f"{base}{rng.choice(HAN)}", f"{base}{rng.choice(HAN)}"]
        else:
            most = round(size * 0.022)  # likeness around 0.8
            texts += [edited(rng, base, rng.randint(1, most)) for _ in range(2)]
    pairs = naive(texts, 0.8)
    found = near.clusters(texts, 0.8)
    kept = sum(found[a] == found[b] for a, b in pairs)
    assert len(pairs) > 50
    assert kept >= 0.99 * len(pairs)
    assert {found[a] == a for a in range(len(texts))} == {True, False}
    roots = joined(len(texts), pairs)
    assert all(roots[place] == roots[root] for place, root in enumerate(found)), "nothing else"


def test_sketches_estimate_likeness_without_bias() -> None:
    rng = Random(1)
    errors = []
    for size in (8, 40, 400) * 40:
        a = drawn(rng, size)
        b = edited(rng, a, max(1, size // 40))
        one, other = near.sketch([bare(a), bare(b)])
        errors.append(float((one == other).mean()) - jaccard(shingles(a), shingles(b)))
    assert abs(np.mean(errors)) < 0.01
    assert np.std(errors) < 0.06  # √(0.8 · 0.2 / 128) = 0.035, a little more in the middle


def test_ten_thousand_near_copies_are_not_compared_pair_by_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All land in the same buckets; 50 million pairs are left unasked, and one cluster remains."""
    asked = []
    real = near._jaccard

    def counted(texts: list[str], pairs: near.Places) -> object:
        asked.append(len(pairs))
        return real(texts, pairs)

    monkeypatch.setattr(near, "_jaccard", counted)
    body = drawn(Random(3), 300)
    found = near.clusters([f"{body}{number:05d}" for number in range(10_000)])
    assert set(found) == {0}
    assert 10_000 <= sum(asked) + 1 < 30_000


def test_recall_in_large_buckets_with_leaders() -> None:
    """Versions that drift apart crowd into buckets above SMALL, where only leaders are asked."""
    rng = Random(5)
    base = drawn(rng, 400)
    texts = [edited(rng, base, rng.randint(4, 20)) for _ in range(200)]
    pairs = naive(texts, 0.8)
    found = near.clusters(texts, 0.8)
    kept = sum(found[a] == found[b] for a, b in pairs)
    assert len(pairs) > 400
    assert kept >= 0.99 * len(pairs)


def test_bands_reach_their_recall_at_any_threshold() -> None:
    for threshold in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0):
        count, rows = near.bands(threshold)
        assert count * rows <= near.VALUES
        assert 1 - (1 - threshold**rows) ** count >= near.RECALL
    assert near.bands(0.8) == (25, 5)


def test_memory_is_bounded_by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(7)
    texts = [bare(drawn(rng, 200)) for _ in range(50)]
    whole = near.sketch(texts)
    monkeypatch.setattr(near, "CHUNK", 500)
    sizes = [stop - start for start, stop in near._chunks(texts)]
    assert max(sizes) <= 3
    assert (near.sketch(texts) == whole).all()


def test_a_seed_decides_the_sketch() -> None:
    assert (near.sketch(["onetwo"], 1) == near.sketch(["onetwo"], 1)).all()
    assert (near.sketch(["onetwo"], 1) != near.sketch(["onetwo"], 2)).any()


def test_a_text_of_one_gram_has_a_whole_sketch_of_its_own() -> None:
    """Two different grams share no value, and no bin is left empty."""
    one, other = near.sketch(["ab", "灯"])
    assert (one != other).all()
    assert (one != near.EMPTY).all()


def test_a_large_bucket_has_as_many_leaders_as_it_has_kinds() -> None:
    """Three kinds, 40 texts of each: the first leader leaves with its kind alone."""
    rng = Random(9)
    kinds = [bare(drawn(rng, 300)) for _ in range(3)]
    texts = [f"{kinds[number % 3]}{number:03d}" for number in range(120)]
    forest = near.Forest(len(texts))
    likeness = near._Likeness(texts, near.sketch(texts), 0.8)
    left = near._join_bucket(forest, likeness, np.arange(len(texts)))
    assert len(left) <= near.SMALL
    assert len({forest.find(place) for place in range(80)} | {*map(forest.find, range(120))}) == 3
