"""What is written as GGUF is what transformers, which knows llama.cpp's conventions, reads back."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from errata.errors import BadInput
from errata.export import gguf
from errata.export.tokenizer_ggml import vocabulary
from errata.train.model import load

needs = pytest.mark.skipif(find_spec("gguf") is None, reason="gguf is not installed")
IDS = torch.tensor([[1, 40, 77, 300, 12, 9, 140, 8, 8, 19]])


def written(folder: Path, base: str, kind: str, **shape: Any) -> tuple[Any, list[str], Path]:
    """A model, what was told when it was written to `folder`, and the file."""
    from transformers import AutoModelForCausalLM

    model, tokenizer = load(base, "float32")
    if shape:
        for name, value in shape.items():
            setattr(model.config, name, value)
        torch.manual_seed(4)
        model = AutoModelForCausalLM.from_config(model.config)
    folder.mkdir()
    told = gguf.write(
        folder / "model.gguf", model.state_dict(), model.config,
        vocabulary(tokenizer, model.config.vocab_size), tokenizer, kind,
    )  # fmt: skip
    gguf.as_read(model.config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval(), told, folder / "model.gguf"


def logprobs(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.as_tensor(model(IDS).logits[0]).log_softmax(-1)


def kl(f: torch.Tensor, e: torch.Tensor) -> float:
    return float((f.exp() * (f - e)).sum(-1).mean())


@needs
@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3", "gemma2"])
def test_float16_is_read_back_as_the_same_model(
    kind: str, tmp_path: Path, tiny_models: Callable[[str], str]
):
    model, _, _ = written(tmp_path / "out", tiny_models(kind), "F16")

    assert kl(logprobs(model), logprobs(load(str(tmp_path / "out"))[0].eval())) < 1e-4
    assert kl(logprobs(model), logprobs(model).roll(1, 0)) > 0.1  # it could have been seen


@needs
@pytest.mark.parametrize(("kind", "most"), [("Q8_0", 0.01), ("Q4_0", 1.0)])
def test_fewer_bits_are_further_away_and_smaller(
    kind: str, most: float, tmp_path: Path, tiny_models: Callable[[str], str]
):
    model, told, file = written(tmp_path / "out", tiny_models(), kind)
    _, _, whole = written(tmp_path / "whole", tiny_models(), "F16")

    assert 1e-6 < kl(logprobs(model), logprobs(load(str(tmp_path / "out"))[0].eval())) < most
    assert file.stat().st_size < whole.stat().st_size
    assert not any("float16" in line for line in told)


@needs
def test_a_matrix_whose_rows_are_no_blocks_stays_float16_and_is_told(
    tmp_path: Path, tiny_models: Callable[[str], str]
):
    from gguf import GGUFReader

    model, told, file = written(tmp_path / "out", tiny_models(), "Q8_0", intermediate_size=40)
    types = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(file).tensors}

    assert {types["blk.0.ffn_down.weight"], types["blk.1.ffn_down.weight"]} == {"F16"}
    assert (types["blk.0.ffn_up.weight"], types["output_norm.weight"]) == ("Q8_0", "F32")
    assert any("2 matrices stay float16: their rows are no multiples of 32" in one for one in told)
    assert kl(logprobs(model), logprobs(load(str(tmp_path / "out"))[0].eval())) < 0.01


def test_halves_of_a_head_become_pairs():
    # One head of four rows: (0, 1 | 2, 3) turn with each other as (0, 2) and (1, 3).
    rows = torch.arange(8.0)[:, None]

    assert gguf.interleaved(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize("width", [8, 64, 128])
def test_llama_3_frequencies_are_those_of_transformers(width: int):
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}  # fmt: skip
    config = LlamaConfig(head_dim=width, rope_parameters=rope, max_position_embeddings=131072)
    true, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 500000.0 ** -(torch.arange(0, width, 2).float() / width)
    factors = gguf._rope_factors(config)

    assert factors is not None
    assert torch.allclose(plain / factors, true, rtol=1e-5)
    assert gguf._rope_factors(LlamaConfig(head_dim=width)) is None


@needs
def test_the_context_of_a_model_with_a_window_is_the_window(
    tmp_path: Path, tiny_models: Callable[[str], str]
):
    from gguf import GGUFReader

    _, told, file = written(tmp_path / "out", tiny_models("mistral"), "F16")
    fields = GGUFReader(file).fields

    assert int(fields["llama.context_length"].contents()) == 16
    assert any("sliding window" in line for line in told)


@needs
def test_special_tokens_and_the_chat_template_are_in_it(
    tmp_path: Path, tiny_models: Callable[[str], str]
):
    from gguf import GGUFReader

    written(tmp_path / "out", tiny_models(), "F16")
    fields = GGUFReader(tmp_path / "out" / "model.gguf").fields
    told = {name.removeprefix("tokenizer."): fields[name].contents() for name in fields
            if name.startswith("tokenizer.")}  # fmt: skip

    assert (told["ggml.bos_token_id"], told["ggml.eos_token_id"]) == (1, 2)
    assert told["ggml.padding_token_id"] == 0
    assert told["ggml.add_bos_token"] is False  # the template writes it
    assert "<|assistant|>" in told["chat_template"]
    words = json.loads((tmp_path / "out" / "tokenizer.json").read_text())["model"]["vocab"]
    assert [told["ggml.tokens"][place] for place in words.values()] == list(words)


@needs
def test_other_architectures_are_refused_with_those_that_are_written():
    with pytest.raises(BadInput, match="not written for gpt2; for llama, mistral, qwen2"):
        gguf.ready("gpt2")
