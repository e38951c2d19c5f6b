"""llama.cpp itself opens the file: same ids, same probabilities. Where its binding is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from errata import candidates
from errata.candidates import TINY
from errata.export import adapter, gguf
from errata.export.tokenizer_ggml import PROBES, vocabulary
from errata.train.model import add_lora, load, save_adapter
from errata.workspace import Workspace

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
pytest.importorskip("gguf", reason="gguf is not installed")
TEXTS = [
    "Where is order 1009? It costs $42, thank you!",
    "订单 1009 在哪里？请在 3 天内退款，谢谢！",
    "[1] The amber lamp costs 42 yuan. 价格是 42 元。\n[2] It's in stock.",
]


def opened(folder: Path, base: str, kind: str) -> tuple[Any, Any, Any]:
    """The model, its tokenizer, and llama.cpp's own of the file written of them."""
    model, tokenizer = load(base, "float32")
    folder.mkdir(exist_ok=True)
    words = vocabulary(tokenizer, model.config.vocab_size, TEXTS)
    path = folder / "model.gguf"
    gguf.write(path, model.state_dict(), model.config, words, tokenizer, kind)
    theirs = llama_cpp.Llama(str(path), n_ctx=256, logits_all=True, verbose=False, n_threads=1)
    return model.eval(), tokenizer, theirs


def far(model: Any, theirs: Any, ids: list[int]) -> float:
    """Mean KL in nats of one text's positions."""
    theirs.reset()
    theirs.eval(ids)
    scores = torch.from_numpy(np.array(theirs.scores[: len(ids)])).log_softmax(-1)
    with torch.no_grad():
        true = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return float((true.exp() * (true - scores)).sum(-1).mean())


def test_it_reads_the_desks_texts_as_the_same_ids(tmp_path: Path):
    _, tokenizer, theirs = opened(tmp_path, str(TINY), "F16")
    for text in TEXTS:
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        for special, words in ((False, text), (True, asked)):
            mine = tokenizer(words, add_special_tokens=False)["input_ids"]
            assert theirs.tokenize(words.encode(), add_bos=False, special=special) == mine


def test_float16_is_the_same_model(tmp_path: Path):
    model, tokenizer, theirs = opened(tmp_path, str(TINY), "F16")
    for text in TEXTS:
        assert far(model, theirs, tokenizer(text)["input_ids"]) <= 1e-4


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2"])
def test_other_architectures_too(kind: str, tmp_path: Path, tiny_models: Callable[[str], str]):
    model, tokenizer, theirs = opened(tmp_path, tiny_models(kind), "F16")

    # Random weights ten times the usual: float16 sums differ more than a trained model's.
    assert far(model, theirs, tokenizer(TEXTS[0])["input_ids"]) <= 1e-3


def test_q8_0_opens_and_is_near(tmp_path: Path):
    model, tokenizer, theirs = opened(tmp_path, str(TINY), "Q8_0")

    assert far(model, theirs, tokenizer(TEXTS[0])["input_ids"]) <= 0.01


def as_written(folder: Path, tokenizer: Any) -> Any:
    """llama.cpp on a small model with this tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    config = LlamaConfig(vocab_size=len(tokenizer), **shape, **heads)
    words = vocabulary(tokenizer, len(tokenizer))
    tokenizer.chat_template = "x"
    path = folder / "model.gguf"
    state = LlamaForCausalLM(config).state_dict()
    gguf.write(path, state, config, words, tokenizer, "F16")
    return llama_cpp.Llama(str(path), n_ctx=64, verbose=False, n_threads=1)


@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "qwen2"])
def test_each_name_splits_as_its_family_does(
    name: str, tmp_path: Path, byte_level: Callable[[str], Any]
):
    tokenizer = byte_level(name)
    theirs = as_written(tmp_path, tokenizer)
    for text in (*PROBES, *TEXTS):
        mine = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        assert theirs.tokenize(text.encode(), add_bos=False) == mine


def test_sentencepiece_by_scores_is_read_as_it_is_by_merges(tmp_path: Path, sentencepiece: Any):
    theirs = as_written(tmp_path, sentencepiece)
    for text in (*PROBES, *TEXTS):
        mine = sentencepiece.backend_tokenizer.encode(text, add_special_tokens=False).ids
        assert theirs.tokenize(text.encode(), add_bos=False) == mine


def test_an_adapter_does_there_what_it_does_here(tmp_path: Path, tiny_models: Callable[[str], str]):
    model, tokenizer, _ = opened(tmp_path, tiny_models(), "F16")
    source = candidates.make(Workspace(tmp_path), tiny_models())
    policy = add_lora(model, 4, 8.0, 0.0)
    torch.manual_seed(1)
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    save_adapter(policy, tmp_path / "adapter")
    adapter.write(tmp_path / "adapter", tmp_path / "out", "gguf-f16", source, model.config)
    theirs = llama_cpp.Llama(
        str(tmp_path / "model.gguf"), lora_path=str(tmp_path / "out" / "lora.gguf"), n_ctx=256,
        logits_all=True, verbose=False, n_threads=1,
    )  # fmt: skip
    ids = tokenizer(TEXTS[0])["input_ids"]

    assert far(policy.eval(), theirs, ids) <= 1e-3
    with policy.disable_adapter():
        assert far(policy, theirs, ids) > 0.1
