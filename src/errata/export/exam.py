"""What source and export are asked: business dev cases, and the source's answers as text to score.

The held-out split is the exam of `errata evaluate`; nothing here reads it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from errata.evaluate import business
from errata.evaluate.answers import prompt_of
from errata.evaluate.generate import Decoding, answers
from errata.records import Candidate, Case, CaseResult, Message, Paired
from errata.release.evidence import compare, of_cases
from errata.train.audit import AT_ONCE, draw, read
from errata.train.packing import Encoded
from errata.train.tokens import encode


class Exam(NamedTuple):
    """Cases, their prompts as the candidate is asked them, and how it draws."""

    cases: list[Case]
    prompts: Sequence[Sequence[Message]]
    decoding: Decoding


def exam(suite: Path, candidate: Candidate, count: int) -> Exam:
    """`count` dev cases (tune where a suite has no dev), evenly from each kind and language."""
    cases = draw(read(suite), business.CORE, count) if count else []
    prompts = [prompt_of(candidate, case.messages) for case in cases]
    return Exam(cases, prompts, Decoding(int(candidate.decoding.get("max_new_tokens", 48))))


def said(model: Any, tokenizer: Any, about: Exam) -> list[str]:
    """One greedy answer a case."""
    return answers(model, tokenizer, about.prompts, about.decoding, AT_ONCE)


def scored_text(
    model: Any, tokenizer: Any, about: Exam, texts: Sequence[str], most: int
) -> list[Encoded]:
    """The first `most` prompts with these answers: whose tokens every model is asked about."""
    room = getattr(model.config, "max_position_embeddings", None) or sys.maxsize
    rows = zip(about.cases[:most], about.prompts, texts, strict=False)
    return [
        encode(tokenizer, [*prompt, Message(role="assistant", content=text)], room, case.id)
        for case, prompt, text in rows
    ]


def results(about: Exam, texts: Sequence[str]) -> list[CaseResult]:
    """Each answer judged as `errata evaluate` judges it."""
    return business.results(about.cases, texts)


def paired(ours: Sequence[CaseResult], theirs: Sequence[CaseResult]) -> Paired | None:
    """Wrong answers of the export against those of its source, case by case."""
    return compare(
        "evaluate.accuracy", of_cases("", evaluate=ours), of_cases("", evaluate=theirs), seed=17
    )


def accuracy(found: Sequence[CaseResult]) -> float | None:
    """Share of right answers; None without a case that could be scored."""
    hits = [r.hit for r in found if r.hit is not None]
    return sum(hits) / len(hits) if hits else None
