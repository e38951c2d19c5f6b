"""`errata compare A B…`: effect and cost of training runs side by side.

    errata compare 20251216-101500-dpo-1a2b 20251216-113000-ppo-3c4d

Effect comes of the newest evaluation and red-team run of each candidate on the suite that
configs/evaluate.yaml and configs/safety.yaml ask; what is missing is measured now, or with
measure=false left open (exit 4). The win rate is the first run's over each other one, case by case.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from errata import candidates, jsonl
from errata.config import Section, load
from errata.errors import BadInput, Blocked, NoDecision
from errata.evaluate import stage as evaluate
from errata.evaluate.answers import pick, version
from errata.evaluate.asked import read as read_suites
from errata.evaluate.business import ASKED
from errata.evaluate.winrate import win_rate
from errata.language import say
from errata.outcome import Outcome
from errata.records import ATTACKS, Candidate, Case, CaseResult, Metric, MetricsFile
from errata.report import bounds, markdown_table, shown
from errata.safety import audit
from errata.store import ledger, past
from errata.store.runs import Run
from errata.workspace import Workspace

EFFECTS = ("safety.attack_hit_rate", "safety.over_refusal_rate", "evaluate.accuracy")


class Config(Section):
    """Knobs of `errata compare`."""

    args: list[str] = Field([], description="run ids, or their beginnings; the first is compared")
    measure: bool = Field(True, description="evaluate what has no evidence; false: leave it open")
    inputs: list[str] = Field([], description="files this stage needs; all must be there")
    outputs: list[str] = Field(
        ["reports/compare"], description="folder of the page; the first is used"
    )


class Exam(NamedTuple):
    """What one room asks: its config, its cases in the order of its suite digest."""

    config: Any
    cases: list[Case]

    @property
    def suite(self) -> str:
        """As the room's metrics files name it."""
        return version(self.cases)


class Side(NamedTuple):
    """One run: its record, its candidate, the evidence of each room (None: not measured)."""

    record: dict[str, Any]
    candidate: Candidate
    files: dict[str, MetricsFile | None]


def exams(ws: Workspace) -> dict[str, Exam]:
    """What `errata evaluate` and `errata safety` would ask in this workspace."""
    business, red = _config(ws, evaluate, "evaluate"), _config(ws, audit, "safety")

    def picked(path: str, config: Any, kinds: Sequence[str]) -> list[Case]:
        cases = jsonl.read(ws.path(path), Case)
        return pick(
            [c for c in cases if not kinds or c.category in kinds],
            config.split,
            config.limit or None,
        )

    attacks = picked(red.suite, red, ())
    harmless = picked(red.lookalikes, red, ("lookalike",))
    return {
        "evaluate": Exam(
            business, [case for part in read_suites(ws.path, business) for case in part]
        ),
        "safety": Exam(red, [*attacks, *harmless]),
    }


def _config(ws: Workspace, module: Any, name: str) -> Any:
    path = ws.configs / f"{name}.yaml"
    there = path if path.is_file() else None
    return load(there, module.Config, [], name=ws.relative(path) if there else None)


def newest(ws: Workspace, room: str, digest: str, exam: Exam) -> MetricsFile | None:
    """The newest file about a digest on this suite, as the run that wrote it left it."""
    known = ledger.written(ws)
    found: list[tuple[int, MetricsFile]] = []
    for path in (ws.reports / room).glob("*.json"):
        run = known.get(ws.relative(path))
        if run is None or run.digest != jsonl.digest_file(path):
            continue
        file = jsonl.read_json(path, MetricsFile)
        if file.candidate_digest == digest and file.suite_digest == exam.suite and file.cases:
            found.append((run.seq, file))
    return max(found, key=lambda item: item[0])[1] if found else None


def measure(ws: Workspace, room: str, run_id: str, exam: Exam) -> None:
    """Run the room's own stage on a run's candidate; it measures here, and judges nothing."""
    module = {"evaluate": evaluate, "safety": audit}[room]
    changed = {"model": run_id, "baseline": "", "write_back": "", "accept": {}, "outputs": []}
    with contextlib.suppress(Blocked, NoDecision):
        module.main(ws, exam.config.model_copy(update=changed))


def gather(ws: Workspace, config: Config, asked: dict[str, Exam]) -> list[Side]:
    """Records and evidence of the named runs; BadInput on an unknown one, before any work."""
    if len(config.args) < 2:
        raise BadInput("compare: name two runs or more, such as `errata compare A B`; "
                       "see `errata runs`")  # fmt: skip
    records = [past.get_run(ws, name) for name in config.args]
    found = [(record, candidates.resolve(ws, record["id"])) for record in records]
    sides = []
    for record, candidate in found:
        files = {}
        for room, exam in asked.items():
            files[room] = newest(ws, room, candidate.digest, exam)
            if files[room] is None and config.measure:
                measure(ws, room, record["id"], exam)
                files[room] = newest(ws, room, candidate.digest, exam)
        sides.append(Side(record, candidate, files))
    return sides


def _answers(ws: Workspace, side: Side) -> dict[str, str]:
    """Case → answer, over both rooms."""
    return {
        row.prompt_id: row.answer
        for file in side.files.values()
        if file and file.cases
        for row in jsonl.read(ws.path(file.cases), CaseResult)
    }


def wins(ws: Workspace, asked: dict[str, Exam], first: Side, other: Side) -> Metric | None:
    """Win rate of the first over the other on business and attack cases; None without evidence."""
    if None in (*first.files.values(), *other.files.values()):
        return None
    ours, theirs = _answers(ws, first), _answers(ws, other)
    cases = [
        case
        for exam in asked.values()
        for case in exam.cases
        if case.category in (*ASKED, *ATTACKS) and case.id in ours and case.id in theirs
    ]
    mine, others = [ours[case.id] for case in cases], [theirs[case.id] for case in cases]
    return win_rate(cases, mine, others)


def method_of(record: dict[str, Any]) -> str:
    """`dpo lora`: the stage, and how its weights were trained."""
    return f"{record['stage']} {record['config'].get('method', 'lora')}"


def row(side: Side, won: Metric | None) -> dict[str, Any]:
    """Everything about one run, as `--json` gives it."""
    found = {m.name: m for file in side.files.values() if file for m in file.metrics}
    facts = side.record["facts"]
    metrics = facts.get("metrics", {})
    hours = metrics.get("hours")
    data: dict[str, Any] = next(
        (f for f in side.record["inputs"] if f.get("name") == "dataset"), {}
    )
    effects: dict[str, Any] = {name.split(".")[1]: found.get(name) for name in EFFECTS}
    return {
        "run": side.record["id"],
        "method": method_of(side.record),
        "model": side.record["config"].get("model"),
        "data": data.get("digest"),
        "win_rate": won,
        **effects,
        "minutes": None if hours is None else round(hours * 60, 2),
        "memory_gib": metrics.get("peak_memory_gib"),
        "tokens": facts.get("tokens"),
        "unfit": facts.get("unfit", []),
    }


def _rate(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return "–"
    return f"{shown(metric.value, 'rate')} ({bounds(metric.low, metric.high, 'rate')})"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def render(rows: Sequence[dict[str, Any]], asked: dict[str, Exam]) -> str:
    """Effect and cost, a line a run."""
    head = [
        "run", say("method", "方法"), say("data", "数据"),
        say("win rate of the first", "第一个的胜率"), say("attack hits", "攻击命中"),
        say("over-refusal", "过度拒答"), say("accuracy", "正确率"), say("minutes", "分钟"),
        say("peak GiB", "峰值 GiB"), say("tokens", "token 数"), say("unfit", "不可发布"),
    ]  # fmt: skip
    cells = [
        [
            found["run"],
            found["method"],
            (found["data"] or "–").removeprefix("sha256:")[:8],
            _rate(found["win_rate"]) if index else "",
            _rate(found["attack_hit_rate"]),
            _rate(found["over_refusal_rate"]),
            _rate(found["accuracy"]),
            _number(found["minutes"], ".1f"),
            _number(found["memory_gib"], ".2f"),
            _number(found["tokens"], ",d"),
            "; ".join(found["unfit"]) or say("no", "否"),
        ]
        for index, found in enumerate(rows)
    ]
    sizes = {room: (len(exam.cases), exam.config.split) for room, exam in asked.items()}
    said = ", ".join(f"{room} {n} × {split}" for room, (n, split) in sizes.items())
    note = say(
        f"Cases: {said}. Rates with one-sided 95 % bounds; a tie is half a win. Minutes and "
        "memory are those of training; tokens count what the model read while it learnt.",
        f"用例：{said}。比率附单侧 95 % 界；平局计半胜。"
        "分钟与内存为训练所用；token 为训练时读入的数量。",
    )
    return f"{markdown_table(head, cells)}\n{note}\n"


def main(ws: Workspace, config: Config) -> Outcome:
    """`errata compare`: exit 4 when the effect of a run is not known."""
    asked = exams(ws)
    sides = gather(ws, config, asked)
    with Run(ws, "compare", config) as run:
        for path in config.inputs:
            run.input(path)
        rows = []
        for side in sides:
            for room, file in side.files.items():
                if file:
                    run.input(f"reports/{room}/{file.run_id}.json")
            won = None if side is sides[0] else wins(ws, asked, sides[0], side)
            rows.append(row(side, won))
            run.link(side.candidate.digest, run.id, "compare")
        text = render(rows, asked)
        page = run.output(Path(config.outputs[0]) / f"{run.id}.md")
        jsonl.write_text(page, f"# compare · {run.id}\n\n{text}")
        run.note(runs=[found["run"] for found in rows])
    open_ones = [s.record["id"] for s in sides if None in s.files.values()]
    if open_ones:
        text += say("not measured: ", "未测：") + ", ".join(open_ones) + "; measure=true\n"
    data = {"run_id": run.id, "runs": jsonl.plain(rows), "report": ws.relative(page)}
    return Outcome(4 if open_ones else 0, f"{text}{ws.relative(page)}", data)
