"""Write the pages that the program knows better than a person: `python docs/reference.py`.

commands.md is what `errata X --help` prints, metrics.md the catalogue. `tests/test_site.py` fails
when either is not what this writes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from errata import cli, metrics

HERE = Path(__file__).parent
COMMANDS = """# Commands

<!-- written by docs/reference.py: change the docstring or the description instead -->

What `errata <command> --help` prints: what it does, then each setting with its meaning and
[default]. [loop.md](loop.md) says what a command reads, writes and exits with.

| command | does | 作用 |
|---|---|---|
"""
METRICS = """# Metrics

<!-- written by docs/reference.py: change the catalogue in src/errata/metrics.py instead -->

A name that is not here cannot be published or gated on. *Worse* is the direction that a gate holds
against a candidate. Those of `safety`, `evaluate` and `bench` are also measured on live windows, as
`monitor.` and the rest of their name.

| name | unit | worse | meaning | 含义 |
|---|---|---|---|---|
"""


def commands() -> str:
    """Every command: one line in both languages, then what `--help` says."""
    lines = [f"| [`{name}`](#{name}) | {en} | {zh} |" for name, (_, en, zh) in cli.STAGES.items()]
    for name in cli.STAGES:
        lines += ["", f"## {name}", "", f"What it reads and writes: [loop.md](loop.md#{name})."]
        lines += ["", "```text", cli.stage_help(name), "```"]
    return COMMANDS + "\n".join(lines) + "\n"


def catalogue() -> str:
    """Every metric that can be published, and gated on."""
    lines = [
        f"| `{name}` | {what.unit} | {what.worse} | {what.en} | {what.zh} |\n"
        for name, what in metrics.CATALOGUE.items()
        if not name.startswith("monitor.")
    ]
    return METRICS + "".join(lines)


PAGES = {"commands.md": commands, "metrics.md": catalogue}


def main() -> None:
    """Both pages, in English whatever the terminal speaks."""
    os.environ["ERRATA_LANG"] = "en"
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
        sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main()
