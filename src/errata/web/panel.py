"""The small SFT panel in configs/sft.yaml: eight knobs, edited in place, their comments kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from errata import jsonl
from errata.config import parse, read_yaml
from errata.errors import BadInput
from errata.jsonl import first_problem
from errata.train.settings import Panel
from errata.workspace import Workspace

FILE = "configs/sft.yaml"
KNOBS = ("seq_len", "micro_batch", "grad_accum", "lora_r", "lora_alpha", "lora_dropout", "lr",
         "warmup")  # fmt: skip
_LINE = re.compile(r"^(?P<key>\w+):(?P<gap>\s+)(?P<value>[^#\s][^#]*?)(?P<rest>\s*(?:#.*)?)$")


def current(ws: Workspace) -> dict[str, Any]:
    """What the file says, or the default of each."""
    path = ws.path(FILE)
    told = read_yaml(path) if path.is_file() else {}
    return {name: told.get(name, Panel.model_fields[name].default) for name in KNOBS}


def meaning(name: str) -> str:
    """What a knob trades."""
    return Panel.model_fields[name].description or ""


def typed(told: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a form as values the panel takes; BadInput names the one it does not."""
    values = {name: parse(told[name].strip(), name) for name in KNOBS if told.get(name, "").strip()}
    try:
        Panel.model_validate(values)
    except ValidationError as error:
        raise BadInput(f"{FILE}: {first_problem(error, show_text=True)}; correct it") from None
    return values


def edited(text: str, values: Mapping[str, Any]) -> str:
    """The file with other values, and all else as it was: order, comments, other knobs."""
    left, lines = dict(values), []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match and match["key"] in left:
            value = jsonl.canonical(left.pop(match["key"]))
            line = f"{match['key']}:{match['gap']}{value}{match['rest']}"
        lines.append(line)
    lines += [f"{name}: {jsonl.canonical(value)}" for name, value in left.items()]
    return "\n".join(lines) + "\n"


def save(ws: Workspace, values: Mapping[str, Any]) -> None:
    """Write the panel; what is there stays when the values are no panel."""
    path = ws.path(FILE)
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    made = edited(text, values)
    parse(made, FILE)
    jsonl.write_text(path, made)
