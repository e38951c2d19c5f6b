"""The release bench: the bars of its claims, and a soak that tells growth from a start."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def load() -> Iterator[Callable[[str], ModuleType]]:
    sys.path.insert(0, str(BENCH))
    yield importlib.import_module
    sys.path.remove(str(BENCH))


def test_the_table_has_every_bar_of_serving(load: Callable[[str], ModuleType]):
    bars = {claim.name: claim.bar for claim in load("release").CLAIMS}
    assert bars["gateway-p50"] == "≤ 2"
    assert bars["gateway-p99"] == "≤ 6"
    assert bars["gateway-litellm"] == "≥ 8"
    assert bars["engine"] == "≥ 3"
    assert bars["two-adapters"] == "≤ 1.2"
    assert bars["rollback"] == "≤ 1"


def test_memory_that_grows_is_told_from_memory_that_is_flat(load: Callable[[str], ModuleType]):
    soak = load("releasework.soak")
    flat = soak.Seen(rss=[100.0, *[350.0] * 99])
    grows = soak.Seen(rss=[100.0 + second for second in range(100)])
    assert flat.growth == 1.0, "what is read at the start is not growth"
    assert grows.growth > soak.GROWTH
