"""What may be looked at however often, while it grows: e-processes and confidence sequences.

An e-process starts at 1 and under its null is expected to stay there: it ever reaches 1 / alpha
with probability at most alpha (Ville 1939). Pure functions of counts. Sources: Turner, Ly &
Grünwald 2021-24 (e-variables for two streams); Robbins 1970 (mixtures); Lindon & Malek 2022 (the
ratio of samples); Shin, Ramdas & Rinaldo 2022 (e-detectors).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from errata.errors import BadInput


def _log_sum_exp(logs: Sequence[float]) -> float:
    top = max(logs)
    if math.isinf(top):
        return top
    return top + math.log(sum(math.exp(x - top) for x in logs))


def _exp(x: float) -> float:
    return math.inf if x > 700 else math.exp(x)


def _times(rate: float, odds: float) -> float:
    """The rate whose odds are so many times those of another."""
    return odds * rate / (1 - rate + odds * rate)


def _counts(failures: int, n: int) -> None:
    if not 0 <= failures <= n:
        raise BadInput(f"{failures} failures of {n}: need 0 <= failures <= n")


class EProcess:
    """Evidence that a failure rate is above `limit`, valid however often one looks.

    The e-value is the mean of five likelihood ratios, against odds 1.5, 2, 3, 5 and 10 times those
    of the limit. Under any rate ≤ limit it is a supermartingale that starts at 1, so by Ville's
    inequality it ever reaches 1 / alpha with probability at most alpha.
    """

    ODDS = (1.5, 2.0, 3.0, 5.0, 10.0)

    def __init__(self, limit: float, alpha: float = 0.05) -> None:
        if not 0 <= limit < 1 or not 0 < alpha < 1:
            raise BadInput("EProcess: need 0 <= limit < 1 and 0 < alpha < 1")
        self.limit, self.alpha = limit, alpha
        self.failures = self.n = 0

    @property
    def e(self) -> float:
        """The e-value so far; 1 means no evidence."""
        if self.limit == 0:
            return math.inf if self.failures else 1.0
        logs = []
        for times in self.ODDS:
            q = _times(self.limit, times)
            good = (self.n - self.failures) * math.log((1 - q) / (1 - self.limit))
            logs.append(self.failures * math.log(q / self.limit) + good)
        return _exp(_log_sum_exp(logs) - math.log(len(logs)))

    @property
    def rejected(self) -> bool:
        """The rate is above the limit, at error alpha over all looks so far."""
        return self.e >= 1 / self.alpha

    def update(self, failures: int, n: int) -> float:
        """Add a batch of n trials; the e-value over all of them."""
        _counts(failures, n)
        self.failures += failures
        self.n += n
        return self.e


class EDetector:
    """Notices that a failure rate has risen above `limit`, some time, watched for ever.

    An e-process that has seen a good year forgives a bad month. This one forgets: of the likelihood
    ratios of `EProcess` each begins anew wherever it is below 1, M_n = max(M_{n-1}, 1) · L_n, and
    their mean is the value (the CUSUM e-detector of Shin, Ramdas & Rinaldo 2022, §4). Under any
    rate ≤ limit it takes `run` trials on average, or more, until it says so wrongly.
    """

    def __init__(self, limit: float, run: float = 100_000) -> None:
        if not 0 < limit < 1 or not run > 1:
            raise BadInput("EDetector: need 0 < limit < 1 and run > 1")
        self.limit, self.run = limit, run
        self.failures = self.n = 0
        rates = [_times(limit, odds) for odds in EProcess.ODDS]
        self._bad = [math.log(q / limit) for q in rates]
        self._good = [math.log((1 - q) / (1 - limit)) for q in rates]
        self._logs = [0.0] * len(rates)
        self.rejected = False

    @property
    def e(self) -> float:
        """The value now; it may fall again, what was rejected stays so."""
        return _exp(_log_sum_exp(self._logs) - math.log(len(self._logs)))

    def add(self, failed: bool) -> float:
        """One more trial; the value."""
        self.failures += failed
        self.n += 1
        step = self._bad if failed else self._good
        self._logs = [max(log, 0.0) + more for log, more in zip(self._logs, step, strict=True)]
        self.rejected = self.rejected or self.e >= self.run
        return self.e


class EProcess2:
    """Evidence that a canary fails more often than the stable arm plus `margin`.

    Each batch is one block of n_c and n_s trials. For an alternative (q_c, q_s) fixed before the
    block, with (p_c, p_s) its closest point of the null in KL divergence weighted by n_c and n_s,

        E = Π q_c(y) / p_c(y) · Π q_s(y) / p_s(y)

    has mean ≤ 1 under every p_c ≤ p_s + margin (Turner, Ly & Grünwald: the null is convex). Each of
    four alternatives guesses q_s from earlier batches and has the canary's odds so many times those
    of the null: three times has most of the weight, for 2 % → 6 % is what a release must not miss
    (median 200 canary requests at alpha 0.05 / 8; `bench/release.py --only canary`).
    """

    _ODDS: ClassVar = {3.0: 0.65, 1.8: 0.15, 6.0: 0.12, 25.0: 0.08}
    _PRIOR = (1, 40)  # failures of trials, before anything was seen of the stable arm

    def __init__(self, margin: float = 0.0, alpha: float = 0.05) -> None:
        if not 0 <= margin < 1 or not 0 < alpha < 1:
            raise BadInput("EProcess2: need 0 <= margin < 1 and 0 < alpha < 1")
        self.margin, self.alpha = margin, alpha
        self._logs = [math.log(weight) for weight in self._ODDS.values()]
        self._stable_failures = self._stable_n = 0

    @property
    def e(self) -> float:
        """The e-value so far; 1 means no evidence."""
        return _exp(_log_sum_exp(self._logs))

    @property
    def rejected(self) -> bool:
        """The canary is worse by more than the margin, at error alpha over all looks so far."""
        return self.e >= 1 / self.alpha

    def update(
        self, canary_failures: int, canary_n: int, stable_failures: int, stable_n: int
    ) -> float:
        """Add a batch of both arms; the e-value over all. One arm alone tells nothing."""
        _counts(canary_failures, canary_n)
        _counts(stable_failures, stable_n)
        if canary_n and stable_n:
            failures, n = self._PRIOR
            guess = min((self._stable_failures + failures) / (self._stable_n + n), 0.99)
            null = min(guess + self.margin, 0.99)
            for place, odds in enumerate(self._ODDS):
                self._logs[place] += self._log_ratio(
                    _times(null, odds),
                    guess,
                    (canary_failures, canary_n),
                    (stable_failures, stable_n),
                )
        self._stable_failures += stable_failures
        self._stable_n += stable_n
        return self.e

    def _log_ratio(
        self, qc: float, qs: float, canary: tuple[int, int], stable: tuple[int, int]
    ) -> float:
        if qc <= qs + self.margin:  # the alternative lies in the null: no bet
            return 0.0
        ps = closest_null(qc, qs, canary[1], stable[1], self.margin)
        out = 0.0
        for q, p, (failures, n) in ((qc, ps + self.margin, canary), (qs, ps, stable)):
            out += failures * math.log(q / p) + (n - failures) * math.log((1 - q) / (1 - p))
        return out


def closest_null(qc: float, qs: float, nc: int, ns: int, margin: float) -> float:
    """p_s of the point (p_s + margin, p_s) that is closest to (qc, qs) in weighted KL divergence.

    The derivative of nc·KL(qc ‖ p + margin) + ns·KL(qs ‖ p) grows with p: bisection finds its zero,
    which lies between qs and qc - margin. Without a margin it is their weighted mean.
    """
    if margin == 0:
        return (nc * qc + ns * qs) / (nc + ns)
    low, high = qs, qc - margin
    for _ in range(80):
        p = (low + high) / 2
        pc = p + margin
        slope = nc * (pc - qc) / (pc * (1 - pc)) + ns * (p - qs) / (p * (1 - p))
        low, high = (p, high) if slope < 0 else (low, p)
    return (low + high) / 2


def _log_mixture(k: int, n: int, p: float) -> float:
    """Log of the beta(½, ½) mixture of likelihood ratios against p, at k of n."""
    mixed = math.lgamma(k + 0.5) + math.lgamma(n - k + 0.5) - math.lgamma(n + 1) - math.log(math.pi)
    against = (k * math.log(p) if k else 0.0) + ((n - k) * math.log1p(-p) if n > k else 0.0)
    return mixed - against


def confidence_sequence(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Bounds that hold a share at every n at once, with probability `level` (Robbins 1970).

    The points that a beta(½, ½) mixture of likelihood ratios has not refuted: an interval around
    k / n, whose ends bisection finds."""
    _counts(k, n)
    if n == 0:
        return 0.0, 1.0
    most, point = -math.log(1 - level), k / n

    def end(inside: float, outside: float) -> float:
        for _ in range(60):
            middle = (inside + outside) / 2
            refuted = _log_mixture(k, n, middle) >= most
            inside, outside = (inside, middle) if refuted else (middle, outside)
        return inside

    return (0.0 if k == 0 else end(point, 0.0)), (1.0 if k == n else end(point, 1.0))


def share_e(k: int, n: int, share: float) -> float:
    """Evidence that k of n do not come at this share, however often one looks: 1 is none."""
    _counts(k, n)
    return _exp(_log_mixture(k, n, share)) if n else 1.0
