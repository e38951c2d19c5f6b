"""`reports/datasheet.md`: where the failures came from, written from the rows themselves.

What is not known is said to be missing; nothing is made up, and no clock is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from errata.intake.redact import Policy
from errata.records import Failure
from errata.report import markdown_table
from errata.text import language


def spoken(failure: Failure) -> str:
    """The language a failure was written in; a summary row keeps it in its tags."""
    if failure.prompt:
        return language(failure.prompt)
    return next((tag for tag in failure.tags if tag in ("zh", "en")), "unknown")


def render(failures: Sequence[Failure], policy: Policy, quarantined: Mapping[str, int]) -> str:
    """The datasheet of everything in `data/failures.jsonl`."""
    times = sorted(f.ts for f in failures if f.ts)
    span = f"{times[0]} – {times[-1]}" if times else "unknown / 未知"
    missing_ts = sum(f.ts is None for f in failures)
    missing_source = sum(f.source is None for f in failures)
    facts: list[list[Any]] = [
        ["failures / 失败样本", len(failures)],
        ["time span / 时间范围", span],
        ["rows without ts / 缺时间", _flag(missing_ts)],
        ["rows without source / 缺来源", _flag(missing_source)],
        ["summary only / 仅保留摘要", sum(f.retention == "summary" for f in failures)],
        ["with an ideal answer / 有参考答案", sum("reference" in f.meta for f in failures)],
        ["quarantined rows / 隔离行", sum(quarantined.values())],
    ]
    parts = [
        "# Datasheet · 数据卡片",
        "What was taken in, from where, and what was removed from it. "
        "Written by `errata intake`.\n\n"
        "收集了什么、来自哪里、去掉了什么。由 `errata intake` 生成。",
        markdown_table(["what / 项目", "value / 值"], facts),
        "## Labels and languages · 标签与语言",
        _labels(failures),
        "## Sources · 来源",
        _sources(failures),
        "## Redaction · 脱敏",
        _redaction(failures, policy),
    ]
    if quarantined:
        rows = [[name, count] for name, count in sorted(quarantined.items())]
        parts += ["## Quarantine · 隔离区", markdown_table(["file / 文件", "rows / 行数"], rows)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _flag(count: int) -> str:
    return f"{count} ⚠ missing, not invented / 缺失，未编造" if count else "0"


def _labels(failures: Sequence[Failure]) -> str:
    counts = Counter((f.label, spoken(f)) for f in failures)
    alone = Counter(f.label for f in failures)
    languages = [name for name in ("zh", "en", "unknown") if any(k[1] == name for k in counts)]
    rows = [
        [label, *(counts[label, name] for name in languages), alone[label]]
        for label in sorted(alone)
    ]
    return markdown_table(["label / 标签", *languages, "all / 合计"], rows)


def _sources(failures: Sequence[Failure]) -> str:
    rows = []
    for source in sorted({f.source for f in failures}, key=lambda s: (s is None, s or "")):
        mine = [f for f in failures if f.source == source]
        times = sorted(f.ts for f in mine if f.ts)
        span = f"{times[0]} – {times[-1]}" if times else "—"
        rows.append([source or "missing / 缺失 ⚠", len(mine), span])
    return markdown_table(["source / 来源", "rows / 行数", "time span / 时间范围"], rows)


def _redaction(failures: Sequence[Failure], policy: Policy) -> str:
    counts: Counter[str] = Counter()
    policies: Counter[str] = Counter()
    for failure in failures:
        policies[failure.redaction.policy if failure.redaction else "none ⚠"] += 1
        counts.update(failure.redaction.counts if failure.redaction else {})
    rows = [[rule, count] for rule, count in sorted(counts.items())]
    kept = ", ".join(f"{k}: {v}" for k, v in sorted(policy.retention.items())) or "all: full"
    seen = [
        [name + (" (current / 当前)" if name == policy.hash else ""), count]
        for name, count in sorted(policies.items())
    ]
    table = markdown_table(["rule / 规则", "spans / 处数"], rows) if rows else "—"
    return "\n\n".join(
        [
            markdown_table(["policy / 策略", "rows / 行数"], seen),
            f"Retention · 保留策略: {kept}",
            table,
            "Names and street addresses are not looked for yet. · 尚不识别姓名与住址。",
        ]
    )
