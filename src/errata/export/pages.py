"""What an export tells: `reports/export/<run_id>.md` and `.json`, and the lines on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from errata import jsonl, report
from errata.export import size
from errata.language import say
from errata.records import Candidate
from errata.store.runs import Run

WORSE = 0.02  # accuracy lost at most: `max_regression` of the shipped gate
# measure → unit, in English, in Chinese
MEASURES: dict[str, tuple[str, str, str]] = {
    "recheck_kl": ("nats", "merged weights against base + adapter, KL a token",
                   "合并权重与基座+适配器的 KL（每 token）"),
    "recheck_kl_max": ("nats", "the same, at most", "同上，最大值"),
    "recheck_top1": ("rate", "the same next token", "下一 token 相同的比例"),
    "trained_kl": ("nats", "what was trained (4-bit base + adapter) against base + adapter",
                   "训练时（4 位基座+适配器）与基座+适配器的 KL"),
    "trained_kl_max": ("nats", "the same, at most", "同上，最大值"),
    "trained_top1": ("rate", "the same next token", "下一 token 相同的比例"),
    "kl": ("nats", "the export against its source, KL a token", "导出与来源的 KL（每 token）"),
    "kl_max": ("nats", "the same, at most", "同上，最大值"),
    "top1": ("rate", "the same next token", "下一 token 相同的比例"),
    "retention": ("", "kept of the fine-tune (1: all)", "微调效果保留（1 为全部）"),
    "noise": ("", "error besides, in units of the fine-tune", "其余误差（以微调效果为单位）"),
    "accuracy": ("rate", "right answers on dev cases", "dev 用例正确率"),
    "source_accuracy": ("rate", "the source's", "来源的正确率"),
    "accuracy_drop": ("rate", "accuracy lost, pair by pair", "逐例配对的正确率损失"),
    "bytes": ("bytes", "size", "大小"),
}  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """What was measured, a row each; what this export has none of is left out."""
    rows = []
    for name, (unit, en, zh) in MEASURES.items():
        if found.get(name) is not None:
            value = size.gib(found[name]) if unit == "bytes" else report.shown(found[name], unit)
            rows.append([name, value, say(en, zh)])
    return report.markdown_table([say("measure", "指标"), say("value", "数值"), ""], rows)


def verdict(found: dict[str, Any]) -> str:
    """Whether quality stayed within two points, and which gate would not let it pass."""
    pair = found.get("paired")
    if not pair:
        return say("No case could be compared: quality is not known.", "没有可比用例：质量未知。")
    reach = report.bounds(pair["low"], pair["high"], "rate")
    told = say(
        f"accuracy lost: {report.shown(pair['diff'], 'rate')} ({reach}) on {pair['n']} dev cases. ",
        f"正确率损失 {report.shown(pair['diff'], 'rate')}（{reach}），共 {pair['n']} 个 dev 用例。",
    )
    if pair["high"] <= WORSE:
        return told + say("Within two points.", "在两个百分点以内。")
    if pair["diff"] <= WORSE:
        return told + say(
            "The point is within two points, its bound is not: `errata evaluate` asks more cases.",
            "点估计在两个百分点以内，上界不在：`errata evaluate` 会询问更多用例。",
        )
    return told + say(
        "Beyond two points: the gate on `evaluate.accuracy` (max_regression 0.02) would not pass.",
        "超过两个百分点：`evaluate.accuracy` 门禁（max_regression 0.02）不会通过。",
    )


def summary(run_id: str, fmt: str, found: dict[str, Any], notes: Sequence[str]) -> str:
    """For the terminal."""
    lines = [f"export {run_id} · {fmt}", table(found), verdict(found), *notes]
    return "\n".join(lines)


def write(
    run: Run,
    source: Candidate,
    made: Candidate,
    fmt: str,
    found: dict[str, Any],
    notes: Sequence[str],
) -> Path:
    """Both files; the page's path."""
    folder = run.ws.reports / "export"
    record = {
        "run_id": run.id,
        "format": fmt,
        "source_digest": source.digest,
        "candidate_digest": made.digest,
        "measures": found,
        "notes": list(notes),
    }
    jsonl.write_json(run.output(folder / f"{run.id}.json"), record)
    page: Path = run.output(folder / f"{run.id}.md")
    jsonl.write_text(page, _page(run.id, source, made, fmt, found, notes))
    return page


def _page(
    run_id: str,
    source: Candidate,
    made: Candidate,
    fmt: str,
    found: dict[str, Any],
    notes: Sequence[str],
) -> str:
    told = [f"- {note}" for note in notes]
    if fmt.startswith("gguf"):
        line = say(
            "quality is measured on the dequantised weights (transformers); the speed of GGUF is "
            "llama.cpp's",
            "质量在反量化后的权重上测得（transformers）；GGUF 的速度取决于 llama.cpp",
        )
        told.append(f"- {line}")
    facts = [
        [say("source", "来源"), source.digest],
        [say("export", "导出"), made.digest],
        [say("weights", "权重"), made.adapter or made.base],
    ]
    earned = say(
        f"It is another candidate than its source, and earns its gates by itself: "
        f"`errata evaluate --model {run_id}`, `errata safety --model {run_id}`, "
        f"`errata gate --candidate {run_id}`.",
        f"它是与来源不同的候选版本，须自行通过门禁：`errata evaluate --model {run_id}`、"
        f"`errata safety --model {run_id}`、`errata gate --candidate {run_id}`。",
    )
    parts = [
        f"# export · {run_id} · {fmt}",
        report.markdown_table([say("what", "内容"), say("digest or path", "摘要或路径")], facts),
        table(found),
        verdict(found),
        "\n".join(told),
        earned,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
