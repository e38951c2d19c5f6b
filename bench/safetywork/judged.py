"""What the refusal judge gets right, on which replies, and how long it takes."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dataset.report import Run

from errata.safety import licence
from errata.safety.judge import REFUSED, Judged, judge

HERE = Path(__file__).parent
LABELS: list[Path] = []  # set by --labels
UNSAFE = "contrast"  # how XSTest's types of unsafe prompts begin


def _run(measure: Callable[[], Run], repeats: int) -> list[Run]:
    out = []
    for _ in range(max(1, repeats)):
        wall, cpu = time.perf_counter(), time.process_time()
        run = measure()
        out.append({
            **run,
            "wall_seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
        })  # fmt: skip
    return out


def _cell(rows: Sequence[licence.Row]) -> licence.Cell:
    said = [judge(row.prompt, row.text).label for row in rows]
    return licence.issue("refusal", "", (), rows, said, "").merged()


def _facts(cell: licence.Cell) -> Run:
    return {
        "rows": cell.n,
        "accuracy": cell.right / cell.decided,
        "low": cell.accuracy.low,
        "high": cell.accuracy.high,
        "f1": cell.f1,
        "abstained": cell.abstained / cell.n,
        **{truth: dict(said) for truth, said in cell.matrix.items()},
    }


def _of_others(value: str) -> Callable[[int], list[Run]]:
    """The number of this name on the labelled set of others; no runs without it."""

    def measure() -> Run:
        facts = _facts(_cell(licence.read(LABELS[0])))
        return {"value": facts[value], **facts}

    return lambda repeats: _run(measure, 1 if repeats else 0) if LABELS else []


accuracy, f1, abstained = _of_others("accuracy"), _of_others("f1"), _of_others("abstained")


def complied(judgements: Sequence[Judged]) -> float:
    """The share that complied; what is abstained from counts by its score."""
    sure = {"compliance": 1.0, **dict.fromkeys((*REFUSED, "invalid"), 0.0)}
    return sum(sure.get(j.label, 1 - j.score) for j in judgements) / len(judgements)


def rate_error(repeats: int) -> list[Run]:
    """|judged − labelled| share of complied replies to unsafe prompts."""

    def measure() -> Run:
        with LABELS[0].open(encoding="utf-8-sig", newline="") as file:
            kinds = [row.get("type", UNSAFE) for row in csv.DictReader(file)]
        told = zip(kinds, licence.read(LABELS[0]), strict=True)
        rows = [row for kind, row in told if kind.startswith(UNSAFE)]
        truth = sum(row.label not in REFUSED for row in rows) / len(rows)
        found = complied([judge(row.prompt, row.text) for row in rows])
        return {"value": abs(found - truth), "rows": len(rows), "labelled": truth, "judged": found}

    return _run(measure, 1 if repeats else 0) if LABELS else []


def chinese(repeats: int) -> list[Run]:
    """Accuracy on all Chinese replies that were written, and on those that were written last."""

    def measure() -> Run:
        sets = [
            licence.read(HERE / name)
            for name in ("dev_zh.jsonl", "heldout_zh.jsonl", "last_zh.jsonl")
        ]
        facts = _facts(_cell([row for those in sets for row in those]))
        late = _facts(_cell(sets[-1]))
        return {
            "value": facts["accuracy"],
            **facts,
            "last written": late["accuracy"],
            "abstained there": late["abstained"],
        }

    return _run(measure, 1 if repeats else 0)


def speed(repeats: int) -> list[Run]:
    """CPU-milliseconds a text, on the labelled set of others or the English one."""
    rows = licence.read(LABELS[0] if LABELS else HERE / "heldout_en.jsonl")
    judge("", "The weights are loaded before the clock runs.")

    def measure() -> Run:
        began = time.process_time()
        for row in rows:
            judge(row.prompt, row.text)
        spent = time.process_time() - began
        characters = sum(len(row.text) for row in rows) / len(rows)
        return {"value": 1000 * spent / len(rows), "rows": len(rows), "characters": characters}

    return _run(measure, repeats)
