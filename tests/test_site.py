"""The documents as a site: it builds without a warning, fetches nothing, and says what the program
says."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from errata import cli, language
from errata.records import Case, Failure, Finding, Label, Release, Verdict

ROOT = Path(__file__).parents[1]
if not (ROOT / "mkdocs.yml").is_file():
    pytest.skip("the documents are in the repository only", allow_module_level=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The site, and what mkdocs said while it was built."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    where = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert where
    assert where.loader
    module = importlib.util.module_from_spec(where)
    where.loader.exec_module(module)
    return module


def test_the_site_builds_without_a_warning(built: tuple[Path, str]) -> None:
    """Every page is in the nav; every link and anchor leads to a page or a file of the site."""
    folder, said = built

    assert "WARNING" not in said
    assert "excluded" not in said
    assert (folder / "index.html").is_file()


def test_the_site_fetches_nothing(built: tuple[Path, str]) -> None:
    """Scripts, styles, fonts and pictures are its own: it works offline and tells nobody."""
    remote = re.compile(
        r"<(?:script|img|iframe|source)[^>]+src=\"(?:https?:)?//[^\"]*"
        r"|<link[^>]+href=\"(?:https?:)?//[^\"]*"
        r"|url\([\"']?(?:https?:)?//[^)]*|@import[^;]*//[^;]*"
    )
    pages = [path for path in built[0].rglob("*") if path.suffix in (".html", ".css")]

    assert len(pages) > 40
    assert [found for page in pages for found in remote.findall(page.read_text("utf-8"))] == []


def test_pages_read_as_on_github(built: tuple[Path, str]) -> None:
    """A list, table or fence that only GitHub understands would stand in a paragraph as text."""
    loose = re.compile(r"\n\s*(?:[-*] |\d+\. |\|.*\|)|```")
    found = []
    for page in built[0].rglob("*.html"):
        text = re.sub(r"<pre>.*?</pre>", "", page.read_text("utf-8"), flags=re.DOTALL)
        for part in re.findall(r"<(?:p|li)>([^<]*(?:<(?!/?(?:p|li|ul|ol)\b)[^<]*)*)", text):
            found += [f"{page.name}: {part[:80]}"] if loose.search(part) else []

    assert found == []


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def test_every_anchor_is_one_on_github_too() -> None:
    """The site's anchors are checked by mkdocs; GitHub makes its own from the same headings."""
    fences = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    texts = {page: fences.sub("", page.read_text(encoding="utf-8")) for page in pages}
    anchors = {
        page: {slug(line) for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        for page, text in texts.items()
    }
    dead = []
    for page, text in texts.items():
        for path, anchor in re.findall(r"\]\(([\w./-]*\.md|)#([^)\s]+)\)", text):
            target = (page.parent / path).resolve() if path else page
            if target in anchors and anchor not in anchors[target]:
                dead.append(f"{page.name}: {path}#{anchor}")

    assert dead == []


@pytest.mark.parametrize("name", ["commands.md", "metrics.md"])
def test_the_reference_is_what_the_program_says(
    name: str, reference: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERRATA_LANG", "en")
    there = (ROOT / "docs" / name).read_text(encoding="utf-8")

    assert there == reference.PAGES[name](), f"docs/{name} is old: python docs/reference.py"


def values(record: Any, field: str) -> tuple[str, ...]:
    found: tuple[str, ...] = get_args(record.model_fields[field].annotation)
    return found


def test_the_glossary_has_every_word_of_the_product() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("|")]
    english = {word.strip() for row in rows for cell in row[1:3] for word in re.split("[,:]", cell)}
    states = [
        *values(Verdict, "decision"), *values(Finding, "status"), *values(Finding, "strictness"),
        *values(Release, "state"), *values(Failure, "retention"),
        *get_args(Case.model_fields["split"].annotation),
    ]  # fmt: skip
    wanted = [*get_args(Label), *states, *language._WORDS]

    assert [word for word in wanted if word not in english] == []
    lines = {frozenset(word.strip() for cell in row for word in re.split("[,:、，]", cell)): row
             for row in rows}  # fmt: skip
    for word, chinese in language._WORDS.items():
        assert any(word in line and chinese in line for line in lines), (word, chinese)


def test_the_comparison_has_no_number_that_was_not_measured() -> None:
    """Each section names its page of results; every number of its tables stands there."""
    text = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    sections = [part for part in text.split("\n## ") if "../bench/results/" in part]
    number = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*(?:e-\d+)?")
    assert len(sections) == 4
    for section in sections:
        pages = re.findall(r"\.\./(bench/results/\w+\.md)", section)
        there = set(number.findall("".join((ROOT / p).read_text("utf-8") for p in pages)))
        rows = [line for line in section.splitlines() if line.startswith("|")]
        asked = {value for row in rows for value in number.findall(row)}
        assert asked
        assert asked <= there, section.splitlines()[0]


def test_every_idea_is_where_the_concepts_say() -> None:
    """`[file](path) · name, name`: the file has each of them."""
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    found = re.findall(r"\]\((\.\./src/[\w/.]+)\)(?: · ([\w, ]+))?", text)
    assert len(found) > 30
    for path, names in found:
        source = (ROOT / "docs" / path).read_text(encoding="utf-8")
        for name in filter(None, names.strip().split(", ")):
            defined = rf"^(?:def|class) {name}\b|^{name}\b.* = "
            assert re.search(defined, source, re.MULTILINE), f"{path}: {name}"


def test_the_page_of_files_has_what_a_workspace_has(tmp_path: Path) -> None:
    assert cli.main(["init", str(tmp_path / "desk")]) == 0
    page = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./*<>-]+)`", page))
    done = subprocess.run(
        ["git", "ls-files"], cwd=tmp_path / "desk", capture_output=True, text=True, check=True
    )
    for line in done.stdout.splitlines():
        path = Path(line)
        known = {line, f"{path.parts[0]}/", f"{path.parent}/", f"{path.parent}/*{path.suffix}"}
        if path.parts[0] in ("configs", "policies"):  # each has its line
            known = {line}
        assert known & named or path.name == ".gitkeep", line


def test_the_page_of_files_has_every_variable() -> None:
    page = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    sources = [
        p for p in (ROOT / "src" / "errata").rglob("*") if p.suffix in (".py", ".yaml", ".yml")
    ]
    used = {name for p in sources for name in re.findall(r"ERRATA_[A-Z_]+", p.read_text("utf-8"))}

    assert used - set(re.findall(r"ERRATA_[A-Z_]+", page)) == set()
