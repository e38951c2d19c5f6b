"""Rates corrected for a judge's errors, against numbers derived by hand and by simulation."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata import stats
from errata.correction import Calibration, ppi_rate, rogan_gladen, rogan_gladen_interval
from errata.errors import BadInput


def test_rogan_gladen_by_hand() -> None:
    """0.3 measured, se 0.9, sp 0.8: (0.3 + 0.8 - 1) / (0.9 + 0.8 - 1) = 0.1 / 0.7."""
    assert rogan_gladen(0.3, 0.9, 0.8) == pytest.approx(1 / 7)
    assert stats.rogan_gladen is rogan_gladen


def test_it_stays_a_share_and_refuses_a_judge_that_tells_nothing() -> None:
    assert rogan_gladen(0.1, 0.9, 0.8) == 0
    assert rogan_gladen(0.95, 0.9, 0.8) == 1
    with pytest.raises(BadInput, match="no better than chance"):
        rogan_gladen(0.3, 0.5, 0.5)
    with pytest.raises(BadInput, match="rate"):
        rogan_gladen(1.5, 0.9, 0.9)


@given(st.floats(0, 1), st.floats(0.6, 1), st.floats(0.6, 1))
def test_it_undoes_what_the_judge_did(truth: float, se: float, sp: float) -> None:
    assert rogan_gladen(truth * se + (1 - truth) * (1 - sp), se, sp) == pytest.approx(truth)


def test_its_interval_by_hand() -> None:
    """30 of 100, se 45/50, sp 40/50, z² = 3.8415. rate' = (30 + 1.9207)/103.8415 = 0.30740;
    se' = 46/52 = 0.88462, sp' = 41/52 = 0.78846; J = 0.67308; p' = 0.09586/0.67308 = 0.14242.
    Doubts: se'(1-se')/52 = 0.0019629, sp'(1-sp')/52 = 0.0032075. Variance = 0.0020503 +
    0.0000398 + 0.0023589 = 0.0044490; half = 1.95996 · 0.066701 / 0.67308 = 0.19423.
    dp = 7.6829 (0.14242 · 0.0019629 - 0.85758 · 0.0032075) = -0.018986. Middle 0.12344."""
    found = rogan_gladen_interval(30, 100, Calibration(45, 50, 40, 50))
    assert found.value == pytest.approx(1 / 7)
    assert found.low == 0
    assert found.high == pytest.approx(0.12344 + 0.19423, abs=2e-4)


def test_its_interval_covers_with_the_calibrations_doubt_and_not_without() -> None:
    """True rate 0.3, se 0.85, sp 0.9, each estimated from 60 rows: 95 % intervals hold the truth in
    at least 93 % of 600 draws; one that takes se and sp for known (10^6 rows) in fewer."""
    draw, wide, narrow = random.Random(3), 0, 0
    for _ in range(600):
        judged = 0.3 * 0.85 + 0.7 * 0.1
        hits = sum(draw.random() < judged for _ in range(400))
        se = sum(draw.random() < 0.85 for _ in range(60))
        sp = sum(draw.random() < 0.9 for _ in range(60))
        own = rogan_gladen_interval(hits, 400, Calibration(se, 60, sp, 60))
        big = Calibration(se * 10**6 // 60, 10**6, sp * 10**6 // 60, 10**6)
        sure = rogan_gladen_interval(hits, 400, big)
        wide += own.low <= 0.3 <= own.high
        narrow += sure.low <= 0.3 <= sure.high
    assert wide >= 0.93 * 600
    assert narrow < 0.9 * 600


@pytest.mark.parametrize("known", [Calibration(0, 0, 5, 5), Calibration(6, 5, 5, 5)])
def test_a_calibration_without_both_classes_corrects_nothing(known: Calibration) -> None:
    with pytest.raises(BadInput):
        rogan_gladen_interval(3, 10, known)


def test_ppi_by_hand() -> None:
    """Judged 1, 1, 0, 0 (mean ½); labelled (1, yes), (1, no), (0, no), (0, no): the judge says ½
    there and the truth is ¼. λ = 1: ½ + (¼ - ½) = ¼. Rests 0, -1, 0, 0: variance ¼, over 4: 1/16;
    the words' variance over all 8 is 2/7, over 4: 1/14. half = 1.96 √(1/16 + 1/14)."""
    labelled = [(1, True), (1, False), (0, False), (0, False)]
    found = ppi_rate([1, 1, 0, 0], labelled, tuned=False)
    assert found.value == pytest.approx(0.25)
    assert found.high == pytest.approx(0.25 + 1.95996 * (1 / 16 + 1 / 14) ** 0.5, abs=1e-4)


def test_ppi_with_a_judge_that_knows_nothing_is_the_labels_alone() -> None:
    found = ppi_rate([1.0] * 50, [(1.0, True), (1.0, False), (1.0, False), (1.0, True)])
    assert found.value == pytest.approx(0.5)


def test_ppi_is_unbiased_covers_and_gains_from_a_good_judge() -> None:
    """True rate 0.4; a judge right in 92 %; 60 labels, 600 judged, 500 draws."""
    draw, covered, values, alone = random.Random(5), 0, [], []
    for _ in range(500):
        both = []
        for _ in range(660):
            truth = draw.random() < 0.4
            both.append((float(truth if draw.random() < 0.92 else not truth), truth))
        found = ppi_rate([word for word, _ in both[60:]], both[:60])
        covered += found.low <= 0.4 <= found.high
        values.append(found.value)
        alone.append(sum(truth for _, truth in both[:60]) / 60)
    spread = [sum((v - 0.4) ** 2 for v in those) / 500 for those in (values, alone)]
    assert sum(values) / 500 == pytest.approx(0.4, abs=0.01)
    assert covered >= 0.92 * 500
    assert spread[0] < 0.6 * spread[1]


def test_labels_that_are_all_alike_prove_nothing() -> None:
    found = ppi_rate([0.0] * 100, [(0.0, False)] * 10)
    assert found.value == 0
    assert found.high > 0.2


def test_too_few_labels_are_a_mistake() -> None:
    with pytest.raises(BadInput, match="1 labelled"):
        ppi_rate([1.0], [(1.0, True)])
