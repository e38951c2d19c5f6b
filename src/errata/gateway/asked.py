"""A request as it came, checked, and what of it decides who answers.

The bucket key is the request's `user` (or `safety_identifier`), else the conversation (its id, or
its opening: system turn and first user turn), else the owner of the API key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from errata.records import Candidate, Message
from errata.safety.isolation import prompt_of
from errata.serve import completion
from errata.serve.refused import Refused, bad
from errata.text import user_text

# As the records call them.
ROLES = {"system": "system", "developer": "system", "documents": "documents", "user": "user",
         "assistant": "assistant", "tool": "tool", "function": "tool"}  # fmt: skip
_NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_WHOLE = ("max_tokens", "max_completion_tokens", "n")
MAX_CHOICES = 8


@dataclass(frozen=True)
class Asked:
    """A request: its body, its turns in words, who asks, and which conversation it goes on with."""

    body: dict[str, Any]
    turns: list[Message]
    key: str  # of the bucket
    owner: str  # whose conversation it is: the key, unless that is the conversation itself
    opening: str
    tools: frozenset[str] = frozenset()
    usage: bool = True  # whether a stream is to end with its count of tokens
    named: bool = field(default=True)  # whether `key` is a person

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def midway(self) -> bool:
        """Whether somebody has answered in it before."""
        return any(turn.role == "assistant" for turn in self.turns)

    @property
    def grounded(self) -> bool:
        """Whether there is something to cite."""
        return any(turn.role in ("documents", "tool") for turn in self.turns)

    @property
    def question(self) -> str:
        """The last user turn."""
        return user_text(self.turns)


def read(raw: bytes, headers: Mapping[str, str], models: list[str]) -> Asked:
    """The request in a body; Refused says in one line what is wrong with it."""
    body = parsed(raw)
    _typed(body)
    name = body.get("model") or models[0]
    if name not in models:
        raise Refused(404, f"no model `{name}` here; GET /v1/models lists them"[:200],
                      "model_not_found", param="model")  # fmt: skip
    turns = [_turn(turn, place) for place, turn in enumerate(body["messages"])]
    person = body.get("user") or body.get("safety_identifier") or ""
    given = (body.get("metadata") or {}).get("conversation_id") or headers.get("x-conversation-id")
    opening = f"id:{given}" if given else _opening(turns)
    owner = hashlib.sha256(headers.get("authorization", "").encode()).hexdigest()
    return Asked(
        body=body,
        turns=turns,
        key=person or opening or f"key:{owner}",
        owner=person or f"key:{owner}",
        opening=opening,
        tools=frozenset(completion.word(t["function"]["name"]) for t in body.get("tools") or []),
        usage=bool((body.get("stream_options") or {}).get("include_usage")),
        named=bool(person),
    )


def parsed(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body; Refused where there is none."""
    try:
        found = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise bad("the body is not UTF-8") from None
    except (ValueError, RecursionError):
        raise bad("the body is not JSON") from None
    if not isinstance(found, dict):
        raise bad("the body is not a JSON object")
    return found


def _typed(body: dict[str, Any]) -> None:
    """Refused where a field that is read here, or that any server reads, is of another kind."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise bad("messages: a list of {role, content} with at least one turn", "messages")
    for name, kind, told in (
        ("model", str, "a text"), ("user", str, "a text"), ("safety_identifier", str, "a text"),
        ("stream", bool, "true or false"), ("stream_options", dict, "an object"),
        ("metadata", dict, "an object"), ("tools", list, "a list"),
    ):  # fmt: skip
        if body.get(name) is not None and not isinstance(body[name], kind):
            raise bad(f"{name}: not {told}", name)
    for name in _NUMBERS:
        if body.get(name) is not None and not _number(body[name]):
            raise bad(f"{name}: not a number", name)
    for name in _WHOLE:
        given = body.get(name)
        if given is not None and not (_number(given) and isinstance(given, int) and given > 0):
            raise bad(f"{name}: not a number of 1 or more", name)
    if (body.get("n") or 1) > MAX_CHOICES:
        raise bad(f"n: at most {MAX_CHOICES}", "n")
    _approving(body.get("tools") or [])


def _approving(tools: list[Any]) -> None:
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise bad("tools: each is {type: function, function: {name, …}}", "tools")


def _number(value: Any) -> bool:
    right = isinstance(value, (int, float)) and not isinstance(value, bool)
    return right and abs(value) < float("inf")  # NaN is in no order


def _turn(turn: Any, place: int) -> Message:
    """A turn in words: its text, then the tools it calls."""
    where = f"messages.{place}"
    role = turn.get("role") if isinstance(turn, dict) else None
    if not isinstance(role, str) or role not in ROLES:
        raise bad(f"{where}.role: not one of {', '.join(ROLES)}", f"{where}.role")
    try:
        text = completion.said(turn)
        text.encode()
    except UnicodeEncodeError:
        raise bad(f"{where}.content: half a surrogate pair", f"{where}.content") from None
    except (KeyError, TypeError, AttributeError):
        raise bad(f"{where}.content: not a text or a list of parts", f"{where}.content") from None
    if role == "user" and not turn.get("content"):
        raise bad(f"{where}.content: empty", f"{where}.content")
    return Message(role=ROLES[role], content=text)  # type: ignore[arg-type]


def _opening(turns: list[Message]) -> str:
    """How a conversation begins: what tells it from others when it has no id."""
    first = next((turn.content for turn in turns if turn.role == "user"), None)
    if first is None:
        return ""
    system = "\n".join(turn.content for turn in turns if turn.role == "system")
    return "opening:" + hashlib.sha256(f"{system}\x1f{first}".encode()).hexdigest()


def prepared(
    asked: Asked, candidate: Candidate, model: str, documents: str = "documents"
) -> tuple[dict[str, Any], list[Message]]:
    """What the upstream is asked, and the same turns in words, for the filter: the candidate's
    system prompt before them, what others wrote marked as data, its decoding where none was named.
    """
    turns = prompt_of(candidate, asked.turns)
    ahead = len(turns) - len(asked.turns)
    messages: list[dict[str, Any]] = [
        {"role": turn.role, "content": turn.content} for turn in turns[:ahead]
    ]
    for given, before, after in zip(
        asked.body["messages"], asked.turns, turns[ahead:], strict=True
    ):
        messages.append(given if before == after else {**given, "content": _with(given, after)})
        if messages[-1]["role"] == "documents":
            messages[-1] = {**messages[-1], "role": documents}
    body = {**asked.body, "model": model, "messages": messages}
    if asked.stream:
        body["stream_options"] = {"include_usage": True}
    if "conversation_id" in (body.get("metadata") or {}):  # ours: some servers refuse the field
        rest = {key: told for key, told in body["metadata"].items() if key != "conversation_id"}
        body = {**body, "metadata": rest} if rest else _without(body, "metadata")
    decoding = candidate.decoding
    if body.get("temperature") is None and "temperature" in decoding:
        body["temperature"] = decoding["temperature"]
    limit = decoding.get("max_new_tokens")
    if limit and not (body.get("max_tokens") or body.get("max_completion_tokens")):
        body["max_tokens"] = limit
    return body, turns


def _without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


def _with(given: dict[str, Any], turn: Message) -> Any:
    """The new text of a turn; what is no text in it (a picture) stays behind it."""
    parts = given.get("content")
    others = [part for part in parts if isinstance(part, dict) and part.get("type") != "text"] \
        if isinstance(parts, list) else []  # fmt: skip
    return [{"type": "text", "text": turn.content}, *others] if others else turn.content
