"""Rows in one room: whatever joins, grows and leaves, each row's columns are its own."""

from __future__ import annotations

from random import Random

import pytest
import torch
from transformers.cache_utils import DynamicLayer

from errata.serve.cache import SLACK, RoomyLayer


def newcomers(rng: Random, lengths: list[int]) -> tuple[DynamicLayer, list[torch.Tensor]]:
    """A layer as a prefill leaves it, padded on the left with what is no number; each row's own."""
    width = max(lengths)
    states = torch.full((len(lengths), 2, width, 3), float("nan"))
    rows = []
    for place, length in enumerate(lengths):
        rows.append(torch.randn(2, length, 3))
        states[place, :, width - length :] = rows[-1]
    layer = DynamicLayer()
    layer.update(states, states.clone())
    return layer, rows


@pytest.mark.parametrize("seed", range(12))
def test_each_row_keeps_its_own_columns(seed: int):
    torch.manual_seed(seed)
    rng, layer, rows = Random(seed), RoomyLayer(6), []
    for _ in range(150):
        free = 6 - len(rows)
        if (free and rng.random() < 0.4) or not rows:
            lengths = [rng.randrange(1, 90) for _ in range(rng.randrange(1, free + 1))]
            new, own = newcomers(rng, lengths)
            layer.join(new)
            rows += own
        states = torch.randn(len(rows), 2, 1, 3)
        keys, values = layer.update(states, states.clone())
        rows = [torch.cat([row, one], 1) for row, one in zip(rows, states, strict=True)]
        for place, row in enumerate(rows):
            assert torch.equal(keys[place, :, -row.shape[1] :], row)
            assert torch.equal(values[place, :, -row.shape[1] :], row)
        if rng.random() < 0.3:
            last, gone = len(rows) - 1, rng.randrange(len(rows))
            moves = [] if gone == last else [(last, gone)]
            for source, target in moves:
                rows[target] = rows[source]
            rows.pop()
            if not rows:
                layer = RoomyLayer(6)
                continue
            width = max(row.shape[1] for row in rows)
            layer.leave(moves, len(rows), layer.get_seq_length() - width)
            assert layer.get_seq_length() == width
    assert layer.room[0].shape[0] <= 6


def test_a_room_moves_once_in_many_steps_and_not_at_each():
    layer = RoomyLayer(4)
    layer.join(newcomers(Random(0), [5, 7])[0])
    rooms = set()
    for _ in range(3 * SLACK):
        layer.update(torch.zeros(2, 2, 1, 3), torch.zeros(2, 2, 1, 3))
        rooms.add(layer.room[0].data_ptr())

    assert len(rooms) <= 4


def filled(value: float, width: int) -> DynamicLayer:
    layer = DynamicLayer()
    layer.update(*[torch.full((1, 2, width, 3), value)] * 2)
    return layer


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("width", [3, 15])
def test_what_a_broken_row_left_hides_from_none(place: int, width: int):
    """A row of no numbers leaves; who comes later, into its place or beside it, reads none of it:
    attention multiplies even what the mask hides."""
    layer = RoomyLayer(3)
    both = [filled(float("nan"), 30), filled(1.0, 4)]
    for one in both if place == 0 else both[::-1]:
        layer.join(one)
    layer.update(*[torch.zeros(2, 2, 1, 3)] * 2)
    layer.leave([(1, 0)] if place == 0 else [], 1, 26)
    layer.join(filled(2.0, width))
    layer.join(filled(3.0, 20))
    keys, values = layer.update(*[torch.zeros(3, 2, 1, 3)] * 2)

    assert keys.shape[-2] == 21
    assert bool(torch.isfinite(keys).all())
    assert bool(torch.isfinite(values).all())
