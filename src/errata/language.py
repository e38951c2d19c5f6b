"""Which language the person at the terminal reads: ERRATA_LANG first, then the locale."""

from __future__ import annotations

import os


def is_chinese() -> bool:
    """True when the first variable that is set names a Chinese locale."""
    for name in ("ERRATA_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return value.lower().startswith("zh")
    return False


def say(en: str, zh: str) -> str:
    """The one of two texts that the reader asked for."""
    return zh if is_chinese() else en
