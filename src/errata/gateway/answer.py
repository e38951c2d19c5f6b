"""One answer on its way: what the model said, what the filter lets through, how long it took.

Whole answers and streams go through the same object; what it returns is what the client gets, under
the gateway's own id and model name. With the filter on, only text and calls that were looked at
pass: reasoning and token probabilities would tell what is held back. Calls of tools are held until
they are whole."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from errata.gateway.asked import Asked
from errata.gateway.routes import Choice
from errata.gateway.upstreams import broken
from errata.records import Message
from errata.safety.guard.filter import Decision, Guard
from errata.safety.guard.stream import Stream
from errata.serve import completion

LONG = 4000  # characters; a longer answer is looked at in a thread, so that others need not wait


@dataclass
class Part:
    """One of the `n` answers of a request."""

    held: Stream | None  # None: the filter is off
    said: str = ""  # as the model wrote it
    shown: str = ""
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    finish: str | None = None

    def called(self) -> str:
        """The calls in words."""
        return completion.said({"tool_calls": [self.calls[n] for n in sorted(self.calls)]})

    def unseen(self) -> str:
        """All of the calls that the client gets, for the filter."""
        asked = [self.calls[n]["function"].get("arguments") for n in sorted(self.calls)]
        more = (text for arguments in asked for text in completion.hidden(arguments))
        return "\n".join((self.called(), *more)) if asked else ""


@dataclass(eq=False)
class Answer:
    """What is known of one answer, from the request to its last piece."""

    id: str
    asked: Asked
    choice: Choice
    turns: Sequence[Message]  # as the model was asked, in words
    guard: Guard | None
    model: str  # the name that clients know
    began: float = field(default_factory=time.perf_counter)
    ts: float = field(default_factory=time.time)
    last: float = 0.0
    first_ms: float | None = None
    ms: float = 0.0
    parts: dict[int, Part] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    error: str = ""
    cut: bool = False
    probe: bool = False  # an attack put through the canary, measured by who put it
    ended: bool = False  # nothing more is to be sent
    work: asyncio.Task[None] | None = None

    @property
    def release(self) -> str:
        return self.choice.target.release

    @property
    def said(self) -> str:
        """All that the model said, calls in words."""
        told = [line for part in self.parts.values() for line in (part.said, part.called())]
        return "\n".join(line for line in told if line)

    @property
    def decision(self) -> Decision | None:
        """The gravest decision of the filter on it."""
        found = [p.held.decision for p in self.parts.values() if p.held and p.held.decision]
        return max(found, key=lambda decision: decision.level, default=None)

    @property
    def stopped(self) -> bool:
        """Whether the filter has ended all of it."""
        return bool(self.parts) and all(p.finish == "content_filter" for p in self.parts.values())

    def sent(self) -> None:
        """A piece has gone to the client."""
        self.last = time.time()
        if self.first_ms is None:
            self.first_ms = (time.perf_counter() - self.began) * 1000

    def part(self, index: int) -> Part:
        if index not in self.parts:
            held = Stream(self.guard, self.turns, self.asked.tools) if self.guard else None
            self.parts[index] = Part(held)
        return self.parts[index]

    def _head(self, kind: str, told: dict[str, Any]) -> dict[str, Any]:
        created = told.get("created")
        return {"id": self.id, "object": kind, "model": self.model,
                "created": created if isinstance(created, int) else int(self.ts)}  # fmt: skip

    # --- in one piece

    async def whole(self, raw: bytes) -> bytes:
        """The completion that the client gets; Refused where the upstream's is none."""
        try:
            told = json.loads(raw)
            choices = [await self._chosen(one) for one in told["choices"]]
            if not choices:
                raise KeyError("choices")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise broken() from None
        self.usage = told["usage"] if isinstance(told.get("usage"), dict) else {}
        out = {
            **self._head("chat.completion", told),
            "choices": choices,
            "usage": self.usage or None,
        }
        return json.dumps(out, ensure_ascii=False).encode("utf-8", "replace")

    async def _chosen(self, choice: dict[str, Any]) -> dict[str, Any]:
        message = choice["message"]
        part = self.part(int(choice.get("index") or 0))
        part.said = completion.sound(completion.said({**message, "tool_calls": None}))
        for place, call in enumerate(message.get("tool_calls") or []):
            _join(part.calls, {**call, "index": place})
        part.finish = str(choice.get("finish_reason") or "stop")
        unseen = part.unseen()
        if part.held is None:
            part.shown = part.said
            return choice
        part.held.said = part.said
        if len(part.said) > LONG:
            part.shown = await asyncio.to_thread(part.held.end, unseen)
        else:
            part.shown = part.held.end(unseen)
        shown: dict[str, Any] = {"role": "assistant", "content": part.shown}
        assert part.held.decision
        if part.held.decision.level >= 3:
            part.finish = "content_filter"
        elif part.calls:
            shown |= {"content": part.shown or None, "tool_calls": list(part.calls.values())}
        return {"index": choice.get("index") or 0, "message": shown, "logprobs": None,
                "finish_reason": part.finish}  # fmt: skip

    # --- in a stream

    async def piece(self, told: dict[str, Any]) -> bytes:
        """What may be shown of one event of a stream, as events; nothing while it is held."""
        if isinstance(told.get("usage"), dict):
            self.usage = told["usage"]
        out = []
        try:
            for choice in told.get("choices") or []:
                if shown := await self._streamed(choice):
                    out.append(shown)
        except (KeyError, TypeError, AttributeError, ValueError):
            raise broken() from None
        if not out:
            return b""
        return self._event({**self._head("chat.completion.chunk", told), "choices": out})

    async def _streamed(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        part = self.part(int(choice.get("index") or 0))
        delta = choice.get("delta") or {}
        piece = completion.sound(completion.said({**delta, "tool_calls": None}))
        part.said += piece
        for call in delta.get("tool_calls") or []:
            _join(part.calls, call)
        finish = choice.get("finish_reason")
        if part.held is None:
            part.finish = finish or part.finish
            part.shown += piece
            return choice
        if part.finish:
            return None  # it was ended before
        shown = await self._held(part.held, piece, part.unseen() if finish else None)
        part.shown += shown
        fresh: dict[str, Any] = {"role": "assistant"} if delta.get("role") else {}
        if shown or (fresh and not finish):
            fresh["content"] = shown
        if part.held.decision:
            part.finish = finish or "stop"
            if part.held.decision.level >= 3:
                part.finish = "content_filter"
            elif part.calls:
                calls = part.calls.items()
                fresh["tool_calls"] = [{"index": n, **call} for n, call in sorted(calls)]
        if not fresh and not part.finish:
            return None
        return {"index": choice.get("index") or 0, "delta": fresh, "logprobs": None,
                "finish_reason": part.finish}  # fmt: skip

    async def _held(self, held: Stream, piece: str, called: str | None) -> str:
        """The piece through the filter; at the end (calls in words, perhaps none) the rest too."""

        def look() -> str:
            shown = held.feed(piece)
            return shown if called is None else shown + held.end(called)

        return await asyncio.to_thread(look) if len(held.said) > LONG else look()

    def _event(self, told: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps(told, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"

    def close(self) -> bytes:
        """The last events of a stream that came to its end; Refused where it broke off."""
        if not self.parts or not all(part.finish for part in self.parts.values()):
            raise broken()
        tail = b"data: [DONE]\n\n"
        if self.asked.usage and self.usage:
            head = self._head("chat.completion.chunk", {})
            return self._event({**head, "choices": [], "usage": self.usage}) + tail
        return tail


def _join(calls: dict[int, dict[str, Any]], fresh: dict[str, Any]) -> None:
    """A piece of a call behind those that came before it."""
    call = calls.setdefault(
        int(fresh.get("index") or 0),
        {"id": None, "type": "function", "function": {"name": "", "arguments": ""}},
    )
    call["id"] = call["id"] or fresh.get("id")
    for name in ("name", "arguments"):
        piece = (fresh.get("function") or {}).get(name) or ""
        call["function"][name] += piece if isinstance(piece, str) else json.dumps(piece)
