"""Errata turns a model's failures into its next release; no fixed failure comes back unnoticed.

Importing it is cheap; everything public is fetched when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "redact": ("errata.intake.redact", "redact"),
    "trace": ("errata.store.lineage", "trace_here"),
}
_MODULES = ("guard", "judge", "leak", "stats", "metrics", "records")
__all__ = ["__version__", *_PUBLIC, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        module, attribute = _PUBLIC[name]
        return getattr(importlib.import_module(module), attribute)
    if name in _MODULES:
        return importlib.import_module(f"errata.{name}")
    raise AttributeError(f"module 'errata' has no attribute {name!r}")
