"""Agreement: Krippendorff's own example, kappa by hand, and what may never change either."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.errors import BadInput
from errata.evaluate import agreement, weighted

# Krippendorff 2011, example C: four observers, twelve units, missing ratings.
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)
UNITS = [list(unit) for unit in zip(*OBSERVERS, strict=True)]
ratings = st.lists(
    st.lists(st.sampled_from(["yes", "no", "tie", None]), min_size=3, max_size=3), max_size=12
)


def test_krippendorffs_own_example() -> None:
    """His nominal alpha of this matrix is 0.743; 11 units have two ratings or more."""
    found = agreement.alpha(UNITS)
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.doubles == 11
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.743 < found.high <= 1


def test_alpha_by_hand() -> None:
    """Ten units, yes/yes × 1, no/no × 5, yes/no × 4: o_same = 12 of n = 20, n_yes = 6, n_no = 14:
    1 − 19 · 8 / (400 − 36 − 196) = 1 − 152 / 168."""
    units = [["yes", "yes"], *[["no", "no"]] * 5, *[["yes", "no"]] * 4]
    assert agreement.alpha_of(units) == pytest.approx(1 - 152 / 168)
    assert agreement.alpha(units).same == pytest.approx(0.6)


def test_where_nothing_varies_alpha_is_undefined_and_not_one() -> None:
    found = agreement.alpha([["yes", "yes"]] * 30)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert (found.doubles, found.same) == (30, 1.0)
    assert agreement.alpha([["yes"], [None, "no"]]).value is None
    assert agreement.alpha([]).same is None


def test_full_agreement_on_what_varies_is_one() -> None:
    assert agreement.alpha_of([["yes", "yes"], ["no", "no"]]) == 1


@given(ratings, st.randoms())
def test_neither_the_order_of_things_nor_of_raters_nor_their_names_change_alpha(
    units: list[list[str | None]], rng: Random
) -> None:
    rows = [*units]
    rng.shuffle(rows)
    places = [0, 1, 2]
    rng.shuffle(places)
    turned = [[row[place] for place in places] for row in rows]
    names = {"yes": "A", "no": "B", "tie": "C", None: None}
    renamed = [[names[value] for value in row] for row in turned]
    for other in (rows, turned, renamed):
        assert agreement.alpha_of(other) == pytest.approx(agreement.alpha_of(units))


@given(ratings)
def test_alpha_is_at_most_one_and_a_thing_rated_once_moves_nothing(
    units: list[list[str | None]],
) -> None:
    found = agreement.alpha_of(units)
    assert found is None or found <= 1 + 1e-9
    assert agreement.alpha_of([*units, ["yes", None, None]]) == found


def test_kappa_by_hand() -> None:
    """20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: p_o = 0.7, p_e = 0.5, kappa 0.4."""
    table = {("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}
    pairs = [pair for pair, count in table.items() for _ in range(count)]
    found = agreement.kappa(pairs, range(50))
    assert found.kappa == pytest.approx(0.4)
    assert found.raw == pytest.approx(0.7)
    assert found.low is not None
    assert 0 < found.low < 0.4
    assert agreement.kappa_of([("yes", "yes")] * 9) is None
    assert agreement.kappa([], []).raw is None


def test_pairs_of_one_cluster_prove_nothing() -> None:
    pairs = [("a", "a"), ("b", "b")] * 20
    assert agreement.kappa(pairs, ["one"] * 40).low is None


def test_who_is_far_off_the_others_is_named_and_of_two_nobody_is() -> None:
    rng = Random(0)
    truth = [rng.choice(["yes", "no"]) for _ in range(40)]
    units = [{"ann": t, "bo": t, "cy": rng.choice(["yes", "no"])} for t in truth]
    assert [r.name for r in agreement.raters(units) if r.off] == ["cy"]
    two = [{"ann": unit["ann"], "cy": unit["cy"]} for unit in units]
    assert not any(r.off for r in agreement.raters(two))


def test_a_weighted_mean_by_hand() -> None:
    """(3 · 1 + 1 · 0) / 4."""
    found = weighted.mean([1.0, 0.0], [3.0, 1.0], ["a", "b"])
    assert found
    assert found.value == 0.75
    assert 0 <= found.low < 0.75 < found.high <= 1


def test_all_alike_is_not_known_exactly_and_nothing_is_no_number() -> None:
    """30 clusters that are all right: the exact lower bound is 0.05^(1/30) = 0.905."""
    found = weighted.mean([1.0] * 30, [1.0] * 30, list(range(30)))
    assert found
    assert found.low == pytest.approx(0.905, abs=0.02)
    three = weighted.mean([0.0] * 3, [2.0] * 3, list("abc"))
    assert three
    assert three.high >= 1 - 0.05 ** (1 / 3)
    assert weighted.mean([], [], []) is None
    for wrong in (([2.0], [1.0]), ([0.5], [0.0])):
        with pytest.raises(BadInput):
            weighted.mean(*wrong, ["a"])


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 9), st.integers(0, 4)), min_size=1))
def test_bounds_hold_the_value_and_a_scale_of_weights_changes_nothing(
    rows: list[tuple[float, float, int]],
) -> None:
    values, weights, clusters = zip(*rows, strict=True)
    found = weighted.mean(values, weights, clusters)
    twice = weighted.mean(values, [2 * w for w in weights], clusters)
    assert found
    assert twice
    assert -1e-9 <= found.low <= found.value <= found.high <= 1 + 1e-9
    assert twice == pytest.approx(found)
