"""Rows laid out for a forward pass without waste: no padding, and a shared prompt computed once.

A `Tree` is a prompt and the answers that continue it: one answer for SFT, two for a preference
pair. Trees are laid end to end in one flat row, `[prompt | chosen | rejected | prompt | …]`; every
answer's positions go on from its prompt's last, and attention (attention.py) lets a token see its
own prompt and its own answer only. The maths is that of separate padded rows; the work is not: a
pair of a 200-token prompt and 50-token answers costs 300 tokens instead of 500.

Prefix sharing: Krishna et al. 2024 (arXiv 2410.20305).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

IGNORE = -100
T = TypeVar("T")


class Encoded(NamedTuple):
    """Token ids, and labels: the id where the answer is learnt, IGNORE elsewhere."""

    ids: list[int]
    labels: list[int]


class Tree(NamedTuple):
    """A prefix, and the rows that go on from it; nothing in the prefix is learnt."""

    prefix: list[int]
    branches: tuple[Encoded, ...]

    @property
    def tokens(self) -> int:
        """Tokens to compute."""
        return len(self.prefix) + sum(len(branch.ids) for branch in self.branches)

    @property
    def learnt(self) -> int:
        """Labelled tokens."""
        return sum(label != IGNORE for branch in self.branches for label in branch.labels)


def grow(*rows: Encoded) -> Tree:
    """The rows as one tree: their common unlearnt beginning is the prefix."""
    shortest = min(len(row.ids) for row in rows) - 1  # every branch keeps at least one token
    learnt = min(next(i for i, x in enumerate([*row.labels, 0]) if x != IGNORE) for row in rows)
    first, room = rows[0].ids, min(shortest, learnt)
    shared = 0
    while shared < room and all(row.ids[shared] == first[shared] for row in rows):
        shared += 1
    return Tree(
        first[:shared], tuple(Encoded(row.ids[shared:], row.labels[shared:]) for row in rows)
    )


class Batch(NamedTuple):
    """What a forward pass takes. R × T is 1 × all tokens when flat, rows × longest when padded.

    `at`, `targets`, `owner` are (N,): the flat index of the hidden state that predicts each learnt
    token, the token, and the sequence (branch) it belongs to. `last` is (S,): each sequence's last
    token. `spans` are the trees' sizes, `((prefix, branch, …), …)`, or None when padded.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor | None
    at: Tensor
    targets: Tensor
    owner: Tensor
    last: Tensor
    spans: tuple[tuple[int, ...], ...] | None

    @property
    def sequences(self) -> int:
        """S, the branches of all trees."""
        return len(self.last)

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in self._asdict().items()
            if isinstance(value, Tensor)
        }
        return self._replace(**moved)


class _Learnt:
    """Gathers which hidden state predicts which token."""

    def __init__(self) -> None:
        self.at: list[int] = []
        self.targets: list[int] = []
        self.owner: list[int] = []
        self.last: list[int] = []

    def branch(self, labels: Sequence[int], before: int, start: int) -> None:
        """A branch that begins at index `start`; `before` is the index of the token before it."""
        for offset, label in enumerate(labels):
            if label != IGNORE:
                self.at.append(start + offset - 1 if offset else before)
                self.targets.append(label)
                self.owner.append(len(self.last))
        self.last.append(start + len(labels) - 1)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return (torch.tensor(self.at, dtype=torch.long),
                torch.tensor(self.targets, dtype=torch.long),
                torch.tensor(self.owner, dtype=torch.long),
                torch.tensor(self.last, dtype=torch.long))  # fmt: skip


def lay_flat(trees: Sequence[Tree]) -> Batch:
    """All trees in one row, nothing padded."""
    ids: list[int] = []
    positions: list[int] = []
    learnt = _Learnt()
    for tree in trees:
        root = len(ids)
        ids += tree.prefix
        positions += range(len(tree.prefix))
        for branch in tree.branches:
            learnt.branch(branch.labels, root + len(tree.prefix) - 1, len(ids))
            ids += branch.ids
            positions += range(len(tree.prefix), len(tree.prefix) + len(branch.ids))
    spans = tuple((len(t.prefix), *(len(b.ids) for b in t.branches)) for t in trees)
    return Batch(torch.tensor([ids]), torch.tensor([positions]), None, *learnt.tensors(), spans)


def lay_padded(trees: Sequence[Tree], pad_id: int) -> Batch:
    """Every branch as a row of its own with its prefix, padded on the right: exact on any model."""
    rows = [(t.prefix, branch) for t in trees for branch in t.branches]
    width = max(len(prefix) + len(branch.ids) for prefix, branch in rows)
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    learnt = _Learnt()
    for index, (prefix, branch) in enumerate(rows):
        start = index * width + len(prefix)
        ids[index, : len(prefix) + len(branch.ids)] = torch.tensor(prefix + branch.ids)
        mask[index, : len(prefix) + len(branch.ids)] = 1
        learnt.branch(branch.labels, start - 1, start)
    positions = torch.arange(width).expand(len(rows), -1)
    return Batch(ids, positions, mask, *learnt.tensors(), None)


def cut(
    items: Iterable[T], tokens: Callable[[T], int], most_rows: int, most_tokens: int
) -> list[list[T]]:
    """Micro batches of at most `most_rows` items and `most_tokens` tokens (0: no limit), longest
    first so that the first one shows whether memory suffices. An item over the limit is alone."""
    parts: list[list[T]] = []
    room = 0
    for item in sorted(items, key=tokens, reverse=True):
        size = tokens(item)
        full = not parts or len(parts[-1]) == most_rows or (most_tokens and size > room)
        if full:
            parts.append([])
            room = most_tokens
        parts[-1].append(item)
        room -= size
    return parts
