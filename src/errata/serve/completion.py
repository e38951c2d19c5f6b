"""What a server says to a chat completion, read: the answer, or what it is instead.

    read(b'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}') → Reply("Hi")

Nothing is taken for an answer that is none: an error, another form, a page of a proxy. What is one
without words (no content) is an empty answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: no file and no database keeps it


class Reply(NamedTuple):
    """What came of one conversation; `text` None: no answer, and `why` says why not. `finish` is
    `stop`, `length` (cut off at max_tokens), `content_filter` (the server's own), `tool_calls`."""

    text: str | None
    finish: str = "stop"
    why: str = ""


def error_of(raw: bytes) -> dict[str, Any]:
    """The `error` of a reply, in whatever form servers write it."""
    try:
        found = json.loads(raw)
        told = found.get("error") or found.get("detail") or found.get("message")
    except (ValueError, AttributeError, RecursionError):
        return {"code": None}
    return {"code": None, **told} if isinstance(told, dict) else {"code": None, "message": told}


def read(raw: bytes) -> Reply:
    """The answer in a chat completion; a Reply without text names what it is instead."""
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError):
        if raw.lstrip()[:1] == b"<":
            return Reply(None, why="answers with an HTML page; is this the API's URL (…/v1)?")
        return Reply(None, why=f"answers with no JSON: {raw[:60].decode(errors='replace')!r}")
    try:
        if told.get("error"):
            return Reply(None, why=f"answers with an error: {error_of(raw).get('message')}"[:200])
        if told["choices"] == []:
            return Reply(None, why="answers with no choice: `choices` is empty")
        choice = told["choices"][0]
        return Reply(
            sound(said(choice["message"])).strip(), str(choice.get("finish_reason") or "stop")
        )
    except (KeyError, IndexError, TypeError, AttributeError):
        return Reply(None, why="answers in another form than chat completions of OpenAI")


def said(message: Mapping[str, Any]) -> str:
    """A message in words: its content, whether a string, a list of parts or none; then a refusal;
    then the calls, each as `CALL name(argument)`, which is how predicates read them."""
    content = message.get("content") or []
    if not isinstance(content, (str, list)):
        raise TypeError(content)
    lines = ["".join(map(_part, content))]
    lines.append(message.get("refusal") or "")
    calls = [call["function"] for call in message.get("tool_calls") or []]
    if message.get("function_call"):  # the older form
        calls.append(message["function_call"])
    lines += [spoken(call["name"], call.get("arguments")) for call in calls]
    return "\n".join(line for line in lines if line)


def spoken(name: str, arguments: Any) -> str:
    """A call as `CALL name(argument)`."""
    return f"CALL {word(name)}({_argument(arguments)})"


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    return str(part.get("text") or part.get("refusal") or "")


def word(name: str) -> str:
    """A tool's name as one word: what no predicate can read would be a call that nobody saw."""
    found = re.sub(r"\W", "_", name)
    return found if re.match(r"[A-Za-z_]", found) else f"_{found}"


def _argument(told: Any) -> str:
    """The values of a call's JSON arguments, with commas between; as it stands if it is no JSON."""
    try:
        found = json.loads(told) if isinstance(told, str) else told
    except (ValueError, RecursionError):
        return str(told)
    values = found.values() if isinstance(found, dict) else [] if found is None else [found]
    return ", ".join(
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for value in values
    )


def hidden(told: Any) -> list[str]:
    """What a call's JSON arguments hold that `spoken` does not say: every name, and the values of a
    name that comes twice. Who only reads what is said would let them pass."""
    texts: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        texts.extend(
            text for name, value in found for text in (name, value) if isinstance(text, str)
        )
        return dict(found)

    try:
        json.loads(told, object_pairs_hook=pairs)
    except (ValueError, TypeError, RecursionError):
        return [str(told)]
    return [*texts, told]


def sound(text: str) -> str:
    """Text that can be written to a file: half a character becomes the mark of a broken one."""
    return _SURROGATE.sub("\ufffd", text)
