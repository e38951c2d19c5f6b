"""The batch that is running: rows join it and leave it between two steps, with their KV cache.

Rows end at the same column, so a row that joins is padded on the left, and columns that nobody left
in the batch has are cut off. Each row draws by its own generator: what it says does not depend on
who else is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

from errata.errors import BadInput
from errata.evaluate.generate import cache_name
from errata.serve.cache import RoomyLayer
from errata.serve.lora import Adapters


@dataclass
class Draw:
    """How the next token is drawn; temperature 0 is greedy, and needs no generator."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    rng: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        # On the CPU whatever the model is on, so that a seed means the same everywhere.
        self.rng = torch.Generator().manual_seed(self.seed)


def draw(logits: torch.Tensor, how: Sequence[Draw]) -> list[int]:
    """(B, V) logits → B ids, each as its row draws. See `evaluate.generate.next_tokens`."""
    chosen = logits.argmax(-1)
    rows = [row for row, one in enumerate(how) if one.temperature > 0]
    if rows:
        wanted = [how[row] for row in rows]
        heat = torch.tensor([one.temperature for one in wanted], device=logits.device)
        shares = torch.softmax(logits[rows].float() / heat[:, None], -1)
        if any(one.top_p < 1 for one in wanted):
            shares = _nucleus(shares, torch.tensor([one.top_p for one in wanted]).to(shares))
        edges = shares.cumsum(-1, dtype=torch.float64)
        drawn = [torch.rand(1, 1, dtype=torch.float64, generator=one.rng) for one in wanted]
        at = torch.cat(drawn).to(edges.device) * edges[:, -1:]
        found = torch.searchsorted(edges, at, right=True)[:, 0]
        chosen[rows] = found.clamp(max=logits.shape[-1] - 1)
    return list(chosen.tolist())


def _nucleus(shares: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """The fewest tokens that together have `top_p` of the probability; the others never come."""
    ordered, places = shares.sort(stable=True, dim=-1, descending=True)
    outside = ordered.cumsum(-1) - ordered >= top_p[:, None]
    return shares.masked_fill(torch.zeros_like(outside).scatter(-1, places, outside), 0)


class Batch:
    """Model, adapters, and the cache of the rows that run now; one thread's."""

    def __init__(self, model: Any, pad_id: int, most: int) -> None:
        self.model, self.pad_id, self.most = model.eval(), pad_id, most
        self.adapters = Adapters(model)
        self.device = next(model.parameters()).device
        self._named = cache_name(model)
        layers = DynamicCache(config=model.config).layers
        if any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
            raise BadInput(
                f"model {model.config.model_type}: keeps a state that rows cannot share a batch "
                "with; serve it with vLLM behind `errata gateway`"
            )
        self.clear()

    def clear(self) -> None:
        """Nobody runs."""
        self.names: list[str] = []
        self.last: list[int] = []
        self.mask = torch.zeros((0, 0), dtype=torch.long, device=self.device)
        self.cache: Any = None

    @torch.inference_mode()
    def join(self, prompts: Sequence[Sequence[int]], names: Sequence[str],
             how: Sequence[Draw]) -> list[int]:  # fmt: skip
        """Read the prompts of new rows, put these after the others; the first token of each."""
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self.pad_id, device=self.device)
        mask = torch.zeros((len(prompts), width), dtype=torch.long, device=self.device)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(list(prompt), device=self.device)
            mask[row, width - len(prompt) :] = 1
        # Full layers, without a window's own cut: rows of different ages have different windows.
        new = Cache(layer_class_to_replicate=DynamicLayer)
        tokens = draw(self._ahead(ids, mask, new, names), how)
        if self.cache is None:
            self.cache = Cache(layers=[RoomyLayer(self.most) for _ in new.layers])
        for mine, other in zip(self.cache.layers, new.layers, strict=True):
            mine.join(other)
        width = max(width, self.mask.shape[-1])
        self.mask = torch.cat([_widened(self.mask, width), _widened(mask, width)])
        self.names += names
        self.last += tokens
        return tokens

    @torch.inference_mode()
    def step(self, how: Sequence[Draw]) -> list[int]:
        """One token more of every row."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], -1)
        ids = torch.tensor(self.last, device=self.device)[:, None]
        self.last = draw(self._ahead(ids, self.mask, self.cache, self.names), how)
        return self.last

    @torch.inference_mode()
    def keep(self, stays: Sequence[bool]) -> list[int]:
        """Rows that do not stay leave, the last ones take their places; the new order of rows."""
        count = sum(stays)
        order = list(range(count))
        late = [row for row in range(count, len(stays)) if stays[row]]
        moves = [(late.pop(), row) for row in range(count) if not stays[row]]
        for source, target in moves:
            order[target] = source
        if not order:
            self.clear()
            return order
        mask = self.mask[order]
        empty = mask.shape[-1] - int(mask.sum(-1).max())
        self.mask = mask[:, empty:]
        for layer in self.cache.layers:
            layer.leave(moves, count, empty)
        self.names = [self.names[row] for row in order]
        self.last = [self.last[row] for row in order]
        return order

    def _ahead(
        self, ids: torch.Tensor, mask: torch.Tensor, cache: Any, names: Sequence[str]
    ) -> torch.Tensor:
        """Logits of the token after these ids."""
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[-1] :]
        with self.adapters.rows(names):
            out = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True,
                logits_to_keep=1, **{self._named: cache},
            )  # fmt: skip
        logits: torch.Tensor = out.logits[:, -1]
        return logits


def _widened(mask: torch.Tensor, width: int) -> torch.Tensor:
    """Zeros on the left."""
    return torch.nn.functional.pad(mask, [width - mask.shape[-1], 0])
