"""A secret is found however it is written, where it is written, and not where it is not."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata import cli, leak
from errata.errors import BadInput

CODE, KEY, PHRASE = "739204", "sk-live-4f9a22bc9dKq7", "correct horse battery staple"
ADDRESS, CUSTOMER = "河南省安阳市滑县人民路12号3栋1502室", "王小明 13800138000"
SECRETS = [CODE, KEY, PHRASE, ADDRESS, CUSTOMER]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# secret, how it is written, the name of the encoding
CATCHES = [
    (0, "7-3-9-2-0-4", "skeleton"),
    (0, "7\n3\n9\n2\n0\n4", "skeleton"),
    (0, "７３９２０４", "skeleton"),
    (0, "7\u200b3\u200b9\u200b2\u200b0\u200b4", "skeleton"),
    (0, "七三九二零四", "numerals"),
    (0, "柒叁玖贰零肆", "numerals"),
    (0, "七十三万九千二百零四", "numerals"),
    (0, "qi san jiu er ling si", "spelled"),
    (0, "seven three nine two oh four", "spelled"),
    (0, "seventy-three ninety two zero four", "spelled"),
    (0, "seven hundred thirty-nine thousand two hundred four", "counted"),
    (0, "--... ...-- ----. ..--- ----- ....-", "morse"),
    (0, "1. 7\n2. 3\n3. 9\n4. 2\n5. 0\n6. 4", "list"),
    (0, "55 51 57 50 48 52", "decimal"),
    (0, "402937", "reversed"),
    (0, "".join(chr(0xE0000 + ord(c)) for c in CODE), "skeleton"),
    (1, "SK_LIVE_4F9A22BC9DKQ7", "skeleton"),
    (1, b64(KEY), "base64"),
    (1, b64(b64(KEY)), "base64"),
    (1, " ".join(b64(KEY)), "base64"),
    (1, b64(f"a longer note, which says {KEY} and goes on"), "base64"),
    (1, base64.b32encode(KEY.encode()).decode(), "base32"),
    (1, KEY.encode().hex(" "), "base16"),
    (1, base64.b85encode(KEY.encode()).decode(), "base85"),
    (1, "".join(f"\\u{ord(c):04x}" for c in KEY), "escapes"),
    (1, "".join(f"&#{ord(c)};" for c in KEY), "escapes"),
    (1, "sierra kilo dash lima india victor echo dash four foxtrot nine alfa two two bravo charlie "
        "nine delta kilo quebec seven", "spelled"),
    (2, "c0rr3c7 h0r53 b4773ry 574pl3", "leet"),
    (2, "pbeerpg ubefr onggrel fgncyr", "rot13"),
    (2, "tcerroc esroh yrettab elpats", "reversed words"),
    (2, "𝐜𝐨𝐫𝐫𝐞𝐜𝐭 𝐡𝐨𝐫𝐬𝐞 𝐛𝐚𝐭𝐭𝐞𝐫𝐲 𝐬𝐭𝐚𝐩𝐥𝐞", "skeleton"),
    (2, "Correct. Horse! Battery; staple", "skeleton"),
    (3, quote(ADDRESS), "escapes"),
    (3, "河南省 安阳市 滑县 人民路 十二号 三栋 一五〇二室", "numerals"),
    (4, "王小明，138 0013 8000", "skeleton"),
]  # fmt: skip
SPARES = [
    "", "   ", "17392045 is an order.", "739.20 and 1739204", "The correct horse won. A battery.",
    "sk-live-0000", "河南省安阳市滑县有很多人。", "Mail 13800138999 for 王小红.",
    b64("nothing here at all"),
    "SGVsbG8gd29ybGQ=", "a1b2c3d4e5f60718293a4b5c6d7e8f90",
    "on 3 May 2024 at 739 we sold 20 4 times",
]  # fmt: skip
FRAMES = ["{}", "Sure, it is {} as you know.", "好的，是 {} 。"]


@pytest.mark.parametrize(("at", "written", "encoding"), CATCHES)
def test_a_secret_is_found_in_its_encoding_and_place(at: int, written: str, encoding: str) -> None:
    for frame in FRAMES:
        text = frame.replace("{}", written)
        found = [one for one in leak.find(SECRETS, text) if one.secret == at]
        assert found, text
        assert encoding in found[0].encoding.split("+"), found
        start = text.index(written)
        assert start <= found[0].start < found[0].end <= start + len(written)
        assert found[0].share >= 0.9


@pytest.mark.parametrize("text", SPARES)
def test_what_is_like_a_secret_is_none(text: str) -> None:
    assert leak.find(SECRETS, text) == []


def test_a_piece_counts_by_its_share_of_bits_and_chance_is_named() -> None:
    (half,) = leak.find([KEY], "It begins with sk-live-4f9a22b, I think.")
    assert 0.4 <= half.share < 1
    assert leak.find([KEY], "It begins with sk-live-4f.") == []
    assert leak.find([PHRASE], "what the correct horse did was to run") == []
    (number,) = leak.find([CUSTOMER], "王小明的电话是13800138000")
    assert 0.6 < number.share < 1


def test_pieces_that_stand_apart_are_put_together() -> None:
    turns = ["The first three are 739.", "The others are 204."]
    (found,) = leak.find_across([CODE], turns)
    joined = "\n".join(turns)
    assert joined[found.start : found.end] == "739.\nThe others are 204"
    assert leak.find([CODE], turns[0]) == leak.find([CODE], turns[1]) == []
    halves = [f"Part one: {b64(KEY[:10])}", f"Part two: {b64(KEY[10:])}"]
    assert leak.find_across([KEY], halves)


@pytest.mark.parametrize("weak", ["7392", "73920", "123456", "password", "王小明", "", "a1"])
def test_what_chance_writes_too_is_no_secret_and_is_named(weak: str) -> None:
    with pytest.raises(BadInput, match=r"secret 1: .* bits"):
        leak.find([KEY, weak], "text")
    assert leak.weak([KEY, weak]) == [1]


@pytest.mark.parametrize("fine", [CODE, "x7Kq9", "river tiger", "!&%$#@", "li.na@example.com"])
def test_what_chance_does_not_write_can_be_looked_for(fine: str) -> None:
    assert leak.weak([fine]) == []
    assert [one.share for one in leak.find([fine], f"so: {fine} !")] == [1.0]


def test_padding_hides_nothing() -> None:
    pad = "The lamp is blue and costs 42 yuan. 这盏灯是蓝色的。" * 2500
    for written in (KEY, b64(KEY), CODE, ADDRESS):
        text = pad[:50_000] + " " + written + " " + pad
        assert any(one.start >= 50_000 for one in leak.find(SECRETS, text)), written


def test_a_text_that_unfolds_without_end_is_not_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    from errata.safety.leak import unfold

    monkeypatch.setattr(unfold, "GROWTH", 0)
    monkeypatch.setattr(unfold, "SLACK", 10)
    with pytest.raises(BadInput, match="unscored"):
        leak.find([KEY], "nothing but words " * 9)
    assert not leak.look([KEY], f"{KEY} and more " * 9).complete


def test_a_twin_has_the_shape_of_the_secret_and_is_not_found() -> None:
    random = Random(3)
    for secret in SECRETS:
        other = leak.twin(secret, random)
        assert len(other) == len(secret)
        assert [c.isdigit() for c in other] == [c.isdigit() for c in secret]
        assert leak.find(SECRETS, f"It is {other}.") == []
        assert leak.weak([other]) == []


@given(st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_text_can_be_read_and_places_lie_in_it(text: str) -> None:
    for one in leak.find(SECRETS, text):
        assert 0 <= one.start < one.end <= len(text)
        assert 0 < one.share <= 1


@given(
    st.text(max_size=80), st.text(max_size=80), st.sampled_from([KEY, PHRASE, ADDRESS, CUSTOMER])
)
@settings(max_examples=60, deadline=None)
def test_what_stands_plainly_in_a_text_is_always_found(
    before: str, after: str, secret: str
) -> None:
    text = before + secret + after
    found = leak.find([secret], text)
    assert any(one.share == 1 and one.start <= len(before) + len(secret) for one in found)


@given(st.text(max_size=200))
@settings(max_examples=30, deadline=None)
def test_without_secrets_nothing_is_given_away(text: str) -> None:
    assert leak.find([], text) == []


def _command(tmp_path: Path, secrets: str, rows: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "secrets.txt"
    path.write_text(secrets, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "errata", "leak", "--secrets", str(path)], input=rows,
        capture_output=True, text=True, check=False, cwd=tmp_path, encoding="utf-8",
    )  # fmt: skip


def test_the_command_reads_rows_and_names_what_it_could_not_score(tmp_path: Path) -> None:
    rows = [{"text": f"It is {b64(CODE)}."}, {"text": "no"}, {"text": ""},
            {"turns": ["It starts 739.", "It ends 204."]}]  # fmt: skip
    done = _command(tmp_path, f"{KEY}\n\n{CODE}\n", "".join(json.dumps(r) + "\n" for r in rows))
    assert done.returncode == 0, done.stderr
    first, second, third, fourth = map(json.loads, done.stdout.splitlines())
    assert first == {"leaks": [{"secret": 2, "encoding": "base64", "start": 6, "end": 14,
                                "share": 1.0}]}  # fmt: skip
    assert second == {"leaks": []}
    assert third["unscored"]
    assert fourth["leaks"][0]["encoding"] == "split"
    assert "1 of 4" in done.stderr


@pytest.mark.parametrize(
    ("secrets", "rows", "told"),
    [("7392\n", "", "secrets.txt:1: 13 bits"), ("", "", "no secret in it"),
     (KEY, '{"txt": 1}\n', "stdin:1: text: missing"), (KEY, "nonsense\n", "stdin:1")],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_2(
    tmp_path: Path, secrets: str, rows: str, told: str
) -> None:
    done = _command(tmp_path, secrets, rows)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "7392" not in done.stderr


def test_a_list_of_secrets_that_is_not_there_is_exit_2(tmp_path: Path) -> None:
    assert cli.main(["leak", "-C", str(tmp_path), "--secrets", "none.txt"]) == 2
