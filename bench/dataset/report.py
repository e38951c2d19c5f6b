"""A claim and its bar; results as people and programs read them. No host names, no paths."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from training.report import host, kept, number, put, table

Result = dict[str, Any]
Run = dict[str, Any]  # value, wall_seconds, cpu_seconds, and what else there is to say
HEAD = ["claim", "median", "bar", "wall s", "CPU-s", "verdict"]
LIBRARIES = ("presidio-analyzer", "spacy", "faker", "google-re2", "datasketch", "numpy")
NOTE = (
    "Ratios of throughput are of CPU-seconds of one process a side, on the same rows in turn, "
    "medians over repeats; Presidio runs all predefined recognizers and no NER. A value is fully "
    "gone when neither it nor its letters and digits can be read in the output. The generators "
    "share no code with the rules, but what they showed under other seeds was mended in the rules: "
    "sets of others may read lower."
)


@dataclass(frozen=True)
class Claim:
    """`measure(repeats)` gives runs; the median of their values counts."""

    name: str
    title: str
    measure: Callable[[int], list[Run]]
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def bar(self) -> str:
        """`≥ 100`."""
        sign, limit = ("≥", self.least) if self.least is not None else ("≤", self.most)
        return f"{sign} {limit:,g}"


def judge(claim: Claim, runs: list[Run]) -> Result:
    """The result of a claim."""
    found = round(median(run["value"] for run in runs), 4)
    holds = found >= claim.least if claim.least is not None else found <= (claim.most or 0)
    return {
        "claim": claim.name,
        "title": claim.title,
        "unit": claim.unit,
        "bar": claim.bar,
        "median": found,
        "wall_seconds": median(run["wall_seconds"] for run in runs),
        "cpu_seconds": median(run["cpu_seconds"] for run in runs),
        "verdict": "holds" if holds else "MISSED",
        "runs": runs,
    }


def machine() -> dict[str, str]:
    """Where the numbers come from."""
    return {**host(), **{name: _version(name) for name in LIBRARIES}}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def row(result: Result) -> list[str]:
    """A claim as a line of the table."""
    return [
        result["title"],
        f"{result['median']:,} {result['unit']}",
        result["bar"],
        number(result["wall_seconds"]),
        number(result["cpu_seconds"]),
        result["verdict"],
    ]


def details(result: Result) -> str:
    """Every run, with its shares by type and what it got wrong."""
    parts = [f"### {result['claim']}"]
    for run in result["runs"]:
        told = {key: value for key, value in run.items() if not isinstance(value, (dict, list))}
        parts.append(table([*told], [[_cell(value) for value in told.values()]]))
        for key, value in run.items():
            if isinstance(value, dict):
                shown = ", ".join(f"{name} {share}" for name, share in value.items())
                parts.append(f"{key}: {shown}")
            elif isinstance(value, list) and value:
                parts.append("\n".join(f"- {key[:-1]}: `{problem}`" for problem in value))
    return "\n\n".join(parts)


def _cell(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def page(title: str, stamp: dict[str, str], results: list[Result]) -> str:
    """The whole report in Markdown."""
    facts = "; ".join(f"{key} {value}" for key, value in stamp.items())
    parts = [f"# {title}", facts, NOTE, table(HEAD, [row(r) for r in results]), "## Runs"]
    return "\n\n".join([*parts, *(details(r) for r in results)]) + "\n"


def read(folder: Path, stamp: dict[str, str]) -> list[Result]:
    """Results of an earlier run on the same machine with the same versions; else none."""
    return kept(folder, "data", stamp)


def write(folder: Path, title: str, stamp: dict[str, str], results: list[Result]) -> None:
    """`data.json` and `data.md`."""
    put(folder, "data", stamp, results, page(title, stamp, results))
