"""A rate that a judge measured, corrected for the judge's own errors. Pure functions.

    rogan_gladen(rate, se, sp)       from the judge's sensitivity and specificity
    ppi_rate(judged, labelled)       from a part that people labelled too (prediction-powered)

Sources: Rogan & Gladen 1978 (the estimator); Lang & Reiczigel 2014 (its interval, with the
uncertainty of the calibration set); Angelopoulos, Bates, Fannjiang, Jordan & Zrnic 2023
(prediction-powered inference), and 2023b (PPI++: the power-tuned λ).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

from errata.errors import BadInput


class Corrected(NamedTuple):
    """A rate without the judge's errors, and a two-sided interval; both within [0, 1]."""

    value: float
    low: float
    high: float


class Calibration(NamedTuple):
    """What a judge said of labelled rows: of `positives` true ones it found `hits`, of `negatives`
    it cleared `cleared`."""

    hits: int
    positives: int
    cleared: int
    negatives: int


def rogan_gladen(rate: float, se: float, sp: float) -> float:
    """(rate + sp - 1) / (se + sp - 1), kept within [0, 1].

    BadInput where se + sp ≤ 1: such a judge tells nothing, and nothing can be corrected.
    """
    for name, value in (("rate", rate), ("se", se), ("sp", sp)):
        if not 0 <= value <= 1:
            raise BadInput(f"rogan_gladen: {name} {value}: write a share between 0 and 1")
    youden = se + sp - 1
    if youden <= 0:
        raise BadInput(f"rogan_gladen: se {se} + sp {sp} ≤ 1: no better than chance; another judge")
    return min(1.0, max(0.0, (rate + sp - 1) / youden))


def rogan_gladen_interval(hits: int, n: int, known: Calibration, level: float = 0.95) -> Corrected:
    """The corrected rate of `hits` in `n`, with an interval that holds the calibration's doubt too.

    Lang & Reiczigel 2014: each share is shrunk by its own successes and failures (z²/2 for the
    rate, one of each for se and sp), then, with J = se + sp - 1 and p the corrected rate,

        var p = [ rate(1-rate)/n + p² se(1-se)/n₊ + (1-p)² sp(1-sp)/n₋ ] / J²

    and the interval is p + dp ± z √var p, with dp = 2z² [p se(1-se)/n₊ - (1-p) sp(1-sp)/n₋].
    """
    if not 0 <= hits <= n or n == 0:
        raise BadInput(f"{hits} hits of {n}: need 0 <= hits <= n and n > 0")
    if not (0 <= known.hits <= known.positives and 0 <= known.cleared <= known.negatives):
        raise BadInput(f"calibration {tuple(known)}: more found than there are")
    if not known.positives or not known.negatives:
        raise BadInput("calibration: rows of both classes are needed; label some more")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    point = rogan_gladen(hits / n, known.hits / known.positives, known.cleared / known.negatives)
    size = n + z * z
    rate = (hits + z * z / 2) / size
    plus, minus = known.positives + 2, known.negatives + 2
    se, sp = (known.hits + 1) / plus, (known.cleared + 1) / minus
    if se + sp <= 1:
        return Corrected(point, 0.0, 1.0)
    p = rogan_gladen(rate, se, sp)
    doubt_se, doubt_sp = se * (1 - se) / plus, sp * (1 - sp) / minus
    variance = rate * (1 - rate) / size + p * p * doubt_se + (1 - p) ** 2 * doubt_sp
    half = z * math.sqrt(variance) / (se + sp - 1)
    middle = p + 2 * z * z * (p * doubt_se - (1 - p) * doubt_sp)
    return Corrected(
        point, min(point, max(0.0, middle - half)), max(point, min(1.0, middle + half))
    )


def ppi_rate(
    judged: Sequence[float],
    labelled: Sequence[tuple[float, bool]],
    level: float = 0.95,
    tuned: bool = True,
) -> Corrected:
    """A rate from many judged replies and a few that people labelled as well.

    `judged`: the judge's word (0…1) on the replies without a label; `labelled`: (its word, the
    truth) on a random part of the same replies. With N and n of them,

        θ = λ mean_N(f) + mean_n(y - λ f),   var θ = λ² var(f)/N + var(y - λ f)/n

    λ = 1 is prediction-powered inference. `tuned`: λ = cov(y, f) / ((1 + n/N) var f), kept within
    [0, 1]: with a bad judge it is the labels alone that count. BadInput below 2 labels.
    """
    n, big = len(labelled), len(judged)
    if n < 2 or big < 1:
        raise BadInput(f"ppi_rate: {n} labelled and {big} judged; give 2 and 1 at least")
    f = [float(word) for word, _ in labelled]
    y = [float(truth) for _, truth in labelled]
    everyone = [*map(float, judged), *f]
    spread, weight = _variance(everyone), 1.0
    if tuned:
        joint = sum((a - _mean(f)) * (b - _mean(y)) for a, b in zip(f, y, strict=True)) / (n - 1)
        weight = min(1.0, max(0.0, joint / ((1 + n / big) * spread))) if spread else 0.0
    rest = [b - weight * a for a, b in zip(f, y, strict=True)]
    value = weight * _mean([float(word) for word in judged]) + _mean(rest)
    doubt = _variance(rest) / n + (weight**2 * spread / big)
    half = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt(doubt)
    point = min(1.0, max(0.0, value))
    if doubt == 0:  # every label alike: that proves nothing (Wilson's bound at 0 or n of n)
        from errata.stats import wilson

        sure = wilson(sum(y), n, level)
        return Corrected(point, min(point, sure.low), max(point, sure.high))
    return Corrected(point, max(0.0, value - half), min(1.0, value + half))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = _mean(values)
    return sum((v - mean) ** 2 for v in values) / (len(values) - 1) if len(values) > 1 else 0.0
