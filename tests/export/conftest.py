"""Tokenizers of the families that GGUF knows, trained here."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from errata.export.tokenizer_ggml import PROBES
from errata.tiny import corpus, pretrain

# What tokenizer.json of each family says, by which transformers splits.
OF_FAMILY = {
    "gpt-2": [],
    "llama-bpe": [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ],
    "qwen2": [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ],
}  # fmt: skip


@cache
def _texts() -> list[str]:
    rng = Random(5)
    said = [pretrain.render(corpus.draw(rng, 1.0, corpus.BROAD)) for _ in range(300)]
    # Pairs of letters, digits and spaces often enough that a wrong split shows.
    return said + [probe for probe in PROBES for _ in range(20)]


def _byte_level(expressions: list[str]) -> Any:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(one), "isolated") for one in expressions]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not expressions)]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        _texts(),
        trainers.BpeTrainer(
            vocab_size=900, special_tokens=["<pad>", "<eos>"], initial_alphabet=alphabet,
            show_progress=False,
        ),
    )  # fmt: skip
    found = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
    found.add_tokens(["[1]"])
    return found


@pytest.fixture(scope="session")
def sentencepiece() -> Any:
    """A BPE as transformers converts it from Llama's tokenizer.model, with bytes for the rest."""
    core = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trained = trainers.BpeTrainer(vocab_size=1400, special_tokens=special, show_progress=False)
    core.train_from_iterator([text[:200] for text in _texts()], trained)
    told = json.loads(core.to_str())
    # Bytes are no special tokens; all pairs of pieces that make a piece are merges, in its order.
    told["added_tokens"] = told["added_tokens"][:3]
    vocab, order = told["model"]["vocab"], {}
    for place, pair in enumerate(told["model"]["merges"]):
        order.setdefault("".join(pair), place)
    told["model"]["merges"] = [
        [piece[:cut], piece[cut:]]
        for piece in order
        for cut in range(1, len(piece))
        if piece[:cut] in vocab and piece[cut:] in vocab
    ]
    core = Tokenizer.from_str(json.dumps(told))
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def byte_level() -> Callable[[str], Any]:
    """A tokenizer that splits as the named family does; another text is an expression itself."""

    @cache
    def make(name: str) -> Any:
        return _byte_level(OF_FAMILY.get(name, [name]))

    return make
