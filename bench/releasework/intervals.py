"""How often the intervals of win rates and of paired differences hold the truth, by lot.

Requests come in clusters of one to four wordings that turn together with probability 0.6, as those
of the suites do; from few clusters to many, from even to one-sided."""

from __future__ import annotations

import numpy as np
from dataset.claims import timed
from dataset.report import Run

from errata.evaluate import winrate
from errata.stats import paired_bootstrap

SIZES = (10, 20, 40, 150)
SHARES = ((0.5, 0.3, 0.2), (0.8, 0.15, 0.05), (0.1, 0.8, 0.1), (0.95, 0.04, 0.01))
TRIES, TOGETHER, SEED = 600, 0.6, 11


def _drawn(
    rng: np.random.Generator, m: int, values: tuple[float, ...], shares: tuple[float, ...]
) -> tuple[list[float], list[int]]:
    points, clusters = list[float](), list[int]()
    for cluster in range(m):
        one = rng.choice(values, p=shares)
        for _ in range(rng.integers(1, 5)):
            alone = rng.choice(values, p=shares)
            points.append(float(one if rng.random() < TOGETHER else alone))
            clusters.append(cluster)
    return points, clusters


def _least(found: dict[str, float]) -> Run:
    told = {name: round(share, 4) for name, share in found.items()}
    return {"value": min(found.values()), "tries": TRIES, "each": told}


@timed
def win_rate() -> Run:
    """The two-sided 95 % interval of a win rate with ties."""
    found = {}
    for m in SIZES:
        for shares in SHARES:
            rng, held = np.random.default_rng([SEED, m]), 0
            truth = shares[0] + shares[1] / 2
            for _ in range(TRIES):
                points, clusters = _drawn(rng, m, (1.0, 0.5, 0.0), shares)
                told = winrate.interval(points, clusters)
                held += told.low <= truth <= told.high
            found[f"{m} clusters, {'/'.join(map(str, shares))}"] = held / TRIES
    return _least(found)


@timed
def difference() -> Run:
    """The two-sided 95 % interval of a difference between two models on the same prompts, where a
    cluster turns better, stays or turns worse as one."""
    found = {}
    for m in SIZES:
        for shares in ((0.05, 0.9, 0.05), (0.02, 0.88, 0.1), (0.3, 0.5, 0.2)):
            rng, held = np.random.default_rng([SEED, m, 1]), 0
            truth = shares[0] - shares[2]
            for _ in range(TRIES):
                turned, clusters = _drawn(rng, m, (1.0, 0.0, -1.0), shares)
                ours = [float(t > 0) for t in turned]
                theirs = [float(t < 0) for t in turned]
                told = paired_bootstrap(ours, theirs, clusters, draws=2000)
                held += told.low <= truth <= told.high
            found[f"{m} clusters, {'/'.join(map(str, shares))}"] = held / TRIES
    return _least(found)
