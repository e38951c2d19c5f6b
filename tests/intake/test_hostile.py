"""No text makes a rule run away: a megabyte of anything costs seconds, not hours."""

from __future__ import annotations

import time

import pytest

from errata.intake.redact import Policy, apply

KEY = b"k" * 32
RULES = Policy(on=["password-digits"]).rules
# A pattern that is quadratic in the text takes minutes for these. All of ours together need at most
# 6 s of a slow core for a million characters, and are held to four times that.
SECONDS_PER_MILLION = 24.0
PIECES = (
    "1", "a", "a@", "1 ", "在", "密码是", "password ", "-----BEGIN PRIVATE KEY-----", "::", "\"'", "A1",
    "1.", "1-", "+1 ", "(1", "a.", "a@b.", "@", "=", "key=", "eyJ", "eyJa.", "?a=", "://", "://a:", "一",
    "路1", "北京市路", "我叫", "王", "京A", "DE89 ", "DE8", "bearer ", "phone ", "电话", "qq", "护照",
    "password is ", "密码a", "的密码", "aB1", "aB1 as my password ", "[at]", "a[at]", "sk-", "0x", "\u200b",
    "<", "<PHONE:7f3a12c4>", "foo@example.com", "13812345678", "13812345678 ", "password=a1b2c3;", "。，",
    "login a/", "\n", " ", "\x00", "\x1e", "A", "0", "ａ", "密码,", "is is is password ", "1:", "fe80::",
    "4111111111111111 ", " 5678", "-5678", "536-22-1234-", "a@b.co@", "b.co@", "1.1.1.1.", "3c:22:fb:4d:0a:91:",
    "password, is, the, ", "路一号楼", "4111 1111 1111 1111 ", "a1-", "B2_",
)  # fmt: skip


def cpu_seconds(piece: str, size: int) -> float:
    text = (piece * (size // len(piece) + 1))[:size]
    began = time.process_time()
    apply(text, RULES, KEY)
    return time.process_time() - began


@pytest.mark.parametrize("piece", PIECES, ids=ascii)
def test_a_text_of_one_piece_is_done_in_linear_time(piece: str) -> None:
    assert cpu_seconds(piece, 200_000) < 0.2 * SECONDS_PER_MILLION


@pytest.mark.slow
@pytest.mark.parametrize("piece", PIECES, ids=ascii)
def test_so_is_a_megabyte(piece: str) -> None:
    assert cpu_seconds(piece, 1_000_000) < SECONDS_PER_MILLION
