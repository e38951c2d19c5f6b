"""What a how-to tells to type is typed, in a workspace as `errata init` lays it down, and each line
of the output that it shows must be printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
# What another machine is needed for: PostgreSQL is run by the store's own tests.
ELSEWHERE = {"postgresql"}
BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def script(page: Path) -> tuple[str, list[list[str]]]:
    """One script of all blocks, and the lines that each must print."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    return (
        "".join(f"{typed}echo '=== end'\n" for typed, _ in blocks),
        [shown.splitlines() for _, shown in blocks],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem not in ELSEWHERE], ids=lambda page: page.stem
)
def test_a_how_to_does_what_it_says(page: Path, tmp_path: Path) -> None:
    commands, wanted = script(page)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, words in {"errata": "-m errata ", "python": ""}.items():
        path = tools / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n', encoding="utf-8")
        path.chmod(0o755)
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "ERRATA_LANG": "en"}

    def typed(words: list[str], folder: Path) -> str:
        done = subprocess.run(
            words, cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    typed(["errata", "init", "desk"], tmp_path)
    printed = typed(["bash", "-euo", "pipefail", "-c", commands], tmp_path / "desk")

    parts = printed.split("=== end\n")
    assert len(parts) == len(wanted) + 1
    for lines, part in zip(wanted, parts, strict=False):
        assert [line for line in lines if line not in part] == [], part


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_how_to_is_one_that_is_run(page: Path) -> None:
    """A block of another language would be shown and never tried."""
    fences = re.findall(r"^```(\w*)$", page.read_text(encoding="utf-8"), re.MULTILINE)

    assert {fence for fence in fences if fence} <= {"sh", "text"}
    assert "sh" in fences
