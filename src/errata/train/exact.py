"""What a model's configuration says of scoring its rows together: flat, padded, or not at all."""

from __future__ import annotations

from typing import Any

from errata.errors import BadInput


def inexact(config: Any, seq_len: int) -> str | None:
    """Why flat rows would not be exact on this architecture for rows up to `seq_len`; None if
    they are. A sliding window at least as long as a row is no window."""
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or [])
    odd = kinds - {"full_attention", "sliding_attention"}
    if not getattr(text, "num_attention_heads", 1):
        return "a model without attention carries state from one row to the next"
    if odd:
        return f"{', '.join(sorted(odd))} layers carry state from one row to the next"
    window = getattr(text, "sliding_window", None)
    used = "sliding_attention" in kinds if kinds else getattr(text, "use_sliding_window", True)
    if window and used and window < seq_len:
        return f"the sliding window of {window} is shorter than seq_len {seq_len}"
    if getattr(text, "attn_logit_softcapping", None):
        return "attention scores are soft-capped"
    return None


def apart(config: Any, seq_len: int) -> str | None:
    """Why a row's log-probs would depend on the longest row beside it, padded or not; None if they
    do not. Such rows are scored one by one."""
    text = config.get_text_config()
    for name in ("keep_window_size", "index_topk"):  # of Doge and DeepSeek: pads are among the keys
        kept = getattr(text, name, None)
        if kept and kept < seq_len:
            return f"attention picks {kept} keys of a wider batch: rows go one by one"
    rope: dict[str, Any] = getattr(text, "rope_parameters", None) or {}
    for one in [rope] if "rope_type" in rope else rope.values():  # one for each kind of layer
        kind = one.get("rope_type", "") if isinstance(one, dict) else ""
        if kind != "longrope" and "dynamic" not in kind:
            continue
        most = text.max_position_embeddings  # where `dynamic` begins to stretch
        if kind == "longrope":
            most = one["original_max_position_embeddings"]
        if most < seq_len:
            return f"{kind} rope goes by the longest row above {most} tokens: rows go one by one"
    return None


def check_positions(config: Any, seq_len: int) -> None:
    """BadInput where rows of `seq_len` would run off a table of positions (GPT-2, OPT, GPT-J)."""
    text = config.get_text_config()
    most = getattr(text, "max_position_embeddings", None)
    turned = getattr(text, "rope_parameters", None)  # then any position has its angle
    if most and most < seq_len and not turned:
        raise BadInput(
            f"seq_len {seq_len}: this {text.model_type} model has {most} positions; "
            f"set seq_len={most} or less"
        )
