"""What a how-to tells to type is typed, in a workspace as `errata init` lays it down, and each line
of the output that it shows must be printed."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from errata import config
from errata.records import Predicate, PreferencePair
from errata.release.verdict import Rule

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


def example(section: str, language: str) -> str:
    """The block of docs/extend.md below that heading."""
    text = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    part = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = re.search(rf"^```{language}\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    assert found, section
    return found[1]


def written(section: str, module: str) -> dict[str, Any]:
    """The names of a module after the lines of a block are in it; `{..., ` is what was there."""
    names = {**vars(importlib.import_module(module))}
    code = re.sub(r"^(\w+) = \{\.\.\., ", r"\1 = {**\1, ", example(section, "python"), flags=re.M)
    exec(code, names)
    return names


def test_the_loss_of_the_page_is_one() -> None:
    torch = pytest.importorskip("torch")
    losses = written("loss", "errata.train.losses")["LOSSES"]

    assert losses["exponential"](torch.zeros(2), 1.0, 0.0).tolist() == [1.0, 1.0]
    assert "sigmoid" in losses


def test_the_predicate_of_the_page_scores() -> None:
    kinds = written("predicate", "errata.safety.wanted")["KINDS"]
    asks = Predicate(kind="question")

    assert kinds["question"](asks, "Which lamp?", [], "").hit is True
    assert kinds["question"](asks, "That lamp.", [], "").hit is False


def test_the_redaction_rules_of_the_page_catch_and_spare() -> None:
    from errata.intake.redact import apply

    rule = written("rule (redaction)", "errata.intake.rules.secret")["TICKET"]
    told = config.parse(example("rule (redaction)", "yaml"), "extend.md")["rules"][0]

    assert (told["catches"], told["spares"][0]) == (list(rule.catches), rule.spares[0])
    for text in rule.catches:
        assert "482913" not in apply(text.replace("⟦", "").replace("⟧", ""), [rule], b"k").text
    for text in rule.spares:
        assert apply(text, [rule], b"k").text == text


def test_the_pair_check_of_the_page_hits() -> None:
    shouting = written("pair check", "errata.build.lint_pair")["shouting"]
    pair = PreferencePair(id="p", prompt="a", chosen="NO!", rejected="no", reason="r")

    assert [hit.id for hit in shouting([pair], None)] == ["p"]
    assert list(shouting([pair.model_copy(update={"chosen": "No."})], None)) == []


def test_the_gate_and_the_attack_of_the_page_have_the_fields_of_real_ones() -> None:
    (rule,) = config.parse(example("gate", "yaml"), "extend.md")["hard"]
    line = json.loads(example("attack", "json"))
    shipped = ROOT / "src/errata/safety/attacks" / f"{line['category']}.jsonl"

    assert Rule(**rule).min_n == rule["min_n"]
    assert set(line) == set(json.loads(shipped.read_text("utf-8").splitlines()[0]))
