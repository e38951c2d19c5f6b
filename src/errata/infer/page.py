"""The report of a benchmark: what was compared, tables, charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from errata import report
from errata.infer.load import Level
from errata.infer.quality import Quality, rate
from errata.infer.timing import LEAST, Percentile, Summary
from errata.language import say


class Measured(NamedTuple):
    """All that was measured of one variant."""

    label: str
    levels: Mapping[Level, Summary]
    quality: Quality
    size: int | None
    peak_gib: float | None
    cpu_per_1k: float | None
    price_per_1k: float


def _ms(found: Percentile) -> str:
    """`12.3 (11.0 – 14.2)`; `≥` where the sample has no upper end."""
    if found.value is None:
        return "–"
    low = "" if found.low is None else f"{found.low:.3g}"
    high = "∞" if found.high is None else f"{found.high:.3g}"
    return f"{found.value:.3g} ({low} – {high})"


def _number(value: float | None, form: str = ".3g") -> str:
    return "–" if value is None else format(value, form)


def _share(flags: Sequence[bool | None]) -> str:
    value, low, high, n = rate(flags)
    if value is None:
        return "–"
    return f"{value:.1%} ({low:.1%} – {high:.1%}, n {n})"


def overview(found: Sequence[Measured], busiest: Level) -> str:
    """One row a variant: what it costs and what it is worth."""
    first = found[0]
    heads = [say("variant", "变体"), say("size MiB", "大小 MiB"), say("peak GiB", "峰值 GiB"),
             "tokens/s", say("CPU-s per 1k tokens", "CPU 秒/千 token"),
             say("cost per 1k tokens", "每千 token 成本"), say("accuracy", "正确率"),
             say("against the first", "相对首个"), say("attack hits", "攻击命中"),
             say("KL, nats", "KL（nat）"), say("same top token", "首选一致")]  # fmt: skip
    rows = [
        [
            one.label,
            _number(None if one.size is None else one.size / 2**20),
            _number(one.peak_gib),
            _number(one.levels[busiest].tokens_per_s if busiest in one.levels else None, ".4g"),
            _number(one.cpu_per_1k),
            _number(one.price_per_1k if one.levels else None),
            _share(one.quality.right),
            _delta(first.quality, one.quality),
            _share(one.quality.hits),
            _number(one.quality.kl, ".2e"),
            "–" if one.quality.same_top is None else f"{one.quality.same_top:.1%}",
        ]
        for one in found
    ]
    return report.markdown_table(heads, rows)


def _delta(first: Quality, one: Quality) -> str:
    """Points of accuracy, and how many cases changed each way."""
    pairs = [(a, b) for a, b in zip(first.right, one.right, strict=True)
             if a is not None and b is not None]  # fmt: skip
    if not pairs:
        return "–"
    worse = sum(a and not b for a, b in pairs)
    better = sum(b and not a for a, b in pairs)
    return f"{(better - worse) / len(pairs):+.1%} (+{better} −{worse})"


def latencies(found: Sequence[Measured]) -> str:
    """One row a variant and level."""
    heads = [say("load", "负载"), say("variant", "变体"), "n", say("failed", "失败"),
             say("offered/s", "应发/秒"), say("achieved/s", "实际/秒"), "tokens/s",
             "TTFT P50", "TTFT P95", "TPOT P50", "ITL P95", *(f"P{q}" for q in LEAST)]  # fmt: skip
    levels = list(dict.fromkeys(level for one in found for level in one.levels))
    rows = []
    for level in levels:
        for one in found:
            if s := one.levels.get(level):
                rows.append([
                    level.name, one.label, s.n, s.failed, _number(s.offered),
                    _number(s.achieved), _number(s.tokens_per_s), _ms(s.ttft[50]), _ms(s.ttft[95]),
                    _ms(s.tpot[50]), _ms(s.itl[95]), *(_ms(s.latency[q]) for q in LEAST),
                ])  # fmt: skip
    return report.markdown_table(heads, rows)


def draw(path: Path, found: Sequence[Measured]) -> Path:
    """Latency and time to the first token over the load, a curve a variant."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for one in found:
        for level, s in sorted(one.levels.items(), key=lambda pair: pair[1].achieved):
            kind = say("closed loop", "闭环") if level.at_once else say("open loop", "开环")
            for name, value in (("P50", s.latency[50].value), ("P95", s.latency[95].value),
                                ("TTFT P50", s.ttft[50].value)):  # fmt: skip
                if value is not None:
                    panel = panels.setdefault(f"{name}, ms · {kind}", {})
                    panel.setdefault(one.label, []).append((s.achieved, value))
    x = say("requests answered a second", "每秒完成的请求")
    return report.curves(path, panels, "errata bench", xlabel=x)


def notes(facts: Mapping[str, Any]) -> str:
    """What the numbers are of, and how to read them."""
    return say(
        f"Measured on {facts['machine']}, in {facts['rounds']} rounds of time blocks in which the "
        "variants took turns. Latencies in ms from when a request was due, with 95 % intervals by "
        "order statistics; a P99 needs 1,000 requests (requests=1000). Open loops are Poisson, at "
        "shares of what the first variant answered at most. Cost is price_per_hour over tokens/s "
        "at the busiest closed loop.",
        f"测于 {facts['machine']}，分 {facts['rounds']} 轮时间块，各变体轮流进行。延迟单位为毫秒，"
        "自请求应发时刻起计，区间为次序统计的 95 %；P99 需至少 1,000 个请求（requests=1000）。"
        "开环为泊松到达，速率取首个变体最大完成速率的若干比例。成本为 price_per_hour 除以最高"
        "并发下的 tokens/s。")  # fmt: skip
