"""`reports/data-lint.md`: what the checks found, what waits for a human, what the data is like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from errata.build import lint, split
from errata.records import PreferencePair, SftExample
from errata.report import markdown_table
from errata.text import bare, language

if TYPE_CHECKING:
    from errata.build.stage import Files, Made

SHOWN = 20


def template_share(rows: Sequence[SftExample]) -> float:
    """Share of rows with the most frequent answer: learnt by heart instead of understood."""
    answers = Counter(bare(row.messages[-1].content) for row in rows if row.messages)
    return max(answers.values()) / len(rows) if answers else 0.0


def longer_chosen(pairs: Sequence[PreferencePair]) -> float | None:
    """Share of pairs whose chosen answer is longer (ties count half); 0.5 is no length bias."""
    if not pairs:
        return None
    lengths = [(len(lint.plain(pair.chosen)), len(lint.plain(pair.rejected))) for pair in pairs]
    return fmean(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in lengths)


def facts(
    made: Made, report: lint.Report, files: Files, group_of: Mapping[str, str], held: set[str]
) -> dict[str, Any]:
    """The numbers of a build."""
    sizes = [len(rows) for rows in files.values()]
    return {
        "sft": sizes[0],
        "pairs": sizes[1],
        "sft_valid": sizes[2],
        "pairs_valid": sizes[3],
        "needs_human": len(made.needs_human),
        "summaries": made.summaries,
        "duplicates": made.dropped,
        "groups": len(set(group_of.values())),
        "groups_crossing": len(split.crossing(dict(group_of), held)),
        "template_share": round(template_share(made.sft), 4),
        "chosen_longer": longer_chosen(report.kept),
        "hits": {name: len({hit.id for hit in hits}) for name, hits in report.hits.items()},
    }


def render(made: Made, report: lint.Report, facts: Mapping[str, Any], version: str) -> str:
    """The report, both languages in every heading."""
    parts = [
        "# Data lint · 数据检查",
        f"Dataset version / 数据版本: `{version}`. Written by `errata build`.",
        _numbers(facts),
        "## Checks · 检查项",
        _checks(report),
        "## Coverage · 覆盖",
        _coverage(made),
        "## Needs a human · 待人工处理",
        _waiting(made),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _numbers(facts: Mapping[str, Any]) -> str:
    longer = facts["chosen_longer"]
    rows = [
        ["SFT rows, train / validation · SFT 训练/验证", f"{facts['sft']} / {facts['sft_valid']}"],
        [
            "pairs, train / validation · 偏好对 训练/验证",
            f"{facts['pairs']} / {facts['pairs_valid']}",
        ],
        [
            "groups, crossing the split · 分组数/跨集组数",
            f"{facts['groups']} / {facts['groups_crossing']}",
        ],
        ["equal rows merged · 合并的重复行", str(facts["duplicates"])],
        ["most frequent answer · 最常见答案占比", f"{facts['template_share']:.1%}"],
        ["chosen is longer · chosen 更长的占比", "—" if longer is None else f"{longer:.1%}"],
        ["summary rows, never trained on · 仅摘要不参与训练", str(facts["summaries"])],
    ]
    return markdown_table(["what / 项目", "value / 值"], rows)


def _checks(report: lint.Report) -> str:
    rows = []
    for check in lint.CHECKS:
        ids = list(dict.fromkeys(hit.id for hit in report.hits[check.id]))
        shown = ", ".join(ids[:5]) or "—"
        rows.append([check.id, check.action, len(ids), f"{check.en} · {check.zh}", shown])
    return markdown_table(
        ["check / 检查", "action / 动作", "rows / 行数", "meaning / 含义", "examples / 示例"], rows
    )


def _coverage(made: Made) -> str:
    counts: Counter[tuple[str, str]] = Counter()
    for row in made.sft:
        text = next((t.content for t in reversed(row.messages or []) if t.role == "user"), "")
        counts[row.scenario or "—", language(text)] += 1
    rows = [
        [name, counts[name, "zh"], counts[name, "en"]]
        for name in sorted({name for name, _ in counts})
    ]
    return markdown_table(["scenario / 场景", "zh", "en"], rows)


def _waiting(made: Made) -> str:
    if not made.needs_human:
        return "None. · 无。"
    note = (
        "The right answer is not known. Add it as `meta.reference` and take the rows in again."
        "\n\n"
        "以下样本缺少参考答案。请补充 `meta.reference` 后重新入库。"
    )
    rows = [[f.id, f.label, f.source or "—"] for f in made.needs_human[:SHOWN]]
    table = markdown_table(["failure / 失败样本", "label / 标签", "source / 来源"], rows)
    rest = len(made.needs_human) - SHOWN
    return f"{note}\n\n{table}" + (f"\n\n… +{rest}" if rest > 0 else "")
