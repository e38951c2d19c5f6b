"""Answers in OpenAI's shapes: one object, or server-sent events.

With tools in the request, a stream holds back what may be the beginning of a call, and all that
follows one: a call is told whole, and its words are never shown as an answer.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from errata.serve.calls import MARKS, Call, split
from errata.serve.refused import Refused
from errata.serve.request import Asked, Tool
from errata.serve.saying import first, overlap
from errata.serve.service import Answer


def _head(asked: Asked, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()),
            "model": asked.model}  # fmt: skip


def _calls(calls: Sequence[Call]) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{secrets.token_hex(8)}", "type": "function",
         "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]  # fmt: skip


async def whole(answer: Answer) -> dict[str, Any]:
    """A chat completion."""
    told, asked = await answer.whole(), answer.asked
    calls, words = split(told.text, asked.usable) if asked.usable else ([], told.text)
    words = words.strip()
    message: dict[str, Any] = {"role": "assistant", "content": words or (None if calls else "")}
    if calls:
        message["tool_calls"] = _calls(calls)
    choice = {"index": 0, "message": message, "logprobs": None,
              "finish_reason": "tool_calls" if calls else told.finish}  # fmt: skip
    return {**_head(asked, "chat.completion"), "choices": [choice], "usage": answer.usage()}


async def events(answer: Answer) -> AsyncIterator[str]:
    """The same as server-sent events; an answer that fails amid it ends with an error, and without
    the `[DONE]` of one that is whole."""
    asked = answer.asked
    head = _head(asked, "chat.completion.chunk")
    counted = bool(asked.stream_options and asked.stream_options.include_usage)
    if counted:
        head["usage"] = None

    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**head, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    saying = Shown(asked.usable)
    try:
        async for told in answer.pieces():
            if piece := saying.feed(told.text, told.finish is not None):
                yield chunk({"content": piece})
            if told.finish is not None:
                if saying.calls:
                    numbered = enumerate(_calls(saying.calls))
                    yield chunk({"tool_calls": [{"index": at, **one} for at, one in numbered]})
                yield chunk({}, "tool_calls" if saying.calls else told.finish)
    except Refused as refused:
        yield _event(refused.told())
        return
    if counted:
        yield _event({**head, "choices": [], "usage": answer.usage()})
    yield "data: [DONE]\n\n"


class Shown:
    """The words of a stream, without the calls in them."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self.tools = tools
        self.held, self.begun = "", False
        self.calls: list[Call] = []

    def feed(self, text: str, last: bool) -> str:
        """What may be shown now."""
        self.held += text
        size = len(self.held)
        if self.tools and last:
            self.calls, self.held = split(self.held, self.tools)
            size = len(self.held.rstrip())
        elif self.tools:
            at = first(self.held, MARKS)
            safe = self.held[: size - overlap(self.held, MARKS) if at is None else at]
            size = len(safe.rstrip())
        piece, self.held = self.held[:size], self.held[size:]
        if not self.begun:
            piece = piece.lstrip()
            self.begun = bool(piece)
        return piece


def _event(told: dict[str, Any]) -> str:
    return f"data: {json.dumps(told, ensure_ascii=False)}\n\n"
