"""Results as people and programs read them. No host names, no paths."""

from __future__ import annotations

import importlib.metadata
import sqlite3
from pathlib import Path
from typing import Any

from training.report import host, kept, number, put, table

from storage import places

Result = dict[str, Any]
HEAD = ["claim", "database", "median", "bar", "times better", "p95", "wall s", "CPU-s", "verdict"]
NOTE = (
    "Medians over repeats; of what is missing or wrong, the worst. CPU-seconds are those of the "
    "processes that ask, not of the PostgreSQL server. SQLite is as shipped: WAL, synchronous=FULL."
)


def machine() -> dict[str, str]:
    """Where the numbers come from."""
    names = ("sqlalchemy", "psycopg")
    return {
        **host(),
        "sqlite": sqlite3.sqlite_version,
        "postgresql": places.server_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }


def row(result: Result) -> list[str]:
    """A claim on one database as a line of the table."""
    p95 = [run["p95"] for run in result["runs"] if "p95" in run]
    return [
        result["title"],
        result["database"],
        f"{result['median']:,} {result['unit']}",
        result["bar"],
        number(result["times better than the bar"]),
        number(max(p95) if p95 else None),
        number(result["wall_seconds"]),
        number(result["cpu_seconds"]),
        result["verdict"],
    ]


def details(result: Result) -> str:
    """Every run."""
    runs = result["runs"]
    keys = [key for key in runs[0] if key != "problems"]
    body = [[_cell(run.get(key)) for key in keys] for run in runs]
    problems = [f"- {problem}" for run in runs for problem in run.get("problems", [])]
    parts = [f"### {result['claim']}, {result['database']}", table(keys, body)]
    return "\n\n".join([*parts, *(["\n".join(problems)] if problems else [])])


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in sorted(value.items()))
    return f"{value:,}" if isinstance(value, int) else str(value)


def page(title: str, stamp: dict[str, str], results: list[Result]) -> str:
    """The whole report in Markdown."""
    facts = "; ".join(f"{key} {value}" for key, value in stamp.items())
    parts = [f"# {title}", facts, NOTE, table(HEAD, [row(r) for r in results]), "## Runs"]
    return "\n\n".join([*parts, *(details(r) for r in results)]) + "\n"


def read(folder: Path, stamp: dict[str, str]) -> list[Result]:
    """Results of an earlier run on the same machine with the same versions; else none."""
    return kept(folder, "store", stamp)


def write(folder: Path, title: str, stamp: dict[str, str], results: list[Result]) -> None:
    """`store.json` and `store.md`."""
    put(folder, "store", stamp, results, page(title, stamp, results))
