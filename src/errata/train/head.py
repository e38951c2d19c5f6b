"""The head: hidden states and the tokens they should predict → log-probabilities.

In parts of rows whose rows × vocabulary fit a budget. With a frozen head (LoRA) the gradient of a
token's log-prob with respect to its hidden state,

    ∂ log p(y) / ∂h = W[y] − Σ_v p_v W[v],

does not depend on what comes after, so it is formed while the probabilities are at hand: two matrix
products instead of three, and no logits are kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

# rows × vocabulary scored at once: 6 Mi logits are 24 MiB in float32. A CPU's products are at full
# speed from 192 rows of 32 k words on; a GPU wants more.
LOGITS_AT_ONCE = {"cpu": 6 << 20, "cuda": 1 << 24}


class Transform(NamedTuple):
    """What a model does to its logits: z → cap · tanh(scale · z / cap)."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        scaled = logits if self.scale == 1 else logits * self.scale
        return scaled if self.cap is None else self.cap * torch.tanh(scaled / self.cap)

    def slope(self, transformed: Tensor) -> Tensor | float:
        """dz'/dz, from the transformed logits."""
        if self.cap is None:
            return self.scale
        return self.scale * (1 - (transformed / self.cap) ** 2)


def transform_of(config: Any) -> Transform:
    """By the names that Gemma, xLSTM, Cohere, Granite and Falcon-H1 give these numbers."""
    scale = getattr(config, "logit_scale", None) or 1.0
    scale *= getattr(config, "lm_head_multiplier", None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    caps = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
    return Transform(float(scale), next((c for n in caps if (c := getattr(config, n, None))), None))


class _FrozenHead(torch.autograd.Function):
    """(N, H) hidden states and (N,) targets → (N,) log-probs; the head itself learns nothing."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        transform: Transform,
    ) -> Tensor:
        rows = rows_at_once(hidden, weight.shape[0])
        learns = ctx.needs_input_grad[0]
        logps = hidden.new_empty(len(hidden), dtype=torch.float32)
        slopes = torch.empty_like(hidden) if learns else None
        table = hidden.new_empty(min(rows, len(hidden)), weight.shape[0])
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            logits = transform(_logits(hidden[part], weight, bias, table).float())
            plain = slopes is None or transform == Transform()
            slope = None if plain else transform.slope(logits)
            # In place on a CPU, whose kernel reads a number before it writes it.
            into = logits if logits.device.type == "cpu" else None
            scores, target = torch.log_softmax(logits, 1, out=into), targets[part]
            logps[part] = scores.gather(1, target[:, None])[:, 0]
            if slopes is None:
                continue
            shares = scores.exp_()
            if slope is None:  # W[y] − Σ p W, and nothing written in between
                slopes[part] = weight[target].addmm_(shares.to(weight.dtype), weight, alpha=-1)
                continue
            ones = torch.ones_like(shares[:, :1])
            pull = shares.neg_().scatter_add_(1, target[:, None], ones).mul_(slope)
            slopes[part] = pull.to(weight.dtype) @ weight
        ctx.save_for_backward(slopes)
        return logps

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return (grads[0][:, None] * slopes).to(slopes.dtype), None, None, None, None


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, table: Tensor) -> Tensor:
    """(n, V), in the first rows of `table`: fresh memory for each part costs its page faults."""
    if torch.is_autocast_enabled(hidden.device.type):
        return linear(hidden, weight, bias)
    found = torch.mm(hidden, weight.T, out=table[: len(hidden)])
    return found if bias is None else found.add_(bias)


def _open_head(hidden: Tensor, head: Any, targets: Tensor, transform: Transform) -> Tensor:
    """The same through a head that learns, or has an adapter; logits are made again in backward
    when there are more than the budget."""

    def score(h: Tensor, y: Tensor) -> Tensor:
        logits = transform(head(h).float())
        return logits.gather(1, y[:, None])[:, 0] - logits.logsumexp(1)

    rows = rows_at_once(hidden, getattr(head, "out_features", 0) or head.weight.shape[0])
    if len(hidden) <= rows:
        return score(hidden, targets)
    parts = zip(hidden.split(rows), targets.split(rows), strict=True)
    return torch.cat([checkpoint(score, h, y, use_reentrant=False) for h, y in parts])


def rows_at_once(hidden: Tensor, vocabulary: int) -> int:
    """How many hidden states are scored together."""
    return max(1, LOGITS_AT_ONCE.get(hidden.device.type, 1 << 24) // vocabulary)


def score_hidden(hidden: Tensor, head: Any, targets: Tensor, transform: Transform) -> Tensor:
    """(N, H), (N,) → (N,) float32 log-probabilities by whichever way the head allows."""
    plain = type(head) is torch.nn.Linear and not head._forward_hooks
    if plain and not any(p.requires_grad for p in head.parameters()):
        found: Tensor = _FrozenHead.apply(  # type: ignore[no-untyped-call]
            hidden, head.weight, head.bias, targets, transform
        )
        return found
    return _open_head(hidden, head, targets, transform)
