"""`errata evaluate` with further suites, from the command line to the page, on a real model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from errata import cli, jsonl
from errata.records import Case, Message, Predicate
from errata.tiny import suites
from errata.workspace import Workspace

CONFIG = ["--json", "more=[suites/tools.jsonl,suites/personas.jsonl]"]


@pytest.fixture
def desk(bare: Workspace) -> Workspace:
    """A few held-out cases of each suite: eight base requests of facts and tools in every voice."""
    plain = [Case(id=f"b{n}", category="catalogue", language="en", family="f", cluster=f"b{n}",
                  split="heldout", messages=[Message(role="user", content=f"Question {n}?")],
                  success=Predicate(kind="cites", value="4")) for n in range(4)]  # fmt: skip
    jsonl.write(bare.suites / "business.jsonl", plain)
    held = [case for case in suites.desk("tools") if case.split == "heldout"]
    jsonl.write(bare.suites / "tools.jsonl", held[::12])
    voices = [case for case in suites.voices() if case.split == "heldout"]
    kept = {case.cluster for case in voices if case.family == "factuality"}
    kept = set(sorted(kept)[:4])
    jsonl.write(bare.suites / "personas.jsonl", [c for c in voices if c.cluster in kept])
    return bare


def run(ws: Workspace, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any, str]:
    code = cli.main(["evaluate", "-C", str(ws.root), *words])
    done = capsys.readouterr()
    lines = done.out.strip().splitlines()
    return code, json.loads(lines[-1]) if code == 0 else {}, done.err


def test_further_suites_have_numbers_of_their_own_and_change_none_of_the_desks(
    desk: Workspace, tiny_models: Callable[[str], str], capsys: pytest.CaptureFixture[str]
):
    model = f"model={tiny_models('llama')}"
    _, alone, _ = run(desk, capsys, "--json", model)
    code, done, _ = run(desk, capsys, *CONFIG, model, f"baseline={tiny_models('llama')}",
                        "attacks=suites/tools.jsonl")  # fmt: skip

    assert code == 0
    numbers = done["metrics"]
    new = set(numbers) - set(alone["metrics"])
    names = ("tool_misuse", "persona_gap", "counterfactual_consistency", "weighted_accuracy",
             "counterfactual_sensitivity", "win_rate", "preference_score")  # fmt: skip
    assert new == {f"evaluate.{name}" for name in names}
    style = ("evaluate.template_share", "evaluate.distinct_2")
    assert {n: v for n, v in numbers.items() if n in alone["metrics"] and n not in style} == {
        n: v for n, v in alone["metrics"].items() if n not in style
    }
    page = (desk.root / done["report"]).read_text(encoding="utf-8")
    assert "## Voices / 人物" in page
    assert "## Style / 风格" in page
    assert "Δ 0" in page
    assert "Δ +" not in page


def test_a_suite_that_contradicts_itself_ends_it_before_anything_is_asked(
    desk: Workspace, tiny_models: Callable[[str], str], capsys: pytest.CaptureFixture[str]
):
    path = Path(desk.suites / "tools.jsonl")
    rows = jsonl.read(path, Case)
    both = [Predicate(kind="language", value="zh"), Predicate(kind="language", value="en")]
    rows[1] = rows[1].model_copy(update={"also": both})
    jsonl.write(path, rows)
    code, _, err = run(desk, capsys, *CONFIG, f"model={tiny_models('llama')}")

    assert code == 2
    assert f"suites/tools.jsonl:2: {rows[1].id}: language `zh` and language `en`: no answer" in err
    assert not list(desk.reports.glob("evaluate/*"))
