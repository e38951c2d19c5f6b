"""`errata bench`: what it measures is there, and formats answer the same cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from errata import jsonl
from errata.errors import BadInput
from errata.records import Case, Message, Predicate
from errata.serve import bench
from errata.workspace import Workspace


def case(number: int, category: str = "tool") -> Case:
    return Case(
        id=f"{category}-en-{number:04d}",
        category=category,
        language="en",
        family="f",
        cluster=f"c{number}",
        split="dev",
        messages=[Message(role="user", content=f"Where is order {number}?")],
        success=Predicate(kind="calls", tool="order_status", value=str(number)),
    )


@pytest.fixture
def knobs(ws: Workspace, tiny_models: Callable[[str], str]) -> dict[str, Any]:
    jsonl.write(
        ws.suites / "business.jsonl", [case(n) for n in range(20)] + [case(99, "lookalike")]
    )
    return {"model": tiny_models("llama"), "requests": 20, "max_new_tokens": 3}


def test_it_measures_every_format_on_the_same_cases(ws: Workspace, knobs: dict[str, Any]):
    done = bench.main(ws, bench.Config(**knobs, formats=["float32", "bfloat16"])).data

    file = json.loads((ws.reports / "bench" / f"{done['run_id']}.json").read_text())
    found = {metric["name"]: metric for metric in file["metrics"]}
    assert found["bench.p95_ms"]["n"] == 20
    assert found["bench.p95_ms"]["value"] > 0
    assert found["bench.tokens_per_s"]["value"] > 0
    for one in done["formats"].values():
        assert 0 < one["ttft_ms"] <= one["p95_ms"]
        assert one["p50_ms"] <= one["p95_ms"]
    assert list(done["formats"]) == ["float32", "bfloat16"]


def test_too_few_cases_for_a_p95_are_refused(ws: Workspace, knobs: dict[str, Any]):
    with pytest.raises(BadInput, match="20 dev cases, 21 needed; lower requests"):
        bench.main(ws, bench.Config(**{**knobs, "requests": 21}))
