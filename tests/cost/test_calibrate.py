"""What runs teach, by hand; the file, and who reads it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from errata import cli
from errata.cost import calibrate
from errata.cost.calibrate import FILE, learn, of_runs


def record(ratio: float, **more: Any) -> dict[str, Any]:
    memory = {"predicted_memory_gib": 2.0, "above_baseline_gib": 2.0 * ratio, "device": "A100-80G",
              "operations_per_token": 1e9}  # fmt: skip
    facts = {"memory": memory, "tokens": 1000, "used": {"wall_seconds": 2.0}, **more}
    return {"status": "done", "facts": facts}


def test_two_runs_by_hand() -> None:
    """Ratios 1 and e^0.2: mean 0.1, deviation 0.2/√2, t(0.975, 1) = 12.706, √(1 + 1/2)."""
    found = learn([1.0, math.exp(0.2)])
    reach = 12.706 * 0.2 / math.sqrt(2) * math.sqrt(1.5)
    assert found.ratio == pytest.approx(math.exp(0.1), rel=1e-5)
    assert found.high == pytest.approx(math.exp(0.1 + reach), rel=1e-5)
    assert found.low == pytest.approx(math.exp(0.1 - reach), rel=1e-4)


def test_few_runs_say_little_and_more_of_the_same_say_more() -> None:
    widths = []
    for n in (1, 2, 4, 8, 32):
        found = learn([1.0, 1.1] * (n // 2) if n > 1 else [1.0])
        widths.append(found.high / found.low)
    assert widths[0] > 2
    assert widths[1:] == sorted(widths[1:], reverse=True)


def test_only_finished_runs_with_both_numbers_count() -> None:
    unfinished = {**record(9.0), "status": "failed"}
    without = record(9.0, memory={"predicted_memory_gib": None, "above_baseline_gib": 1.0})
    found = of_runs([record(1.1), unfinished, without, {"status": "done"}])
    assert list(found) == ["A100-80G"]
    assert found["A100-80G"].memory.n == 1
    assert found["A100-80G"].speed.ratio == pytest.approx(1e9 * 1000 / 2.0)  # type: ignore[union-attr]


def cost(place: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert cli.main(["cost", "-C", str(place), "--json", *words]) == 0
    out = capsys.readouterr().out
    return {**json.loads(out.splitlines()[-1]), "text": out}


def test_the_table_uses_the_file_and_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = cost(tmp_path, capsys, "gpu=A100-80G")
    (tmp_path / "configs").mkdir()
    found = of_runs([record(1.5) for _ in range(5)])
    made = calibrate.Calibration(made="2026-01-01", devices=found)
    (tmp_path / FILE).write_text(made.model_dump_json())
    ours = cost(tmp_path, capsys, "gpu=A100-80G")
    assert FILE in ours["text"]
    assert FILE not in plain["text"]
    for before, after in zip(plain["estimates"], ours["estimates"], strict=True):
        assert after["peak_gib"] == pytest.approx(before["peak_gib"] * 1.5, rel=1e-3)
    other = cost(tmp_path, capsys, "gpu=H100")
    assert FILE not in other["text"], "another card's runs say nothing of this one"
    assert cost(tmp_path, capsys, "gpu=here")["estimates"] == ours["estimates"]


def test_a_damaged_file_and_none_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["cost", "calibrate", "-C", str(tmp_path)]) == 4
    assert "no finished run" in capsys.readouterr().out
    assert cli.main(["cost", "gpu=here", "-C", str(tmp_path)]) == 2
    (tmp_path / "configs").mkdir()
    (tmp_path / FILE).write_text("{")
    assert cli.main(["cost", "-C", str(tmp_path)]) == 2
    assert "cost calibrate" in capsys.readouterr().err
    assert cli.main(["cost", "verfy", "-C", str(tmp_path)]) == 2
