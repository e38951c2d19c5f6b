"""The little that Errata asks of git: what is committed, what differs, a commit of some folders.

Git is called as a program. Variables such as GIT_DIR (set while a hook runs) would point it at
another repository, so they are not passed on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from errata.errors import ErrataError
from errata.workspace import Workspace


def git(
    root: Path, *words: str, check: bool = True, index: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run git in `root`; with `check`, a failure is one line. `index`: what is staged in another
    file than the repository's own."""
    raw = _run(root, words, index)
    told = (raw.stdout.decode(errors="replace"), raw.stderr.decode(errors="replace"))
    done = subprocess.CompletedProcess(raw.args, raw.returncode, *told)
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        verb = next(word for word in words if word.isalpha())
        raise ErrataError(f"git {verb}: {said[-1]}; mend it in {root} and run the command again")
    return done


def _run(
    root: Path, words: Sequence[str], index: str | None = None
) -> subprocess.CompletedProcess[bytes]:
    """A hook that git calls finds this very errata: it looks at what a stage commits as well."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    if index:
        env["GIT_INDEX_FILE"] = str(Path(index).absolute())
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "")])
    command = ["git", "-C", str(root), "-c", "core.quotePath=false", *words]
    try:
        return subprocess.run(command, capture_output=True, env=env)
    except FileNotFoundError:
        raise ErrataError("git is not installed; install it and run the command again") from None


def staged(root: Path, name: str, index: str | None = None) -> bytes:
    """The bytes of a file as they are staged; b"" where it is not."""
    return _run(root, ["show", f":./{name}"], index).stdout


def identity(root: Path) -> list[str]:
    """Options that let git commit: the user's own name, or Errata's where none is configured."""
    options = ["-c", "commit.gpgsign=false"]  # made by a program: nobody is there to sign
    for key, value in (("user.name", "errata"), ("user.email", "errata@localhost")):
        if not git(root, "config", key, check=False).stdout.strip():
            options += ["-c", f"{key}={value}"]
    return options


def head(root: Path) -> str | None:
    """The commit that is checked out, or None: no repository, or no commit yet."""
    return resolve(root, "HEAD")


def resolve(root: Path, name: str) -> str | None:
    """The commit that a name stands for."""
    words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return git(root, *words, check=False).stdout.strip() or None


def diff_text(root: Path, paths: Sequence[str] = ()) -> str:
    """What differs from the last commit in tracked files, as a unified diff."""
    if head(root) is None:
        return ""
    return git(root, "diff", "--no-color", "--no-ext-diff", "HEAD", "--", *paths).stdout


def changed(root: Path, paths: Sequence[str]) -> set[str]:
    """Paths, relative to `root`, that are not as the last commit has them (new ones included)."""
    if head(root) is None:  # there is nothing to be like: every file differs
        files = (file for path in paths for file in (root / path).rglob("*") if file.is_file())
        return {file.relative_to(root).as_posix() for file in files}
    listed = git(root, "diff", "--name-only", "--relative", "-z", "HEAD", "--", *paths).stdout
    new = git(root, "ls-files", "--others", "-z", "--", *paths).stdout
    return {name for name in (listed + new).split("\0") if name}


def commit(ws: Workspace, paths: Sequence[str], message: str) -> str:
    """Commit everything below `paths`, and nothing else; the id of the commit.

    Without a change the last commit stands. What the user has staged elsewhere stays staged.
    """
    there = [path for path in paths if ws.path(path).exists()]
    if there:
        git(ws.root, "add", "--all", "--", *there)
        staged = ("diff", "--cached", "--quiet", "--")
        differ = [path for path in there if git(ws.root, *staged, path, check=False).returncode]
        if differ:
            git(ws.root, *identity(ws.root), "commit", "--quiet", "-m", message, "--", *differ)
    found = head(ws.root)
    if found is None:
        raise ErrataError(f"{ws.root}: nothing to commit yet; add data and run the command again")
    return found
