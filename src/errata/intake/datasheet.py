"""`reports/datasheet.md`: where the failures came from, written from the rows themselves.

What is not known is said to be missing; nothing is made up, and no clock is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from errata import jsonl
from errata.intake.redact import Policy
from errata.records import Failure
from errata.report import markdown_table
from errata.text import language
from errata.workspace import Workspace


def spoken(failure: Failure) -> str:
    """The language a failure was written in; a summary row keeps it in its tags."""
    if failure.prompt:
        return language(failure.prompt)
    return next((tag for tag in failure.tags if tag in ("zh", "en")), "unknown")


@dataclass
class Tally:
    """What the sheet says of all failures, counted in one pass."""

    rows: int = 0
    first: str = ""
    last: str = ""
    no_time: int = 0
    summaries: int = 0
    references: int = 0
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    sources: dict[str | None, list[Any]] = field(default_factory=dict)  # rows, first, last
    policies: Counter[str] = field(default_factory=Counter)
    spans: Counter[str] = field(default_factory=Counter)

    def add(self, failure: Failure) -> None:
        """One more."""
        self.rows += 1
        self.no_time += failure.ts is None
        self.summaries += failure.retention == "summary"
        self.references += "reference" in failure.meta
        self.labels[failure.label, spoken(failure)] += 1
        source = self.sources.setdefault(failure.source, [0, "", ""])
        source[0] += 1
        if ts := failure.ts:
            self.first, self.last = min(self.first or ts, ts), max(self.last, ts)
            source[1], source[2] = min(source[1] or ts, ts), max(source[2], ts)
        self.policies[failure.redaction.policy if failure.redaction else "none ⚠"] += 1
        self.spans.update(failure.redaction.counts if failure.redaction else {})


def render(
    found: Tally, policy: Policy, quarantined: Mapping[str, int], more: Sequence[str] = ()
) -> str:
    """The datasheet of everything in `data/failures.jsonl`; `more`: what was made of it."""
    span = f"{found.first} – {found.last}" if found.first else "unknown / 未知"
    missing_source = found.sources[None][0] if None in found.sources else 0
    facts: list[list[Any]] = [
        ["failures / 失败样本", found.rows],
        ["time span / 时间范围", span],
        ["rows without ts / 缺时间", _flag(found.no_time)],
        ["rows without source / 缺来源", _flag(missing_source)],
        ["summary only / 仅保留摘要", found.summaries],
        ["with an ideal answer / 有参考答案", found.references],
        ["quarantined rows / 隔离行", sum(quarantined.values())],
    ]
    parts = [
        "# Datasheet · 数据卡片",
        "What was taken in, from where, and what was removed from it. "
        "Written by `errata intake`, and by `errata build` with what was made of it.\n\n"
        "收集了什么、来自哪里、去掉了什么、据此生成了什么。"
        "由 `errata intake` 与 `errata build` 生成。",
        markdown_table(["what / 项目", "value / 值"], facts),
        "## Labels and languages · 标签与语言",
        _labels(found),
        "## Sources · 来源",
        _sources(found),
        "## Redaction · 脱敏",
        _redaction(found, policy),
    ]
    if quarantined:
        rows = [[name, count] for name, count in sorted(quarantined.items())]
        parts += ["## Quarantine · 隔离区", markdown_table(["file / 文件", "rows / 行数"], rows)]
    return "\n\n".join(part.strip() for part in [*parts, *more]) + "\n"


def quarantined(ws: Workspace) -> dict[str, int]:
    """File of the quarantine → rows."""
    folder = ws.state / "quarantine"
    return {path.name: sum(1 for _ in jsonl.lines(path)) for path in sorted(folder.glob("*.jsonl"))}


def _flag(count: int) -> str:
    return f"{count} ⚠ missing, not invented / 缺失，未编造" if count else "0"


def _labels(found: Tally) -> str:
    alone: Counter[str] = Counter()
    for (label, _), count in found.labels.items():
        alone[label] += count
    there = {name for _, name in found.labels}
    languages = [name for name in ("zh", "en", "unknown") if name in there]
    rows = [
        [label, *(found.labels[label, name] for name in languages), alone[label]]
        for label in sorted(alone)
    ]
    return markdown_table(["label / 标签", *languages, "all / 合计"], rows)


def _sources(found: Tally) -> str:
    rows = []
    for source in sorted(found.sources, key=lambda s: (s is None, s or "")):
        count, first, last = found.sources[source]
        span = f"{first} – {last}" if first else "—"
        rows.append([source or "missing / 缺失 ⚠", count, span])
    return markdown_table(["source / 来源", "rows / 行数", "time span / 时间范围"], rows)


def _redaction(found: Tally, policy: Policy) -> str:
    counts, policies = found.spans, found.policies
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
            "Names and addresses are found in Chinese where a word announces them; others need "
            "`ner`. · 中文姓名与住址在有提示词时识别，其余需配置 `ner`。",
        ]
    )
