"""Turns become the prompt that the model's own template makes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from errata.candidates import TINY
from errata.serve import request
from errata.serve.prompt import prompt
from errata.serve.refused import Refused
from errata.train.model import load_tokenizer

HERMES = (
    "{% if tools %}<|system|>{% for t in tools %}{{ t['function']['name'] }} {% endfor %}<|end|>"
    "{% endif %}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}<tool_call>{{ c['function']['name'] }}:"
    "{{ c['function']['arguments']['id'] }}</tool_call>{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CALL = {"id": "c1", "type": "function",
        "function": {"name": "order_status", "arguments": '{"id": "12"}'}}  # fmt: skip
TURNS: list[Any] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Where is "},
                                 {"type": "text", "text": "it?"}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "shipped"},
]  # fmt: skip
TOOLS = [{"type": "function", "function": {"name": "order_status", "parameters": {}}}]


def said(template: str | None = None, **body: Any) -> str:
    tokenizer = load_tokenizer(str(TINY))
    if template is not None:
        tokenizer.chat_template = template
    asked = request.read(json.dumps({"model": "m", "messages": TURNS, **body}).encode())
    return str(tokenizer.decode(prompt(tokenizer, asked)))


def test_a_template_without_tools_reads_calls_as_words():
    assert said(tools=TOOLS) == (
        "<|bos|><|system|>Be brief.<|end|><|user|>Where is it?<|end|>"
        "<|assistant|>CALL order_status(12)<|end|><|tool|>shipped<|end|><|assistant|>"
    )


def test_a_template_that_knows_tools_gets_them_and_calls_as_objects():
    assert said(HERMES, tools=TOOLS) == (
        "<|system|>order_status <|end|><|system|>Be brief.<|end|><|user|>Where is it?<|end|>"
        "<|assistant|><tool_call>order_status:12</tool_call><|end|><|tool|>shipped<|end|>"
        "<|assistant|>"
    )


def test_tools_that_may_not_be_called_are_not_told():
    assert "order_status " not in said(HERMES, tools=TOOLS, tool_choice="none")


def test_what_the_template_refuses_is_the_requests_fault():
    refuses = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(Refused, match="roles must alternate") as caught:
        said(refuses)
    assert caught.value.status == 400
