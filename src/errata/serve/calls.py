"""Tool calls in a model's words: `CALL name(argument)`, or Hermes' and Qwen's `<tool_call>` JSON.

    calls, words = split("One moment. CALL order_status(1234)", tools)

Arguments in words get the names that the tool's schema has, in its order. A call of a tool that the
request did not offer is a call all the same: to hide it would hide it from whoever counts those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from errata.safety.said import CALL, values
from errata.serve.request import Function, Tool

MARKS = ("CALL ", "<tool_call>")  # from one of these on, a stream waits for the end
_HERMES = re.compile(r"<tool_call>\s*(\{.*?\})\s*(?:</tool_call>|\Z)", re.DOTALL)
_CASTS = {"integer": int, "number": float}


class Call(NamedTuple):
    """A tool's name and its arguments as JSON."""

    name: str
    arguments: str


def split(text: str, tools: Sequence[Tool]) -> tuple[list[Call], str]:
    """The calls in an answer, and its words without them."""
    known = {tool.function.name: tool.function for tool in tools}
    found: list[Call] = []

    def hermes(match: re.Match[str]) -> str:
        call = _from_json(match[1])
        found.extend(call)
        return "" if call else match[0]

    def worded(match: re.Match[str]) -> str:
        found.append(Call(match[1], _arguments(match[2], known.get(match[1]))))
        return ""

    rest = CALL.sub(worded, _HERMES.sub(hermes, text))
    return found, rest


def _from_json(text: str) -> list[Call]:
    """The call in a `<tool_call>`; none where it is not one."""
    try:
        told = json.loads(text)
        arguments = told.get("arguments", {})
        name = told["name"]
    except (ValueError, KeyError, AttributeError, RecursionError):
        return []
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return [Call(str(name), arguments)]


def _arguments(text: str, tool: Function | None) -> str:
    """`1234, "red"` or `id=1234` as JSON, by the tool's schema."""
    schema: dict[str, Any] = (tool.parameters if tool else {}).get("properties") or {}
    names = list(schema)
    found: dict[str, Any] = {}
    parts = text.strip().split(",") if text.strip() else []
    for place, (part, value) in enumerate(zip(parts, values(text.strip()), strict=False)):
        said = re.match(r"\s*(\w+)\s*[=:]", part)
        name = said[1] if said else names[place] if place < len(names) else f"argument_{place + 1}"
        found[name] = _cast(value, schema.get(name))
    return json.dumps(found, ensure_ascii=False)


def _cast(value: str, schema: Any) -> Any:
    """A number where the schema wants one and the model wrote one."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    try:
        return _CASTS.get(kind, str)(value)  # type: ignore[arg-type]
    except ValueError:
        return value
