"""What people decided of failures and pairs, and what a teacher answered: data/reviews.jsonl.

Lines are only added. The last one of an id counts, and a person's stands over a teacher's; `undo`
takes a person's back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from errata import jsonl
from errata.errors import BadInput
from errata.intake.fields import RowError, canonical_label
from errata.intake.redact import load_policy, redact_many, workspace_key
from errata.records import Failure, Label, Review
from errata.workspace import Workspace

FILE = "data/reviews.jsonl"


@dataclass(frozen=True)
class Reviews:
    """By failure or pair: the answer that counts, and the verdicts without one."""

    answers: dict[str, Review] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    poor: dict[str, str] = field(default_factory=dict)  # what a teacher said, and no judge passed

    def relabelled(self, failure: Failure) -> Failure:
        """The failure under the label that a person gave it."""
        label = self.labels.get(failure.id)
        return failure if label is None else failure.model_copy(update={"label": label})


def read(path: Path) -> Reviews:
    """All verdicts of the file; none without it. BadInput for a line that is no review."""
    last: dict[tuple[str, bool], Review] = {}  # of an id: its label apart from what is done with it
    teachers: dict[tuple[str, bool], Review] = {}
    for row in sorted(written(path), key=lambda row: row.origin == "human"):  # stable: people last
        key = row.id, about_label(row)
        last[key] = teachers.get(key, row) if row.verdict == "undo" else row
        if row.origin == "teacher":
            teachers[key] = row

    def of(verdict: str) -> dict[str, Review]:
        return {row.id: row for row in last.values() if row.verdict == verdict}

    return Reviews(
        answers=of("answer"),
        labels={id: _label(row, path) for id, row in of("label").items()},
        dropped=frozenset(of("drop")),
        kept=frozenset(of("keep")),
        poor={id: row.text for id, row in of("poor").items()},
    )


def about_label(row: Review) -> bool:
    """Whether it is the label that a verdict is about, or takes back."""
    return "label" in (row.verdict, row.text if row.verdict == "undo" else "")


def _label(row: Review, path: Path) -> Label:
    try:
        return canonical_label(row.text)
    except RowError as error:
        raise BadInput(f"{path.name}: {row.id}: label: {error.reason}; mend the line") from None


def add(ws: Workspace, rows: Sequence[Review]) -> list[Review]:
    """Add verdicts, their texts redacted as everything that is kept is; the rows as written."""
    clean = redact_many([row.text for row in rows], load_policy(ws).rules, workspace_key(ws))
    both = zip(rows, clean, strict=True)
    new = [row.model_copy(update={"text": done.text}) for row, done in both]
    path = ws.root / FILE
    with ws.alone("reviews", seconds=60):  # a build hears a teacher while a person decides
        jsonl.write(path, [*written(path), *new])
    return new


def written(path: Path) -> list[Review]:
    """What is there, which may be nothing: a teacher that gave no answer decided nothing."""
    found = jsonl.lines(path) if path.is_file() else ()
    return [jsonl.validate(raw, Review, f"{path}:{number}") for number, raw in found]
