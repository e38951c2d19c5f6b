"""A claim: what is measured, against which bar, on which databases it is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from storage.places import POSTGRES, SQLITE

Run = dict[str, Any]  # value, wall_seconds, cpu_seconds, and what else there is to say
BOTH = (SQLITE, POSTGRES)


@dataclass(frozen=True)
class Claim:
    """`measure(kind, repeats)` gives a run for each repeat; the median of their values counts, and
    of problems the worst."""

    name: str
    title: str
    measure: Callable[[str, int], list[Run]]
    unit: str
    least: float | None = None
    most: float | None = None
    judged: tuple[str, ...] = BOTH

    @property
    def bar(self) -> str:
        """`≥ 10,000`."""
        sign, limit = ("≥", self.least) if self.least is not None else ("≤", self.most)
        return f"{sign} {limit:,g}"


def judge(claim: Claim, kind: str, runs: list[Run]) -> dict[str, Any]:
    """The result of a claim on one database."""
    values = [run["value"] for run in runs]
    found = max(values) if claim.most == 0 else round(median(values), 3)
    holds = found >= claim.least if claim.least is not None else found <= (claim.most or 0)
    ratio = None
    if claim.most != 0:
        ratio = found / claim.least if claim.least else (claim.most or 0) / found
    told = "holds" if holds else "MISSED"
    return {
        "claim": claim.name,
        "title": claim.title,
        "database": kind,
        "unit": claim.unit,
        "bar": claim.bar,
        "median": found,
        "times better than the bar": ratio,
        "wall_seconds": median(run["wall_seconds"] for run in runs),
        "cpu_seconds": median(run["cpu_seconds"] for run in runs),
        "verdict": told if kind in claim.judged else "reported",
        "runs": runs,
    }
