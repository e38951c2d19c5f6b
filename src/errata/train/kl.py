"""The adaptive KL controller of RLHF, and the estimators it is fed with. Pure, no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class AdaptiveKL:
    """Ziegler et al. 2019 (arXiv 1909.08593, §2.2): after n episodes with mean KL,

        e = clip(KL / target − 1, −0.2, 0.2);  coefficient ← coefficient · (1 + e · n / horizon)

    KL in nats per episode; `horizon` in episodes. Raises ValueError unless target and horizon are
    positive.
    """

    coefficient: float
    target: float
    horizon: float

    def __post_init__(self) -> None:
        if self.target <= 0 or self.horizon <= 0:
            raise ValueError("target and horizon must be above 0")

    def update(self, kl: float, episodes: int) -> float:
        """Move the coefficient towards the target and return it."""
        error = min(0.2, max(-0.2, kl / self.target - 1))
        self.coefficient *= 1 + error * episodes / self.horizon
        return self.coefficient
