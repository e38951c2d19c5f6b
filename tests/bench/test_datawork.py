"""The data bench at a small size: brute force is right, both sides find it, faults are found."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from errata.text import jaccard, shingles

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def load() -> Iterator[Callable[[str], ModuleType]]:
    """Modules of bench/, which is a folder of scripts and not a package."""
    sys.path.insert(0, str(BENCH))
    yield lambda name: importlib.import_module(f"datawork.{name}")
    sys.path.remove(str(BENCH))
    for name in [n for n in sys.modules if n.split(".")[0] == "datawork"]:
        del sys.modules[name]


def test_the_truth_is_the_double_loop(load: Callable[[str], ModuleType]) -> None:
    near = load("near")
    sets = [shingles(text) for text in near.texts(60)]
    naive = {(i, j) for j in range(60) for i in range(j) if jaccard(sets[i], sets[j]) >= 0.8}
    assert near.truth(60) == naive
    assert naive


def test_recall_counts_pairs_and_precision_texts(load: Callable[[str], ModuleType]) -> None:
    near = load("near")
    alone = near.told(list(range(60)))
    assert alone["recall"] == 0
    assert alone["precision"] == 1
    assert near.told([0] * 60)["recall"] == 1
    assert near.told([0] * 60)["precision"] < 0.2


def test_both_sides_find_the_same(load: Callable[[str], ModuleType]) -> None:
    pytest.importorskip("datasketch")
    (run,) = load("near").versus(1, 120)
    for way in ("ours", "datasketch", "as shipped"):
        assert run[way]["recall"] >= 0.99
        assert run[way]["precision"] == 1
    assert run["value"] > 0


def test_lint_finds_the_faults_that_were_put_in(load: Callable[[str], ModuleType]) -> None:
    (run,) = load("lint").seconds(1, 300)
    assert run["hits"]["near-identical"] + run["hits"]["equal"] >= 3
    assert "personal-data" not in run["hits"]
    assert "held-out" not in run["hits"]
    assert run["kept"] == 297
