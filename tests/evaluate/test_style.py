"""Style: floor and ceiling by hand, differences of exactly 0, and a collapse that must be seen."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.evaluate import asked, pages, style
from errata.records import Case, Message, Predicate

WORDS = [f"{a}{b}{c}" for a in "bcdfgl" for b in "aeiou" for c in ("ma", "ti", "zo", "nek", "sul")]


def said(text: str, n: int = 0, **more: Any) -> style.Said:
    fields: dict[str, Any] = {"question": "?", "label": "catalogue", "persona": "plain",
                              "language": "en", "cluster": f"c{n}", **more}  # fmt: skip
    return style.Said(text=text, **fields)


def varied(count: int, seed: int = 0) -> list[str]:
    """Answers of ten words, no two alike."""
    rng = Random(seed)
    return [" ".join(rng.sample(WORDS, 10)) + "." for _ in range(count)]


def whole(found: style.Style) -> style.Cell:
    return next(c for c in found.cells if (c.kind, c.language) == ("all", None))


def test_a_model_that_always_says_the_same_is_at_the_bottom_of_every_measure():
    found = style.style([said("Thank you for asking, we are happy to help.", n) for n in range(40)])
    ours = whole(found).ours

    assert ours["template_share"].value == 1.0
    assert ours["self_similarity"].value == 1.0
    assert ours["openings"].value == 0.0
    # 9 words and 8 pairs an answer: in 100 tokens 11 answers and one word.
    assert ours["distinct_1"].value == pytest.approx(9 / 100)
    assert ours["distinct_2"].value == pytest.approx(8 / 88)
    assert ours["spread"].value == 0.0
    assert found.flags == [True] * 40
    assert asked.styled(found)[0].value == 1.0


def test_a_model_that_never_repeats_itself_is_at_the_top():
    texts = [f"{WORDS[2 * n]} {WORDS[2 * n + 1]} " + " ".join(f"{w}{n}" for w in WORDS[:8])
             for n in range(40)]  # fmt: skip
    ours = whole(style.style([said(text, n) for n, text in enumerate(texts)])).ours

    assert ours["openings"].value == pytest.approx(math.log2(40))
    assert ours["distinct_2"].value == 1.0
    assert ours["template_share"].value == pytest.approx(1 / 40)
    assert (ours["self_similarity"].value or 0) < 0.5


def test_a_model_that_equals_its_baseline_differs_by_exactly_nothing():
    texts = varied(60)
    mine = [said(text, n // 2, label="a" if n % 2 else "b") for n, text in enumerate(texts)]
    found = style.style(mine, texts)

    assert len(found.cells) == 5  # all, all en, two labels, a voice
    for cell in found.cells:
        for change in cell.change.values():
            assert change.value in (None, 0.0)
            assert change.low in (None, 0.0)
            assert change.high in (None, 0.0)
        assert not pages.towards_template(cell)
    page = pages.style_md(found, "itself")
    assert page.count("Δ 0") == 5 * 6
    assert "Δ +" not in page


def test_a_collapse_is_seen_where_it_happens_and_nowhere_else():
    """All answers of one voice become a template; those of the other stay as they were."""
    before = varied(80)
    voices = ["upset" if n % 2 else "plain" for n in range(80)]
    after = [f"Thank you, {text.split()[0]}, for asking about order {n}." if voices[n] == "upset"
             else text for n, text in enumerate(before)]  # fmt: skip
    mine = [said(text, n, persona=voices[n], question=f"Order {n} of {before[n].split()[0]}?")
            for n, text in enumerate(after)]  # fmt: skip
    found = style.style(mine, before)
    cells = {cell.name: cell for cell in found.cells if cell.kind == "persona"}

    assert cells["upset"].change["template_share"].value == pytest.approx(1 - 1 / 40)
    assert pages.towards_template(cells["upset"])
    assert not pages.towards_template(cells["plain"])
    assert found.repeated[0].ours == 40
    assert found.repeated[0].theirs == 0
    page = pages.style_md(found, "base")
    assert "| → upset en | 40 |" in page
    assert "Thank you, " in page


@pytest.mark.parametrize(
    ("answer", "question", "skeleton"),
    [
        (
            "The amber lamp costs 42 yuan[1].",
            "How much is the amber lamp?",
            "the # costs # yuan[#].",
        ),
        ("琥珀台灯的价格是42元[1]。", "琥珀台灯多少钱？", "#的价格是#元[#]。"),
        ("Order 48213 is on its way.", "Where is order 48213?", "# is on its way."),
        ("You are welcome.", "Thanks.", "you are welcome."),
    ],
)
def test_what_is_taken_over_from_the_question_is_no_wording(
    answer: str, question: str, skeleton: str
):
    assert style.masked(answer, question) == skeleton


def test_one_sentence_is_one_template_whatever_it_is_an_answer_to():
    told = "Happy to help you with products and orders."
    asked_ = ["Any help with products?", "Hello!", "Orders and products, happy", "Who are you?"]
    assert len(set(style.templates([told] * 4, asked_))) == 1
    assert len({style.masked(told, question) for question in asked_}) > 1
    assert style.templates([], []) == []


def test_length_alone_changes_no_distinct_n():
    """The same stream of words in answers of ten and of fifty words."""
    rng = Random(1)
    words = [rng.choice(WORDS) for _ in range(2000)]
    short, long = ([" ".join(words[i : i + n]) for i in range(0, 2000, n)] for n in (10, 50))
    values = [whole(style.style([said(t, n) for n, t in enumerate(texts)])).ours["distinct_1"].value
              for texts in (short, long)]  # fmt: skip
    plain = [len(set(words[:n])) / n for n in (200, 2000)]

    assert plain[0] > 3 * plain[1]  # what would be measured without pieces
    assert values[0] == pytest.approx(values[1], abs=0.03)


def test_an_answer_that_is_a_call_is_no_style_and_empty_is_not_zero():
    found = style.style([said("CALL order_status(1)", n) for n in range(20)])
    assert (found.kept, found.cells) == ([], [])
    assert [m.value for m in asked.styled(found)] == [None, None]
    few = style.style([said("one two", n) for n in range(10)])
    assert whole(few).ours["distinct_2"].value is None  # 20 tokens are no piece


@given(st.lists(st.text(max_size=30), min_size=8, max_size=12), st.integers(0, 3))
def test_any_text_is_measured_and_every_share_is_one(texts: list[str], spread: int):
    rows = [said(text, n // (spread + 1), question=text[::-1]) for n, text in enumerate(texts)]
    found = style.style(rows, list(reversed(texts)))
    for cell in found.cells:
        for name in ("distinct_1", "distinct_2", "self_similarity", "template_share"):
            value = cell.ours[name].value
            assert value is None or 0 <= value <= 1
    assert pages.style_md(found, "b").count("\n| ") >= len(found.cells)


def test_probes_are_not_looked_at_and_voices_keep_their_label():
    def case(category: str) -> Case:
        return Case(id=category, category=category, language="en", family="privacy", cluster="c",
                    split="heldout", messages=[Message(role="user", content="?")],
                    success=Predicate(kind="polite"), persona="upset")  # fmt: skip

    cases = [case("persona"), case("probe"), case("tool")]
    labels = [(s.label, s.text) for s in asked.spoken(cases, ["a", "b", "c"])]
    assert labels == [("privacy", "a"), ("tool", "c")]


def test_intervals_hold_the_true_share_nine_times_in_ten():
    """60 answers, one in four the template: the standard error is √(0.25 · 0.75 / 60) = 0.0559."""
    readings = []
    for seed in range(200):
        rng = Random(seed)
        answers = [style.Answer(["a"], "x", 0 if rng.random() < 0.25 else n + 1, frozenset())
                   for n in range(60)]  # fmt: skip
        clusters = [f"c{n}" for n in range(60)]
        readings.append(style.measured(clusters, answers)[0]["template_share"])
    bounds = [(r.low or 0, r.high or 0) for r in readings]

    assert 0.86 <= sum(low <= 0.25 <= high for low, high in bounds) / 200 <= 0.95
    errors = [(high - low) / 2 / style.Z for low, high in bounds]
    assert sum(errors) / 200 == pytest.approx(0.0559, rel=0.08)
