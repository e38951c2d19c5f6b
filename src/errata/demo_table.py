"""The demo's last page: all models side by side, from the evidence files they left."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from errata import jsonl
from errata.language import say
from errata.outcome import Outcome
from errata.records import ATTACKS, Metric, MetricsFile, Release, Slice
from errata.release import evidence
from errata.report import markdown_table
from errata.stats import mcnemar_exact
from errata.workspace import Workspace

if TYPE_CHECKING:
    from errata.demo import Demo


@dataclass
class Entry:
    """A model of the demo, and the runs that measured it."""

    model: str
    evaluate: str = ""
    safety: str = ""
    minutes: float | None = None
    gib: float | None = None
    kl: float | None = None  # nats an answer from the reference, of PPO's last rollouts


def _metrics(ws: Workspace, room: str, run_id: str) -> dict[str, Metric]:
    if not run_id:
        return {}
    path = ws.reports / room / f"{run_id}.json"
    file = jsonl.read_json(path, MetricsFile)
    return {metric.name: metric for metric in file.metrics}


def _cell(found: Metric | Slice | None) -> str:
    """`3.1 % (≤ 7.8 %, n 160)`: the value, its upper bound, and the cases."""
    if found is None or found.value is None:
        return "–"
    high = "" if found.high is None else f" ≤{found.high:.1%}"
    return f"{found.value:.1%}{high} n={found.n}"


def _slices(metric: Metric | None) -> dict[str | None, Slice]:
    return {one.language: one for one in metric.slices} if metric else {}


def render(ws: Workspace, models: dict[str, Entry]) -> str:
    """Two tables: hits per class and language with their upper bounds; ability and cost."""
    hits, able = [], []
    for label, entry in models.items():
        safety, business = (
            _metrics(ws, "safety", entry.safety),
            _metrics(ws, "evaluate", entry.evaluate),
        )
        row = [label]
        for kind in ATTACKS:
            cells = _slices(safety.get(f"safety.attack_hit_rate.{kind}"))
            row += [_cell(cells.get("en")), _cell(cells.get("zh"))]
        hits.append(row)
        accuracy, wins = business.get("evaluate.accuracy"), business.get("evaluate.win_rate")
        able.append(
            [
                label,
                _cell(safety.get("safety.over_refusal_rate")),
                _least(accuracy),
                _least(business.get("evaluate.tool_choice")),
                _count(business.get("evaluate.citation_missing")),
                _count(business.get("evaluate.forbidden_calls")),
                "–" if wins is None or wins.value is None
                else f"{wins.value:.1%} [{wins.low:.1%}, {wins.high:.1%}]",
                "–" if entry.kl is None else f"{entry.kl:.2f}",
                "–" if entry.minutes is None else f"{entry.minutes:.1f}",
                "–" if entry.gib is None else f"{entry.gib:.2f}",
            ]
        )  # fmt: skip
    model = say("model", "模型")
    names = [f"{kind} {tongue}" for kind in ATTACKS for tongue in ("en", "zh")]
    heads = [
        model,
        say("over-refusal", "过度拒答"),
        say("accuracy", "业务正确率"),
        say("tool choice", "工具选择"),
        say("no citation", "缺引用"),
        say("forbidden calls", "违规调用"),
        say("win rate over base", "相对基座胜率"),
        say("KL to its start", "与起点的 KL"),
        say("minutes", "分钟"),
        say("peak GiB", "峰值 GiB"),
    ]
    title = say(
        "Attack hits on held-out families (upper 95 % bound)", "留出攻击族命中率（95% 上界）"
    )
    return f"{title}\n\n{markdown_table([model, *names], hits)}\n\n{markdown_table(heads, able)}"


def _least(found: Metric | None) -> str:
    """The value, its lower bound, and the cases."""
    if found is None or found.value is None:
        return "–"
    low = "" if found.low is None else f" ≥{found.low:.1%}"
    return f"{found.value:.1%}{low} n={found.n}"


def _count(metric: Metric | None) -> str:
    return "–" if metric is None or metric.value is None else f"{metric.value:.0f} n={metric.n}"


def tool_choice(ws: Workspace, before: Entry, after: Entry) -> str:
    """Right calls on held-out tasks before and after, with their intervals and the paired test."""
    files = [jsonl.read_json(ws.reports / "evaluate" / f"{one.evaluate}.json", MetricsFile)
             for one in (before, after)]  # fmt: skip
    was, now = (evidence.collect(ws, file.candidate_digest, ["reports/evaluate"])
                for file in files)  # fmt: skip
    name = "evaluate.tool_choice"
    pairs = evidence.compare(name, now, was, seed=0)
    if pairs is None or name not in was.metrics or name not in now.metrics:
        return ""
    old, new = (_range(found.metrics[name]) for found in (was, now))
    # `worse` counts clusters in which the candidate does worse; the test asks the other way.
    p = mcnemar_exact(pairs.better, pairs.worse)
    return say(
        f"Tool choice on held-out tasks: {old} → {new}; {pairs.better} clusters better, "
        f"{pairs.worse} worse, exact McNemar p = {p:.1g}.",
        f"留出任务的工具选择正确率：{old} → {new}；{pairs.better} 个簇变好，{pairs.worse} 个变差，"
        f"McNemar 精确检验 p = {p:.1g}。",
    )


def _range(metric: Metric) -> str:
    return f"{metric.value:.1%} [{metric.low:.1%}, {metric.high:.1%}] n={metric.n}"


def as_data(ws: Workspace, models: dict[str, Entry]) -> dict[str, Any]:
    """The same numbers for `--json`."""
    out = {}
    for label, entry in models.items():
        found = {**_metrics(ws, "safety", entry.safety), **_metrics(ws, "evaluate", entry.evaluate)}
        out[label] = {
            "run": entry.model,
            "minutes": entry.minutes,
            "peak_gib": entry.gib,
            "metrics": {name: jsonl.plain(metric) for name, metric in found.items()},
        }
    return out


def last_page(demo: Demo, serving: Release, bad: Release, failure: str) -> Outcome:
    """The table of all models, and what to look at next."""
    ws, minutes = demo.ws, (time.perf_counter() - demo.began) / 60
    table = render(ws, demo.models)
    table += "\n\n" + tool_choice(ws, demo.models["base"], demo.models["second SFT+DPO"])
    jsonl.write_text(ws.reports / "demo.md", f"# Demo\n\n{table}\n")
    told = say(
        f"{minutes:.1f} minutes. Released: {serving.id}. Blocked: the sabotaged one (exit 3). "
        f"Rolled back: {bad.id}.",
        f"用时 {minutes:.1f} 分钟。已发布：{serving.id}。被门禁拦下：被破坏的候选（退出码 3）。"
        f"已回滚：{bad.id}。",
    )
    pages = "reports/safety.md, reports/posttrain/experiment-log.md"
    look = f"`errata web -C {ws.root}`, `errata trace {failure} -C {ws.root}`"
    more = say("next: ", "下一步：") + f"{look}, {pages}"
    data = {
        "minutes": minutes,
        "released": serving.id,
        "rolled_back": bad.id,
        "failure": failure,
        "models": as_data(ws, demo.models),
    }
    return Outcome(0, f"\n{table}\n\n{told}\n{more}", data)
