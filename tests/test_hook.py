"""The pre-commit hook: raw rows, weights, keys and personal data do not get into a commit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from errata import git, jsonl
from errata.errors import ErrataError
from errata.init import lay_down
from errata.store.runs import Run
from errata.workspace import Workspace

PHONE = "1381234" + "5678"
BIN = str(Path(sys.executable).parent)
BARE = "/usr/bin:/bin"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return lay_down(tmp_path / "desk", suites=False)


def commit(ws: Workspace, *words: str, path: str = f"{BIN}:{BARE}") -> tuple[int, str]:
    """`git commit`, as a person types it; exit code and what was said."""
    done = subprocess.run(
        ["git", *git.identity(ws.root), "commit", "-qm", "x", *words],
        cwd=ws.root, capture_output=True, text=True, env={**os.environ, "PATH": path},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def stage(ws: Workspace, name: str, text: str) -> None:
    jsonl.write_text(ws.path(name), text)
    git.git(ws.root, "add", "-f", name)


def test_init_enables_it_and_it_can_be_executed(ws: Workspace) -> None:
    assert git.git(ws.root, "config", "core.hooksPath").stdout.strip() == ".githooks"
    assert os.access(ws.root / ".githooks" / "pre-commit", os.X_OK)
    assert git.git(ws.root, "ls-files", "-s", ".githooks").stdout.startswith("100755")


@pytest.mark.parametrize("path", [f"{BIN}:{BARE}", BARE], ids=["with errata", "without"])
@pytest.mark.parametrize(
    "name", ["inbox/x.jsonl", "runs/r/notes.txt", ".errata/x", "model.safetensors", "keys/k.pem"]
)
def test_raw_data_weights_and_keys_are_refused_by_name(ws: Workspace, name: str, path: str) -> None:
    stage(ws, name, "x\n")
    code, said = commit(ws, path=path)
    assert code == 1
    assert name in said


def test_personal_data_is_refused_by_file_line_and_rule_and_never_shown(ws: Workspace) -> None:
    stage(ws, "data/notes.jsonl", f'{{"note": "fine"}}\n{{"note": "call {PHONE} now"}}\n')
    code, said = commit(ws)
    assert code == 1
    assert "data/notes.jsonl:2: cn-mobile" in said
    assert PHONE not in said


def test_what_is_staged_counts_and_not_the_working_tree(ws: Workspace) -> None:
    stage(ws, "reports/notes.md", f"call {PHONE}\n")
    ws.path("reports/notes.md").write_text("clean\n")
    assert commit(ws)[0] == 1
    git.git(ws.root, "add", "reports/notes.md")
    ws.path("reports/notes.md").write_text(f"call {PHONE}\n")
    assert commit(ws)[0] == 0
    assert commit(ws, "reports/notes.md")[0] == 1, "staged by the commit itself, in its own index"


def test_only_new_lines_are_looked_at(ws: Workspace) -> None:
    stage(ws, "data/old.md", f"call {PHONE}\n")
    assert commit(ws, "--no-verify")[0] == 0
    stage(ws, "data/old.md", f"call {PHONE}\nand more\n")
    assert commit(ws)[0] == 0


def test_clean_data_goes_through_and_without_errata_a_warning_says_what_was_not_done(
    ws: Workspace,
) -> None:
    stage(ws, "data/notes.jsonl", '{"note": "fine"}\n')
    assert commit(ws) == (0, "")
    stage(ws, "data/more.jsonl", '{"note": "fine"}\n')
    code, said = commit(ws, path=BARE)
    assert code == 0
    assert "the text was not looked at" in said


def test_a_private_key_among_public_ones_is_refused_by_what_it_says(ws: Workspace) -> None:
    stage(ws, "keys/a.pub", "-----BEGIN " + "PRIVATE KEY-----\nabc\n")
    code, said = commit(ws)
    assert (code, "keys/a.pub: a private key" in said) == (1, True)


def test_what_a_stage_wrote_is_known_by_its_digest_and_a_hand_in_it_is_found(
    ws: Workspace,
) -> None:
    """The gate's own commit goes through the hook too: somebody may have edited data/ before."""
    with Run(ws, "build", {}) as run:
        # The ledger vouches for the digest: the text is not read again, whatever it says.
        jsonl.write_text(run.output("data/sft.jsonl"), f'{{"note": "call {PHONE}"}}\n')
    before = git.head(ws.root)
    after = git.commit(ws, ["data", "audit", "keys"], "gate: pass")
    assert after != before
    with ws.path("data/sft.jsonl").open("a") as file:
        file.write(f'{{"note": "or {PHONE}"}}\n')
    with pytest.raises(ErrataError, match="refused"):
        git.commit(ws, ["data"], "gate: pass")
    assert git.head(ws.root) == after
