"""Every pair check catches its examples and spares the others."""

from __future__ import annotations

import pytest

from errata.build.heldout import HeldOut
from errata.build.lint import CHECKS, Check, Context, Example, blocking, run


def cases(kind: str) -> list[object]:
    return [
        pytest.param(check, example, id=f"{check.id}-{i}")
        for check in CHECKS
        for i, example in enumerate(getattr(check, kind))
    ]


@pytest.mark.parametrize(("check", "example"), cases("catches"))
def test_catches(check: Check, example: Example) -> None:
    hits = {hit.id for hit in check.find(example.pairs, Context(HeldOut(example.cases)))}
    assert hits == {pair.id for pair in example.pairs}


@pytest.mark.parametrize(("check", "example"), cases("spares"))
def test_spares(check: Check, example: Example) -> None:
    assert list(check.find(example.pairs, Context(HeldOut(example.cases)))) == []


def test_every_check_has_examples_both_ways_and_one_id() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    assert all(check.catches and check.spares for check in CHECKS)


def test_drop_takes_pairs_out_and_block_stops() -> None:
    for check in CHECKS:
        for example in check.catches:
            report = run(example.pairs, Context(HeldOut(example.cases)))
            dropped = {p.id for p in example.pairs} - {p.id for p in report.kept}
            if check.action == "drop":
                assert dropped
            if check.action == "block":
                assert blocking(report)
