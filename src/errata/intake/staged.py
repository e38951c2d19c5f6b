"""What is about to be committed: `errata redact --staged`, which the pre-commit hook calls.

Looks at what git has staged, not at the working tree, and there at the lines that the last commit
has not. Refused are raw data (inbox/), state and weights, private keys, and lines below data/,
reports/ or suites/ in which the redaction policy finds something. The value is never printed: file,
line and rule are enough to find it. A file that the audit ledger knows by its digest was written
by a stage, redacted, and is not read again; one that somebody changed since is.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from errata import git
from errata.intake import rescan
from errata.intake.redact import load_policy, workspace_key
from errata.language import say
from errata.outcome import Outcome
from errata.store import ledger
from errata.workspace import Workspace

RAW = ("inbox/", ".errata/", "runs/")  # .githooks/pre-commit has the same, for want of errata
WEIGHTS = (".safetensors", ".gguf", ".pt", ".bin")
LOOKED_AT = ("data/", "reports/", "suites/")
LIMIT = 32 << 20  # bytes of new lines; about 10 s. More belongs through intake, not into a commit
_SECRET = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@")


class Hit(NamedTuple):
    """Where something was found, and what: never the value."""

    path: str
    line: int
    rule: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}" if self.line else f"{self.path}: {self.rule}"


def main(ws: Workspace) -> Outcome:
    """Exit 1 where something staged must not be committed."""
    names = _names(ws)
    hits = [hit for name in names if (hit := _refused(ws, name))]
    bad = {hit.path for hit in hits}
    known = {path: run.digest for path, run in ledger.written(ws).items()}
    read, skipped = 0, list[str]()
    for name in names:
        if name in bad or not name.startswith(LOOKED_AT) or name.endswith(rescan.PICTURES):
            continue
        content = _blob(ws, name)
        if known.get(name) == "sha256:" + hashlib.sha256(content).hexdigest():
            continue
        read += len(content)
        if read > LIMIT:
            skipped.append(name)
            continue
        hits += _found(ws, name, content.decode("utf-8", "replace"))
    return Outcome(1 if hits or skipped else 0, _text(hits, skipped),
                   {"staged": len(names), "found": [hit._asdict() for hit in hits],
                    "not_read": skipped})  # fmt: skip


def _names(ws: Workspace) -> list[str]:
    """Files below the workspace that the commit adds or changes."""
    listed = git.git(ws.root, "diff", "--cached", "--name-only", "--relative", "-z",
                     "--diff-filter=ACMRT", index=_index())  # fmt: skip
    return [name for name in listed.stdout.split("\0") if name]


def _index() -> str | None:
    """`git commit FILE` stages into a file of its own, and tells its hook which."""
    return os.environ.get("GIT_INDEX_FILE")


def _blob(ws: Workspace, name: str) -> bytes:
    return git.staged(ws.root, name, _index())


def _refused(ws: Workspace, name: str) -> Hit | None:
    """What no redaction makes fit for a repository."""
    path = PurePosixPath(name)
    if name.startswith(RAW):
        return Hit(name, 0, say("raw data or state", "原始数据或运行状态"))
    if path.suffix in WEIGHTS:
        return Hit(name, 0, say("weights", "模型权重"))
    if name.startswith(("keys/", "configs/", "policies/", "waivers/")) or path.suffix in (
        ".pem", ".key"
    ):  # fmt: skip
        key = path.suffix in (".pem", ".key") or _SECRET.search(_blob(ws, name))
        return Hit(name, 0, say("a private key", "私钥")) if key else None
    return None


def _added(ws: Workspace, name: str) -> set[int]:
    """Numbers of the lines that the last commit has not."""
    told = git.git(ws.root, "diff", "--cached", "--no-color", "--no-ext-diff", "--text", "-U0",
                   "--", name, index=_index()).stdout  # fmt: skip
    found: set[int] = set()
    for line in told.split("\n"):
        if hunk := _HUNK.match(line):
            first = int(hunk[1])
            found.update(range(first, first + int(hunk[2] or 1)))
    return found


def _said(name: str, content: str, added: set[int]) -> Iterator[tuple[int, tuple[str, int]]]:
    """Line number → a text of it: the strings of a row of JSON Lines, else the line as it is."""
    for number, line in enumerate(content.split("\n"), 1):
        if number not in added or not line.strip():
            continue
        try:
            row = json.loads(line) if name.endswith(".jsonl") else None
        except ValueError:
            row = None
        told = rescan.said(row) if isinstance(row, dict) else [(line, 0)]
        yield from ((number, text) for text in told)


def _found(ws: Workspace, name: str, content: str) -> list[Hit]:
    numbered = list(_said(name, content, _added(ws, name)))
    texts = [text for _, text in numbered]
    rules = rescan.found(texts, load_policy(ws), workspace_key(ws))
    hits = (Hit(name, number, rule) for (number, _), own in zip(numbered, rules, strict=True)
            for rule in own)  # fmt: skip
    return list(dict.fromkeys(hits))


def _text(hits: list[Hit], skipped: list[str]) -> str:
    if not hits and not skipped:
        return ""
    lines = [str(hit) for hit in hits]
    lines += [
        say(f"{name}: too much to look at here", f"{name}：内容过多，未检查") for name in skipped
    ]
    lines.append(say(
        "not committed. Raw rows go through `errata intake`; take a file out with `git restore "
        "--staged FILE`, replace the value, or correct policies/redaction.yaml.",
        "未提交。原始数据请走 `errata intake`；用 `git restore --staged 文件` 取消暂存，"
        "或替换该值；规则误报时修改 policies/redaction.yaml。"))  # fmt: skip
    return "\n".join(lines)
