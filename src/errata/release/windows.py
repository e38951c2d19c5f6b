"""What live rows add up to: one line an arm, and how the questions have changed.

    summary(rows) → {"canary": Summary, "stable": Summary}
    psi(before, now) → 0 (alike) …; above 0.25 it is another population

The population stability index is Σ (q - p) ln(q / p) over shares of classes; half an answer is
added to each class, so that an empty one is no infinity (Siddiqi 2006, Credit Risk Scorecards).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from errata.language import say
from errata.release.live import Live
from errata.report import bounds, markdown_table, shown
from errata.stats import wilson

LENGTHS = (20, 50, 100, 200, 400, 800, 1600)  # characters of the last user turn
FLAGS = ("failure", "refusal", "filtered", "impolite", "citation_missing", "thumbs_down",
         "judged_bad")  # fmt: skip
FEW = 200  # questions before a drift is told


class Summary(NamedTuple):
    """One arm's answers: counts of flags, and what it took."""

    n: int
    flags: dict[str, tuple[int, int]]
    p50_ms: float | None
    p95_ms: float | None
    first_ms: float | None
    tokens: float
    cost: float | None  # None: no prices are known
    levels: dict[int, int]


def flags_of(row: Live) -> dict[str, bool | None]:
    """A row's flags; an answer that could not be scored has failed."""
    return {**row.flags, "failure": row.failed is not False} if row.kind == "answer" else row.flags


def summary(rows: Iterable[Live]) -> dict[str, Summary]:
    """Arm → what its rows add up to."""
    arms: dict[str, list[Live]] = {"canary": [], "stable": []}
    for row in rows:
        if row.kind in ("answer", "feedback", "judged"):
            arms[row.arm].append(row)
    return {arm: _summed(found) for arm, found in arms.items()}


def _summed(rows: Sequence[Live]) -> Summary:
    counted: dict[str, list[int]] = {}
    for row in rows:
        for name, bad in flags_of(row).items():
            if bad is not None:
                counts = counted.setdefault(name, [0, 0])
                counts[0] += bad
                counts[1] += 1
    answers = [row for row in rows if row.kind == "answer"]
    times = sorted(row.sizes["ms"] for row in answers if "ms" in row.sizes)
    costs = [row.sizes["cost"] for row in answers if "cost" in row.sizes]
    first = sorted(row.sizes["first_ms"] for row in answers if "first_ms" in row.sizes)
    return Summary(
        n=len(answers),
        flags={name: (bad, n) for name, (bad, n) in counted.items()},
        p50_ms=at(times, 0.5),
        p95_ms=at(times, 0.95),
        first_ms=at(first, 0.5),
        tokens=sum(row.sizes.get("tokens_out", 0.0) for row in answers),
        cost=sum(costs) if costs else None,
        levels=dict(Counter(int(row.sizes.get("level", 0)) for row in answers)),
    )


def at(ordered: Sequence[float], share: float) -> float | None:
    """A quantile of sorted numbers."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None


def table(rows: Iterable[Live]) -> str:
    """Both arms side by side, a rate with its interval."""
    arms = summary(rows)
    lines = [["requests / 请求", *(str(arm.n) for arm in arms.values())]]
    for name in FLAGS:
        told = [_rate(arm.flags.get(name)) for arm in arms.values()]
        if any(text != "–" for text in told):
            lines.append([name, *told])
    for title, of in _SIZES.items():
        lines.append([title, *(of(arm) for arm in arms.values())])
    return markdown_table((say("metric", "指标"), *arms), lines)


def _rate(found: tuple[int, int] | None) -> str:
    if not found or not found[1]:
        return "–"
    low, high = wilson(*found)
    return f"{shown(found[0] / found[1], 'rate')} ({bounds(low, high, 'rate')}) n={found[1]}"


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


_SIZES: dict[str, Callable[[Summary], str]] = {
    "P50 / P95 ms": lambda arm: f"{_number(arm.p50_ms)} / {_number(arm.p95_ms)}",
    "first token ms / 首字": lambda arm: _number(arm.first_ms),
    "tokens / 词元": lambda arm: _number(arm.tokens),
    "cost / 成本": lambda arm: _number(arm.cost, 4),
    "filter levels / 过滤级别": lambda arm: ", ".join(
        f"{level}: {n}" for level, n in sorted(arm.levels.items())
    ) or "–",
}  # fmt: skip


def psi(before: Mapping[str, int], now: Mapping[str, int]) -> float:
    """Population stability index of two counts of the same classes; 0 where one is empty."""
    names = {*before, *now}
    if not sum(before.values()) or not sum(now.values()):
        return 0.0
    size = 0.5 * len(names)
    out = 0.0
    for name in names:
        p = (before.get(name, 0) + 0.5) / (sum(before.values()) + size)
        q = (now.get(name, 0) + 0.5) / (sum(now.values()) + size)
        out += (q - p) * math.log(q / p)
    return out


def _length(row: Live) -> str | None:
    chars = row.sizes.get("chars")
    return None if chars is None else f"≤{next((m for m in LENGTHS if chars <= m), 'more')}"


DRIFTS: dict[str, Callable[[Live], str | None]] = {
    "length": _length,
    "language": lambda row: row.language,
    "label": lambda row: row.label if row.failed else None,
}


def drift(before: Sequence[Live], now: Sequence[Live]) -> dict[str, float]:
    """By length, language and label of failures: the index, where both sides have enough."""
    found = {}
    for name, of in DRIFTS.items():
        counts = [Counter(value for row in rows if row.kind == "answer" and (value := of(row)))
                  for rows in (before, now)]  # fmt: skip
        if min(sum(count.values()) for count in counts) >= FEW:
            found[name] = psi(*counts)
    return found
