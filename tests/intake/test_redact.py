"""Redaction: idempotent on any text, one name for one value, nothing left, offsets that hold."""

from __future__ import annotations

import io
import json
import re
import stat
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import errata
from errata.errors import BadInput
from errata.intake import gates
from errata.intake import redact_stage as stage
from errata.intake.redact import (
    Policy,
    apply,
    load_policy,
    redact,
    redact_many,
    workspace_key,
)
from errata.intake.rules import RULES, Rule
from errata.workspace import Workspace

KEY = b"k" * 32
ALL = Policy(on=["password-digits"])

# Pieces that meet each other badly: halves of values, joiners, pseudonyms, keywords.
PIECES = st.sampled_from(
    ["13812345678", "138", "1234", "5678", "foo@example.com", "@", ".com", "密码是", "password=",
     "password is ", "hunter2", "<PHONE:7f3a12c4>", "<", ">", "\u200b", "，", " ", "-", "+86 ",
     "4111111111111111", "11010519491231002X", "192.168.1.10", "eyJhbGciOiJIUzI1NiJ9.", "\x00",
     "sk-abcdefghijklmnopqrstuv", "https://u:", "p@ss", "token=", "订单48213", "\n", '"', "１３８",
     "京A", "12345", "DE89 3704", "0044 0532 0130 00", "我叫", "张伟", "先生", "大街27号", "一三八",
     "QQ", "订单号", "order no. ", "Phone: ", "\x1e", "\x1f", "E12345678", "::", "fe80:", "а", "/",
     "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "(415) 555-2671", "bearer "]
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=12).map("".join), st.text(max_size=80)
)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_idempotent_on_any_text(text: str) -> None:
    once = apply(text, ALL.rules, KEY)
    twice = apply(once.text, ALL.rules, KEY)
    assert twice.text == once.text
    assert twice.findings == []


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_findings_are_ordered_disjoint_and_rebuild_the_output(text: str) -> None:
    clean = apply(text, ALL.rules, KEY)
    at, rest = 0, clean.text
    for found in clean.findings:
        assert at <= found.start < found.end <= len(text)
        assert rest.startswith(text[at : found.start])
        rest = rest[found.start - at :]
        token = re.match(rf"<{found.tag}:[0-9a-f]{{8}}>", rest)
        assert token
        rest, at = rest[token.end() :], found.end
    assert rest == text[at:]


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, max_size=6))
def test_a_batch_is_its_texts_one_by_one(texts: list[str]) -> None:
    assert redact_many(texts, ALL.rules, KEY) == [apply(text, ALL.rules, KEY) for text in texts]


OPEN = tuple(replace(rule, gate=None) for rule in ALL.rules)


@settings(max_examples=600, deadline=None)
@given(TEXTS)
def test_a_gate_hides_nothing(text: str) -> None:
    assert apply(text, ALL.rules, KEY) == apply(text, OPEN, KEY)


NUMBERS = st.lists(
    st.sampled_from(
        ["1", "0", "86", "138", "400", "415", "4111", "12345678", "20", " ", "-", ".", "(", ")",
         "+", "·", "_", "/", "E", "x", "DE", ",", "号", "2671", "00", "555", "4001234567"]
    ), min_size=3, max_size=14,
).map("".join)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(NUMBERS)
@example("15804138_+49(0) 929433287--0169450643603925230@")
@example("+2671x2671")  # eight digits and an extension's x, which counted as the ninth
def test_no_shape_hides_a_number(text: str) -> None:
    assert apply(text, ALL.rules, KEY) == apply(text, OPEN, KEY)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.sets(st.sampled_from(["pw", "tel", "pass", "password", "微信", "收件人", "line"])))
def test_words_are_found_wherever_they_stand(text: str, told: set[str]) -> None:
    words = gates.Words(told)
    low = "".join(char.lower() if char.isascii() else char for char in text + "PASSword收件人pw")
    places = {word: [at for at in range(len(low)) if low.startswith(word, at)] for word in told}
    found = words.find(gates.View(low, words))
    assert found == {word: at for word, at in places.items() if at}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_gate_of_a_rule_opens_for_all_it_catches(rule: Rule) -> None:
    for text in (*rule.catches, *rule.spares):
        assert apply(text, [rule], KEY) == apply(text, [replace(rule, gate=None)], KEY)


FRAMES = ["订单{}到哪了", "It costs {} yuan.", "CALL order_status({})", "管理员密码是{}，请保密。",
          "The master key is {}. Keep it private.", "The admin password is {}."]  # fmt: skip


@given(st.text(alphabet="0123456789", min_size=1, max_size=8), st.sampled_from(FRAMES))
def test_numbers_of_up_to_eight_digits_are_spared(number: str, frame: str) -> None:
    text = frame.format(number)
    assert redact(text, key=KEY).text == text


def test_one_value_has_one_name_and_a_key_changes_it() -> None:
    a = redact("打13812345678", key=KEY).text
    b = redact("call +86 138-1234-5678 now", key=KEY).text
    name = re.search(r"<PHONE:[0-9a-f]{8}>", a)
    assert name
    assert name[0] in b
    assert name[0] not in redact("打13812345678", key=b"o" * 32).text
    assert name[0] not in redact("打13812345679", key=KEY).text


def test_offsets_count_code_points_of_the_input() -> None:
    text = "😀手机1️38\u200b12345678，ok"
    text = unicodedata.normalize("NFC", text).replace("1️38", "138")
    (found,) = redact(text, key=KEY).findings
    assert text[found.start : found.end] == "138\u200b12345678"


def test_overlapping_rules_leave_no_rest() -> None:
    clean = redact("password=foo@example.com 谢谢", key=KEY)
    assert "foo" not in clean.text
    assert "example" not in clean.text
    assert len(clean.findings) == 1


def test_policy_switches_rules_and_its_hash_says_so() -> None:
    assert redact("密码是123456", key=KEY).findings == []
    assert redact("密码是123456", {"on": ["password-digits"]}, key=KEY).findings
    assert redact("a@b.io", {"off": ["email"]}, key=KEY).text == "a@b.io"
    hashes = {
        Policy().hash,
        ALL.hash,
        Policy(off=["email"]).hash,
        Policy(retention={"privacy": "summary"}).hash,
    }
    assert len(hashes) == 4


def test_an_unknown_rule_is_refused_with_a_hint() -> None:
    with pytest.raises(BadInput, match=r"unknown rule `emial`.*`email`"):
        redact("x", {"off": ["emial"]}, key=KEY)


def test_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    key = workspace_key(ws)
    assert workspace_key(ws) == key
    assert len(key) == 32
    path = ws.state / "keys" / "redaction"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["redaction"]
    path.write_text("garbage")
    with pytest.raises(BadInput, match="not a key"):
        workspace_key(ws)


def test_public_name_is_cheap_and_works() -> None:
    assert "PHONE" in errata.redact("电话13812345678").text


class _Stdin:
    def __init__(self, data: str) -> None:
        self.buffer = io.BytesIO(data.encode())


def run(ws: Workspace, lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(lines))
    stage.main(ws, stage.Config())


def test_command_copies_rows_and_uses_the_workspace_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "redaction.yaml").write_text("off: [email]\n")
    run(
        Workspace(tmp_path),
        '{"text": "手机13812345678，a@b.io"}\n\n{"text": "订单48213"}\n',
        monkeypatch,
    )
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["findings"] == [{"rule": "cn-mobile", "start": 2, "end": 13, "tag": "PHONE"}]
    assert first["text"].endswith("，a@b.io")
    assert second == {"text": "订单48213", "findings": []}
    assert load_policy(Workspace(tmp_path)).off == ["email"]


@pytest.mark.parametrize("line", ["{not json", '{"text": 5}', "[]", '{"txt": "x"}'])
def test_command_names_the_bad_line(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match=r"^stdin:2: "):
        run(Workspace(tmp_path), '{"text": "ok"}\n' + line + "\n", monkeypatch)
    assert "no workspace" in capsys.readouterr().err


@settings(max_examples=30, deadline=None)
@given(st.integers(0, len(RULES) - 1), st.text(max_size=10), st.text(max_size=10))
def test_a_caught_value_is_gone_whatever_stands_around_it(
    rank: int, before: str, after: str
) -> None:
    """With a Chinese comma on both sides no context may hide a value."""
    rule = RULES[rank]
    example = rule.catches[0]
    value = example[example.index("⟦") + 1 : example.index("⟧")]
    text = example.replace("⟦", "").replace("⟧", "")
    assert value not in apply(f"{before}，\n{text}\n，{after}", RULES, KEY).text


def test_a_password_has_one_name_whatever_sign_leads_to_it():
    asked = [
        "密码是hunter2",
        "密码：hunter2",
        "密碼:hunter2",
        "密码是：hunter2",
        "password=hunter2",
    ]
    names = {redact(text, key=KEY).text[-10:] for text in asked}
    assert len(names) == 1


@pytest.mark.parametrize(
    ("close", "apart"),
    [
        ("11010519491231002X", "110105 1949 1231 002X"),
        ("DE89370400440532013000", "DE89 3704 0044 0532 0130 00"),
    ],
)
def test_blanks_in_a_number_leave_its_name_where_other_rules_see_a_part_of_it(close, apart):
    assert redact(close, key=KEY).text == redact(apart, key=KEY).text
