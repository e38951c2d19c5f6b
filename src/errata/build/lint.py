"""All checks of preference pairs, run before a GPU is paid for.

A check is a function `(pairs, context) -> hits` and its `Check`, in `CHECKS` at the bottom of
lint_pair.py (one pair at a time) or lint_set.py (the set); tests/build/test_lint.py walks them.
`drop` takes the pair out and says so in reports/data-lint.md; `block` stops the build, because what
it finds must be mended at its source; `review` leaves it to a person; `warn` only says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from errata import jsonl
from errata.build import better, lint_pair, lint_set
from errata.build.lint_base import (
    WHOLE,
    Action,
    Check,
    Context,
    Example,
    Hit,
    Limits,
    as_turns,
    label,
    plain,
)
from errata.language import say
from errata.records import PreferencePair

__all__ = [
    "CHECKS", "WHOLE", "Action", "Check", "Context", "Example", "Hit", "Limits", "Report",
    "as_turns", "blocking", "label", "limits_hash", "listed", "of_action", "plain", "run",
]  # fmt: skip

CHECKS: tuple[Check, ...] = (*lint_pair.CHECKS, *lint_set.CHECKS)


class Report(NamedTuple):
    """What is left, and what every check found."""

    kept: list[PreferencePair]
    hits: dict[str, list[Hit]]


def run(pairs: Sequence[PreferencePair], context: Context) -> Report:
    """Checks of single pairs on all of them; checks of the set on what those leave."""
    hits: dict[str, list[Hit]] = {}
    kept = list(pairs)
    for checks in (lint_pair.CHECKS, lint_set.CHECKS):
        for check in checks:
            hits[check.id] = list(dict.fromkeys(check.find(kept, context)))
        out = {hit.id for check in checks for hit in of_action(check, hits[check.id], "drop")}
        kept = [pair for pair in kept if pair.id not in out]
    return Report(kept, hits)


def of_action(check: Check, hits: Sequence[Hit], action: Action) -> list[Hit]:
    """The hits that this is done with."""
    return [hit for hit in hits if (hit.action or check.action) == action]


def blocking(report: Report) -> list[Hit]:
    """Hits that stop the build, with what to do. A pair that is dropped anyway stops nothing."""
    kept = {pair.id for pair in report.kept} | {WHOLE}
    certain = ("personal-data", "held-out")  # dropped or not: its source holds what it must not
    return [
        hit._replace(why=f"{hit.why}; {say(check.todo.en, check.todo.zh)}")
        for check in CHECKS
        for hit in of_action(check, report.hits[check.id], "block")
        if check.id in certain or hit.id in kept
    ]


def listed(report: Report, in_rows: Sequence[Hit]) -> Iterator[dict[str, str]]:
    """Every hit as a line for programs; `in_rows`: those that stop the build in SFT rows."""
    for check in CHECKS:
        for hit in report.hits[check.id]:
            action = hit.action or check.action
            yield {"check": check.id, "action": action, "id": hit.id, "why": hit.why}
    for hit in in_rows:
        yield {"check": "sft", "action": "block", "id": hit.id, "why": hit.why}


def limits_hash(context: Context) -> str:
    """What the checks were set to: thresholds, the checks and judges that there are, the cut."""
    cut = [context.cutter.digest, context.cutter.seq_len] if context.cutter else None
    checks = [[check.id, check.action] for check in CHECKS]
    judges = [judge.id for judge in better.JUDGES]
    return jsonl.digest([context.limits.model_dump(), checks, judges, cut])
