"""One sentence with another number, name or pseudonym is one template; another sentence is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.build.skeleton import share, skeleton, templates


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It costs 199 yuan. [1]", "It costs 2,450.50 yuan. [3]"),
        ("Order A-48213 was sent.", "Order ord_7f3a was sent."),
        ("请拨打<PHONE:7f3a12c4>。", "请拨打<PHONE:deadbeef>。"),
        ("您说的“琥珀台灯”已下架。", "您说的“翡翠水壶”已下架。"),
        ("《退货须知》第3条", "《保修条款》第12条"),
        ('The "amber lamp" is gone.', 'The  "jade kettle" is gone.'),
        ("编号４８２１３", "编号48214"),
    ],
)
def test_what_changes_from_row_to_row_is_masked(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Call <PHONE:7f3a12c4>.", "Call <EMAIL:7f3a12c4>."),
        ("It's the shop's lamp.", "It's the desk's lamp."),
        ("请稍候。", "请重试。"),
    ],
)
def test_what_is_said_is_not_masked(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


@given(st.text(max_size=80))
def test_a_skeleton_is_its_own_skeleton(text: str) -> None:
    once = skeleton(text)
    assert skeleton(once) == once


def test_templates_join_near_skeletons_and_count_all_rows() -> None:
    said = [f"The price of the lamp is {n} yuan, thank you for asking us today." for n in range(6)]
    said += ["The price of the lamp is 9 yuan, thank you for asking us today!!", "您好。", "您好！"]
    found = templates(said)
    assert [(item.rows, item.first) for item in found] == [(7, 0), (2, 7)]
    assert found[0].skeleton.startswith("the price of the lamp is # yuan")
    assert share(found) == 7 / 9


def test_no_answer_has_no_template() -> None:
    assert templates([]) == []
    assert share([]) == 0.0


@given(st.lists(st.sampled_from(["a lamp", "a fan 3", "灯", "a fan 4", ""]), max_size=12))
def test_every_row_is_in_one_template(said: list[str]) -> None:
    assert sum(item.rows for item in templates(said)) == len(said)
