"""A workspace whose suites hold one held-out case each: nothing is replayed, nothing drawn."""

from __future__ import annotations

import pytest

from errata import jsonl
from errata.records import Case, Message, Predicate
from errata.workspace import Workspace


@pytest.fixture
def suited(bare: Workspace) -> Workspace:
    for name, category in (("attacks", "privacy"), ("business", "catalogue")):
        asked = [Message(role="user", content=f"Something that only the {name} suite asks?")]
        one = Case(
            id=f"h-{name}", category=category, language="en", family="f", cluster=name,
            split="heldout", messages=asked, success=Predicate(kind="polite"),
        )  # fmt: skip
        jsonl.write(bare.suites / f"{name}.jsonl", [one])
    return bare
