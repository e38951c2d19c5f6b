"""One metric of a rollout in both arms, and the evidence that the canary does it more often."""

from __future__ import annotations

from typing import NamedTuple

from errata.sequential import EProcess2

BLOCK = 5  # answers of each arm that make a block of the e-process: stable's rate is learnt between


class Arm(NamedTuple):
    """Failures of n requests."""

    failures: int = 0
    n: int = 0

    @property
    def rate(self) -> float | None:
        return self.failures / self.n if self.n else None

    def __str__(self) -> str:
        return f"{self.failures}/{self.n}"


class Since:
    """Both arms since some stage began, and the evidence of that time."""

    def __init__(self, alpha: float) -> None:
        self.process = EProcess2(0.0, alpha)
        self.arms = {"canary": Arm(), "stable": Arm()}

    @property
    def excess(self) -> float:
        """How much oftener the canary does it, as seen."""
        return (self.arms["canary"].rate or 0.0) - (self.arms["stable"].rate or 0.0)


class Duel:
    """One metric in both arms, block by block.

    Its e-value is a weighted mean of e-processes: one over the whole rollout, and one from the
    beginning of each later stage, so that a canary that breaks late is not forgiven for what it was
    before. A mean of e-processes is one, and where they begin does not depend on what was seen."""

    WHOLE, LATER = 0.85, 0.05  # their weights, of three later stages at most

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self._since = [Since(alpha)]
        self._block = {"canary": Arm(), "stable": Arm()}

    @property
    def canary(self) -> Arm:
        """Of the whole rollout."""
        return self._since[0].arms["canary"]

    @property
    def stable(self) -> Arm:
        """Of the whole rollout."""
        return self._since[0].arms["stable"]

    @property
    def e(self) -> float:
        """The evidence so far; 1 is none."""
        first, *later = (since.process.e for since in self._since)
        waiting = 1 - self.WHOLE - self.LATER * len(later)  # those that have not begun are 1
        return self.WHOLE * first + self.LATER * sum(later) + waiting

    def __str__(self) -> str:
        return f"{self.canary} against {self.stable}, e = {self.e:.3g}"

    @property
    def rejected(self) -> bool:
        """The canary does it more often, at error alpha over all looks."""
        return self.e >= 1 / self.alpha

    def stage(self) -> None:
        """Another stage begins."""
        if self.LATER * len(self._since) <= 1 - self.WHOLE + 1e-9:
            self._since.append(Since(self.alpha))

    def add(self, arm: str, bad: bool) -> None:
        """One answer. A block ends by how many there are in it, never by what they were."""
        self._block[arm] = plus(self._block[arm], bad)
        for since in self._since:
            since.arms[arm] = plus(since.arms[arm], bad)
        canary, stable = self._block.values()
        if min(canary.n, stable.n) >= BLOCK:
            for since in self._since:
                since.process.update(*canary, *stable)
            self._block = {"canary": Arm(), "stable": Arm()}

    @property
    def excess(self) -> float:
        """How much oftener the canary does it, as seen in the whole or since a later stage."""
        return max(since.excess for since in self._since)


def plus(arm: Arm, bad: bool) -> Arm:
    """One answer more."""
    return Arm(arm.failures + bad, arm.n + 1)
