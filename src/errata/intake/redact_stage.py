"""Redact JSONL: stdin {"text"} → stdout {"text", "findings": [{"rule", "start", "end", "tag"}]}.

    echo '{"text": "我的手机是13812345678谢谢"}' | errata redact
    {"text": "我的手机是<PHONE:7f3a12c4>谢谢", "findings": [{"rule": "cn-mobile", "start": 5, …}]}

Offsets count code points of the input text. Inside a workspace its policy and key are used;
outside, a key that lives as long as the process.
"""

from __future__ import annotations

import json
import sys

from pydantic import Field

from errata import config as configs
from errata import jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.intake.redact import Policy, apply, load_policy, process_key, workspace_key
from errata.outcome import Outcome
from errata.workspace import Workspace

NEEDS_WORKSPACE = False


class Config(Section):
    """`errata redact` takes no knobs of its own: the policy of the workspace decides."""

    policy: str | None = Field(
        default=None, description="a policy file; default policies/redaction.yaml of the workspace"
    )


def main(ws: Workspace, config: Config) -> Outcome:
    """Copy stdin to stdout, row by row, redacted; a row that cannot be read ends it with exit 2."""
    inside = ws.state.is_dir() or ws.configs.is_dir()
    if config.policy:
        policy = configs.load(ws.path(config.policy), Policy)
    else:
        policy = load_policy(ws) if inside else Policy()
    if not inside:
        sys.stderr.write("errata redact: no workspace here, so the key lasts one process: ")
        sys.stderr.write("the same value gets another name next time\n")
    key, rules = workspace_key(ws) if inside else process_key(), policy.rules
    rows = 0
    for number, raw in enumerate(sys.stdin.buffer, 1):
        if not raw.strip():
            continue
        where = f"stdin:{number}"
        row = jsonl.parse_row(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw, where)
        text = row.get("text")
        if not isinstance(text, str):
            raise BadInput(f'{where}: text: missing or not a string; write {{"text": "…"}}')
        clean = apply(text, rules, key)
        found = [finding._asdict() for finding in clean.findings]
        line = json.dumps({"text": clean.text, "findings": found}, ensure_ascii=False)
        sys.stdout.write(line + "\n")
        rows += 1
    sys.stdout.flush()
    return Outcome(0, "", {"rows": rows, "policy": policy.hash})
