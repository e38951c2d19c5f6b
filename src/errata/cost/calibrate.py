"""What the team's own runs say about the estimates: measured over predicted memory, and speed.

Every training run records both. Per device: the geometric mean of the ratios with a 95 % interval
for the next run (Student's t on their logarithms; few runs, wide interval), and the operations a
second that were reached. The file is tracked, and `errata cost` names it where it uses it.
"""

from __future__ import annotations

import json
import math
import statistics
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, ValidationError

from errata import jsonl
from errata.config import Section
from errata.cost.memory import HIGH, LOW
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.report import markdown_table
from errata.workspace import Workspace

FILE = "configs/cost.calibration.json"
# Quantile 0.975 of Student's t for 1, 2, … degrees of freedom; beyond them the last.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
     2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)  # fmt: skip
# One run has no spread of its own: the published one stands in.
PRIOR = math.log(HIGH / LOW) / 2 / 2.776


class Learned(Section):
    """A ratio, or a speed, of one device, with the interval of the next run."""

    n: int = Field(ge=1, description="runs")
    ratio: float = Field(gt=0, description="geometric mean")
    low: float = Field(gt=0, description="lower end for the next run")
    high: float = Field(gt=0, description="upper end for the next run")


class Device(Section):
    """What was learnt on one kind of machine."""

    memory: Learned = Field(description="measured over predicted peak")
    speed: Learned | None = Field(None, description="operations a second")


class Calibration(Section):
    """configs/cost.calibration.json."""

    made: str = Field(description="date")
    devices: dict[str, Device] = Field(description="`cpu`, or the GPU's name → what its runs say")


def learn(values: list[float]) -> Learned:
    """exp(mean ± t·s·√(1 + 1/n)) of the logarithms: where the next one lies, in 95 of 100 cases."""
    logs = [math.log(value) for value in values]
    n, mean = len(logs), statistics.fmean(logs)
    spread = statistics.stdev(logs) if n > 1 else PRIOR
    reach = T[min(max(n - 1, 1), len(T)) - 1] * spread * math.sqrt(1 + 1 / n)
    low, mid, high = (round(math.exp(mean + by), 6) for by in (-reach, 0.0, reach))
    return Learned(n=n, ratio=mid, low=low, high=high)


def of_runs(records: list[dict[str, Any]]) -> dict[str, Device]:
    """What finished runs measured, by device; runs without both numbers say nothing."""
    ratios: dict[str, list[float]] = {}
    speeds: dict[str, list[float]] = {}
    for record in records:
        facts = record.get("facts") or {}
        memory = facts.get("memory") or {}
        expected, found = memory.get("predicted_memory_gib"), memory.get("above_baseline_gib")
        if record.get("status") != "done" or not expected or not found or found <= 0:
            continue
        device = memory.get("device", "cpu")
        ratios.setdefault(device, []).append(found / expected)
        each, tokens = memory.get("operations_per_token"), facts.get("tokens")
        seconds = (facts.get("used") or {}).get("wall_seconds")
        if each and tokens and seconds:
            speeds.setdefault(device, []).append(each * tokens / seconds)
    return {
        name: Device(memory=learn(values), speed=learn(s) if (s := speeds.get(name)) else None)
        for name, values in ratios.items()
    }


def read(ws: Workspace) -> Calibration | None:
    """The workspace's file; BadInput where it is damaged."""
    path = ws.path(FILE)
    if not path.is_file():
        return None
    try:
        return Calibration.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as error:
        what = str(error).splitlines()[0]
        raise BadInput(f"{FILE}: {what}; run `errata cost calibrate` to write it anew") from None


def calibrate(ws: Workspace) -> Outcome:
    """Learn from the store's runs and write the file; exit 4 when there is none to learn from."""
    from errata.store import past  # SQLAlchemy: a fifth of a second that the table need not pay

    found = of_runs(past.list_runs(ws)) if ws.state.is_dir() else {}
    if not found:
        return Outcome(
            4,
            say("no finished run with predicted and measured memory; `errata sft` makes one",
                "没有同时记录预测与实测内存的已完成训练；先运行 `errata sft`"),
            {"devices": {}},
        )  # fmt: skip
    made = Calibration(made=datetime.now(UTC).date().isoformat(), devices=found)
    jsonl.write_json(ws.path(FILE), made.model_dump(exclude_none=True))
    head = [say("device", "设备"), say("runs", "次数"), say("measured / predicted", "实测 / 预测"),
            say("next run", "下一次"), say("10¹² operations/s", "10¹² 次运算/秒")]  # fmt: skip
    table = [
        [name, d.memory.n, f"{d.memory.ratio:.3g}", f"{d.memory.low:.3g} – {d.memory.high:.3g}",
         f"{d.speed.ratio / 1e12:.3g} ({d.speed.low / 1e12:.3g} – {d.speed.high / 1e12:.3g})"
         if d.speed else "–"]
        for name, d in found.items()
    ]  # fmt: skip
    note = say(f"written to {FILE}; `errata cost` uses what it says of a GPU",
               f"已写入 {FILE}；`errata cost` 使用其中 GPU 的部分")  # fmt: skip
    return Outcome(0, f"{markdown_table(head, table)}\n{note}", made.model_dump(exclude_none=True))
