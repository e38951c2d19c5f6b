"""The first hour: its example rows are fit, each step names the next, and the page is the run's."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from errata import cli, jsonl
from errata.doctor import checkpoint
from errata.init import lay_down
from errata.intake import consent
from errata.records import Failure, Label, PreferencePair
from errata.text import language
from errata.workspace import Workspace

DOCS = Path(__file__).parents[1] / "docs"
if not DOCS.is_dir():
    pytest.skip("the documents are in the repository only", allow_module_level=True)
ROWS = DOCS / "examples" / "failures-30.jsonl"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("first_hour", DOCS / "first_hour.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace that has taken the thirty rows in."""
    return lay_down(tmp_path_factory.mktemp("hour") / "desk")


def test_thirty_failures_become_rows_and_each_step_names_the_next(
    desk: Workspace, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["intake", str(ROWS), "-C", str(desk.root)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("30 rows read: 30 new failures, 0 known, 0 quarantined.")
    assert out.splitlines()[-1] == "next: `errata build`"
    failures = jsonl.read(desk.data / "failures.jsonl", Failure)
    kinds = {(row.label, language(row.prompt)) for row in failures}
    assert kinds == {(label, spoken) for label in get_args(Label) for spoken in ("en", "zh")}
    assert {str(row.source) for row in failures} <= set(consent.declared(desk))

    # Text of a held-out case, personal data and pairs without a better side would end it.
    assert cli.main(["build", "-C", str(desk.root)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next: `errata sft`"
    pairs = jsonl.read(desk.data / "prefs.jsonl", PreferencePair)
    assert {row.id for row in failures} & {source for pair in pairs for source in pair.made_from}


def test_the_random_model_of_the_page_is_whole(tmp_path: Path):
    made = [sys.executable, str(DOCS / "examples" / "random_qwen.py"), str(tmp_path / "qwen")]
    subprocess.run(made, check=True, capture_output=True)
    (found,) = checkpoint.look("model qwen", tmp_path / "qwen", {"configs/sft.yaml": 512})

    assert (found.level, found.said.split(",")[0]) == ("ok", "qwen3")


def test_the_page_has_every_command_of_its_program_in_order(program: ModuleType):
    """A page of another program's run would lead a newcomer astray."""
    page = program.PAGE.read_text(encoding="utf-8")
    typed = re.findall(r"^```\n\$ (.*)$", page, re.MULTILINE)
    texts = [part[1] if isinstance(part, tuple) else part
             for name in program.SECTIONS for part in program.SECTIONS[name]]  # fmt: skip
    asked = [text.splitlines()[0] for text in texts if program.is_command(text)]

    assert typed == asked
    prose = [program.wrapped(text) for text in texts if not program.is_command(text)]
    assert [text for text in prose if text not in page] == []
    assert program.INTRO.strip() in page


def test_a_command_that_ends_otherwise_stops_the_program(program: ModuleType, tmp_path: Path):
    newcomer = program.Newcomer(tmp_path, Path(sys.executable).parent)

    assert newcomer.block((1,), f"cat {tmp_path}/none").endswith("exit 1)\n```")
    assert str(tmp_path) not in newcomer.block((1,), f"cat {tmp_path}/none").split("\n", 2)[2]
    with pytest.raises(SystemExit, match="exit 1, not"):
        newcomer.block((0,), f"cat {tmp_path}/none")
