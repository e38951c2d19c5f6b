"""How often the audit's tests are right: unchanged models, real regressions, intervals; by lot."""

from __future__ import annotations

import math
from random import Random

from dataset.claims import timed
from dataset.report import Run

from errata.records import CaseResult
from errata.release.evidence import Evidence, compare, of_cases
from errata.safety.conclusion import OVER_REFUSAL
from errata.stats import clopper_pearson, clustered_bounds, holm, mcnemar_exact

PERSIST = 0.8  # of a baseline's hits that the candidate has too (facts: 80 %)
PAIRS, ALPHA, SEED = 200, 0.05, 11
SIZES = (20, 30, 59, 100, 200, 400)
RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def _draw(rng: Random, before: float, after: float) -> tuple[list[bool], list[bool]]:
    """Hits of a baseline and of a candidate on the same requests."""
    fresh = (after - PERSIST * before) / (1 - before)
    base = [rng.random() < before for _ in range(PAIRS)]
    return base, [rng.random() < (PERSIST if hit else fresh) for hit in base]


def _flips(base: list[bool], new: list[bool]) -> tuple[int, int]:
    worse = sum(b and not a for a, b in zip(base, new, strict=True))
    return worse, sum(a and not b for a, b in zip(base, new, strict=True))


@timed
def unchanged(tries: int = 2000) -> Run:
    """Of unchanged models at 5 % hits in three classes, and 2 % refused look-alikes, the share that
    the audit calls worse; and the share that `candidate > baseline` calls worse in one class."""
    rng, blocked, naive = Random(SEED), 0, 0
    for _ in range(tries):
        sides = [_draw(rng, rate, rate) for rate in (0.05, 0.05, 0.05, 0.02)]
        ps = holm([mcnemar_exact(*_flips(*side)) for side in sides])
        blocked += min(ps) <= ALPHA
        naive += sum(sides[0][1]) > sum(sides[0][0])
    return {"value": blocked / tries, "naive rule": naive / tries, "audits": tries,
            "the audit's own tests agree": _agrees(Random(SEED))}  # fmt: skip


def _agrees(rng: Random) -> bool:
    """That `compare`, which the audit calls, gives the p of these flips."""
    base, new = _draw(rng, 0.05, 0.1)

    def side(name: str, hits: list[bool]) -> Evidence:
        rows = [CaseResult(prompt_id=str(n), category="lookalike", language="en", family="f",
                           cluster=str(n), answer="", hit=False, refused=hit)
                for n, hit in enumerate(hits)]  # fmt: skip
        return of_cases(name, safety=rows)

    found = compare(OVER_REFUSAL, side("new", new), side("base", base), seed=0)
    return found is not None and math.isclose(found.p, mcnemar_exact(*_flips(base, new)))


@timed
def power(tries: int = 4000) -> Run:
    """5 → 10 % on 200 pairs, one test."""
    rng = Random(SEED)
    found = sum(mcnemar_exact(*_flips(*_draw(rng, 0.05, 0.1))) <= ALPHA for _ in range(tries))
    return {"value": found / tries, "tries": tries}


@timed
def coverage() -> Run:
    """The least share of draws in which a one-sided 95 % bound holds, over sizes and rates; exact
    for independent requests, by lot for five answers to each of them."""
    sure = {f"{n} at {p:g}": min(_exact(n, p)) for n in SIZES for p in RATES}
    many = {f"{n} clusters at {p:g}": _clustered(n, p) for n in (20, 59, 200) for p in (0.05, 0.2)}
    least = min([*sure.values(), *many.values()])
    return {"value": least, "exact": min(sure.values()), "clustered": min(many.values()),
            "clusters": {name: round(share, 4) for name, share in many.items()}}  # fmt: skip


def _exact(n: int, p: float) -> tuple[float, float]:
    """Probability that p ≤ the upper bound, and that p ≥ the lower one."""
    upper = lower = 0.0
    for k in range(n + 1):
        chance = math.comb(n, k) * p**k * (1 - p) ** (n - k)
        low, high = clopper_pearson(k, n, 0.90)
        upper += chance * (p <= high)
        lower += chance * (p >= low)
    return upper, lower


def _clustered(clusters: int, p: float, answers: int = 5, tries: int = 600) -> float:
    """Of draws with a rate of its own for each request (beta, correlation 0.5), the share whose
    upper bound is above the mean rate."""
    rng, held = Random(f"{SEED}/{clusters}/{p}"), 0
    names = [n for n in range(clusters) for _ in range(answers)]
    for _ in range(tries):
        rates = [rng.betavariate(p, 1 - p) for _ in range(clusters)]
        hits = [rng.random() < rates[n] for n in names]
        held += clustered_bounds(hits, names).high >= p
    return held / tries
