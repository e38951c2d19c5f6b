"""What is written down in words: the sampled log, and failures for intake. Redacted first, always.

Values that a conversation protects (of its system turn, of customers in its documents) are taken
out besides what the redaction rules find: a leak is not kept by the file that reports it."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from errata import jsonl
from errata.gateway.answer import Answer
from errata.gateway.knobs import Outputs
from errata.intake import redact
from errata.records import Message
from errata.release.live import Live
from errata.release.routing import bucket
from errata.safety.guard.filter import Decision, Guard
from errata.store import database
from errata.workspace import Workspace

BARE = "[secret]"
KEPT = 32_000  # characters of a conversation that is kept in memory for feedback


class Said(NamedTuple):
    """A conversation and its answer, raw: in memory only."""

    turns: Sequence[Message]
    answer: str
    release: str  # that answered
    bucket: float
    coded: bool = False  # a protected value is in the answer in some code


class Journal:
    """Writes both files of one gateway."""

    def __init__(self, ws: Workspace, outputs: Outputs, gateway: str, days: int) -> None:
        self.ws, self.outputs, self.gateway, self.days = ws, outputs, gateway, days
        policy = redact.load_policy(ws)
        self._redact: Callable[[str], redact.Redacted] = redact.redactor(ws, policy)
        self._swept = ""

    def log(self, said: Said, row: Live, guard: Guard) -> None:
        """One request of the sample."""
        today = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d")
        if today != self._swept:
            self._sweep()
            self._swept = today
        clean = self._cleaner(said, guard)
        told = {
            "ts": database.now(), "id": row.answer, "release": said.release, "arm": row.arm,
            "messages": [{"role": t.role, "content": clean(t.content)} for t in said.turns],
            "answer": self._answer(said, clean), "flags": row.flags, "sizes": row.sizes,
        }  # fmt: skip
        self._add(f"{self.outputs.log}/{self.gateway}-{today}.jsonl", told)

    def failure(self, said: Said, row: Live, guard: Guard, why: str) -> None:
        """An answer that was stopped or leaked, as a raw row for intake."""
        clean = self._cleaner(said, guard)
        turns, prompt = _question(said.turns)
        told = {
            "prompt": clean(prompt) or "(no user turn)",
            "bad_answer": self._answer(said, clean),
            "label": row.label,
            "context": [{"role": t.role, "content": clean(t.content)} for t in turns],
            **self._facts(said, row, why=why),
        }
        self._add(self._inbox(said), told)

    def feedback(self, said: Said, row: Live, guard: Guard, feedback: dict[str, str]) -> None:
        """What a user said of an answer, in intake's form of feedback."""
        clean = self._cleaner(said, guard)
        turns = [turn for turn in said.turns if turn.role != "system"]
        told = {
            "messages": [{"role": t.role, "content": clean(t.content)} for t in turns],
            "response": self._answer(said, clean),
            "feedback": {name: clean(text) for name, text in feedback.items()},
            **({"label": row.label} if row.label != "other" else {}),
            **self._facts(said, row),
        }
        self._add(self._inbox(said), told)

    def _inbox(self, said: Said) -> str:
        return f"{self.outputs.inbox}/live-{said.release}-{self.gateway}.jsonl"

    def _facts(self, said: Said, row: Live, **more: str) -> dict[str, Any]:
        meta = {"release": said.release, "digest": row.digest, "arm": row.arm,
                "bucket": round(said.bucket, 6), "answer": row.answer, **more}  # fmt: skip
        if row.subject:
            meta["subjects"] = [row.subject]
        return {"source": f"live:{said.release}", "ts": database.now(), "meta": meta}

    def _cleaner(self, said: Said, guard: Guard) -> Callable[[str], str]:
        values = sorted(guard.protected(said.turns), key=len, reverse=True)

        def clean(text: str) -> str:
            for value in values:
                text = text.replace(value, BARE)
            return self._redact(text).text

        return clean

    def _answer(self, said: Said, clean: Callable[[str], str]) -> str:
        text = BARE if said.coded else clean(said.answer)
        return text if text.strip() else "(empty answer)"

    def _add(self, path: str, told: dict[str, Any]) -> None:
        file = self.ws.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(told, ensure_ascii=False) + "\n")

    def _sweep(self) -> None:
        """Delete logs that are older than they may be."""
        oldest = time.time() - self.days * 86400
        for file in self.ws.path(self.outputs.log).glob("*.jsonl"):
            if file.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)


def said_in(answer: Answer, salt: str, decision: Decision) -> Said:
    """The words of an answer."""
    text = answer.said
    coded = any(one.rule == "protected" and (one.start, one.end) == (0, len(text))
                for one in decision.found)  # fmt: skip
    where = bucket(salt, answer.asked.key)
    return Said(answer.asked.turns, text, answer.release, where, coded)


def small(said: Said) -> bool:
    """Whether it may be kept in memory."""
    return sum(len(turn.content) for turn in said.turns) + len(said.answer) <= KEPT


def sampled(answer: str, share: float) -> bool:
    """The same answers for the same share, whoever asks."""
    return int(jsonl.short_id(answer, 8), 16) < share * 16**8


def _question(turns: Sequence[Message]) -> tuple[list[Message], str]:
    """The turns that led to the last question (but for system turns), and the question."""
    asked = max((n for n, turn in enumerate(turns) if turn.role == "user"), default=-1)
    rest = [turn for n, turn in enumerate(turns) if n != asked and turn.role != "system"]
    return rest, turns[asked].content if asked >= 0 else ""
