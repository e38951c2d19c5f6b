"""A model as one GGUF file that llama.cpp opens: metadata, tokenizer, tensors.

Names and shapes follow llama.cpp's own converter. Matrices are in the wanted type, norms, biases
and whatever else has one dimension in float32; embeddings and head of a Q4_0 file in Q8_0. A type
of blocks of 32 needs rows that are multiples of it: a matrix whose rows are not stays float16, and
is told.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from errata.errors import BadInput
from errata.export.tokenizer_ggml import Vocabulary
from errata.language import say

# model_type → llama.cpp's name. Mistral is its llama: the same tensors, turned the same way.
ARCHITECTURES = {
    "llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2",
}  # fmt: skip
TYPES = {"gguf-f16": "F16", "gguf-q8_0": "Q8_0", "gguf-q4_0": "Q4_0"}
_FILE_TYPE = {"F16": 1, "Q4_0": 2, "Q8_0": 7}  # llama_ftype
BLOCK = 32


def ready(kind: str) -> None:
    """BadInput without the package, or for an architecture that is not written here."""
    if find_spec("gguf") is None:
        raise BadInput("GGUF needs the gguf package; run `pip install 'errata[export]'`")
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise BadInput(f"format: GGUF is not written for {kind}; for {known} it is; use bf16 here")


def write(
    path: Path,
    state: Mapping[str, torch.Tensor],
    config: Any,
    vocabulary: Vocabulary,
    tokenizer: Any,
    kind: str,
) -> list[str]:
    """Write float weights as one file; what has to be told of them. `kind`: F16, Q8_0 or Q4_0."""
    import gguf

    arch = ARCHITECTURES[config.model_type]
    writer = gguf.GGUFWriter(str(path), arch)
    notes = [*vocabulary.notes, *_metadata(writer, config, kind)]
    _tokenizer(writer, vocabulary, tokenizer)
    wide, short = gguf.GGMLQuantizationType[kind], []
    for name, tensor in tensors(state, config):
        found = _type(gguf.GGMLQuantizationType, name, tensor, wide)
        if found is not wide and tensor.ndim > 1 and tensor.shape[-1] % BLOCK and kind != "F16":
            short.append(name)
        data = gguf.quants.quantize(np.ascontiguousarray(tensor.float().numpy()), found)
        writer.add_tensor(name, data, raw_dtype=found)
    write_out(writer)
    if short:
        count, one = len(short), short[0]
        notes.append(
            say(f"{count} matrices stay float16: their rows are no multiples of {BLOCK}, as {one}",
                f"{count} 个矩阵保持 float16：行长不是 {BLOCK} 的倍数，如 {one}")
        )  # fmt: skip
    return notes


def write_out(writer: Any) -> None:
    """Header, metadata, tensors; the file is whole when this returns."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _type(types: Any, name: str, tensor: torch.Tensor, wide: Any) -> Any:
    """The type a tensor is stored in."""
    if tensor.ndim < 2:
        return types.F32
    if wide is not types.F16 and tensor.shape[-1] % BLOCK:
        return types.F16
    # As llama.cpp's own Q4_0 files: what is read once a token is worth its bits.
    if name in ("token_embd.weight", "output.weight") and wide is types.Q4_0:
        return types.Q8_0
    return wide


def as_read(config: Any) -> Any:
    """The configuration by which transformers reads the file: Mistral's is llama's there too."""
    from transformers import LlamaConfig

    if config.model_type != "mistral":
        return config
    told = {name: value for name, value in config.to_dict().items() if name != "model_type"}
    room = min(config.max_position_embeddings, config.sliding_window or sys.maxsize)
    names = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": room}
    return LlamaConfig(**{**told, **names})


def tensors(state: Mapping[str, torch.Tensor], config: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """(llama.cpp's name, tensor as it computes with it) of each weight of a model."""
    import gguf

    arch = ARCHITECTURES[config.model_type]
    of_name = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(of_name[arch], config.num_hidden_layers)
    for name, tensor in state.items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue  # llama.cpp takes the embedding where there is no head
        stem, _, suffix = name.rpartition(".")
        found = names.get_name(stem)
        if found is None:
            raise BadInput(f"{name}: no such tensor in llama.cpp's {arch}; use format=bf16")
        yield f"{found}.{suffix}", turned(name, tensor, config)
    if (factors := _rope_factors(config)) is not None:
        yield "rope_freqs.weight", factors


def turned(name: str, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    """A weight as llama.cpp wants it: queries and keys of its llama interleaved, Gemma's norms with
    the 1 that its code adds to them."""
    arch = ARCHITECTURES[config.model_type]
    if arch == "llama" and ".q_proj." in name:
        return interleaved(tensor, config.num_attention_heads)
    if arch == "llama" and ".k_proj." in name:
        return interleaved(tensor, config.num_key_value_heads)
    if arch == "gemma2" and name.endswith("norm.weight"):
        return tensor.float() + 1
    return tensor


def interleaved(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head from (first half, second half) to pairs: llama.cpp turns neighbours, where
    transformers turns i and i + d/2."""
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _rope(config: Any) -> dict[str, Any]:
    found = getattr(config, "rope_parameters", None) or {}
    return {"rope_type": "default", "rope_theta": 10000.0, **found}


def _rope_factors(config: Any) -> torch.Tensor | None:
    """What Llama 3.1 divides each frequency by, as transformers' `_compute_llama3_parameters`."""
    rope = _rope(config)
    if rope["rope_type"] != "llama3":
        return None
    width = config.head_dim
    waves = 2 * math.pi * rope["rope_theta"] ** (torch.arange(0, width, 2).float() / width)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = (rope["original_max_position_embeddings"] / waves - low) / (high - low)
    smooth = smooth.clamp(0, 1)
    return torch.reciprocal((1 - smooth) / rope["factor"] + smooth)


def _metadata(writer: Any, config: Any, kind: str) -> list[str]:
    """The model's shape; what has to be told of it."""
    notes, room = [], config.max_position_embeddings
    window = getattr(config, "sliding_window", None)
    slides = config.model_type == "mistral" or getattr(config, "use_sliding_window", False)
    if slides and window and window < room:
        room = window
        notes.append(
            say(f"context length {window}, its sliding window: llama.cpp has none here",
                f"上下文长度 {window}，即其滑动窗口：llama.cpp 在此没有滑动窗口")
        )  # fmt: skip
    heads, width = config.num_attention_heads, getattr(config, "head_dim", None)
    width = width or config.hidden_size // heads
    writer.add_type("model")
    writer.add_name(f"{config.model_type} of errata export")
    writer.add_file_type(_FILE_TYPE[kind])
    writer.add_quantization_version(2)  # GGML_QNT_VERSION
    writer.add_context_length(room)
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = _rope(config)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type("linear")
        writer.add_rope_scaling_factor(float(rope["factor"]))
    elif rope["rope_type"] not in ("default", "llama3"):
        raise BadInput(f"rope_type {rope['rope_type']}: not written as GGUF; use format=bf16")
    if config.model_type == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
        writer.add_sliding_window(window)
    return notes


def _tokenizer(writer: Any, vocabulary: Vocabulary, tokenizer: Any) -> None:
    """`tokenizer.ggml.*`, the ids of the special tokens, and the chat template."""
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.space_first)
    else:
        writer.add_token_merges(vocabulary.merges)
    for name in ("bos", "eos", "unk", "pad"):
        if (place := getattr(tokenizer, f"{name}_token_id")) is not None:
            getattr(writer, f"add_{name}_token_id")(place)
    # The chat template writes its own BOS; a plain text has one only where the tokenizer adds it.
    first = tokenizer("a")["input_ids"][:1]
    bos = tokenizer.bos_token_id
    writer.add_add_bos_token(bos is not None and first == [bos])
    writer.add_add_eos_token(False)
    writer.add_chat_template(tokenizer.chat_template)
