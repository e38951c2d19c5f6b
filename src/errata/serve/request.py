"""A chat completion as it is asked for, read: closed where it decides the answer, else as it comes.

What this server cannot do (several answers, log-probabilities, penalties, JSON by grammar, forced
calls) is refused by name: to leave it out in silence would be an answer to another question.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from errata.serve.completion import sound
from errata.serve.refused import Refused


class _Part(BaseModel):
    """What clients send beside these fields is none of ours."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class TextPart(_Part):
    type: Literal["text", "input_text", "output_text"]
    text: str


class Called(_Part):
    name: str
    arguments: str = "{}"


class ToolCall(_Part):
    function: Called
    id: str = ""
    type: Literal["function"] = "function"


class Turn(_Part):
    role: Literal["system", "developer", "user", "assistant", "tool", "documents"]
    content: str | list[TextPart] | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def text(self) -> str:
        """The words of it."""
        content = self.content or ""
        return content if isinstance(content, str) else "".join(part.text for part in content)


class Function(_Part):
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class Tool(_Part):
    type: Literal["function"]
    function: Function


class StreamOptions(_Part):
    include_usage: bool = False


Word = Annotated[str, Field(min_length=1, max_length=256)]


class Asked(_Part):
    """The body of `POST /v1/chat/completions`."""

    model: str
    messages: list[Turn] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: Word | Annotated[list[Word], Field(max_length=4)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None

    @property
    def longest(self) -> int | None:
        """Most tokens of the answer; the newer name counts."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        found = self.stop or ()
        return (found,) if isinstance(found, str) else tuple(found)

    @property
    def usable(self) -> list[Tool]:
        """Tools that the answer may call."""
        return [] if self.tool_choice == "none" else self.tools or []


# Field → values of it that ask for nothing special.
PLAIN: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
    "tool_choice": (None, "auto", "none"),
    "modalities": (None, ["text"]),
    "functions": (None, []),
}


def read(raw: bytes) -> Asked:
    """The request in a body; Refused, with the field and what is wrong with it."""
    try:
        told = json.loads(raw.decode("utf-8"))
        if b"\\ud" in raw.lower():  # perhaps half a character, which no tokenizer takes
            told = json.loads(sound(json.dumps(told, ensure_ascii=False)))
    except UnicodeDecodeError as error:
        raise Refused(
            400, f"the body is not UTF-8 (byte {error.start})", "invalid_encoding"
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise Refused(400, f"the body is not JSON: {reason}", "invalid_json") from None
    if not isinstance(told, dict):
        raise Refused(400, "the body is not a JSON object", "invalid_json")
    for name, plain in PLAIN.items():
        if told.get(name) not in plain:
            allowed = " or ".join(json.dumps(value) for value in plain if value is not None)
            raise Refused(
                400, f"`{name}` is not supported here; leave it out, or send {allowed}",
                "unsupported_value", name,
            )  # fmt: skip
    try:
        return Asked.model_validate(told)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, found["loc"]))
        raise Refused(400, f"`{where}`: {found['msg']}", "invalid_value", where) from None
