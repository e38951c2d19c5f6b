"""How the sampled answers of a release read: the commonest template's share, distinct word pairs.

    sampled(ws, release) → {"template_share": …, "distinct_2": …}

The gateways keep a redacted sample of what was asked and answered in `.errata/log/`; only the files
that are on this machine are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from errata.evaluate import style
from errata.records import Message
from errata.text import user_text
from errata.workspace import Workspace

FEW = 50  # answers before a number is told


class Sample(NamedTuple):
    """One request of the log, redacted."""

    release: str
    prompt: list[Message]
    answer: str


def log(ws: Workspace, most: int = 2000) -> Iterator[Sample]:
    """The newest sampled requests, newest first. A line that was cut off is left out."""
    count = 0
    files = sorted((ws.state / "log").glob("*.jsonl"), key=lambda path: path.name[-14:])
    for path in reversed(files):
        for line in reversed(path.read_text(encoding="utf-8", errors="replace").split("\n")):
            try:
                row = json.loads(line)
                turns = [Message.model_validate(turn) for turn in row["messages"]]
                yield Sample(row["release"], turns, row["answer"])
            except (ValueError, KeyError, TypeError):
                continue
            count += 1
            if count >= most:
                return


def sampled(ws: Workspace, release: str) -> dict[str, float]:
    """Of a release's sampled answers; empty where there are few."""
    found = [sample for sample in log(ws) if sample.release == release]
    if len(found) < FEW:
        return {}
    texts = [sample.answer for sample in found]
    marks = style.templates(texts, [user_text(sample.prompt) for sample in found])
    answers = [style.Answer(style.tokens(text), "", mark, frozenset())
               for text, mark in zip(texts, marks, strict=True)]  # fmt: skip
    told = {"template_share": style.template_share(answers),
            "distinct_2": style.distinct(answers, 2)}  # fmt: skip
    return {name: value for name, value in told.items() if value is not None}
