"""A tokenizer's splits are known to llama.cpp by name: the name is found by what it does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models
from transformers import PreTrainedTokenizerFast

from errata.candidates import TINY
from errata.errors import BadInput
from errata.export.tokenizer_ggml import (
    BYTE,
    CONTROL,
    NORMAL,
    PRE,
    PROBES,
    UNUSED,
    USER_DEFINED,
    Vocabulary,
    vocabulary,
)
from errata.train.model import load_tokenizer

Make = Callable[[str], Any]
# Long enough that the order of merges decides.
WORDS = ("order", "where", "thank you", "status", "delivery", "refund", "product", "please")


@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "qwen2"])
def test_the_name_is_found_by_what_the_tokenizer_does(name: str, byte_level: Make):
    found = vocabulary(byte_level(name), 910)

    assert (found.model, found.pre, found.notes) == ("gpt2", name, [])


def test_types_say_what_is_special_what_was_added_and_what_no_token_has(byte_level: Make):
    tokenizer = byte_level("gpt-2")
    found = vocabulary(tokenizer, len(tokenizer) + 2)

    assert len(found.tokens) == len(found.types) == len(tokenizer) + 2
    assert [found.types[0], found.types[1], found.types[-3]] == [CONTROL, CONTROL, USER_DEFINED]
    assert found.types[-2:] == [UNUSED, UNUSED]
    assert len(set(found.tokens)) == len(found.tokens)  # llama.cpp refuses a token twice
    assert found.types.count(NORMAL) == len(tokenizer) - 3


def test_splits_that_no_merge_shows_need_no_name_of_their_own():
    # The desk's splits around each digit and Chinese character; none of its merges goes across.
    found = vocabulary(load_tokenizer(str(TINY)), 2057, ["Where is order 1009?", "订单在哪？"])

    assert (found.pre, found.notes) == ("gpt-2", [])


def test_splits_that_llama_cpp_does_not_have_are_told_with_how_often_they_differ(byte_level: Make):
    found = vocabulary(byte_level(r"[\s\S]{2}"), 910, ["Where is the order of today?"])

    assert found.pre in PRE
    assert re.fullmatch(rf".* nearest: [1-7] of {len(PROBES) + 1} texts give other ids",
                        found.notes[0])  # fmt: skip


def test_a_word_that_is_taken_whole_whatever_its_merges_is_known_by_that(byte_level: Make):
    # Llama 3's way: the text of a token is that token, though no merge makes it.
    told = json.loads(byte_level("qwen2").backend_tokenizer.to_str())
    word = next(text for text in ("Ġcontractions", "Ġreturn") if text not in told["model"]["vocab"])
    told["model"] |= {"ignore_merges": True, "vocab": {**told["model"]["vocab"], word: 901}}
    whole = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(told)))
    texts = [f"two {word[1:]} here"]

    assert vocabulary(whole, 910, texts).pre == "llama-bpe"
    told["model"]["ignore_merges"] = False
    apart = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(told)))
    assert vocabulary(apart, 910, texts).pre == "qwen2"


def test_a_unigram_tokenizer_is_refused():
    core = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))

    with pytest.raises(BadInput, match="Unigram: GGUF is written for BPE"):
        vocabulary(PreTrainedTokenizerFast(tokenizer_object=core), 2)


def test_an_id_that_the_model_has_no_row_for_is_refused(byte_level: Make):
    tokenizer = byte_level("gpt-2")
    with pytest.raises(BadInput, match=f"id {len(tokenizer) - 1} has no row in a model of 100"):
        vocabulary(tokenizer, 100)


def by_scores(known: Vocabulary, text: str) -> list[int]:
    """llama.cpp's own way (`llm_tokenizer_spm`): join the neighbours whose union scores best, the
    leftmost first; what is no token falls to bytes."""
    place = {token: number for number, token in enumerate(known.tokens)}
    parts = list(("▁" if known.space_first else "") + text.replace(" ", "▁"))
    while True:
        unions = [(-known.scores[place[a + b]], at) for at, (a, b)
                  in enumerate(pairwise(parts)) if a + b in place]  # fmt: skip
        if not unions:
            break
        at = min(unions)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return [
        number
        for part in parts
        for number in (
            [place[part]] if part in place else [place[f"<0x{b:02X}>"] for b in part.encode()]
        )
    ]


def test_a_sentencepiece_tokenizer_is_told_by_scores_and_bytes(sentencepiece: Any):
    known = vocabulary(sentencepiece, len(sentencepiece))

    assert (known.model, known.merges, known.space_first) == ("llama", [], True)
    assert known.types.count(BYTE) == 256
    assert len(set(known.scores)) > 400  # the merges are many, so their order can be wrong


@given(st.lists(st.sampled_from([*"ordeinthw A1在订单。\n🙂é", *WORDS]), min_size=1).map("".join))
def test_scores_give_the_ids_that_merges_give(sentencepiece: Any, text: str):
    known = vocabulary(sentencepiece, len(sentencepiece))
    true = sentencepiece.backend_tokenizer.encode(text, add_special_tokens=False).ids

    assert by_scores(known, text) == true


def test_every_name_has_expressions_that_the_library_reads():
    for expressions in PRE.values():
        for one in expressions:
            Regex(one)
