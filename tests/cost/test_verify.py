"""`errata cost verify` on the embedded model: real steps, in a workspace that stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from errata import cli
from errata.workspace import Workspace


def verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    assert cli.main(["cost", "verify", "-C", str(folder), "--json"]) == 0
    out = capsys.readouterr().out
    return json.loads(out.splitlines()[-1]), out


@pytest.mark.slow
def test_the_prediction_is_near_what_three_real_steps_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Resident memory is the kernel's to say: one that takes idle pages back while a process waits
    for its turn makes the growth after that look larger. So the nearest of three counts."""
    (tmp_path / "configs").mkdir()
    errors = [abs(verified(tmp_path, capsys)[0]["error"]) for _ in range(3)]
    assert min(errors) < 0.15, errors


def test_three_real_steps_beside_the_prediction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "configs").mkdir()
    found, out = verified(tmp_path, capsys)
    ratio = found["predicted_memory_gib"] / found["measured_gib"]
    assert found["error"] == pytest.approx(ratio - 1)
    assert found["predicted_memory_gib"] == pytest.approx(sum(found["terms"].values()), abs=1e-3)
    assert "error of the prediction" in out or "预测误差" in out
    assert [path.name for path in tmp_path.rglob("*")] == ["configs"], "nothing is left behind"
    assert not Workspace(tmp_path).runs.exists()


def test_a_stage_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["cost", "verify", "objective=kto", "-C", str(tmp_path)]) == 2
    assert "sft, dpo, rm, ppo" in capsys.readouterr().err
