"""Every command that the workspace's Makefile issues is one that the command line takes."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from errata import cli, init
from errata.outcome import Outcome

TARGETS = (
    "setup demo check intake build sft-train rm-train dpo-train rlhf-train evaluate safety-audit "
    "gate release rollback infer-bench cost posttrain"
).split()
VARIABLES = ["CANDIDATE=run-1", "SOURCE=ticket", "BASELINE=tiny", "FILES=inbox/a.jsonl"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "ws"
    assert cli.main(["init", str(folder)]) == 0
    return folder


def commands(root: Path, target: str, *variables: str) -> list[list[str]]:
    """The words after `errata` of each command of a target."""
    done = subprocess.run(
        ["make", "-n", target, *variables], cwd=root, capture_output=True, text=True, check=True
    )
    spoken = re.sub(r'echo "[^"]*";?', "", done.stdout)
    inner = re.findall(r"\$\(errata ([^)|]*)[^)]*\)", spoken)
    outer = re.findall(r"\berrata ([^\n;&|]*)", re.sub(r"\$\(errata [^)]*\)", "run-1", spoken))
    return [shlex.split(words) for words in [*inner, *outer]]


@pytest.mark.parametrize("variables", [[], VARIABLES], ids=["bare", "with variables"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_command_of_a_target_parses(
    root: Path, target: str, variables: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the stage's `main`: the stage exists, and its Config takes the words and the YAML."""
    found = commands(root, target, *variables)
    assert found
    for words in found:
        monkeypatch.setattr(cli.stage_module(words[0]), "main", lambda *_: Outcome(0))
        assert cli.main([*words, "-C", str(root)]) == 0, words


def test_make_targets_of_the_repository_reach_the_workspace() -> None:
    here = (Path(init.__file__).parent / "template" / "Makefile").read_text(encoding="utf-8")
    outer = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    listed = re.search(r"WORKSPACE_TARGETS := ((?:.*\\\n)*.*)", outer)
    assert listed
    for target in listed[1].replace("\\\n", " ").split():
        assert re.search(rf"^[\w -]*\b{target}\b[\w -]*:", here, re.MULTILINE), target
