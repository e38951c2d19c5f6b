"""A checkpoint as training will find it, read without torch and without its weights.

config.json     there, an architecture that transformers knows, a context long enough
weights         safetensors, all of them, whole; an embedding row for each token
tokenizer       an end token, a pad token of its own
template        keeps the system turn and earlier turns, ends an answer, and has the answer
                where training looks for it (train/turns.py)
"""

from __future__ import annotations

import importlib
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from errata.doctor import template
from errata.doctor.finding import Check, of_error
from errata.errors import BadInput
from errata.language import say

_CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_FLOATS = ("float32", "bfloat16", "float16")
_EMBEDDING = re.compile(
    r"(embed_tokens|wte|word_embeddings|embed_in|tok_embeddings|embeddings?)\.weight$"
)


class Weights(NamedTuple):
    """What the headers of the files say: rows of the embedding, and numbers in all."""

    rows: int | None
    numbers: int


def look(where: str, folder: Path, lengths: dict[str, int]) -> Iterator[Check]:
    """What is wrong with it; one line that sums it up when nothing that matters is."""
    try:
        config = _config(folder)
    except BadInput as error:
        yield of_error(where, error)
        return
    text = config.get("text_config") or config
    found: list[Check] = [*_architecture(where, config), *_length(where, text, lengths)]
    weights, said = _weights(where, folder)
    found += said
    tokenizer, said = _tokenizer(where, folder)
    found += said
    if tokenizer is not None:
        rows = weights.rows if weights and weights.rows else text.get("vocab_size")
        found += [*_sizes(where, tokenizer, rows), *template.look(where, folder, tokenizer)]
    yield from found
    if not any(check.level == "bad" for check in found):
        yield Check("ok", where, _summary(config, text, weights))


def _summary(config: dict[str, Any], text: dict[str, Any], weights: Weights | None) -> str:
    parts = [str(config.get("model_type"))]
    if weights and weights.numbers:
        parts.append(f"{weights.numbers / 1e6:,.1f} M")
    if context := _context(text):
        parts.append(say(f"context {context}", f"上下文 {context}"))
    parts.append(str(config.get("dtype") or config.get("torch_dtype") or "float32"))
    return ", ".join(parts)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    step = say("copy the checkpoint again, whole", "重新完整复制该模型")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path.name} cannot be read: {reason}; {step}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path.name} is not an object; {step}")
    return found


def _architecture(where: str, config: dict[str, Any]) -> Iterator[Check]:
    kind = config.get("model_type")
    if kind not in _architectures():
        said = say(f"model_type {kind!r}: not one that transformers knows",
                   f"transformers 不认识 model_type {kind!r}")  # fmt: skip
        step = say("upgrade transformers, or correct model_type in config.json",
                   "升级 transformers，或修正 config.json 中的 model_type")  # fmt: skip
        yield Check("bad", where, said, step)
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    if str(dtype) not in _FLOATS:
        said = say(f"dtype {dtype}: training takes {', '.join(_FLOATS)}",
                   f"dtype {dtype}：训练只接受 {', '.join(_FLOATS)}")  # fmt: skip
        step = say(
            "set `dtype: float32` in the training configs", "在训练配置中设 `dtype: float32`"
        )
        yield Check("warn", where, said, step)


def _architectures() -> Any:
    """Names that `model_type` may have; the module that lists them imports no torch."""
    room = "transformers.models.auto"
    try:
        known = importlib.import_module(f"{room}.auto_mappings")
    except ImportError:  # older, where the list lies beside what imports torch
        known = importlib.import_module(f"{room}.configuration_auto")
    return known.CONFIG_MAPPING_NAMES


def _context(text: dict[str, Any]) -> int | None:
    return next((text[name] for name in _CONTEXT if isinstance(text.get(name), int)), None)


def _length(where: str, text: dict[str, Any], lengths: dict[str, int]) -> Iterator[Check]:
    context = _context(text)
    for config, length in lengths.items():
        if context and length > context:
            said = say(f"{config}: seq_len {length} is longer than the context of {context}",
                       f"{config}：seq_len {length} 超过上下文长度 {context}")  # fmt: skip
            step = say(f"set `seq_len: {context}` in {config}, or less",
                       f"在 {config} 中设 `seq_len: {context}` 或更小")  # fmt: skip
            yield Check("bad", where, said, step)


def _weights(where: str, folder: Path) -> tuple[Weights | None, list[Check]]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None, _other_weights(where, folder)
    lacking = _shards(folder) - {file.name for file in files}
    if lacking:
        said = say(f"{len(lacking)} weight files are missing, such as {min(lacking)}",
                   f"缺少 {len(lacking)} 个权重文件，例如 {min(lacking)}")  # fmt: skip
        return None, [Check("bad", where, said, _copy())]
    rows, count = None, 0
    for file in files:
        header = _header(file)
        if header is None:
            said = say(f"{file.name} is damaged or cut short", f"{file.name} 已损坏或不完整")
            return None, [Check("bad", where, said, _copy())]
        for name, tensor in header.items():
            size = 1
            for side in tensor["shape"]:
                size *= side
            count += size
            if len(tensor["shape"]) == 2 and _EMBEDDING.search(name):
                rows = max(rows or 0, tensor["shape"][0])
    return Weights(rows, count), []


def _copy() -> str:
    return say("copy the checkpoint again, whole", "重新完整复制该模型")


def _other_weights(where: str, folder: Path) -> list[Check]:
    if any(folder.glob("*.gguf")):
        return []
    if pickles := sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]):
        said = say(f"{pickles[0].name} is a pickle, which can run code when it is opened",
                   f"{pickles[0].name} 是 pickle，打开时可能执行代码")  # fmt: skip
        step = say("load it where you trust it and `save_pretrained` it, as safetensors",
                   "在可信环境中加载并 `save_pretrained` 为 safetensors")  # fmt: skip
        return [Check("warn", where, said, step)]
    return [Check("bad", where, say("no weights in it", "其中没有权重"), _copy())]


def _shards(folder: Path) -> set[str]:
    """Files that the index of a checkpoint in parts names."""
    try:
        told = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        return set(told["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        return set()


def _header(file: Path) -> dict[str, Any] | None:
    """The names and shapes in a safetensors file (8 bytes of length, JSON, then the numbers); None
    where it is cut short or something else."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > file.stat().st_size:
                return None
            told = json.loads(opened.read(length))
        told.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in told.values()), default=0)
        return told if 8 + length + end == file.stat().st_size else None
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        return None


def _tokenizer(where: str, folder: Path) -> tuple[Any, list[Check]]:
    """Read by the class without torch, where the checkpoint has the file for it."""
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.set_verbosity_error()
    try:
        if (folder / "tokenizer.json").is_file():
            return PreTrainedTokenizerFast.from_pretrained(str(folder)), []
        from transformers import AutoTokenizer  # this one does import it

        return AutoTokenizer.from_pretrained(str(folder)), []
    except Exception as error:  # each kind of damaged file has its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        said = say(f"no tokenizer can be read: {reason}", f"无法读取分词器：{reason}")
        step = say(f"copy tokenizer.json and {template.SETTINGS} beside config.json",
                   f"把 tokenizer.json 与 {template.SETTINGS} 放到 config.json 旁边")  # fmt: skip
        return None, [Check("bad", where, said, step)]


def _sizes(where: str, tokenizer: Any, rows: Any) -> Iterator[Check]:
    if isinstance(rows, int) and len(tokenizer) > rows:
        said = say(f"the tokenizer has {len(tokenizer)} tokens, the embedding {rows} rows",
                   f"分词器有 {len(tokenizer)} 个词元，嵌入只有 {rows} 行")  # fmt: skip
        step = say("take the tokenizer that belongs to these weights, or `resize_token_embeddings`",
                   "换用与权重配套的分词器，或 `resize_token_embeddings`")  # fmt: skip
        yield Check("bad", where, said, step)
