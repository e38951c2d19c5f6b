"""Lay down a workspace that works as it is.

    errata init my-desk
    errata init             the folder one stands in, if it is empty

Nothing is asked. The folder must be new or empty, but for a `.git` that `git init` or a clone of an
empty repository left there. It becomes a git repository of its own, also inside another one, whose
first commit tracks data/ and reports/: `git checkout -- data/ reports/` works from the start.
"""

from __future__ import annotations

import importlib
import os
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from pydantic import Field

from errata import git, jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.workspace import Workspace

NEEDS_WORKSPACE = False
# A ruleset of its own: unlike branch protection, it replaces nothing that is set already.
REQUIRE = "gh api repos/{owner}/{repo}/rulesets --input .github/ruleset.json"


class Config(Section):
    """`errata init [DIR]`."""

    args: list[str] = Field(default=[], description="the folder to make; none: this one")
    suites: bool = Field(default=True, description="lay down the suites of the embedded model")


def lay_down(root: Path, suites: bool = True) -> Workspace:
    """Make the workspace at `root`; BadInput when something is there already."""
    there = root.exists()
    if there and not root.is_dir():
        raise BadInput(f"{root}: is a file; name a new or empty folder")
    if there and (root / ".errata").is_dir():
        raise BadInput(f"{root}: is a workspace already; `cd` there, and `errata status`")
    if there and {path.name for path in root.iterdir()} - {".git"}:
        raise BadInput(f"{root}: there is something in it; name a new or empty folder")
    ours = list(root.iterdir()) if there else None
    try:
        return _fill(root, suites)
    except BaseException:
        _clear(root, ours)  # half of one helps nobody
        raise


def _clear(root: Path, spared: list[Path] | None) -> None:
    """Take out what was laid down: all but what was there before, and the folder if it was not."""
    if spared is None:
        shutil.rmtree(root, ignore_errors=True)
        return
    for path in set(root.iterdir()) - set(spared):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _fill(root: Path, suites: bool) -> Workspace:
    root.mkdir(parents=True, exist_ok=True)
    with as_file(files("errata") / "template") as template:
        for source in sorted(template.rglob("*")):
            if source.is_file() and "__pycache__" not in source.parts:
                _copy(source, root / _name(source.relative_to(template)))
    ws = Workspace(root.resolve())
    ws.state.mkdir(exist_ok=True)
    ws.runs.mkdir(exist_ok=True)
    if suites:
        importlib.import_module("errata.tiny.suites").write(ws.suites)
    git.git(ws.root, "init", "--quiet", "--initial-branch=main", ".")
    git.commit(ws, ["."], "errata init")
    git.git(ws.root, "config", "core.hooksPath", ".githooks")
    return ws


def _name(path: Path) -> Path:
    """`dot-gitignore` → `.gitignore`: else it would act on Errata's own repository."""
    return Path(*(f".{p.removeprefix('dot-')}" if p.startswith("dot-") else p for p in path.parts))


def _copy(source: Path, target: Path) -> None:
    with jsonl.replacing(target) as file:
        file.write(source.read_bytes())
    if source.suffix == ".sh" or target.parent.name == ".githooks":  # a wheel keeps no mode
        target.chmod(target.stat().st_mode | 0o111)


def main(ws: Workspace, config: Config) -> Outcome:
    """Make the folder and say what to type next."""
    if len(config.args) > 1:
        raise BadInput("init: name one folder: `errata init DIR`")
    made = lay_down(ws.root / Path(*config.args).expanduser(), config.suites)
    shown = os.path.relpath(made.root)
    enter = "" if shown == "." else f"  cd {shown}\n"
    text = say(
        f"workspace {shown}; next:\n{enter}  errata doctor    # is everything here to run it?\n"
        "  errata intake    # inbox/ has samples\n"
        "  errata status    # where everything stands\n"
        f"On GitHub, the check `errata` becomes required by:\n  {REQUIRE}",
        f"工作区 {shown} 已建好；下一步：\n{enter}  errata doctor    # 能不能跑起来\n"
        "  errata intake    # inbox/ 里有样例\n"
        "  errata status    # 查看现状\n"
        f"在 GitHub 上把名为 `errata` 的检查设为必需：\n  {REQUIRE}",
    )
    return Outcome(0, text, {"workspace": str(made.root), "git_commit": git.head(made.root)})
