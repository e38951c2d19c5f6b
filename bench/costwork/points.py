"""Estimates against peaks that others published; sources are left out one at a time.

Rows come as `errata cost --specs` takes them. Two ways: by the contract's fields alone, and with
the publisher's remark and name besides.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, NamedTuple

from errata.cost.calibrate import T
from errata.cost.spec import Spec
from errata.cost.stage import Config, answer_row

FILE = Path(__file__).parents[3] / "shared" / "data" / "memory_points_dev.jsonl"
CARDS = (8, 12, 16, 24, 32, 40, 48, 80, 96, 141)
_REMARKS = {"note", "source"}


class Point(NamedTuple):
    """A published peak in GiB and the answer to its row."""

    id: str
    group: str
    peak: float
    answer: dict[str, Any]

    @property
    def ratio(self) -> float:
        """log(measured / estimated)."""
        return math.log(self.peak / self.answer["peak_gib"])


def points(remarks: bool, file: Path = FILE) -> list[Point]:
    """All that are answered; those with stated lengths that no batch had only with remarks."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        known = set(Spec.model_fields) - (set() if remarks else _REMARKS)
        answer = answer_row({k: v for k, v in row.items() if k in known}, Config())
        if answer["peak_gib"] is None or ("unpacked" in row["note"] and not remarks):
            continue
        unit = 1.0 if row["unit"] == "GiB" else 1e9 / (1 << 30)
        group = row["id"].rsplit("-", 1)[0]
        found.append(Point(row["id"], group, row["peak"] * unit, answer))
    return found


def errors(found: list[Point], remedy: float = 0.0) -> list[float]:
    """|estimated / measured − 1|, sorted."""
    return sorted(abs(math.exp(-(p.ratio - remedy)) - 1) for p in found)


def quantile(values: list[float], share: float) -> float:
    """The least value that so large a share does not exceed."""
    return values[max(0, math.ceil(share * len(values)) - 1)]


def left_out(found: list[Point]) -> dict[str, float]:
    """Per source: its median error with an interval and a mean from the other sources alone, and
    the share that this interval's upper end covers (`… covered`)."""
    told: dict[str, float] = {}
    for group in sorted({p.group for p in found}):
        others = [p.ratio for p in found if p.group != group]
        mine = [p for p in found if p.group == group]
        n = len({p.group for p in found}) - 1
        reach = T[n - 2] * stdev(others) * math.sqrt(1 + 1 / n)
        told[group] = round(median(errors(mine, fmean(others))), 4)
        covered = sum(p.ratio <= fmean(others) + reach for p in mine) / len(mine)
        told[f"{group} covered"] = round(covered, 3)
    return told


def wrong_fits(found: list[Point]) -> float:
    """Share whose `fits`, on the card nearest the peak, is said and is not so."""
    wrong = 0
    for point in found:
        card = min(CARDS, key=lambda size: abs(size - point.peak))
        low, high = point.answer["low_gib"], point.answer["high_gib"]
        said = True if high <= card else False if low > card else None
        wrong += said is not None and said != (point.peak <= card)
    return wrong / len(found)


def figures(remarks: bool) -> dict[str, Any]:
    """All of it for one way of reading the rows."""
    found = points(remarks)
    each = errors(found)
    return {
        "rows": len(found),
        "median": round(quantile(each, 0.5), 4),
        "p90": round(quantile(each, 0.9), 4),
        "covered": sum(p.peak <= p.answer["high_gib"] for p in found) / len(found),
        "wrong_fits": wrong_fits(found),
        "left_out": left_out(found),
        "spread": round(stdev([p.ratio for p in found]), 4),
    }


def measure(name: str) -> Any:
    """A claim's runs by its figure's name, both ways; no run where the file is not there."""

    def runs(_: int) -> list[dict[str, Any]]:
        if not FILE.is_file():
            return []
        told = []
        for remarks in (False, True):
            found = figures(remarks)
            told.append({"remarks": int(remarks), "wall_seconds": 0.0, "cpu_seconds": 0.0,
                         "value": found[name], **found})  # fmt: skip
        return told

    return runs
