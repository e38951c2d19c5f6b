"""Rows laid out for a forward pass without waste: no padding, and a shared prompt computed once.

A `Tree` is a prompt and the answers that continue it: one answer for SFT, two for a preference
pair. Trees are laid end to end in one flat row, `[prompt | chosen | rejected | prompt | …]`; every
answer's positions go on from its prompt's last, and attention (attention.py) lets a token see its
own prompt and its own answer only. The maths is that of separate padded rows; the work is not: a
pair of a 200-token prompt and 50-token answers costs 300 tokens instead of 500.

Prefix sharing: Krishna et al. 2024 (arXiv 2410.20305).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from accelerate.utils.memory import clear_device_cache
from accelerate.utils.memory import should_reduce_batch_size as _ran_out
from torch import Tensor

from errata.errors import ErrataError
from errata.train.processes import sharded

IGNORE = -100
T = TypeVar("T")
R = TypeVar("R")


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


@dataclass
class Limits:
    """What is computed at once at most: items, and tokens (0: no limit). `in_parts` halves it."""

    rows: int
    tokens: int = 0
    halved: int = 0

    def halve(self, rows: int, tokens: int) -> None:
        """Half of a part of `rows` items and `tokens` tokens, by whichever limit made it."""
        if rows == self.rows or not self.tokens:
            self.rows = rows // 2
        else:
            self.tokens = max(1, tokens // 2)
        self.halved += 1


def in_parts(
    items: Iterable[T],
    tokens: Callable[[T], int],
    limits: Limits,
    work: Callable[[list[T]], R],
    undo: Callable[[], None] | None = None,
) -> list[R]:
    """`work(part)` of every part that `cut` makes of the items, in order, longest first.

    A part that runs out of memory is cut again with half the limits, which stay halved; the parts
    before it keep what they found. With `undo` (of gradients, which are added up and may be half
    added) it is called instead, and all parts are done again. ErrataError when one item alone is
    too much, or when the model is in shards: a forward is then everyone's, and cannot be repeated.
    """
    items = list(items)
    waiting, found = cut(items, tokens, limits.rows, limits.tokens), list[R]()
    while waiting:
        part = waiting.pop(0)
        try:
            found.append(work(part))
            continue
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and not _ran_out(error):
                raise
        # Outside of `except`: the error's frames hold the tensors that are to be freed.
        if len(part) == 1 or sharded():
            raise ErrataError(
                f"out of memory with {len(part)} row(s) at once; lower "
                f"{'micro_tokens' if len(part) > 1 else 'seq_len, or use method=qlora'}"
            )
        limits.halve(len(part), sum(map(tokens, part)))
        left = [*part, *(item for later in waiting for item in later)]
        if undo is not None:
            undo()
            found, left = [], items
        gc.collect()
        clear_device_cache()
        waiting = cut(left, tokens, limits.rows, limits.tokens)
    return found
