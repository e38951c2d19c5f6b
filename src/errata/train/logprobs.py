"""Log-probabilities of the labelled tokens alone: the head never sees a prompt or a pad.

The scoring forward takes the place of the causal LM's own `forward` when it is called with a
`Batch`, so that autocast, DDP and FSDP hooks on whatever wraps the model apply as ever. It runs the
backbone, picks the hidden states that predict a labelled token, and gives those to the head
(head.py).
"""

from __future__ import annotations

from itertools import product
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from errata.train import attention, lean
from errata.train.exact import apart, check_positions, inexact
from errata.train.head import score_hidden, transform_of
from errata.train.packing import Batch, Encoded, Tree, lay_flat, lay_padded


class Scored(NamedTuple):
    """(N,) log-probs of the labelled tokens; (N, H) hidden states that predicted them, (S, H) of
    each sequence's last token."""

    logps: Tensor
    hidden: Tensor
    last: Tensor


def _scoring_forward(self: Any, *args: Any, batch: Batch | None = None, **kwargs: Any) -> Any:
    """A causal LM's forward: its own, or with `batch` the log-probs of what the batch learns."""
    ends: lean.LastLayer | None = self.errata_last
    if ends:
        ends.rows = None
    if batch is None:
        return self.errata_own_forward(*args, **kwargs)
    if self.errata_apart and len(batch.ids) > 1:
        parts = [_scoring_forward(self, batch=row) for row in _rows(batch)]
        return Scored(*map(torch.cat, zip(*parts, strict=True)))
    if self.errata_apart:
        _forget_lengths(self)
    way: str = self.errata_way
    extra: dict[str, Any] = {"attention_mask": batch.mask}
    if batch.spans is not None:
        extra = attention.arguments(way, batch.spans, batch.ids.device)
    call = {"input_ids": batch.ids, "position_ids": batch.positions, "use_cache": False, **extra}
    head = self.get_output_embeddings()
    logits = None
    if way == "own":
        hidden, logits = _own_outputs(self, head, call)
        picked, last = hidden[batch.at], hidden[batch.last]
    else:
        rows = torch.cat([batch.at, batch.last])
        if ends:
            ends.rows = rows
        backbone = getattr(self, self.base_model_prefix)
        hidden = backbone(**call).last_hidden_state.flatten(0, 1)
        hidden = hidden if ends else hidden[rows]
        picked, last = hidden.split([len(batch.at), len(batch.last)])
    if head is None:  # a reward model has a score instead of a vocabulary
        return Scored(picked.new_zeros(len(picked)), picked, last)
    if logits is None:
        transform = transform_of(self.config.get_text_config())
        return Scored(score_hidden(picked, head, batch.targets, transform), picked, last)
    table = logits.flatten(0, 1)[batch.at].float()
    logps = table.gather(1, batch.targets[:, None])[:, 0] - table.logsumexp(1)
    return Scored(logps, picked, last)


def _own_outputs(model: Any, head: Any, call: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """(R × T, H) hidden states and (R, T, V) logits of the model's own forward. What its head is
    given is the hidden state; `hidden_states[-1]` is something else in Gemma 3n."""
    if head is None:
        out = model.errata_own_forward(**call, output_hidden_states=True)
        return out.hidden_states[-1].flatten(0, 1), None
    given: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    try:
        logits: Tensor = model.errata_own_forward(**call).logits
    finally:
        hook.remove()
    return given[0].flatten(0, 1), logits


def _rows(batch: Batch) -> list[Batch]:
    """A padded batch as one batch a row, without its padding."""
    assert batch.mask is not None
    width, out = batch.ids.shape[1], []
    for row, size in enumerate(batch.mask.sum(1).tolist()):
        mine, start, one = batch.owner == row, row * width, slice(row, row + 1)
        out.append(
            Batch(
                batch.ids[one, :size], batch.positions[one, :size], batch.mask[one, :size],
                batch.at[mine] - start, batch.targets[mine], torch.zeros_like(batch.owner[mine]),
                batch.last[one] - start, None,
            )
        )  # fmt: skip
    return out


def _forget_lengths(model: Any) -> None:
    """Dynamic rope keeps the angles of the longest row it has met; the next row has its own."""
    for module in model.modules():
        for name in vars(module):
            if name.endswith("max_seq_len_cached"):
                setattr(module, name, 0)


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

    def last(self, trees: list[Tree]) -> Tensor:
        """(S, H) hidden states of each sequence's last token, and nothing for the head to score."""
        batch = self.lay(trees)
        none = batch.at[:0]
        batch = batch._replace(at=none, targets=none, owner=none)
        scored: Scored = self.model(batch=batch)
        return scored.last

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


def ready(model: Any, pad_id: int, seq_len: int, packed: bool = True) -> Scorer:
    """Make `model` score batches the cheapest way that is exact for it, and say which.

    Ways are tried in order and compared, on a small tree, with the model's own forward under the
    attention it was loaded with: what differs is not used, so that an unknown architecture costs
    speed and nothing else. BadInput for rows longer than the model has positions for.
    """
    inner = _causal_lm(model)
    check_positions(inner.config, seq_len)
    if not hasattr(inner, "errata_own_forward"):
        inner.errata_own_forward = inner.forward
        inner.errata_own_attention = inner.config._attn_implementation
        inner.forward = MethodType(_scoring_forward, inner)
    own_attention = inner.errata_own_attention
    why = apart(inner.config, seq_len)
    inner.errata_apart = why is not None
    why = why or (inexact(inner.config, seq_len) if packed else None)
    cuda = next(model.parameters()).is_cuda
    flat = [] if why or not packed else ["flex_attention" if cuda else attention.SEGMENTS, "sdpa"]
    attention.register()
    true = None
    ends = [last, None] if (last := lean.last_layer(inner)) else [None]
    for way, inner.errata_last in [("own", None), *product((*flat, "padded"), ends)]:
        if last:
            last.rows = None  # of a try before, which did not work
        try:
            found = _probe(model, inner, pad_id, way, way if way in flat else own_attention)
        except (ValueError, RuntimeError, TypeError, AttributeError, ImportError) as error:
            why = why or (str(error) or type(error).__name__).splitlines()[0]
            continue
        if way == "own":
            true = found
        elif true is not None and _rounding(true, found, inner.dtype):
            return Scorer(model, pad_id, way, why if way == "padded" else None)
        elif true is not None:
            worst = (true - found).abs().max()
            why = why or f"{way} attention differs from the model's own by {worst:.2g}"
    inner.set_attn_implementation(own_attention)
    inner.errata_way, inner.errata_last = "own", None
    return Scorer(model, pad_id, "own", why)


def _rounding(true: Tensor, found: Tensor, dtype: torch.dtype) -> bool:
    """Whether two orders of the same sums may differ so: by 2e-3 nats in float32; in half precision
    by one unit in the last place at the median and four at most. SDPA and eager attention through
    32 layers of random bfloat16 differ by 0.6 and 2 of them, a lost mask by 1 to 8 and 14. What is
    smaller than rounding cannot be seen: it has to be known, by `inexact` and `HARMLESS`."""
    gap = (true - found).abs()
    if dtype == torch.float32:
        return bool(gap.max() <= 2e-3)
    size = true.abs()
    units = gap / size.clamp_min(size.median()) / torch.finfo(dtype).eps
    return bool(units.median() <= 1 and units.max() <= 4)


@torch.no_grad()
def _probe(model: Any, inner: Any, pad_id: int, way: str, implementation: str) -> Tensor:
    """Log-probs of a small tree's answers by one way; a reward model's last hidden states."""
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
    try:
        inner.set_attn_implementation(implementation)
        inner.errata_way = way
        scored, _ = Scorer(model, pad_id, way, None)(trees)
    finally:
        model.train(was_training)
    return scored.last.float() if inner.get_output_embeddings() is None else scored.logps
