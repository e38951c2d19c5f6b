"""What a stage hands back to the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """`code` is the exit status, `text` the human answer, `data` the line that `--json` prints."""

    code: int = 0
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)
