"""What is kept of a fine-tune, by numbers derived by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from errata.export.retention import Distance, Kept, distance, kept


def table(*rows: list[float]) -> torch.Tensor:
    """Probabilities → log-probabilities."""
    return torch.tensor(rows).log()


B, F = table([0.5, 0.25, 0.25], [0.8, 0.1, 0.1]), table([0.25, 0.5, 0.25], [0.1, 0.8, 0.1])


def test_the_fine_tune_itself_keeps_all_of_it_and_the_base_nothing():
    assert kept(B, F, F) == pytest.approx(Kept(1.0, 0.0), abs=1e-7)
    assert kept(B, F, B) == pytest.approx(Kept(0.0, 0.0), abs=1e-7)


def test_where_training_changed_nothing_there_is_nothing_to_keep():
    assert kept(B, B, F) is None
    assert distance(torch.zeros(0, 3), torch.zeros(0, 3)) is None


def test_error_at_a_right_angle_is_noise_and_takes_nothing_away():
    # d = (3, 4, 0), the error (8, −6, 0)/10 · 1: ⟨d, error⟩ = 0, ‖error‖ = 1, ‖d‖ = 5.
    b, f = torch.zeros(1, 3), torch.tensor([[3.0, 4.0, 0.0]])
    e = f + torch.tensor([[0.8, -0.6, 0.0]])

    assert kept(b, f, e) == pytest.approx(Kept(1.0, 0.2))


@given(st.floats(-2, 2), st.floats(-3, 3))
def test_a_share_of_the_effect_is_found_whatever_noise_is_beside_it(share: float, noise: float):
    b, d = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[2.0, 1.0, 2.0]])
    aside = torch.tensor([[1.0, -2.0, 0.0]])  # at a right angle to d; ‖d‖ = 3, ‖aside‖ = √5
    found = kept(b, b + d, b + share * d + noise * aside)

    assert found is not None
    assert found == pytest.approx(Kept(share, abs(noise) * math.sqrt(5) / 3), abs=1e-5)


def test_kl_is_in_nats_of_what_the_first_would_say():
    # (1/2, 1/4, 1/4) against (1/4, 1/2, 1/4): ½ ln 2 − ¼ ln 2 = ¼ ln 2.
    # (1/2, 1/4, 1/4) against thirds: ½ ln 3/2 + ½ ln 3/4; the other way round it would be
    # ⅓ ln 2/3 + ⅔ ln 4/3, which is more.
    f = table([0.5, 0.25, 0.25], [0.5, 0.25, 0.25])
    e = table([0.25, 0.5, 0.25], [1 / 3 - 1e-6, 1 / 3 + 1e-6, 1 / 3])
    first, second = 0.25 * math.log(2), 0.5 * math.log(1.5) + 0.5 * math.log(0.75)

    assert distance(f, e) == pytest.approx(Distance((first + second) / 2, first, 0.0), abs=1e-5)
    assert distance(F, F) == pytest.approx(Distance(0.0, 0.0, 1.0), abs=1e-6)
