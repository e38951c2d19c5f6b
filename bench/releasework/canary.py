"""What the decision on a canary costs and finds, by lot over the code that decides in production.

Requests come one by one from users of their own, in buckets as a gateway has them; the rollout goes
1 → 5 → 25 % as its own minimum exposure lets it, and is looked at after each 20 requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from statistics import median
from typing import NamedTuple

from dataset.report import Run

from errata.release.decide import Accept, Hard, Watch
from errata.release.live import Live
from errata.release.monitor import Config
from errata.release.routing import STAGES

LOOK = 20  # requests between two looks
RUNS = 1000  # a share of 0.05 is known to within 0.014


class Outcome(NamedTuple):
    """Whether it was rolled back, and how many of its requests had been seen by then."""

    rolled_back: bool
    canary: int


def one(seed: int, canary: float, stable: float, accept: Accept, requests: int) -> Outcome:
    """One rollout: so many requests, or until it is rolled back. Every metric fails alike."""
    random, watch, stage = Random(seed), Watch(accept, Config().min_exposure), 0
    names, first = list(accept.hard), next(iter(accept.hard))
    for n in range(requests):
        percent = STAGES[stage]
        place = random.random()
        arm = "canary" if place < percent / 100 else "stable"
        rate = canary if arm == "canary" else stable
        bad = {name: random.random() < (rate if name == first else stable) for name in names}
        watch.add([
            Live.model_construct(
                kind="answer", stage=percent, arm=arm, subject="", hard=None, sizes={},
                failed=bad[first], flags={name: bad[name] for name in names[1:]},
            )
        ])  # fmt: skip
        if n % LOOK == LOOK - 1:
            action = watch.decide(percent).action
            if action == "rollback":
                return Outcome(True, watch.requests["canary"])
            stage += action == "advance" and stage < len(STAGES) - 2
    return Outcome(False, watch.requests["canary"])


def _accept(metrics: int) -> Accept:
    return Accept(hard={"failure": Hard(), **{f"m{i}": Hard() for i in range(1, metrics)}}, soft={})


def _share(found: list[Outcome]) -> float:
    return sum(one.rolled_back for one in found) / len(found)


def _seen(found: list[Outcome]) -> float:
    return median(one.canary if one.rolled_back else 10**9 for one in found)


def _claim(
    value_of: Callable[[list[Outcome]], float], rates: Sequence[float], metrics: int, requests: int
) -> Callable[[int], list[Run]]:
    """A claim of RUNS rollouts by lot: the lots are the repeats, so `repeats` is not asked."""

    def run(_repeats: int) -> list[Run]:
        (canary, stable), wall, cpu = rates, time.perf_counter(), time.process_time()
        lots = [one(seed, canary, stable, _accept(metrics), requests) for seed in range(RUNS)]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return [{"value": value_of(lots), "wall_seconds": wall, "cpu_seconds": cpu}]

    return run


false_alarm = _claim(_share, (0.04, 0.04), metrics=4, requests=10_000)
found = _claim(_seen, (0.06, 0.02), metrics=1, requests=60_000)
found_of_eight = _claim(_seen, (0.06, 0.02), metrics=8, requests=60_000)
doubled = _claim(_share, (0.08, 0.04), metrics=1, requests=60_000)
