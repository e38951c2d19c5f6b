"""What a judge's two words on one pair come to, and how far the judge can be trusted at all.

Each pair is asked in both orders. Words that fit make a win; words that change with the order are a
tie by rule, and *inconsistent*. Among these, a judge without a leaning prefers the first place as
often as the second: the exact binomial test says whether it leans. Labels are pairs of answers that
people judged; the judge is asked about the same pairs, and held against chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, model_validator

from errata import jsonl
from errata.evaluate import agreement
from errata.evaluate.mtbench.questions import Question
from errata.records import Message, Record

Winner = Literal["a", "b", "tie"]
_FIRST: dict[str, Winner] = {"A": "a", "B": "b", "C": "tie"}
_SECOND: dict[str, Winner] = {"A": "b", "B": "a", "C": "tie"}
_NAMES: dict[str, Winner] = {"model_a": "a", "model_b": "b", "a": "a", "b": "b", "tie": "tie",
                             "tie (bothbad)": "tie", "tie (inconsistent)": "tie"}  # fmt: skip


class Vote(NamedTuple):
    """The judge's word where a stood first, and where b did; None: it said nothing readable."""

    first: str | None
    second: str | None

    @property
    def winner(self) -> Winner | None:
        """The side that wins in both orders, else a tie; None where a word is lacking."""
        if self.first is None or self.second is None:
            return None
        one, other = _FIRST[self.first], _SECOND[self.second]
        return one if one == other else "tie"

    @property
    def leans(self) -> Literal["first", "second"] | None:
        """The place that an inconsistent vote prefers; None: consistent, or unread."""
        if self.first is None or self.second is None:
            return None
        if _FIRST[self.first] == _SECOND[self.second]:
            return None
        return "first" if "A" in (self.first, self.second) else "second"


class Bias(NamedTuple):
    """Of n pairs so many changed with the order; `first` of these towards the first place."""

    n: int
    inconsistent: int
    first: int
    p: float

    @property
    def share(self) -> float:
        """Inconsistent among all."""
        return self.inconsistent / self.n if self.n else 0.0


def bias(votes: Sequence[Vote]) -> Bias:
    """How the judge depends on the order: two-sided exact binomial p of `first` at one half."""
    read = [vote for vote in votes if vote.winner is not None]
    leaning = [vote.leans for vote in read if vote.leans]
    first, n = leaning.count("first"), len(leaning)
    tail = sum(math.comb(n, k) for k in range(max(first, n - first), n + 1)) / 2**n
    return Bias(len(read), n, first, min(1.0, 2 * tail))


class Label(Record):
    """A pair of answers that a person judged, in the fields of LMSYS's human judgements."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    question_id: int | str
    turn: int = Field(default=1, ge=1)
    winner: Winner
    conversation_a: list[Message]
    conversation_b: list[Message]

    @model_validator(mode="before")
    @classmethod
    def _their_names(cls, row: Any) -> Any:
        if isinstance(row, dict) and isinstance(row.get("winner"), str):
            return {**row, "winner": _NAMES.get(row["winner"], row["winner"])}
        return row

    @model_validator(mode="after")
    def _same_questions(self) -> Label:
        asked = [[turn.content for turn in said if turn.role == "user"][: self.turn]
                 for said in (self.conversation_a, self.conversation_b)]  # fmt: skip
        answers = [len(self.said(side)) for side in ("a", "b")]
        if asked[0] != asked[1] or not asked[0] or answers != [self.turn, self.turn]:
            raise ValueError(f"both conversations need the same {self.turn} questions, answered")
        return self

    def said(self, side: str) -> list[str]:
        """The answers of a side up to the turn that was judged."""
        talk = self.conversation_a if side == "a" else self.conversation_b
        return [turn.content for turn in talk if turn.role == "assistant"][: self.turn]

    @property
    def question(self) -> Question:
        """What both were asked."""
        talk = self.conversation_a
        asked = [turn.content for turn in talk if turn.role == "user"][: self.turn]
        given = [turn for turn in talk if turn.role in ("system", "documents")]
        return Question(question_id=self.question_id, category="labels", turns=asked, context=given)


def read(path: Path) -> list[Label]:
    """The labels of a file; BadInput for a row that is none."""
    return jsonl.read(path, Label)


class Trust(NamedTuple):
    """The judge against the labels: with ties, without them, and how many it left open."""

    every: agreement.Kappa
    decided: agreement.Kappa
    unread: int


def trust(labels: Sequence[Label], said: Sequence[Winner | None]) -> Trust:
    """Agreement over all pairs, and over those that neither side calls a tie; a question's pairs
    are one cluster."""
    rows = [(label.winner, word, str(label.question_id))
            for label, word in zip(labels, said, strict=True) if word is not None]  # fmt: skip
    sure = [row for row in rows if "tie" not in row[:2]]
    both = [agreement.kappa([row[:2] for row in some], [row[2] for row in some])
            for some in (rows, sure)]  # fmt: skip
    return Trust(both[0], both[1], len(labels) - len(rows))
