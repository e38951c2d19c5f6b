"""`errata compare`: the same questions for everybody, measured when missing, never made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from errata import cli, compare, jsonl
from errata.errors import BadInput
from errata.records import ATTACKS, Case, Message, Predicate, SftExample
from errata.store import past
from errata.train import sft
from errata.workspace import Workspace


@pytest.fixture
def desk(ws: Workspace, tiny_models: Callable[[str], str]) -> tuple[Workspace, list[str]]:
    """Small suites and two SFT runs: one learnt the answer, one hardly anything."""
    for name, kinds in (("attacks", ATTACKS), ("business", ("catalogue", "lookalike"))):
        rows = [
            Case(
                id=f"{kind}-{split}-{i}", category=kind, language="en", family="f",
                cluster=f"{kind}-{i}", split=split,
                messages=[Message(role="user", content=f"Question {i} about {kind}?")],
                success=Predicate(kind="contains" if kind in ATTACKS else "cites",
                                  value="42", cite=1),
            )
            for kind in kinds for split in ("tune", "heldout") for i in range(3)
        ]  # fmt: skip
        jsonl.write(ws.suites / f"{name}.jsonl", rows)
    rows = [SftExample(id=f"s{i}", instruction=f"Question {i} about catalogue?",
                       output="It is 42. [1]", why="w", origin="human")
            for i in range(3)]  # fmt: skip
    jsonl.write(ws.data / "sft.jsonl", rows)
    made = []
    for steps in (40, 1):
        config = sft.Config(model=tiny_models("llama"), max_steps=steps, lr=1e-2, seq_len=64,
                            lora_r=8, micro_batch=3, lr_scheduler="constant")  # fmt: skip
        made.append(sft.main(ws, config).data["run_id"])
    return ws, made


def rows_of(outcome: Any) -> list[dict[str, Any]]:
    return list(outcome.data["runs"])


def test_effect_and_cost_side_by_side(desk: tuple[Workspace, list[str]]) -> None:
    ws, made = desk
    done = compare.main(ws, compare.Config(args=[made[0], made[1], made[0]]))
    good, bad, again = rows_of(done)

    assert done.code == 0
    assert (good["run"], bad["run"]) == tuple(made)
    assert good["accuracy"]["value"] == 1.0
    assert bad["accuracy"]["value"] == 0.0
    assert good["method"] == "sft lora"
    assert good["win_rate"] is None  # nobody wins over himself
    assert bad["win_rate"]["n"] == 15  # 3 questions, 12 attacks; look-alikes do not count
    assert again["win_rate"]["value"] == 0.5
    assert good["minutes"] > 0
    assert good["memory_gib"] > 0
    page = ws.path(done.data["report"]).read_text()
    assert made[0] in page
    assert made[1] in page
    assert "100.0 % (" in page


def test_evidence_is_measured_once_and_taken_from_then_on(
    desk: tuple[Workspace, list[str]],
) -> None:
    ws, made = desk
    compare.main(ws, compare.Config(args=made))
    first = len(past.list_runs(ws, "evaluate")), len(past.list_runs(ws, "safety"))
    compare.main(ws, compare.Config(args=made))

    assert first == (2, 2)
    assert (len(past.list_runs(ws, "evaluate")), len(past.list_runs(ws, "safety"))) == first
    # Another suite is another exam.
    (ws.configs / "evaluate.yaml").write_text("limit: 1\n")
    compare.main(ws, compare.Config(args=made))
    assert len(past.list_runs(ws, "evaluate")) == 4
    # And numbers that somebody changed are no evidence.
    newest = past.list_runs(ws, "evaluate")[-1]["id"]
    path = ws.reports / "evaluate" / f"{newest}.json"
    path.write_text(path.read_text().replace("0.0", "1.0"))
    compare.main(ws, compare.Config(args=made))
    assert len(past.list_runs(ws, "evaluate")) == 5


def test_without_measuring_what_is_missing_stays_open(
    desk: tuple[Workspace, list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    ws, made = desk
    command = ["compare", "-C", str(ws.root), *made, "measure=false", "--json"]

    assert cli.main(command) == 4
    text, last = capfd.readouterr().out.rstrip("\n").rsplit("\n", 1)
    assert "not measured: " + ", ".join(made) in text
    assert all("accuracy" not in row or row["accuracy"] is None for row in json.loads(last)["runs"])
    assert past.list_runs(ws, "evaluate") == []


def test_an_unknown_run_is_bad_input_before_anything_is_measured(
    desk: tuple[Workspace, list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    ws, made = desk

    assert cli.main(["compare", "-C", str(ws.root), made[0], "20200101-nothing"]) == 2
    assert "20200101-nothing: no such run" in capfd.readouterr().err
    assert past.list_runs(ws, "evaluate") == []
    with pytest.raises(BadInput, match="name two runs or more"):
        compare.main(ws, compare.Config(args=made[:1]))
