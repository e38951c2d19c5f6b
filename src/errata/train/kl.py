"""The adaptive KL controller of RLHF, and the estimators it is fed with. Pure, no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class AdaptiveKL:
    """Ziegler et al. 2019 (arXiv 1909.08593, §2.2): after n episodes with mean KL,

        e = clip(KL / target − 1, −0.2, 0.2);  coefficient ← coefficient · (1 + e · n / horizon)

    Two additions, measured on the embedded model. The coefficient is not lowered before the KL has
    once come to its target: a policy that has not begun to move says nothing of the pull it needs,
    and without this the pull was 1/50 of its start when it did, and the KL broke its ceiling.
    And a proportional part, `pull`, answers at once, where the coefficient needs a horizon: without
    it the KL rose to four times its target and fell to an eighth.

    KL in nats per episode; `horizon` in episodes. Raises ValueError unless target and horizon are
    positive.
    """

    coefficient: float
    target: float
    horizon: float
    reached: bool = False

    def __post_init__(self) -> None:
        if self.target <= 0 or self.horizon <= 0:
            raise ValueError("target and horizon must be above 0")

    def update(self, kl: float, episodes: int) -> float:
        """Move the coefficient towards the target and return it."""
        self.reached = self.reached or kl >= self.target
        error = min(0.2, max(-0.2 if self.reached else 0.0, kl / self.target - 1))
        self.coefficient *= 1 + error * episodes / self.horizon
        return self.coefficient

    def pull(self, kl: float) -> float:
        """The coefficient for a rollout with this KL: up to four times, down to half."""
        return self.coefficient * min(4.0, max(0.5 if self.reached else 1.0, kl / self.target))
