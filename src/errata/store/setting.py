"""What decides a number besides data: config, versions, policies, seed, commit. No secret of them.

A config is written down without what looks like a credential; of the environment only the versions
of what is installed, never the values of variables.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import platform
import re
from typing import Any

from errata.errors import BadInput
from errata.jsonl import digest_file
from errata.workspace import Workspace

_SECRET = re.compile(r"(?i)token$|secret|password|passwd|api_?key|authorization")


def versions() -> dict[str, str]:
    """What decides a number besides data and config. Never the values of the environment."""
    found = {"python": platform.python_version(), "machine": platform.platform()}
    for name in ("errata", "torch", "transformers", "peft", "accelerate", "scikit-learn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def hidden(value: Any, key: str = "") -> Any:
    """A config as it may be written down: what looks like a credential is left out."""
    if isinstance(value, dict):
        return {name: hidden(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [hidden(item, key) for item in value]
    if isinstance(value, str) and value and _SECRET.search(key):
        return "(hidden)"
    if isinstance(value, str):
        return re.sub(r"(?<=://)[^/\s]+@", "(hidden)@", value)
    return value


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested settings as `a.b.0.c: value`."""
    if isinstance(value, dict):
        pairs: Any = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    else:
        return {name: value}
    return {key: leaf for inner, item in pairs
            for key, leaf in flat(item, f"{name}.{inner}".lstrip(".")).items()}  # fmt: skip


def finite(value: Any) -> Any:
    """Facts as JSON can hold them: NaN and infinity are no numbers, and become None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value


def policies(ws: Workspace) -> dict[str, str | None]:
    """Hashes of the policies a run worked under; None where the workspace has none."""
    from errata.intake.redact import load_policy  # rooms above the store are asked when needed

    named = {name: ws.policies / f"{name}.yaml" for name in ("filter", "rubric")}
    found = {name: digest_file(path) if path.is_file() else None for name, path in named.items()}
    try:
        found["redaction"] = load_policy(ws).hash
    except BadInput:  # intake will say so; a run that redacts nothing need not fail of it
        found["redaction"] = None
    return found
