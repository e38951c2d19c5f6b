"""Text as it grows: whole characters, no stop string, and together what the whole would be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.candidates import TINY
from errata.serve.saying import Saying, first, overlap
from errata.train.model import load_tokenizer

TOKENIZER = load_tokenizer(str(TINY))
WORDS = ["order", " 12", "你好，", "😀", "é", "\n", " ", "STOP", "客户", "[1]", "abc"]


def said(ids: list[int], stops: tuple[str, ...] = (), cut: bool = False) -> tuple[list[str], bool]:
    saying = Saying(TOKENIZER, stops)
    pieces = []
    for token in ids:
        pieces.append(saying.feed(token))
        if saying.stopped:
            break
    return [*pieces, saying.end(cut)], saying.stopped


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_the_pieces_are_the_text_and_never_hold_half_a_character(words: list[str]):
    text = "".join(words)
    pieces, _ = said(TOKENIZER.encode(text, add_special_tokens=False))

    assert "".join(pieces) == text.strip()
    assert not [piece for piece in pieces if "\ufffd" in piece]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.sampled_from(WORDS), max_size=12),
    st.sampled_from(["STOP", "你好，😀", "r 1", "\n "]),
)
def test_a_stop_string_ends_it_wherever_its_tokens_begin(words: list[str], stop: str):
    text = "".join(words)
    pieces, stopped = said(TOKENIZER.encode(text, add_special_tokens=False), (stop, "never said"))

    assert stopped == (stop in text)
    assert "".join(pieces) == text.split(stop)[0].strip()


def test_a_character_takes_several_tokens_and_is_shown_with_the_last():
    ids = TOKENIZER.encode("a😀b", add_special_tokens=False)
    pieces, _ = said(ids)

    assert len(ids) > 3
    assert [piece for piece in pieces if piece] == ["a", "😀", "b"]


@pytest.mark.parametrize(("cut", "rest"), [(True, ""), (False, "\ufffd")])
def test_half_a_character_at_the_end_is_left_out_where_it_was_cut(cut: bool, rest: str):
    ids = TOKENIZER.encode("a😀", add_special_tokens=False)[:-1]
    pieces, _ = said(ids, cut=cut)

    assert "".join(pieces).startswith("a" + rest)
    assert ("\ufffd" in "".join(pieces)) == bool(rest)


def test_broken_bytes_amid_the_text_come_when_it_goes_on():
    half = TOKENIZER.encode("😀", add_special_tokens=False)[:1]
    ids = [*half, *TOKENIZER.encode("ok then", add_special_tokens=False)]

    assert "".join(said(ids)[0]) == TOKENIZER.decode(ids)


def test_overlap_is_the_longest_beginning_of_a_word_at_the_end():
    assert overlap("abc<tool", ["<tool_call>", "CALL "]) == 5
    assert overlap("a CAL", ["<tool_call>", "CALL "]) == 3
    assert overlap("abc", ["xyz"]) == overlap("", ["xyz"]) == overlap("abc", []) == 0
    assert first("a b a", ["b", "a b"]) == 0
    assert first("xx", ["b"]) is None
