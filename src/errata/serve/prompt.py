"""The turns of a request → prompt ids, by the model's own chat template.

A template that knows tools gets them, and calls as it writes them; for any other, a call is the
words `CALL name(argument)`, which the embedded model writes itself.
"""

from __future__ import annotations

import json
from typing import Any

from jinja2 import TemplateError

from errata.records import Message
from errata.serve.completion import spoken
from errata.serve.refused import Refused
from errata.serve.request import Asked, Turn
from errata.train.turns import render

ROLES = {"developer": "system"}


def prompt(tokenizer: Any, asked: Asked) -> list[int]:
    """Ids of the whole prompt, the assistant's turn opened. Refused where the template refuses."""
    template = str(tokenizer.chat_template or "")
    native = "tool_calls" in template and (
        asked.usable or any(t.tool_calls for t in asked.messages)
    )
    try:
        if native:
            return _with_tools(tokenizer, asked)
        turns = [_plain(turn) for turn in asked.messages]
        return render(tokenizer, turns, answer_next=True)
    except (TemplateError, ValueError, TypeError) as error:
        told = f"the model's chat template refuses these messages: {error}"
        raise Refused(400, told, "invalid_value", "messages") from None


def _plain(turn: Turn) -> Message:
    """The turn in words alone."""
    calls = [spoken(call.function.name, call.function.arguments) for call in turn.tool_calls or []]
    text = "\n".join(line for line in [turn.text, *calls] if line)
    return Message(role=ROLES.get(turn.role, turn.role), content=text)  # type: ignore[arg-type]


def _with_tools(tokenizer: Any, asked: Asked) -> list[int]:
    """By a template that knows tools. Documents are a user's turn before the others' words."""
    turns: list[dict[str, Any]] = []
    for turn in asked.messages:
        role = "user" if turn.role == "documents" else ROLES.get(turn.role, turn.role)
        turns.append({"role": role, "content": turn.text})
        if turn.tool_calls:
            turns[-1]["tool_calls"] = [
                {"type": "function", "id": call.id, "function": {
                    "name": call.function.name, "arguments": _object(call.function.arguments)}}
                for call in turn.tool_calls
            ]  # fmt: skip
    ids: list[int] = tokenizer.apply_chat_template(
        turns,
        tools=[tool.model_dump(exclude_none=True) for tool in asked.usable] or None,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
    )
    return ids


def _object(arguments: str) -> Any:
    """JSON arguments as templates want them; as they stand where they are none."""
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
