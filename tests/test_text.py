"""Language and bare form of a text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.text import bare, jaccard, language, shingles


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("How much is it?", "en"),
        ("多少钱？", "zh"),
        ("amber lamp多少钱？", "zh"),
        ("Say 你好 to everybody in the office", "en"),
        ("", "en"),
        ("48213", "en"),
    ],
)
def test_language(text: str, spoken: str) -> None:
    assert language(text) == spoken


def test_bare_makes_equal_what_a_reader_calls_equal() -> None:
    assert bare("Ｈｅｌｌｏ，  World! [1]") == bare("hello world1")
    assert bare("密码 是\u200b１２") == "密码是12"


@given(st.text())
def test_bare_is_its_definition(text: str) -> None:
    folded = unicodedata.normalize("NFKC", text).casefold()
    assert bare(text) == "".join(char for char in folded if char.isalnum())


def test_jaccard_of_shingles_by_hand() -> None:
    """abcdef has 5-grams abcde, bcdef; abcdeg has abcde, bcdeg: 1 shared of 3."""
    assert jaccard(shingles("abcdef"), shingles("abcdeg")) == pytest.approx(1 / 3)
    assert shingles("ab") == {"ab"}
    assert shingles("…") == frozenset()
    assert jaccard(frozenset(), frozenset()) == 1.0


def test_a_terminal_gets_tables_without_markdowns_escapes():
    from errata.language import unescaped
    from errata.report import markdown_table

    cells = ["evaluate.tool_choice", "a|b", "<b>", "&#27;", "[1]"]
    told = unescaped(markdown_table(cells, []) + "\\_ outside of a table stays\n")
    assert told.splitlines()[0] == "| evaluate.tool_choice | a|b | <b> | &#27; | [1] |"
    assert told.endswith("\\_ outside of a table stays\n")
