"""`errata bench`: variants side by side over HTTP, numbers that add up, thresholds that block."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from errata import jsonl
from errata.errors import BadInput, Blocked, ErrataError, NoDecision
from errata.infer import baseline, quality, stage
from errata.infer.stage import Config
from errata.records import Case, Message, Predicate
from errata.store import past
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
    cases = [case(n) for n in range(20)]
    jsonl.write(ws.suites / "business.jsonl", [*cases, case(99, "lookalike")])
    return {"model": tiny_models("llama"), "requests": 20, "max_new_tokens": 3, "attacks": "",
            "concurrency": [1, 2], "load": [0.5], "rounds": 1, "quality": 8}  # fmt: skip


def test_it_measures_every_format_under_every_load(ws: Workspace, knobs: dict[str, Any]) -> None:
    config = Config(**knobs, formats=["float32", "bfloat16"])
    done = stage.main(ws, config).data

    file = json.loads((ws.reports / "bench" / f"{done['run_id']}.json").read_text())
    found = {metric["name"]: metric for metric in file["metrics"]}
    assert found["bench.p95_ms"]["n"] == 20
    assert list(done["formats"]) == ["float32", "bfloat16"]
    for one in done["formats"].values():
        assert 0 < one["ttft_ms"] <= one["p50_ms"] <= one["p95_ms"]
        assert one["p99_ms"] is None, "20 requests tell no P99"
        assert one["tokens_per_s"] > 0
        assert one["peak_gib"] > 0
        assert one["cpu_seconds_per_1k"] > 0
        price = config.price_per_hour / 3600 * 1000 / one["tokens_per_s"]
        assert one["cost_per_1k_tokens"] == pytest.approx(price)
    first, second = done["formats"].values()
    assert first["size_bytes"] == second["size_bytes"], "one file, read in two ways"
    assert first["kl"] is None, "it is the reference"
    assert 0 < second["kl"] < 0.1
    page = (ws.reports / "bench" / f"{done['run_id']}.md").read_text(encoding="utf-8")
    assert "open, " in page
    assert "closed, 2 at once" in page
    assert (ws.reports / "bench" / f"{done['run_id']}.svg").is_file()

    # What a regression is held against: here numbers that cannot be reached, and any.
    with pytest.raises(Blocked, match=r"tokens_per_s .* more than 1e-09 times worse"):
        stage.main(ws, config.model_copy(update={"regression": {"tokens_per_s": 1e-9}}))
    assert past.list_runs(ws, "bench")[-1]["status"] == "blocked"
    easy = config.model_copy(update={"regression": {"p95_ms": 1e9, "tokens_per_s": 1e9}})
    assert stage.main(ws, easy).code == 0


def test_models_side_by_side_have_a_metrics_file_each(
    ws: Workspace, knobs: dict[str, Any], tiny_models: Callable[[str], str]
) -> None:
    other = tiny_models("qwen3")
    config = Config(**knobs | {"together": False}, formats=["float32"], models=[other])
    done = stage.main(ws, config).data
    files = sorted((ws.reports / "bench").glob(f"{done['run_id']}*.json"))
    assert len({json.loads(f.read_text())["candidate_digest"] for f in files}) == 2
    assert list(done["formats"]) == ["float32", other]


def test_a_regression_on_another_machine_is_no_decision(ws: Workspace) -> None:
    found = {
        "formats": {"x": {"p95_ms": 1.0}},
        "machine": {"cores": 1},
        "suite": "s",
        "requests": 40,
    }
    from errata.store.runs import Run

    with Run(ws, "bench", {}) as run:
        run.note(**found)
    config = Config(regression={"p95_ms": 2.0})
    with Run(ws, "bench", {}) as now:
        now.note(suite="s")
        with pytest.raises(NoDecision, match="another machine"):
            baseline.regressed(ws, config, now, {"p95_ms": 1.0}, {"cores": 2})
        baseline.regressed(ws, config, now, {"p95_ms": 2.0}, {"cores": 1})
        with pytest.raises(Blocked, match=r"p95_ms 1 → 2.1, more than 2 times worse"):
            baseline.regressed(ws, config, now, {"p95_ms": 2.1}, {"cores": 1})
        with pytest.raises(NoDecision, match="peak_gib was not measured in both"):
            baseline.regressed(ws, Config(regression={"peak_gib": 2.0}), now, {}, {"cores": 1})
        with pytest.raises(BadInput, match="regression names p95"):
            baseline.regressed(ws, Config(regression={"p95": 2.0}), now, {}, {"cores": 1})


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"requests": 21}, "20 dev cases, 21 needed; lower requests"),
        ({"formats": ["float32", "float32"]}, "`float32` is named twice"),
        ({"models": ["python:a.py:f"]}, "a function has no server"),
    ],
)
def test_bad_input(ws: Workspace, knobs: dict[str, Any], more: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        stage.main(ws, Config(**{**knobs, **more}))


def test_a_url_that_nobody_answers_at_ends_the_bench(ws: Workspace, knobs: dict[str, Any]) -> None:
    config = Config(**knobs | {"model": "m", "endpoint": "http://127.0.0.1:9/v1"})
    with pytest.raises(ErrataError, match=r"2 of 2 requests had no answer"):
        stage.main(ws, config)


def test_a_rate_leaves_out_what_could_not_be_scored() -> None:
    value, low, high, n = quality.rate([True, False, None, True])
    assert (value, n) == (pytest.approx(2 / 3), 3)
    assert low is not None
    assert high is not None
    assert low < 2 / 3 < high
    assert quality.rate([None])[3] == 0
