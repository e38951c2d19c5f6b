"""Preference and reward losses: pure functions of log-probabilities, one line each in `LOSSES`.

Every preference loss takes the margin h = β·[(log π(y_c|x) − log π_ref(y_c|x)) − (log π(y_r|x) −
log π_ref(y_r|x))], shape (B,), and returns losses of shape (B,). At step 0 the policy is the
reference, h = 0, and the sigmoid loss is ln 2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def margin(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float
) -> Tensor:
    """(B,) four sequence log-probabilities → (B,) β-scaled difference of implicit rewards."""
    return beta * ((chosen - ref_chosen) - (rejected - ref_rejected))


def sigmoid(h: Tensor, beta: float, smoothing: float) -> Tensor:  # noqa: ARG001
    """DPO (Rafailov et al. 2023, arXiv 2305.18290, eq. 7): −log σ(h)."""
    return -logsigmoid(h)


def robust(h: Tensor, beta: float, smoothing: float) -> Tensor:  # noqa: ARG001
    """Unbiased under a share ε of flipped labels (Chowdhury et al. 2024, arXiv 2403.00409, eq. 12):
    [−(1−ε)·log σ(h) + ε·log σ(−h)] / (1−2ε)."""
    return (-(1 - smoothing) * logsigmoid(h) + smoothing * logsigmoid(-h)) / (1 - 2 * smoothing)


def ipo(h: Tensor, beta: float, smoothing: float) -> Tensor:  # noqa: ARG001
    """IPO (Azar et al. 2023, arXiv 2310.12036, eq. 17): (h/β − 1/(2β))²."""
    return (h / beta - 1 / (2 * beta)) ** 2


def hinge(h: Tensor, beta: float, smoothing: float) -> Tensor:  # noqa: ARG001
    """SLiC (Zhao et al. 2023, arXiv 2305.10425, eq. 1 with unit margin): max(0, 1 − h)."""
    return torch.relu(1 - h)


def bradley_terry(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Reward model (Ouyang et al. 2022, arXiv 2203.02155, eq. 1): (B,) → −log σ(r_c − r_r)."""
    return -logsigmoid(chosen - rejected)


def clipped_policy(ratio: Tensor, advantage: Tensor, mask: Tensor, clip: float) -> Tensor:
    """PPO (Schulman et al. 2017, arXiv 1707.06347, eq. 7): mean of −min(r·A, clip(r)·A)."""
    worse = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip))
    return (worse * mask).sum() / mask.sum()


def clipped_value(value: Tensor, old: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Tensor:
    """Value loss with the same clip (Ziegler et al. 2019 code; Huang et al. 2024, detail 14):
    ½·mean of max((V−R)², (V_clipped−R)²) where mask."""
    near = old + (value - old).clamp(-clip, clip)
    loss = torch.max((value - returns) ** 2, (near - returns) ** 2)
    return 0.5 * (loss * mask).sum() / mask.sum()


LOSSES: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "sigmoid": sigmoid,
    "ipo": ipo,
    "hinge": hinge,
    "robust": robust,
}
