"""What is claimed, and whether documents hold it: canonical forms, a labelled set, its errors."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.evaluate import claims, grounding
from errata.tiny import suites


def told(text: str) -> list[tuple[str, str, str]]:
    return [(c.kind, c.value, c.unit) for c in claims.claims(text)]


# Texts that claim the same, in whatever words; and one that claims something else.
SAME = [
    (["2 kg", "2000 grams", "2,000 g", "两公斤", "2千克", "2kg"], "2 grams"),
    (["24 months", "two years", "24个月", "两年", "二十四个月", "2-year"], "24 days"),
    (["42 yuan", "¥42", "￥42.00", "42元", "42 RMB", "四十二元"], "$42"),
    (["3 May 2024", "May 3, 2024", "2024年5月3日", "2024-05-03", "the 3rd of May 2024"],
     "4 May 2024"),
    (["1.5 m", "150 cm", "150厘米", "1.5米"], "1.5 cm"),
    (["3 days", "72 hours", "三天", "72小时", "three days"], "3 hours"),
    (["red", "RED", "红色"], "blue"),
    (["A-48213", "a-48213"], "A-48214"),
    (["20 %", "20%", "20 percent"], "21 %"),
    (["一百二十天", "120天"], "一百零二天"),
]  # fmt: skip


@pytest.mark.parametrize(("texts", "other"), SAME)
def test_one_thing_has_one_form_in_both_languages(texts: list[str], other: str):
    forms = {text: told(text) for text in texts}
    assert all(len(form) == 1 for form in forms.values()), forms
    assert len({form[0] for form in forms.values()}) == 1, forms
    assert told(other) != told(texts[0])


@pytest.mark.parametrize(
    "text",
    ["Sorry, I cannot help with that.", "一下就好，您放心。", "You are welcome.", "See [2].",
     "It is one of our best, any day.", "一个小问题。", "不客气。"],
)  # fmt: skip
def test_what_claims_nothing_has_no_claims(text: str):
    assert told(text) == []


@given(st.integers(2, 9999), st.sampled_from(["yuan", "元", " grams", "克", "个月", " months"]))
def test_any_number_is_borne_out_by_itself_and_by_no_other(number: int, unit: str):
    claim = claims.claims(f"{number}{unit}" if unit[0] == " " else f"{number} {unit}")[0]
    assert grounding.holds(f"... {number}{unit} ...", claim)
    assert not grounding.holds(f"... {number + 1}{unit} ...", claim)
    assert not grounding.holds(f"... 1{number}{unit} ...", claim)


class Labelled(NamedTuple):
    question: str
    documents: str
    catches: list[str]  # answers with a claim that the documents do not hold
    spares: list[str]


LAMP = Labelled(
    "How much is the jade kettle?",
    "The amber lamp costs 42 yuan[1].\nThe jade kettle costs 99 yuan[2].\n"
    "The jade kettle weighs 1.2 kg[3].",
    ["The jade kettle costs 42 yuan[1].", "The jade kettle costs 98 yuan[2].",
     "The jade kettle costs 99 dollars[2].", "The jade kettle weighs 99 grams[3].",
     "It costs 99 yuan[2] and comes in red.", "It costs 99 yuan[2] with a two-year warranty.",
     "It costs 99 yuan. Call 010-5555-1234.", "The jade kettle costs 99 yuan since 3 May 2024.",
     "Order code JK-77, 99 yuan[2].", "See https://shop.example/jade for 99 yuan.",
     "It is 20 % off: 99 yuan.", "Ask Tom Reed, he sells it for 99 yuan."],
    ["The jade kettle costs 99 yuan[2].", "It costs ¥99.00. [2]", "99 yuan[2]",
     "The jade kettle costs 99 yuan and weighs 1200 grams[2][3].", "Sorry, I do not know.",
     "The price of the jade kettle is 99 yuan[2].", "CALL order_status()"],
)  # fmt: skip
KETTLE_ZH = Labelled(
    "翡翠水壶的价格是多少？",
    "琥珀台灯的价格是42元[1]。\n翡翠水壶的价格是99元[2]。\n翡翠水壶的重量是1.2公斤[3]。",
    ["翡翠水壶的价格是42元[1]。", "翡翠水壶的价格是98元[2]。", "翡翠水壶的价格是99美元[2]。",
     "价格是99元[2]，有红色的。", "价格是99元，保修两年。", "翡翠水壶99元，三天送到。",
     "请打010-5555-1234。", "型号JK-77，99元[2]。", "2024年5月3日起99元[2]。"],
    ["翡翠水壶的价格是99元[2]。", "九十九元[2]。", "翡翠水壶卖99元，重1200克[2][3]。",
     "抱歉，我不知道。",
     "翡翠水壶的售价是99元[2]。", "价格：￥99[2]"],
)  # fmt: skip
WARRANTY = Labelled(
    "Does the solar fan have a warranty of 12 months? My order is 48213.",
    "[1] The solar fan has a warranty of two years. [2] It comes in white and black.",
    ["Yes, 12 months[1].", "Two years[1], order 48214.", "It has a warranty of 36 months[1].",
     "It comes in green[2]."],
    ["No, the solar fan has a warranty of 24 months[1].", "Two years[1].",
     "Order 48213 is noted. The warranty is 2 years[1].", "White or black[2]."],
)  # fmt: skip
SETS = [LAMP, KETTLE_ZH, WARRANTY]


def invented(row: Labelled, answer: str) -> bool:
    passages = list(grounding.passages(row.documents).values())
    return bool(grounding.unsupported(answer, passages, row.question))


@pytest.mark.parametrize("row", SETS, ids=lambda row: row.question[:20])
def test_every_invented_claim_is_found_and_no_right_answer_is_called_one(row: Labelled):
    """Precision and recall 1 on 25 invented and 17 right answers; what words alone say is below."""
    assert [answer for answer in row.catches if not invented(row, answer)] == []
    assert [answer for answer in row.spares if invented(row, answer)] == []


@pytest.mark.parametrize("answer", ["The jade kettle is waterproof[2].", "翡翠水壶可以防水[2]。",
                                    "It does not cost 99 yuan[2]."])  # fmt: skip
def test_what_is_said_in_words_alone_is_not_seen(answer: str):
    assert not invented(LAMP, answer)


CITED = [
    ("The jade kettle costs 99 yuan[2].", True),
    ("The jade kettle costs 99 yuan. [2]", True),
    ("The jade kettle costs 99 yuan[1].", False),  # the lamp's passage
    ("The jade kettle costs 99 yuan[3].", False),  # of the kettle, without the price
    ("The jade kettle costs 99 yuan[7].", False),  # no such passage
    ("It costs 99 yuan[2]. It weighs 1.2 kg[3].", True),
    ("It costs 99 yuan[3]. It weighs 1.2 kg[2].", False),  # each has the other's
    ("The jade kettle costs 99 yuan and weighs 1.2 kg[2][3].", True),
    ("The jade kettle costs 99 yuan[2][1].", False),  # the second holds none of it
]


@pytest.mark.parametrize(("answer", "borne"), CITED)
def test_a_citation_is_held_against_its_own_sentence(answer: str, borne: bool):
    wrong = grounding.cited_wrongly(answer, grounding.passages(LAMP.documents), LAMP.question)
    assert (wrong == []) == borne


def test_every_reference_of_the_grounded_suite_is_grounded():
    for case in suites.desk("grounded"):
        documents = next(m.content for m in case.messages if m.role == "documents")
        row = Labelled(case.messages[-1].content, documents, [], [])
        assert not invented(row, str(case.reference)), case.id


def test_a_number_inside_a_sentence_ends_none():
    assert grounding.sentences("It costs 42.5 yuan. [2] 价格是4.5元。[1]See a.b. Ok") == [
        "It costs 42.5 yuan. [2] ", "价格是4.5元。[1]", "See a.b. ", "Ok",
    ]  # fmt: skip
