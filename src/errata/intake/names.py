"""What raw files are called where it is written down: never by the name of a person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from errata.intake.redact import Policy, Redacted, apply, keyed_hash


def found_by_default(text: str) -> Redacted:
    """What our own rules find, where no workspace and no key are at hand."""
    return apply(text, Policy().rules, b"")


def personal(name: str, redact: Callable[[str], Redacted] = found_by_default) -> bool:
    """Whether a name holds what redaction takes out of texts."""
    spoken = name.replace("_", " ").replace("-", " ").replace(".", " ")
    return any(redact(text).findings for text in (name, spoken))


def told(name: str, redact: Callable[[str], Redacted], key: bytes) -> str:
    """A file as the ledger, the datasheet and the quarantine name it: by a keyed hash of its name
    where that is personal. Nothing is ever taken out of the ledger."""
    name = name.encode(errors="backslashreplace").decode()  # bytes that are no text: \\udcff
    if not personal(name, redact):
        return name
    path = PurePosixPath(name)
    folder = path.parent.as_posix()
    hashed = f"{keyed_hash(key, 'file', name)[:12]}{path.suffix}"
    return hashed if personal(folder, redact) else f"{folder}/{hashed}"
