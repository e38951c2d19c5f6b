"""Invented values: of the kind that was asked for, one for one name, and spared by every rule."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.build.invent import INVENTORS, lifelike_all
from errata.intake import checks
from errata.intake.fold import TOKEN
from errata.intake.redact import Policy, apply, redact
from errata.intake.rules import RULES

KEY = b"k" * 32


def lifelike(text: str, seed: str) -> str:
    return lifelike_all([text], seed)[0]


ALL = Policy(on=["password-digits"]).rules
TAGS = sorted({rule.tag for rule in RULES})
# What leads to values in all rules: no inventor may be caught by the rule of another kind.
LEADS = ["", "密码是", "我的密码：", "password is ", "password=", "api_key: ", "my phone is ", "电话", "手机号",
         "订单", "卡号", "身份证", "护照号：", "passport no. ", "IBAN ", "我叫", "姓名：", "联系人", "请联系", "我住在",
         "地址：", "QQ", "微信号：", "token=", "Bearer ", "?token=", "https://u:", "key ", "mail ", "(", '"',
         "use ", "credentials: bob / ", "账号密码：admin/", "secret: '", "车牌", "税号", "a", "1", "-", "+86 "]  # fmt: skip
ENDS = [
    "",
    "，谢谢",
    ".",
    " as my password",
    "是我的密码",
    "先生您好",
    "女士",
    " is wrong",
    "@",
    '"',
    "号",
    ")",
    "x",
    "7",
    "的",
]


def test_there_is_an_inventor_for_every_tag() -> None:
    assert sorted(INVENTORS) == TAGS


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(TAGS), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from(LEADS),
       st.sampled_from(ENDS))  # fmt: skip
def test_what_is_invented_is_spared_in_every_sentence(
    tag: str, seed: int, chinese: bool, lead: str, end: str
) -> None:
    value = INVENTORS[tag](Random(seed), chinese)
    clean = apply(f"{lead}{value}{end}", ALL, KEY)
    touched = [f for f in clean.findings if f.start < len(lead) + len(value) and f.end > len(lead)]
    # A letter, digit or hyphen glued to it makes it another value.
    glued = lead[-1:].isascii() and (lead[-1:].isalnum() or lead[-1:] == "-")
    if not glued and end[:1] not in ("x", "7", "@"):
        assert touched == []


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("lead", ["", "看 ", "see "])
def test_it_stays_where_it_is_told_plainly(tag: str, lead: str) -> None:
    for seed in range(50):
        value = INVENTORS[tag](Random(seed), lead != "see ")
        assert apply(f"{lead}{value} ok", ALL, KEY).findings == []


@pytest.mark.parametrize("tag", sorted(INVENTORS))
@pytest.mark.parametrize("lead", ["密码是", "the password is ", "key", "call "])
@pytest.mark.parametrize("near", ["x", "Z7", "7", "-", "_", ".7", "/", ":", "@", "号"])
def test_what_stands_against_it_does_not_make_it_another_word(
    tag: str, lead: str, near: str
) -> None:
    text = lifelike(f"{lead}{near}<{tag}:7f3a12c4>{near}ok<{tag}:12c47f3a>{near}", lead)
    assert apply(text, ALL, KEY).findings == [], text


def test_it_looks_like_life() -> None:
    for seed in range(50):
        random = Random(seed)
        assert checks.luhn(INVENTORS["CARD"](random, True))
        assert checks.resident_id(INVENTORS["CN_ID"](random, True))
        assert re.fullmatch("1990000[0-9]{4}", INVENTORS["PHONE"](random, True))
        assert re.fullmatch(r"\(999\) 000-[0-9]{4}", INVENTORS["PHONE"](random, False))


def test_one_name_is_one_value_in_a_row_and_another_in_the_next() -> None:
    text = "打<PHONE:7f3a12c4>或<PHONE:00000001>，再打<PHONE:7f3a12c4>"
    first = lifelike(text, "f-1")
    a, b, c = re.findall("1990000[0-9]{4}", first)
    assert (a == c, a == b) == (True, False)
    assert lifelike(text, "f-1") == first
    assert lifelike(text, "f-2") != first
    assert not TOKEN.search(first)


def test_the_texts_of_a_row_agree_and_its_language_decides() -> None:
    prompt, answer = lifelike_all(
        ["我是<PERSON:7f3a12c4>", "<PERSON:7f3a12c4> called <PHONE:7f3a12c4>"], "r"
    )
    assert prompt.removeprefix("我是") == answer.split(" called ")[0]
    assert lifelike("Call <PHONE:7f3a12c4>", "r").startswith("Call (999) 000-")
    assert lifelike("打<PHONE:7f3a12c4>", "r").startswith("打1990000")


def test_nine_people_have_nine_names() -> None:
    people = "，".join(f"<PERSON:0000000{n}>" for n in range(8))
    assert len(set(lifelike(f"他们是{people}", "r").removeprefix("他们是").split("，"))) == 8


def test_the_name_of_a_rule_of_the_policy_stays() -> None:
    assert lifelike("工单<TICKET:7f3a12c4>", "r") == "工单<TICKET:7f3a12c4>"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_redact_and_refill_leaves_nothing_to_find(rule) -> None:  # type: ignore[no-untyped-def]
    for example in rule.catches:
        text = example.replace("⟦", "").replace("⟧", "")
        filled = lifelike(apply(text, ALL, KEY).text, "row")
        assert not TOKEN.search(filled)
        assert redact(filled, Policy(), key=KEY).findings == []
