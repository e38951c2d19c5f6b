"""A claim and its bar; results as people and programs read them. No host names, no paths."""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Callable, Sequence
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
    if isinstance(value, str):
        return value.replace("|", "\\|")
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def page(title: str, stamp: dict[str, str], results: list[Result], note: str = NOTE) -> str:
    """The whole report in Markdown."""
    facts = "; ".join(f"{key} {value}" for key, value in stamp.items())
    parts = [f"# {title}", facts, note, table(HEAD, [row(r) for r in results]), "## Runs"]
    return "\n\n".join([*parts, *(details(r) for r in results)]) + "\n"


def read(folder: Path, stamp: dict[str, str], name: str = "data") -> list[Result]:
    """Results of an earlier run on the same machine with the same versions; else none."""
    return kept(folder, name, stamp)


def write(
    folder: Path,
    title: str,
    stamp: dict[str, str],
    results: list[Result],
    name: str = "data",
    note: str = NOTE,
) -> None:
    """`<name>.json` and `<name>.md`."""
    put(folder, name, stamp, results, page(title, stamp, results, note))


def parser(title: str) -> argparse.ArgumentParser:
    """What every bench of claims is asked with."""
    found = argparse.ArgumentParser(description=title)
    found.add_argument("--only", metavar="NAME", action="append", help="this claim (repeatable)")
    found.add_argument("--repeats", type=int, default=3, help="runs of each; medians count")
    found.add_argument("--keep", action="store_true", help="keep the other results")
    return found


def run(
    claims: Sequence[Claim],
    told: argparse.Namespace,
    folder: Path,
    title: str,
    name: str = "data",
    note: str = NOTE,
) -> int:
    """Measure what `--only` names, write and print the table. Exit code: 0 when every bar holds,
    1 when one is missed, 2 for a name that is none. A claim without runs is passed over."""
    names = [claim.name for claim in claims]
    if unknown := set(told.only or []) - {*names}:
        print(f"bench: no claim {sorted(unknown)}; there are {', '.join(names)}")
        return 2
    stamp = machine()
    known = {r["claim"]: r for r in read(folder, stamp, name) if told.keep and r["claim"] in names}
    for claim in claims:
        if claim.name not in (told.only or names):
            continue
        if runs := claim.measure(told.repeats):
            known[claim.name] = judge(claim, runs)
            print("  ".join(row(known[claim.name])), flush=True)
        else:
            print(f"{claim.name}: passed over, it lacks an input (see --help)", flush=True)
    results = sorted(known.values(), key=lambda r: names.index(r["claim"]))
    write(folder, title, stamp, results, name, note)
    print(f"\n{table(HEAD, [row(r) for r in results])}")
    return int(any(r["verdict"] == "MISSED" for r in results))
