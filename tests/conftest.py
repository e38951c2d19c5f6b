"""What every test may use: a workspace, and no trace of this machine's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from errata import git
from errata.workspace import Workspace


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """English, the workspace's own store, no hub."""
    monkeypatch.setenv("ERRATA_LANG", "en")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("ERRATA_DATABASE_URL", raising=False)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """An empty workspace in a git repository with one commit; no suites, no configs."""
    root = tmp_path / "ws"
    for folder in ("configs", "policies", "suites", "data", "reports", "inbox"):
        (root / folder).mkdir(parents=True)
    for folder in ("data", "reports"):
        (root / folder / ".gitkeep").touch()
    (root / ".gitignore").write_text("inbox/\nruns/\n.errata/\n")
    git.git(root, "init", "--quiet", "--initial-branch=main", ".")
    found = Workspace.find(root)
    git.commit(found, ["."], "first")
    return found
