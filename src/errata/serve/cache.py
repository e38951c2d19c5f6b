"""A layer's KV cache in one place: a row that joins or leaves moves no other.

transformers' own copies all rows whenever anything changes, which at 16 rows of a small model was
half of the time. Here rows lie in a room with columns to spare on the right, and end at the same
column; what is left of a row is zero or old, and the attention mask hides it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

SLACK = 64  # columns to spare, when a new room is made


class RoomyLayer(DynamicLayer):
    """`room` is keys and values, (most rows, heads, columns, size); rows [0, count) and columns
    [start, end) are in use."""

    def __init__(self, most: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = most
        self.room: tuple[torch.Tensor, ...] = ()
        self.count = self.start = self.end = 0

    def get_seq_length(self) -> int:
        """Columns in use."""
        return self.end - self.start

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any,
               **__: Any) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Write new columns; all that are in use then."""
        old, self.end = self.end, self.end + key_states.shape[-2]
        if self.end > self.room[0].shape[-2]:
            self.end = old
            self._move(self.get_seq_length(), key_states.shape[-2] + SLACK, self.count)
            old, self.end = self.end, self.end + key_states.shape[-2]
        for room, states in zip(self.room, (key_states, value_states), strict=True):
            room[: self.count, :, old : self.end] = states
        keys, values = (room[: self.count, :, self.start : self.end] for room in self.room)
        return keys, values

    def join(self, other: DynamicLayer) -> None:
        """Another layer's rows after these, all ending at the same column."""
        assert other.keys is not None
        assert other.values is not None
        new = (other.keys, other.values)
        rows, width = new[0].shape[0], new[0].shape[-2]
        if not self.room:
            self.room = tuple(torch.zeros_like(one[:1, :, :0]) for one in new)
        count = self.count + rows
        if width > self.end or count > self.room[0].shape[0]:
            self._move(max(width, self.get_seq_length()), SLACK, count)
        first = self.end - width
        for room, states in zip(self.room, new, strict=True):
            room[: self.count, :, first : self.start] = 0  # what a broken row left hides from none
            room[self.count : count, :, self.start : first] = 0
            room[self.count : count, :, first : self.end] = states
        self.start, self.count = min(self.start, first), count

    def leave(self, moves: Iterable[tuple[int, int]], count: int, empty: int) -> None:
        """Rows move (from, to) into places of those that leave; the first `empty` columns go."""
        for source, target in moves:
            for room in self.room:
                room[target, :, self.start : self.end] = room[source, :, self.start : self.end]
        self.count, self.start = count, self.start + empty

    def _move(self, width: int, spare: int, count: int) -> None:
        """Into a room where the columns in use end at `width`, with so many to spare after it, and
        half as many rows to spare as are wanted."""
        mine, rows = slice(self.start, self.end), min(self.most, count + count // 2)
        rooms = []
        for old in self.room:
            shape = (rows, old.shape[1], width + spare, old.shape[-1])
            rooms.append(old.new_zeros(shape))
            used = old[: self.count, :, mine]
            rooms[-1][: self.count, :, width - used.shape[-2] : width] = used
        self.room = tuple(rooms)
        self.start, self.end = width - (self.end - self.start), width
