"""The documents say what the program does: every command, every link, every path, the version."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import errata
from errata import cli
from errata.release.verdict import Rule

ROOT = Path(__file__).parents[1]
if not (ROOT / "ARCHITECTURE.md").is_file():
    pytest.skip("the documents are in the repository only", allow_module_level=True)
LOOP = (ROOT / "docs" / "loop.md").read_text(encoding="utf-8")


def tracked() -> list[Path]:
    """Files that git has or would take, without those it ignores."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in files if path.is_file()]


PAGES = [path for path in tracked() if path.suffix == ".md"]


def headings(page: str) -> set[str]:
    return set(re.findall(r"^### (\w+)$", page, re.MULTILINE))


@pytest.mark.parametrize("stage", cli.STAGES)
def test_every_command_has_its_section_and_help_in_both_languages(stage: str) -> None:
    _, english, chinese = cli.STAGES[stage]

    assert stage in headings(LOOP), "docs/loop.md: a section of its own"
    assert english.isascii() or "→" in english
    assert re.search(r"[\u4e00-\u9fff]", chinese)
    module = cli.stage_module(stage)
    assert module.__doc__
    assert module.Config.__doc__
    lacking = [name for name, info in module.Config.model_fields.items() if not info.description]
    assert [name for name in lacking if name not in ("inputs", "outputs", "accept")] == []


def test_the_loop_page_invents_no_command() -> None:
    assert headings(LOOP) == set(cli.STAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path = target.split("#")[0]
            assert not path or (page.parent / path).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize(
    "path", [ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")], ids=lambda path: path.name
)
def test_every_file_that_a_page_names_is_there(path: Path) -> None:
    """`intake/rules.py`, `tests/intake`: as written, below src/errata, or in one of its rooms."""
    named = re.findall(
        r"`((?:[\w-]+/)*[\w-]+\.py|tests/[\w/.]+)`", path.read_text(encoding="utf-8")
    )
    for name in named:
        places = [
            ROOT,
            ROOT / "src/errata",
            *(p for p in (ROOT / "src/errata").iterdir() if p.is_dir()),
        ]
        assert any((place / name).exists() for place in places), f"{path.name}: {name}"


def test_the_architecture_fits_its_page_and_its_tree_is_the_real_one() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    house = text.split("## The house")[1].split("## ")[0]
    source = ROOT / "src" / "errata"
    rooms = {path.name for path in source.iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= set(re.findall(r"^  (\w+)/", house, re.MULTILINE))
    files = {path.name for path in source.glob("*.py") if not path.name.startswith("__")}
    assert files <= set(re.findall(r"\w+\.py", house))


def test_the_changelog_is_about_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[([\d.]+)\]", text, re.MULTILINE)
    assert newest
    assert newest[1] == errata.__version__
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{errata.__version__}"' in project


def test_no_path_of_a_machine_is_in_the_repository() -> None:
    pattern = re.compile(r"(?<![\w.~}-])/(?:work|tmp|home|root|Users)/\w")
    here = Path(__file__).name
    found = []
    for path in tracked():
        data = path.read_bytes()
        if path.name == here or b"\0" in data[:4096]:
            continue
        for number, line in enumerate(data.decode("utf-8").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_gate_rules_are_explained() -> None:
    text = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    explained = ("limit", "max_regression", "min_n", "per_language", "min_n_slice")
    assert all(f"`{name}" in text for name in explained)
    assert set(explained) <= set(Rule.model_fields)
