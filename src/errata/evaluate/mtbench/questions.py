"""Two-turn questions in FastChat's file format, and what ours hold beside it.

    {"question_id": 81, "category": "writing", "turns": ["…", "…"], "reference": ["…", "…"]}

Ours: `language`, `context` (system and documents before the first turn), and `check`: predicates
of safety/predicates.py for each turn, with `negate` where an answer must not hit. A turn's score is
then 1 + 9 · (share of its checks that hold), and no judge is needed. The second turn is asked with
the model's own first answer in the conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, model_validator

from errata import jsonl
from errata.config import hint
from errata.errors import BadInput
from errata.records import Case, Language, Message, Predicate, Record
from errata.safety import predicates, scoring
from errata.text import language

FILE = "suites/mt_bench.jsonl"
LOWEST, HIGHEST = 1.0, 10.0


class Question(Record):
    """One question with its turns."""

    question_id: int | str
    category: str = Field(min_length=1)
    turns: list[str] = Field(min_length=1)
    reference: list[str] = Field(default_factory=list)
    language: Language | None = None
    context: list[Message] = Field(default_factory=list)
    check: list[list[Predicate]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _whole(self) -> Question:
        if not all(turn.strip() for turn in self.turns):
            raise ValueError("a turn is empty")
        if len(self.reference) > len(self.turns):
            raise ValueError("more references than turns")
        if self.check and (len(self.check) != len(self.turns) or not all(self.check)):
            raise ValueError("`check` needs a list of predicates for each turn")
        if any(turn.role in ("user", "assistant") for turn in self.context):
            raise ValueError("`context` is what stands before the first turn: system, documents")
        for check in (one for turn in self.check for one in turn):
            if check.kind not in predicates.KINDS:
                known = hint(check.kind, list(predicates.KINDS))
                raise ValueError(f"no predicate `{check.kind}`{known}")
        return self

    @property
    def id(self) -> str:
        return str(self.question_id)

    @property
    def spoken(self) -> Language:
        """The language it is asked in."""
        return self.language or language(self.turns[0])

    def talk(self, said: Sequence[str]) -> list[Message]:
        """The conversation up to the turn after the answers that were given."""
        out = list(self.context)
        for place, turn in enumerate(self.turns[: len(said) + 1]):
            out.append(Message(role="user", content=turn))
            if place < len(said):
                out.append(Message(role="assistant", content=said[place]))
        return out

    def referred(self, turn: int) -> str:
        """The reference of a turn; empty without one."""
        return self.reference[turn] if turn < len(self.reference) else ""


class Grade(NamedTuple):
    """Of one turn; None: nobody could tell."""

    score: float | None
    why: str


def read(path: Path) -> list[Question]:
    """The questions of a file; BadInput for one that is none, or an id that comes twice."""
    found, seen = jsonl.read(path, Question), set[str]()
    for question in found:
        if question.id in seen:
            raise BadInput(f"{path}: question_id {question.id} comes twice; give each its own")
        seen.add(question.id)
    return found


def graded(checks: Sequence[Predicate], answer: str, talk: Sequence[Message] = ()) -> Grade:
    """1 + 9 · (share of the checks that hold); 1 for an answer that says nothing."""
    if predicates.degenerate(answer):
        return Grade(LOWEST, "degenerate answer")
    scores = [scoring.tested(check, talk, answer) for check in checks]
    if any(score.hit is None for score in scores):
        return Grade(None, "a check could not be told")
    missed = "; ".join(score.why for score in scores if not score.hit)
    share = sum(bool(score.hit) for score in scores) / len(scores)
    return Grade(LOWEST + (HIGHEST - LOWEST) * share, missed or "all checks hold")


def cases(path: Path) -> list[Case]:
    """The questions as held-out cases, a turn each, for the checks that keep training text apart;
    none without the file."""
    return [
        Case(
            id=f"mt-{question.id}/{turn + 1}", category="mt_bench", language=question.spoken,
            family=question.category, cluster=question.id, split="heldout",
            messages=[*question.context, Message(role="user", content=text)],
            success=Predicate(kind="polite"),
        )
        for question in (read(path) if path.is_file() else ())
        for turn, text in enumerate(question.turns)
    ]  # fmt: skip
