"""Numbers that can be derived by hand, and what must hold for any data."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from errata.errors import BadInput
from errata.stats import (
    EDetector,
    EProcess,
    EProcess2,
    clopper_pearson,
    closest_null,
    clustered_bounds,
    confidence_sequence,
    effective_n,
    mcnemar_exact,
    paired_bootstrap,
    share_e,
    wilson,
)

counts = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("n", "upper"), [(30, 0.0950), (59, 0.0495), (100, 0.0295), (149, 0.0199), (299, 0.0100)]
)
def test_clopper_pearson_at_zero_hits_is_one_minus_the_nth_root(n: int, upper: float):
    """0 of n: (1 - p)^n = 0.05, so p = 1 - 0.05^(1/n)."""
    found = clopper_pearson(0, n, 0.90)

    assert found.low == 0.0
    assert found.high == pytest.approx(1 - 0.05 ** (1 / n), abs=1e-12)
    assert found.high == pytest.approx(upper, abs=6e-5)


@given(counts)
def test_clopper_pearson_ends_where_the_tail_is_two_and_a_half_percent(pair: tuple[int, int]):
    """By definition: at the upper end P(X <= k) = 2.5 %, at the lower P(X >= k) = 2.5 %."""
    k, n = pair
    low, high = clopper_pearson(k, n)

    def tail(p: float, ks: range) -> float:
        return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in ks)

    assert k == n or tail(high, range(k + 1)) == pytest.approx(0.025, rel=1e-6)
    assert k == 0 or tail(low, range(k, n + 1)) == pytest.approx(0.025, rel=1e-6)


@given(counts)
def test_both_intervals_hold_the_share_and_lie_in_0_1(pair: tuple[int, int]):
    k, n = pair
    for low, high in (wilson(k, n), clopper_pearson(k, n)):
        assert 0 <= low <= k / n <= high <= 1


@given(counts)
def test_intervals_mirror_hits_and_misses(pair: tuple[int, int]):
    k, n = pair
    for interval in (wilson, clopper_pearson):
        low, high = interval(k, n)
        assert interval(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_wilson_of_five_in_ten():
    """z = 1.95996; z²/n = 0.38415; half = z/1.38415 · √(0.025 + 0.0096036) = 0.26341."""
    assert wilson(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)


def test_no_cases_say_nothing():
    assert wilson(0, 0) == clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("k", "n", "level"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0)])
def test_impossible_counts_and_levels_are_refused(k: int, n: int, level: float):
    for interval in (wilson, clopper_pearson):
        with pytest.raises(BadInput):
            interval(k, n, level)


def test_mcnemar_by_hand():
    """5 worse, 1 better: (C(6,5) + C(6,6)) / 2^6 = 7/64."""
    assert mcnemar_exact(5, 1) == 7 / 64
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(5, 0) == 1 / 32
    assert mcnemar_exact(600, 500) == pytest.approx(0.0014, abs=2e-4)


@given(st.integers(0, 60), st.integers(0, 60))
def test_one_more_pair_that_got_worse_never_raises_p(worse: int, better: int):
    assert mcnemar_exact(worse + 1, better) <= mcnemar_exact(worse, better)


# effective_n ------------------------------------------------------------------------------------


def upper(hits: list[bool], clusters: list[int]) -> float:
    return clustered_bounds(hits, clusters).high


def test_clean_cases_count_as_their_clusters():
    """150 clean cases in 40 clusters: 1 - 0.05^(1/40) = 7.2 %, whatever the correlation."""
    clusters = [i % 40 for i in range(150)]

    assert effective_n([False] * 150, clusters) == effective_n([True] * 150, clusters) == 40
    assert upper([False] * 150, clusters) == pytest.approx(0.0722, abs=1e-4)


def test_cases_of_their_own_count_in_full():
    assert effective_n([True, False, False, True], list("abcd")) == 4


def test_clusters_that_are_all_alike_count_once():
    """Ten clusters of four, each all hit or all miss: deff is the size of a cluster."""
    clusters = [i // 4 for i in range(40)]
    hits = [c < 4 for c in clusters]

    assert effective_n(hits, clusters) == pytest.approx(10)


def test_one_hit_in_150_by_hand():
    """40 clusters of 4 with one hit, and the two imagined ones: p = 5/168,
    Σ(s - 4p)² = (1 - 4p)² + 39 (4p)² + 16 ((1 - p)² + p²) = 16.4036, deff = 16.4036 / (168 p (1-p))
    = 16.4036 / 4.85119 = 3.3814: 160 cases are worth 47.3."""
    clusters = [i // 4 for i in range(160)]
    hits = [True] + [False] * 159

    assert effective_n(hits, clusters) == pytest.approx(160 / 3.3814, abs=0.02)


def test_many_scattered_hits_are_worth_more_than_their_clusters():
    clusters = [i // 4 for i in range(160)]
    hits = [i % 4 == 0 and i % 3 == 0 for i in range(160)]

    assert 80 < effective_n(hits, clusters) <= 160


cases = st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=1, max_size=120)


@given(cases)
def test_effective_n_lies_between_kish_and_n(rows: list[tuple[bool, int]]):
    hits, clusters = [h for h, _ in rows], [c for _, c in rows]
    sizes = [clusters.count(c) for c in set(clusters)]
    kish = len(rows) ** 2 / sum(s * s for s in sizes)

    assert min(kish, len(sizes)) - 1e-9 <= effective_n(hits, clusters) <= len(rows)


@given(cases, st.randoms(use_true_random=False))
def test_the_order_and_the_names_of_clusters_do_not_matter(
    rows: list[tuple[bool, int]], rng: random.Random
):
    shuffled = rng.sample(rows, len(rows))
    one = effective_n([h for h, _ in rows], [c for _, c in rows])

    assert effective_n([h for h, _ in shuffled], [f"x{c}" for _, c in shuffled]) == pytest.approx(
        one
    )


@given(cases)
def test_hits_and_misses_are_treated_alike(rows: list[tuple[bool, int]]):
    hits, clusters = [h for h, _ in rows], [c for _, c in rows]

    assert effective_n([not h for h in hits], clusters) == pytest.approx(
        effective_n(hits, clusters)
    )


@given(cases)
def test_no_hit_is_the_best_that_can_be_seen(rows: list[tuple[bool, int]]):
    hits, clusters = [h for h, _ in rows], [c for _, c in rows]

    assert upper(hits, clusters) >= upper([False] * len(hits), clusters)


@given(cases)
def test_bounds_hold_the_share(rows: list[tuple[bool, int]]):
    hits, clusters = [h for h, _ in rows], [c for _, c in rows]
    low, high = clustered_bounds(hits, clusters)

    assert 0 <= low <= sum(hits) / len(hits) <= high <= 1


@pytest.mark.parametrize("rho", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("p", [0.02, 0.05, 0.1])
def test_the_upper_bound_covers_the_truth_under_correlation(p: float, rho: float):
    """Beta-binomial clusters: 40 requests of 4 variants. One-sided 95 % must miss at most ~5 %."""
    rng = np.random.default_rng(7)
    shares = rng.beta(p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho, size=(400, 40))
    clusters = [i // 4 for i in range(160)]
    missed = 0
    for row in shares:
        hits = (rng.random((40, 4)) < row[:, None]).ravel().tolist()
        missed += upper(hits, clusters) < p

    assert missed / 400 <= 0.05 + 0.02  # two standard errors of 400 draws


def test_no_cases_are_worth_nothing():
    assert effective_n([], []) == 0.0


# paired_bootstrap -------------------------------------------------------------------------------


def test_equal_answers_are_no_proof_of_equality():
    """No flip in 100 pairs: zero difference, but not the interval [0, 0]."""
    value, low, high = paired_bootstrap([1.0] * 100, [1.0] * 100, level=0.90)

    assert value == 0
    assert low < 0 < high < 0.05


def test_more_pairs_without_a_flip_say_more():
    wide, narrow = (paired_bootstrap([0] * n, [0] * n).high for n in (50, 1000))

    assert narrow < wide / 5


def test_one_cluster_says_nothing():
    assert paired_bootstrap([1, 0], [0, 0], ["a", "a"])[1:] == (-math.inf, math.inf)


@given(
    st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from([0, 1])), min_size=2, max_size=60)
)
def test_swapping_the_sides_flips_the_sign(pairs: list[tuple[int, int]]):
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    found = paired_bootstrap(a, b, draws=500)

    assert paired_bootstrap(b, a, draws=500).value == -found.value
    assert found.low <= found.value <= found.high


def test_clustered_pairs_are_less_certain_than_single_ones():
    rng = np.random.default_rng(1)
    per_cluster = rng.random(30) < 0.3
    a = [float(per_cluster[i // 5]) for i in range(150)]
    b = [0.0] * 150
    single = paired_bootstrap(a, b)
    clustered = paired_bootstrap(a, b, [i // 5 for i in range(150)])

    assert clustered.high - clustered.low > 1.5 * (single.high - single.low)


def test_the_same_seed_gives_the_same_interval():
    a, b = [0.3, 0.9, 0.4, 2.0], [0.1, 0.2, 0.9, 1.0]

    assert paired_bootstrap(a, b, seed=3) == paired_bootstrap(a, b, seed=3)


def test_unpaired_values_are_refused():
    with pytest.raises(BadInput):
        paired_bootstrap([1], [1, 2])
    with pytest.raises(BadInput):
        paired_bootstrap([], [])


# e-processes ------------------------------------------------------------------------------------


def test_e_process_by_hand():
    """Limit 1/2, one failure in one trial: odds t give q = t/(1+t), ratio 2q; the mean of
    2·(0.6, 2/3, 0.75, 5/6, 10/11) is 1.50364."""
    expected = 2 * (0.6 + 2 / 3 + 0.75 + 5 / 6 + 10 / 11) / 5

    assert EProcess(0.5, 0.05).update(1, 1) == pytest.approx(expected)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 9))
def test_batches_do_not_matter(outcomes: list[bool], size: int):
    whole, parts = EProcess(0.1, 0.05), EProcess(0.1, 0.05)
    whole.update(sum(outcomes), len(outcomes))
    for start in range(0, len(outcomes), size):
        parts.update(sum(outcomes[start : start + size]), len(outcomes[start : start + size]))

    assert parts.e == pytest.approx(whole.e)


@given(st.floats(0.01, 0.9))
def test_the_expected_e_value_of_one_trial_at_the_limit_is_one(limit: float):
    hit, miss = EProcess(limit), EProcess(limit)
    mean = limit * hit.update(1, 1) + (1 - limit) * miss.update(0, 1)

    assert mean == pytest.approx(1.0)


def test_one_failure_against_a_limit_of_zero_is_certain():
    process = EProcess(0.0)

    assert process.update(0, 1000) == 1.0
    assert process.update(1, 1) == math.inf
    assert process.rejected


def test_false_alarms_stay_below_alpha_however_often_one_looks():
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(300):
        process = EProcess(0.05, 0.05)
        failures = (rng.random((40, 25)) < 0.05).sum(axis=1)
        alarms += any(process.update(int(k), 25) >= 20 for k in failures)

    assert alarms / 300 <= 0.05 + 0.025


def test_a_doubled_failure_rate_is_found():
    rng = np.random.default_rng(5)
    process = EProcess(0.05, 0.05)
    for k in (rng.random((60, 25)) < 0.12).sum(axis=1):
        process.update(int(k), 25)

    assert process.rejected


rates = st.floats(0.005, 0.9)


@given(rates, rates, st.integers(1, 60), st.integers(1, 60), st.floats(0, 0.3))
def test_the_closest_null_is_a_minimum(qc: float, qs: float, nc: int, ns: int, margin: float):
    assume(qc > qs + margin + 1e-3)

    def distance(ps: float) -> float:
        total = 0.0
        for q, p, n in ((qc, ps + margin, nc), (qs, ps, ns)):
            total += n * (q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p)))
        return total

    best = closest_null(qc, qs, nc, ns, margin)
    for step in (-1e-4, 1e-4):
        if best + step > 0 and best + step + margin < 1:
            assert distance(best) <= distance(best + step) + 1e-12


@given(
    st.integers(1, 4), st.integers(1, 4), st.floats(0.0, 0.3), st.floats(0.01, 0.6),
    st.integers(0, 20), st.floats(0, 1),
)  # fmt: skip
def test_the_expected_e_value_of_a_block_is_at_most_one(
    nc: int, ns: int, margin: float, ps: float, past: int, below: float
):
    """Summed over every outcome of a block, for a truth in the null (p_c ≤ p_s + margin)."""
    pc = min(ps + margin, 1.0) * below
    mean = 0.0
    for c in range(nc + 1):
        for s in range(ns + 1):
            process = EProcess2(margin)
            process.update(0, 0, past, 20)  # what was seen before decides the bet
            e = process.update(c, nc, s, ns)
            chance = math.comb(nc, c) * pc**c * (1 - pc) ** (nc - c)
            mean += chance * math.comb(ns, s) * ps**s * (1 - ps) ** (ns - s) * e

    assert mean <= 1 + 1e-9


def test_a_worse_canary_is_found_and_an_equal_one_is_not():
    rng = np.random.default_rng(3)
    found = {}
    for rate in (0.05, 0.20):
        process = EProcess2(0.02, 0.05)
        for _ in range(60):
            process.update(int(rng.binomial(10, rate)), 10, int(rng.binomial(90, 0.05)), 90)
        found[rate] = process.rejected

    assert found == {0.05: False, 0.20: True}


def test_one_arm_alone_tells_nothing():
    assert EProcess2(0.0).update(10, 10, 0, 0) == 1.0


@pytest.mark.parametrize("bad", [(-0.1, 0.05), (1.0, 0.05), (0.1, 0.0), (0.1, 1.0)])
def test_impossible_limits_are_refused(bad: tuple[float, float]):
    for kind in (EProcess, EProcess2):
        with pytest.raises(BadInput):
            kind(*bad)


@given(counts, st.floats(0.5, 0.99))
def test_a_confidence_sequence_holds_what_was_seen_and_is_wider_than_an_interval(
    pair: tuple[int, int], level: float
):
    k, n = pair
    low, high = confidence_sequence(k, n, level)

    assert low <= k / n <= high
    if 0 < k < n:
        assert low < wilson(k, n, level).low or high > wilson(k, n, level).high


def test_a_confidence_sequence_misses_the_truth_at_most_so_often_over_all_looks():
    """300 runs of 100 looks at 0.1; a 95 % interval looked at as often misses far oftener."""
    rng = np.random.default_rng(5)
    missed = {"sequence": 0, "interval": 0}
    for _ in range(300):
        seen = np.cumsum(rng.random(400) < 0.1)
        for name, bounds in (("sequence", confidence_sequence), ("interval", wilson)):
            ends = (bounds(int(seen[i]), i + 1) for i in range(0, 400, 4))
            missed[name] += any(not low <= 0.1 <= high for low, high in ends)

    assert missed["sequence"] <= 0.05 * 300
    assert missed["interval"] > 0.15 * 300


@pytest.mark.parametrize(("n", "share"), [(1, 0.05), (6, 0.3), (40, 0.01)])
def test_the_ratio_of_samples_is_expected_to_be_one(n: int, share: float):
    mean = sum(
        math.comb(n, k) * share**k * (1 - share) ** (n - k) * share_e(k, n, share)
        for k in range(n + 1)
    )

    assert mean == pytest.approx(1, abs=1e-9)
    assert share_e(25, 100, 0.05) > 1000
    assert share_e(5, 100, 0.05) < 1


def test_a_detector_notices_a_rise_after_a_good_year_and_an_e_process_does_not():
    """50,000 trials at 1 % under a limit of 5 %, then 15 %."""
    rng = np.random.default_rng(11)
    detector, process = EDetector(0.05), EProcess(0.05)
    for failed in rng.random(50_000) < 0.01:
        detector.add(bool(failed))
        process.update(int(failed), 1)
    assert not detector.rejected
    late = rng.random(400) < 0.15
    for failed in late:
        detector.add(bool(failed))
        process.update(int(failed), 1)

    assert detector.rejected
    assert not process.rejected


def test_a_detector_at_its_limit_errs_once_in_its_run_on_average():
    """Its run is 200: over 200 runs the mean is at least that, and no first alarm is of all."""
    rng, lengths = np.random.default_rng(12), []
    for _ in range(200):
        detector = EDetector(0.1, 200)
        while not detector.rejected and detector.n < 5000:
            detector.add(bool(rng.random() < 0.1))
        lengths.append(detector.n)

    assert float(np.mean(lengths)) >= 200
    assert min(lengths) < 200
