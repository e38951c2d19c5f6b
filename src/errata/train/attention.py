"""Attention over flat rows of trees: each token sees its own prefix and its own branch, causally.

Three ways that agree; `WAYS` names them by what transformers calls the implementation.

    segments   the dense kernel called once a branch: no T² mask, no work on what is masked. CPU.
    flex       a `BlockMask` for flex-attention, which skips empty blocks. GPU.
    mask       a (1, 1, T, T) boolean mask for SDPA: any device, T² work.

Measured on one CPU thread (trees of 130–260 + 2 × 40–100 tokens, T = 1,330, 9 heads of 64, forward
and backward): segments 65 ms, mask 205 ms.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

Spans = tuple[tuple[int, ...], ...]
SEGMENTS = "errata_segments"

# Arguments that models give their attention and that change no score here: flags, positions that
# are turned already, and a window, which `logprobs.inexact` knows by the configuration.
HARMLESS = {
    "cache_position", "deterministic", "is_causal", "output_attentions", "output_hidden_states",
    "position_ids", "return_dict", "sliding_window", "use_cache",
}  # fmt: skip


def tree_mask(spans: Spans) -> Tensor:
    """(T, T) boolean: row t is true where token t may look."""
    total = sum(map(sum, spans))
    mask = torch.zeros(total, total, dtype=torch.bool)
    root = 0
    for prefix, *branches in spans:
        mask[root : root + prefix, root : root + prefix] = True
        start = root + prefix
        for size in branches:
            mask[start : start + size, root : root + prefix] = True
            mask[start : start + size, start : start + size] = True
            start += size
        root = start
    return mask.tril_()


def block_mask(spans: Spans, device: torch.device | str) -> Any:
    """The same for flex-attention. Rows are never cut, so nothing depends on the block size."""
    from torch.nn.attention.flex_attention import create_block_mask

    roots: list[int] = []
    branch: list[int] = []
    for tree, (prefix, *sizes) in enumerate(spans):
        roots += [tree] * (prefix + sum(sizes))
        branch += [0] * prefix
        for index, size in enumerate(sizes, 1):
            branch += [index] * size
    tree_of = torch.tensor(roots, device=device)
    branch_of = torch.tensor(branch, device=device)

    def visible(_b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        same = (branch_of[k] == 0) | (branch_of[q] == branch_of[k])
        return (q >= k) & (tree_of[q] == tree_of[k]) & same

    total = len(roots)
    return create_block_mask(visible, None, None, total, total, device=str(device))


def segment_attention(
    query: Tensor, key: Tensor, value: Tensor, spans: Spans, scale: float | None, dropout: float
) -> Tensor:
    """(1, heads, T, d) queries, (1, kv_heads, T, d) keys and values → (1, T, heads, d), one kernel
    call a branch.

    The first branch is contiguous with its prefix: one causal call. The others attend to the
    prefix and themselves under a mask of their own few rows. Heads that share a key take part as
    a batch of kv_heads, so that nothing is repeated in memory.
    """
    sizes = [size for tree in spans for size in tree]
    shared = key.shape[1]
    groups = query.shape[1] // shared
    queries = query[0].unflatten(0, (shared, groups)).split(sizes, 2)
    keys, values = (x.transpose(0, 1).split(sizes, 2) for x in (key, value))
    out: list[Tensor] = []
    at = 0
    for prefix, *branches in spans:
        k0, v0 = keys[at], values[at]
        for index, size in enumerate(branches, 1):
            q, k, v = queries[at + index], keys[at + index], values[at + index]
            k, v = torch.cat([k0, k], 2), torch.cat([v0, v], 2)
            if index == 1:
                q, mask = torch.cat([queries[at], q], 2), None
            else:
                mask = torch.ones(size, prefix + size, dtype=torch.bool, device=q.device)
                mask = mask.tril_(prefix)
            k, v = (x.expand(-1, groups, -1, -1) for x in (k, v))
            out.append(
                scaled_dot_product_attention(
                    q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, dropout_p=dropout
                )
            )
        at += 1 + len(branches)
    return torch.cat([part.flatten(0, 1).transpose(0, 1) for part in out])[None]


def _forward(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    spans: Spans | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention signature; without `spans` it is SDPA as ever (generation).

    ValueError for an argument that may change scores, such as GPT-OSS's sinks (`s_aux`) or a soft
    cap: the sum here has neither.
    """
    if spans is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return found
    if changed := sorted(k for k, v in kwargs.items() if v is not None and k not in HARMLESS):
        raise ValueError(f"attention takes {', '.join(changed)}, which flat rows have no place for")
    return segment_attention(query, key, value, spans, scaling, dropout), None


def register() -> None:
    """Tell transformers of `errata_segments`; calling it again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(SEGMENTS, _forward)
    AttentionMaskInterface.register(SEGMENTS, sdpa_mask)


def arguments(way: str, spans: Spans, device: torch.device | str) -> dict[str, Any]:
    """Keyword arguments that make a model's forward attend by trees."""
    if way == SEGMENTS:
        # A 4-D mask goes through transformers untouched. One that forbids everything: a model that
        # loses `spans` on the way gives NaN, which the probe sees.
        return {"spans": spans, "attention_mask": torch.zeros(1, 1, 1, 1, dtype=torch.bool)}
    if way == "flex_attention":
        return {"attention_mask": block_mask(spans, device)}
    return {"attention_mask": tree_mask(spans)[None, None].to(device)}
