"""Redact JSONL: stdin {"text"} → stdout {"text", "findings": [{"rule", "start", "end", "tag"}]}.

    echo '{"text": "我的手机是13812345678谢谢"}' | errata redact
    {"text": "我的手机是<PHONE:7f3a12c4>谢谢", "findings": [{"rule": "cn-mobile", "start": 5, …}]}

    errata redact --rescan     what the policy of today would find in data that was kept before
    errata redact --staged     what must not be committed; the pre-commit hook calls it

Offsets count code points of the input text. Inside a workspace its policy and key are used;
outside, a key that lives as long as the process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import IO

from pydantic import Field

from errata import config as configs
from errata import jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.intake import rescan, staged
from errata.intake.redact import Policy, load_policy, process_key, redact_many, workspace_key
from errata.outcome import Outcome
from errata.workspace import Workspace

NEEDS_WORKSPACE = False


class Config(Section):
    """Knobs of `errata redact`; what is redacted is decided by the policy."""

    policy: str | None = Field(
        default=None, description="a policy file; default policies/redaction.yaml of the workspace"
    )
    rescan: bool = Field(
        default=False, description="count what the policy would find in kept data; reads no stdin"
    )
    staged: bool = Field(
        default=False, description="look at what git has staged; exit 1 for raw or personal data"
    )


def main(ws: Workspace, config: Config) -> Outcome:
    """Copy stdin to stdout, row by row, redacted; a row that cannot be read ends it with exit 2."""
    if config.rescan:
        return rescan.main(ws)
    if config.staged:
        return staged.main(ws)
    inside = ws.state.is_dir() or ws.configs.is_dir()
    if config.policy:
        policy = configs.load(ws.path(config.policy), Policy)
    else:
        policy = load_policy(ws) if inside else Policy()
    if not inside:
        sys.stderr.write("errata redact: no workspace here, so the key lasts one process: ")
        sys.stderr.write("the same value gets another name next time\n")
    key, rules = workspace_key(ws) if inside else process_key(), policy.rules
    rows = number = 0
    for lines in _batches(sys.stdin.buffer):
        texts, problem = _texts(lines, number)
        for clean in redact_many(texts, rules, key):
            found = [finding._asdict() for finding in clean.findings]
            line = json.dumps({"text": clean.text, "findings": found}, ensure_ascii=False)
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
        rows, number = rows + len(texts), number + len(lines)
        if problem:
            raise problem
    return Outcome(0, "", {"rows": rows, "policy": policy.hash})


def _batches(stream: IO[bytes]) -> Iterator[list[bytes]]:
    """Lines as they come: a megabyte at a time from a file, each at once from someone who types."""
    pending: list[bytes] = []  # of a line that is longer than a block
    while block := stream.read1(1 << 20):  # type: ignore[attr-defined]
        if b"\n" not in block:
            pending.append(block)
            continue
        *lines, rest = b"".join([*pending, block]).split(b"\n")
        pending = [rest]
        yield lines
    yield [b"".join(pending)]


def _texts(lines: Sequence[bytes], before: int) -> tuple[list[str], BadInput | None]:
    """The texts of some rows, up to the first one that cannot be read."""
    texts: list[str] = []
    for number, raw in enumerate(lines, before + 1):
        if not raw.strip():
            continue
        where = f"stdin:{number}"
        try:
            row = jsonl.parse_row(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw, where)
        except BadInput as problem:
            return texts, problem
        text = row.get("text")
        if not isinstance(text, str):
            told = f'{where}: text: missing or not a string; write {{"text": "…"}}'
            return texts, BadInput(told)
        texts.append(text)
    return texts, None
