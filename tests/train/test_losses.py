"""Every loss against numbers worked out by hand, and the KL controller."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from errata.train.kl import AdaptiveKL
from errata.train.losses import LOSSES, bradley_terry, clipped_policy, clipped_value, margin

LN3 = math.log(3)  # σ(ln 3) = 3/4, σ(−ln 3) = 1/4

# name, h, β, ε → loss
HAND = [
    ("sigmoid", 0.0, 0.1, 0.0, math.log(2)),
    ("sigmoid", LN3, 0.1, 0.0, math.log(4 / 3)),
    ("sigmoid", -LN3, 0.1, 0.0, math.log(4)),
    # ε = 0.1: [−0.9·ln(3/4) + 0.1·ln(1/4)] / 0.8
    ("robust", LN3, 0.1, 0.1, (0.9 * math.log(4 / 3) - 0.1 * math.log(4)) / 0.8),
    ("robust", 0.0, 0.1, 0.3, math.log(2)),  # (0.7 − 0.3)·ln 2 / 0.4
    ("ipo", 0.0, 0.1, 0.0, 25.0),  # (1/(2·0.1))² = 5²
    ("ipo", 0.3, 0.1, 0.0, 4.0),  # (3 − 5)²
    ("ipo", 0.5, 0.1, 0.0, 0.0),
    ("hinge", 0.0, 0.1, 0.0, 1.0),
    ("hinge", -0.5, 0.1, 0.0, 1.5),
    ("hinge", 2.0, 0.1, 0.0, 0.0),
]


@pytest.mark.parametrize(("name", "h", "beta", "smoothing", "expected"), HAND)
def test_each_preference_loss_has_its_hand_worked_value(
    name: str, h: float, beta: float, smoothing: float, expected: float
):
    found = LOSSES[name](torch.tensor([h, h]), beta, smoothing)

    assert found.tolist() == pytest.approx([expected] * 2, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_a_hand_worked_value_and_falls_from_wrong_to_right(name: str):
    assert name in {row[0] for row in HAND}
    wrong, right = (LOSSES[name](torch.tensor([h]), 0.5, 0.1).item() for h in (-0.9, 0.9))
    assert right < wrong
    h = torch.zeros(1, requires_grad=True)
    LOSSES[name](h, 0.5, 0.1).sum().backward()
    assert h.grad is not None
    assert h.grad.item() < 0  # at the start every loss pushes the chosen answer up


@given(st.floats(-20, 20))
def test_robust_without_noise_is_sigmoid(h: float):
    at = torch.tensor([h], dtype=torch.double)

    assert LOSSES["robust"](at, 0.1, 0.0).item() == pytest.approx(
        LOSSES["sigmoid"](at, 0.1, 0.0).item()
    )


def test_the_margin_counts_what_moved_since_the_reference():
    four = (torch.tensor([x]) for x in (-3.0, -8.0, -4.0, -6.0))

    assert margin(*four, 0.1).item() == pytest.approx(0.1 * ((-3 + 4) - (-8 + 6)))


def test_bradley_terry_by_hand():
    found = bradley_terry(torch.tensor([1.0 + LN3, 2.0]), torch.tensor([1.0, 2.0]))

    assert found.tolist() == pytest.approx([math.log(4 / 3), math.log(2)])


def test_the_policy_loss_is_clipped_only_where_that_makes_it_worse():
    ratio = torch.tensor([[1.5, 1.5, 0.5, 0.5, 9.0]])
    advantage = torch.tensor([[1.0, -1.0, 1.0, -1.0, 7.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]])

    # −1.2 (clipped), +1.5 (not), −0.5 (not), +0.8 (clipped); the last one does not exist
    assert clipped_policy(ratio, advantage, mask, 0.2).item() == pytest.approx(
        (-1.2 + 1.5 - 0.5 + 0.8) / 4
    )


def test_the_value_loss_takes_the_worse_of_both():
    value, old = torch.tensor([[2.0, 0.1, 5.0]]), torch.zeros(1, 3)
    returns, mask = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]])

    # first: clipped to 0.2, (0.2 − 2)² = 3.24; second: (0.1 − 1)² = 0.81
    assert clipped_value(value, old, returns, mask, 0.2).item() == pytest.approx(
        0.5 * (3.24 + 0.81) / 2
    )


def test_the_kl_controller_by_hand():
    control = AdaptiveKL(0.1, target=4.0, horizon=100)

    assert control.update(4.0, 10) == pytest.approx(0.1)  # on target: nothing moves
    assert control.update(40.0, 10) == pytest.approx(0.1 * 1.02)  # far above: clipped to +0.2
    assert control.update(0.0, 50) == pytest.approx(0.102 * 0.9)  # far below: −0.2 · 50/100
    assert control.update(4.4, 10) == pytest.approx(0.0918 * 1.01)  # 10 % above, not clipped


@pytest.mark.parametrize(("target", "horizon"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0)])
def test_a_kl_target_or_horizon_of_nothing_is_refused(target: float, horizon: float):
    with pytest.raises(ValueError, match="above 0"):
        AdaptiveKL(0.1, target, horizon)
