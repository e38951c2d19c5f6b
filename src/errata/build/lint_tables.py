"""What the data is like, as tables and plots: coverage, templates, lengths, mix, trend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from errata.build import lint, skeleton
from errata.build.made import Made
from errata.build.sft import answer_of
from errata.build.trend import Trend, trend
from errata.records import Failure, PreferencePair, SftExample
from errata.report import curves, markdown_table, short
from errata.safety import predicates
from errata.safety.refusal import is_refusal
from errata.text import language

TOP = 8
SHARED = 3  # a template of fewer rows may be one person's words, which no report keeps
PERIODS = 26  # the last ones are shown
NOTHING = "None. · 无。"


def answers(rows: Sequence[SftExample]) -> list[str]:
    """What each row teaches to say."""
    return [answer_of(row) for row in rows]


def asked(row: SftExample) -> str:
    """The last thing the user said."""
    turns = [turn.content for turn in row.messages or [] if turn.role == "user"]
    return turns[-1] if turns else f"{row.instruction or ''} {row.input}"


def by_label(pairs: Sequence[PreferencePair]) -> str:
    """Pairs by label and language, and how many distinct failures or cases they came of."""
    counts = Counter((lint.label(row), language(lint.plain(row.prompt))) for row in pairs)
    origins: dict[str, set[str]] = {}
    for row in pairs:
        origins.setdefault(lint.label(row), set()).update(row.made_from or [row.id])
    rows = [
        [name, counts[name, "zh"], counts[name, "en"], len(origins[name])]
        for name in sorted(origins)
    ]
    heads = ["label / 类别", "zh", "en", "distinct failures / 来源数"]
    return markdown_table(heads, rows) if rows else NOTHING


def by_scenario(rows: Sequence[SftExample]) -> str:
    """SFT rows by scenario: in which language, on which side of the boundary their answers are."""
    counts: Counter[tuple[str, str]] = Counter()
    for row, answer in zip(rows, answers(rows), strict=True):
        name = row.scenario or "—"
        counts.update([(name, language(asked(row))), (name, side(answer))])
    columns = ("zh", "en", "answers", "refuses", "calls")
    body = [
        [name, *(counts[name, column] for column in columns)]
        for name in sorted({name for name, _ in counts})
    ]
    heads = [
        "scenario / 场景",
        "zh",
        "en",
        "answers / 作答",
        "refuses / 拒答",
        "calls a tool / 调用",
    ]
    return markdown_table(heads, body) if body else NOTHING


def side(answer: str) -> str:
    """Whether an answer calls a tool, refuses, or answers."""
    if predicates.called(answer):
        return "calls"
    return "refuses" if is_refusal(answer) else "answers"


def templates(rows: Sequence[SftExample], pairs: Sequence[PreferencePair]) -> str:
    """The most frequent templates of what is taught, numbers and names masked."""
    parts = []
    for title, texts in (
        ("SFT answers · SFT 答案", answers(rows)),
        ("chosen answers · chosen 答案", [lint.plain(row.chosen) for row in pairs]),
    ):
        found = skeleton.templates(texts)
        body = [
            [short(item.skeleton, 90), item.rows, f"{item.rows / len(texts):.1%}"]
            for item in found[:TOP]
            if item.rows >= SHARED
        ]
        told = f"{title}: {len(texts)} rows, {len(found)} templates · {len(found)} 种模板"
        table = markdown_table(["template / 模板", "rows / 行数", "share / 占比"], body)
        parts.append(f"{told}\n\n{table}" if body else f"{title}: {NOTHING}")
    return "\n\n".join(parts)


def lengths(pairs: Sequence[PreferencePair]) -> str:
    """Quartiles of both sides, in characters."""
    if not pairs:
        return NOTHING
    body = []
    for name in ("chosen", "rejected"):
        sizes = [len(lint.plain(getattr(row, name))) for row in pairs]
        body.append([name, *(f"{size:.0f}" for size in np.percentile(sizes, [5, 25, 50, 75, 95]))])
    table = markdown_table(["characters / 字符", "5 %", "25 %", "50 %", "75 %", "95 %"], body)
    return f"{table}\n![lengths · 长度](data-lint-lengths.svg)"


def mix(made: Made) -> str:
    """What was asked of the failures, and what came."""
    if not made.mix:
        return "No mix is declared: all failures are taken. · 未声明配比：全部采用。" if (
            not made.unsampled) else (
            f"No mix is declared; {made.unsampled} failures were left out by `sample`. · "
            f"未声明配比；按 `sample` 未取 {made.unsampled} 条。")  # fmt: skip
    total = max(1, sum(line.got for line in made.mix if line.dimension == made.mix[0].dimension))
    body = [
        [line.dimension, line.value, line.asked, line.rows, line.there, line.got,
         f"{line.got / total:.1%}", _kept(line.asked, line.rows, line.got)]
        for line in made.mix
    ]  # fmt: skip
    heads = ["by / 维度", "value / 取值", "asked / 要求", "rows / 行数", "there / 现有"]
    heads += ["got / 实得", "share / 占比", ""]
    return markdown_table(heads, body)


def _kept(asked: str, rows: int | None, got: int) -> str:
    short_ = rows is not None and not asked.startswith("≤") and got < rows
    return "⚠ too few / 不足" if short_ else "✓"


def by_time(failures: Sequence[Failure]) -> str:
    """Failures by week or month and label; those without a time are counted."""
    found = trend(failures)
    last = found.periods[-PERIODS:]
    labels = [name for name in found.labels if any(found.counts.get((p, name)) for p in last)]
    body = [
        [period, *(found.counts.get((period, name), 0) for name in labels),
         sum(found.counts.get((period, name), 0) for name in labels)]
        for period in last
    ]  # fmt: skip
    table = markdown_table(["period / 时段", *labels, "all / 合计"], body) if body else NOTHING
    plot = "\n![trend · 趋势](data-lint-trend.svg)" if body else ""
    earlier = len(found.periods) - len(last)
    cut = f"\n… {earlier} earlier periods · 更早 {earlier} 个时段\n" if earlier else ""
    return f"{table}{cut}{_untimed(found)}{plot}"


def _untimed(found: Trend) -> str:
    told = ""
    if found.missing:
        told += f"\n{found.missing} failures have no `ts` · {found.missing} 条缺少时间\n"
    if found.unreadable:
        told += (f"\n{found.unreadable} have a `ts` that is no ISO 8601 time · "
                 f"{found.unreadable} 条时间无法识别\n")  # fmt: skip
    return told


def plots(pairs: Sequence[PreferencePair], failures: Sequence[Failure], report: Path) -> list[Path]:
    """Lengths of both sides, and failures by time; SVG files beside the report."""
    out = []
    if pairs:
        path = report.with_name("data-lint-lengths.svg")
        panels = {"share of answers · 答案占比": _densities(pairs)}
        out.append(curves(path, panels, "Length of answers · 答案长度", "characters"))
    found = trend(failures)
    if found.periods:
        last = found.periods[-PERIODS:]
        series = {
            name: [(float(at), float(found.counts.get((period, name), 0)))
                   for at, period in enumerate(last)]
            for name in found.labels
        }  # fmt: skip
        path = report.with_name("data-lint-trend.svg")
        title = f"Failures by label, {last[0]} – {last[-1]}"
        out.append(curves(path, {"failures · 失败样本": series}, title, "period"))
    return out


def _densities(pairs: Sequence[PreferencePair]) -> dict[str, list[tuple[float, float]]]:
    """Shares of answers in 30 equal bins up to the 99th percentile of both sides."""
    sides = {
        name: np.array([len(lint.plain(getattr(row, name))) for row in pairs], float)
        for name in ("chosen", "rejected")
    }
    top = max(1.0, float(np.percentile(np.concatenate(list(sides.values())), 99)))
    out = {}
    for name, sizes in sides.items():
        counts, edges = np.histogram(np.minimum(sizes, top), bins=30, range=(0, top))
        middle = (edges[:-1] + edges[1:]) / 2
        out[name] = [(float(x), float(y)) for x, y in zip(middle, counts / len(sizes), strict=True)]
    return out
