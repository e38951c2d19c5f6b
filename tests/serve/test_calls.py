"""Calls that a model writes become tool calls; the words around them stay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from errata.serve.calls import split
from errata.serve.completion import spoken
from errata.serve.reply import Shown
from errata.serve.request import Tool

TOOLS = [
    Tool.model_validate({"type": "function", "function": {"name": name, "parameters": {
        "type": "object", "properties": properties}}})
    for name, properties in (
        ("order_status", {"id": {"type": "integer"}}),
        ("refund", {"id": {"type": "string"}, "amount": {"type": "number"}}),
        ("ping", {}),
    )
]  # fmt: skip
HERMES = '<tool_call>\n{"name": "refund", "arguments": {"id": "7", "note": "a {b}"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "name", "arguments", "words"),
    [
        ("CALL order_status(1234)", "order_status", {"id": 1234}, ""),
        ("CALL order_status(A-1)", "order_status", {"id": "A-1"}, ""),
        ("One moment. CALL refund(12, 3.5)", "refund", {"id": "12", "amount": 3.5}, "One moment."),
        ('CALL refund(amount=2, id="x")', "refund", {"amount": 2.0, "id": "x"}, ""),
        ("CALL ping()", "ping", {}, ""),
        ("CALL wipe_disk(now, all)", "wipe_disk", {"argument_1": "now", "argument_2": "all"}, ""),
        (HERMES, "refund", {"id": "7", "note": "a {b}"}, ""),
        (HERMES.removesuffix("\n</tool_call>"), "refund", {"id": "7", "note": "a {b}"}, ""),
    ],
)
def test_a_call_has_its_name_and_arguments_by_the_schema(
    text: str, name: str, arguments: dict[str, Any], words: str
):
    (call,), rest = split(text, TOOLS)

    assert (call.name, json.loads(call.arguments)) == (name, arguments)
    assert rest.strip() == words


@pytest.mark.parametrize("text", ["Call me.", "<tool_call>\nnot JSON\n</tool_call>", "CALL nothing",
                                  '<tool_call>{"arguments": {}}</tool_call>'])  # fmt: skip
def test_what_is_no_call_stays_words(text: str):
    assert split(text, TOOLS) == ([], text)


def test_what_a_call_says_is_what_is_read_back_of_it():
    (call,), _ = split("CALL refund(12, 3.5)", TOOLS)

    assert spoken(call.name, call.arguments) == "CALL refund(12, 3.5)"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    "text", ["Hello there. CALL ping()", HERMES, "A CALLER called <tool", f"Hi {HERMES} and more"]
)
def test_a_stream_shows_no_words_of_a_call_and_all_the_others(text: str, size: int):
    shown = Shown(TOOLS)
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    pieces = [shown.feed(part, False) for part in parts] + [shown.feed("", True)]
    calls, words = split(text, TOOLS)

    assert "".join(pieces) == words.strip()
    assert shown.calls == calls
    if calls:
        assert not [piece for piece in pieces if "CALL" in piece or "tool_call" in piece]
