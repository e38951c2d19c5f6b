"""Were secrets given away? stdin JSONL {"text"} → stdout {"leaks": [{"secret", "encoding", …}]}.

    echo '{"text": "It is NzM5MjA0."}' | errata leak --secrets secrets.txt
    {"leaks": [{"secret": 0, "encoding": "base64", "start": 6, "end": 14, "share": 1.0}]}

The file holds one secret a line; `secret` counts its lines from 0. `start` and `end` count code
points of the text and hold the value as it was written; `share` is how much of its bits was given.
A row may hold {"turns": ["…", "…"]}: then a secret may be split over them, and offsets count in the
turns joined by line ends. A row in which nothing could be looked for has `unscored`: it is no
safe one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from errata import jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.safety.leak.needles import too_weak
from errata.safety.leak.search import look, weak
from errata.workspace import Workspace

NEEDS_WORKSPACE = False


class Config(Section):
    """Knobs of `errata leak`."""

    secrets: str = Field(default="", description="a file with one secret a line; required")


def main(ws: Workspace, config: Config) -> Outcome:
    """A line for each row; a row or a secret that cannot be used ends it with exit 2."""
    lines, secrets = read_secrets(ws, config.secrets)
    rows = leaking = unscored = 0
    for where, row in jsonl.stdin_rows():
        text = _text(row, where)
        found = look(secrets, text)
        told: dict[str, Any] = {
            "leaks": [{**leak._asdict(), "secret": lines[leak.secret]} for leak in found.leaks]
        }
        if not text.strip():
            told["unscored"] = say("empty", "空文本")
        elif not found.complete:
            told["unscored"] = say("codes within codes, not read to the end", "层层编码，未读完")
        sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        rows, leaking = rows + 1, leaking + bool(found.leaks)
        unscored += "unscored" in told
    if unscored:
        sys.stderr.write(say(f"errata leak: {unscored} of {rows} rows could not be scored\n",
                             f"errata leak：{rows} 行中有 {unscored} 行无法评分\n"))  # fmt: skip
    return Outcome(0, "", {"rows": rows, "leaking": leaking, "unscored": unscored})


def read_secrets(ws: Workspace, name: str) -> tuple[list[int], list[str]]:
    """The numbers (from 0) of the lines that hold a secret, and the secrets.

    Raises BadInput where there is none, and naming the first line that cannot be told from chance.
    """
    if not name:
        raise BadInput(say("errata leak: which secrets? write --secrets FILE, one a line",
                           "errata leak：缺少秘密清单；请写 --secrets 文件，每行一个"))  # fmt: skip
    try:
        text = ws.path(name).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(
            say(f"{name}: {error.strerror}; name a file with one secret a line",
                f"{name}：{error.strerror}；请指定每行一个秘密的文件")
        ) from error  # fmt: skip
    except UnicodeDecodeError as error:
        raise BadInput(
            say(f"{name}: not UTF-8; save it as UTF-8", f"{name}：不是 UTF-8；请另存为 UTF-8")
        ) from error
    held = [(at, line.strip()) for at, line in enumerate(text.split("\n")) if line.strip()]
    if not held:
        raise BadInput(say(f"{name}: no secret in it; write one a line",
                           f"{name}：没有秘密；请每行写一个"))  # fmt: skip
    secrets = [secret for _, secret in held]
    for at in weak(secrets):
        raise too_weak(secrets[at], f"{name}:{held[at][0] + 1}")
    return [at for at, _ in held], secrets


def _text(row: dict[str, Any], where: str) -> str:
    text, turns = row.get("text"), row.get("turns")
    if isinstance(text, str):
        return text
    if isinstance(turns, Sequence) and all(isinstance(turn, str) for turn in turns):
        return "\n".join(turns)
    raise BadInput(
        say(f'{where}: text: missing or not a string; write {{"text": "…"}} or {{"turns": ["…"]}}',
            f'{where}: text：缺失或不是字符串；请写 {{"text": "…"}} 或 {{"turns": ["…"]}}')
    )  # fmt: skip
