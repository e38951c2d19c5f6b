"""The candidate against its reference on the same prompts: improvements with their intervals, never
the point alone.

Each rate of the evaluation is compared by its cases: the difference with a two-sided 95 % cluster
bootstrap, how many clusters turned each way, and the exact paired test of either direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from errata import stats
from errata.evaluate.preference import Preferred
from errata.evaluate.winrate import WinRate
from errata.language import say
from errata.records import CaseResult
from errata.release.evidence import COLUMNS, of_cases, pairs
from errata.report import markdown_table, shown


class Change(NamedTuple):
    """One rate of good cases, ours and theirs; `gain` is ours minus theirs."""

    metric: str
    ours: float
    theirs: float
    gain: stats.Difference
    better: int
    worse: int
    p: float

    @property
    def verdict(self) -> tuple[str, str]:
        """What the interval allows to say."""
        if self.gain.low > 0:
            return "better", "提升"
        if self.gain.high < 0:
            return "worse", "退化"
        return "no difference shown", "未见差异"


def changes(
    ours: Sequence[CaseResult], theirs: Sequence[CaseResult], seed: int = 0
) -> list[Change]:
    """Every comparable rate of `errata evaluate` that both sides have cases of."""
    mine, other = of_cases("ours", evaluate=ours), of_cases("theirs", evaluate=theirs)
    out = []
    for name in COLUMNS:
        joined = list(pairs(name, mine, other))
        if not joined:
            continue
        a, b = [1.0 - p.bad for p in joined], [1.0 - p.other_bad for p in joined]
        clusters = [p.case.cluster for p in joined]
        better, worse, _ = stats.turned(a, b, clusters)
        gain = stats.paired_bootstrap(a, b, clusters, seed=seed)
        # Two-sided: twice the smaller of the two one-sided tests.
        ways = stats.mcnemar_exact(worse, better), stats.mcnemar_exact(better, worse)
        p = min(1.0, 2 * min(ways))
        out.append(Change(name, sum(a) / len(a), sum(b) / len(b), gain, better, worse, p))
    return out


def page(
    baseline: str, found: Sequence[Change], won: WinRate | None, preferred: Preferred | None
) -> str:
    """The section of the evaluation's page."""
    rows = [
        [c.metric, shown(c.ours, "rate"), shown(c.theirs, "rate"),
         f"{c.gain.value:+.1%} [{c.gain.low:+.1%}, {c.gain.high:+.1%}]", c.better, c.worse,
         f"{c.p:.2g}", say(*c.verdict)]
        for c in found
    ]  # fmt: skip
    heads = ("good share / 正确占比", "candidate / 候选", "reference / 参考",
             "gain, 95 % / 提升（95% 区间）", "clusters better / 变好", "worse / 变差", "p",
             "so / 结论")  # fmt: skip
    title = f"\n## Against the reference / 相对参考模型: {baseline}\n\n"
    lines = [title, markdown_table(heads, rows) if rows else ""]
    if won:
        rate = say("win rate, ties one half", "胜率（平局计一半）")
        lines.append(f"\n{rate}: {won.told()}\n")
    if preferred:
        value = shown(preferred.metric.value, "rate")
        lines.append(f"\n{say('preference score', '偏好得分')}: {value}; {preferred.told}\n")
    return "".join(lines)
