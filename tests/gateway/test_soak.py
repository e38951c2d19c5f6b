"""Two minutes of mixed load on one gateway: what `bench/releasework/soak.py` does for an hour."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def work() -> Iterator[ModuleType]:
    bench = str(Path(__file__).parents[2] / "bench")
    sys.path.insert(0, bench)
    yield importlib.import_module("releasework.soak")
    sys.path.remove(bench)


@pytest.mark.slow
def test_two_minutes_of_mixed_load_leave_memory_flat_and_no_error_that_nobody_made(
    work: ModuleType,
):
    lines: list[str] = []
    seen = work.soak(120, 10, lines.append)

    assert not seen.unexpected
    assert set(seen.ends) == {name for name, *_ in work.KINDS}, "each kind was asked"
    assert set(seen.moves) == {"start", "advance", "rollback"}
    assert seen.growth <= work.GROWTH, lines
