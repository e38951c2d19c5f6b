"""Log-probabilities of the labelled tokens alone: the head never sees a prompt or a pad.

The scoring forward takes the place of the causal LM's own `forward` when it is called with a
`Batch`, so that autocast, DDP and FSDP hooks on whatever wraps the model apply as ever. It runs the
backbone, picks the hidden states that predict a labelled token, and scores them in chunks of rows
whose rows × vocabulary fit a budget. With a frozen head (LoRA) the gradient of a token's log-prob
with respect to its hidden state,

    ∂ log p(y) / ∂h = W[y] − Σ_v p_v W[v],

does not depend on what comes after, so it is formed while the probabilities are at hand: two matrix
products instead of three, and no logits are kept.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from errata.train import attention
from errata.train.packing import Batch, Encoded, Tree, lay_flat, lay_padded

# rows × vocabulary scored at once: 4 Mi logits are 16 MiB in float32, a few times that while the
# softmax is formed. A CPU's products are at full speed from a hundred rows on; a GPU wants more.
LOGITS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 24}


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
    """By the names that Gemma, Cohere, Granite and Falcon-H1 give these numbers."""
    scale = getattr(config, "logit_scale", None) or 1.0
    scale *= getattr(config, "lm_head_multiplier", None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    return Transform(float(scale), getattr(config, "final_logit_softcapping", None))


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
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            logits = transform(linear(hidden[part], weight, bias).float())
            picked = logits.gather(1, targets[part, None])
            total = logits.logsumexp(1, keepdim=True)
            logps[part] = (picked - total)[:, 0]
            if slopes is not None:
                slope = transform.slope(logits)
                pull = logits.sub_(total).exp_().neg_()
                pull.scatter_add_(1, targets[part, None], torch.ones_like(picked))
                pull = pull if isinstance(slope, float) and slope == 1 else pull.mul_(slope)
                slopes[part] = pull.to(weight.dtype) @ weight
        ctx.save_for_backward(slopes)
        return logps

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return (grads[0][:, None] * slopes).to(slopes.dtype), None, None, None, None


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


class Scored(NamedTuple):
    """(N,) log-probs of the labelled tokens; (N, H) hidden states that predicted them, (S, H) of
    each sequence's last token."""

    logps: Tensor
    hidden: Tensor
    last: Tensor


def _scoring_forward(self: Any, *args: Any, batch: Batch | None = None, **kwargs: Any) -> Any:
    """A causal LM's forward: its own, or with `batch` the log-probs of what the batch learns."""
    if batch is None:
        return self.errata_own_forward(*args, **kwargs)
    way: str = self.errata_way
    device = batch.ids.device
    extra: dict[str, Any] = {"attention_mask": batch.mask}
    if batch.spans is not None:
        extra = attention.arguments(way, batch.spans, device)
    call = {"input_ids": batch.ids, "position_ids": batch.positions, "use_cache": False, **extra}
    if way == "own":
        out = self.errata_own_forward(**call, output_hidden_states=True)
        logits = out.logits.flatten(0, 1)[batch.at].float()
        picked = logits.gather(1, batch.targets[:, None])[:, 0]
        hidden = out.hidden_states[-1].flatten(0, 1)
        return Scored(picked - logits.logsumexp(1), hidden[batch.at], hidden[batch.last])
    backbone = getattr(self, self.base_model_prefix)
    hidden = backbone(**call).last_hidden_state.flatten(0, 1)
    picked = hidden[batch.at]
    head, transform = self.get_output_embeddings(), transform_of(self.config.get_text_config())
    if head is None:  # a reward model has a score instead of a vocabulary
        return Scored(picked.new_zeros(len(picked)), picked, hidden[batch.last])
    logps = score_hidden(picked, head, batch.targets, transform)
    return Scored(logps, picked, hidden[batch.last])


class Scorer:
    """Lays out and scores trees with a model that was made ready by `ready`."""

    def __init__(self, model: Any, pad_id: int, way: str, why: str | None) -> None:
        self.model, self.pad_id, self.way, self.why = model, pad_id, way, why
        self.flat = way not in ("padded", "own")

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        found: torch.device = next(self.model.parameters()).device
        return found

    def lay(self, trees: list[Tree]) -> Batch:
        """The trees as this model can take them."""
        laid = lay_flat(trees) if self.flat else lay_padded(trees, self.pad_id)
        return laid.to(self.device)

    def __call__(self, trees: list[Tree], model: Any = None) -> tuple[Scored, Batch]:
        """Scores of the labelled tokens; `model` is what wraps the model (DDP), if anything."""
        batch = self.lay(trees)
        return (model or self.model)(batch=batch), batch

    def sequence_logps(self, trees: list[Tree], model: Any = None) -> Tensor:
        """(S,) sums over each branch, trees in order, branches in order."""
        scored, batch = self(trees, model)
        return by_sequence(scored.logps, batch)


def by_sequence(values: Tensor, batch: Batch) -> Tensor:
    """(N,) → (S,) sums."""
    return values.new_zeros(batch.sequences).index_add(0, batch.owner, values)


def _causal_lm(model: Any) -> Any:
    """The transformers model inside peft's wrappers."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def inexact(config: Any, seq_len: int) -> str | None:
    """Why flat rows would not be exact on this architecture for rows up to `seq_len`; None if
    they are. A sliding window at least as long as a row is no window."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or [])
    odd = kinds - {"full_attention", "sliding_attention"}
    if odd:
        return f"{', '.join(sorted(odd))} layers carry state from one row to the next"
    window = getattr(text, "sliding_window", None)
    used = "sliding_attention" in kinds if kinds else getattr(text, "use_sliding_window", True)
    if window and used and window < seq_len:
        return f"the sliding window of {window} is shorter than seq_len {seq_len}"
    if getattr(text, "attn_logit_softcapping", None):
        return "attention scores are soft-capped"
    return None


def ready(model: Any, pad_id: int, seq_len: int, packed: bool = True) -> Scorer:
    """Make `model` score batches the cheapest way that is exact for it, and say which.

    Ways are tried in order and compared with the model's own forward on padded rows of a small
    tree: what differs is not used, so that an unknown architecture costs speed and nothing else.
    """
    inner = _causal_lm(model)
    if not hasattr(inner, "errata_own_forward"):
        inner.errata_own_forward = inner.forward
        inner.forward = MethodType(_scoring_forward, inner)
    was = inner.config._attn_implementation
    why = inexact(inner.config, seq_len) if packed else None
    cuda = next(model.parameters()).is_cuda
    flat = [] if why or not packed else ["flex_attention" if cuda else attention.SEGMENTS, "sdpa"]
    attention.register()
    for way in [*flat, "padded"]:
        try:
            inner.set_attn_implementation(way if way != "padded" else was)
            inner.errata_way = way
            worst = _probe(model, inner, pad_id, way)
        except (ValueError, RuntimeError, TypeError, ImportError) as error:
            worst, why = float("inf"), why or str(error).splitlines()[0]
        if worst <= _tolerance(inner):
            return Scorer(model, pad_id, way, why if way == "padded" else None)
        why = why or f"{way} attention differs from the model's own by {worst:.2g}"
    inner.set_attn_implementation(was)
    inner.errata_way = "own"
    return Scorer(model, pad_id, "own", why)


def _tolerance(model: Any) -> float:
    """Nats a token that two orders of the same sums may differ by."""
    return 2e-3 if model.dtype == torch.float32 else 0.3


@torch.no_grad()
def _probe(model: Any, inner: Any, pad_id: int, way: str) -> float:
    """Largest difference of a token's log-prob (or a last hidden state) from the own forward's."""
    vocabulary = inner.config.get_text_config().vocab_size
    rng = torch.Generator().manual_seed(0)

    def words(n: int) -> list[int]:
        return torch.randint(0, vocabulary, (n,), generator=rng).tolist()

    trees = [
        Tree(words(prefix), tuple(Encoded(ids, ids) for ids in (words(a), words(b))))
        for prefix, a, b in ((9, 5, 3), (4, 2, 7))
    ]
    was_training = model.training
    model.eval()
    scorer = Scorer(model, pad_id, way, None)
    found, _ = scorer(trees)
    own = lay_padded(trees, pad_id).to(scorer.device)
    call = {"input_ids": own.ids, "attention_mask": own.mask, "position_ids": own.positions}
    model.train(was_training)
    if inner.get_output_embeddings() is None:
        hidden = getattr(inner, inner.base_model_prefix)(**call).last_hidden_state
        return float((hidden.flatten(0, 1)[own.last] - found.last).abs().max())
    inner.eval()
    logits = inner.errata_own_forward(**call).logits.flatten(0, 1)[own.at].float()
    model.train(was_training)
    true = logits.gather(1, own.targets[:, None])[:, 0] - logits.logsumexp(1)
    worst = float((true - found.logps).abs().max())
    return worst if worst == worst else float("inf")
