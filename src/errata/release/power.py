"""Before a run: what the suites as they are can see, line by line of configs/gate.yaml.

For a limit: how many of n cases may be bad for the upper bound to stay within it, and from which
true rate on a candidate still passes four times in five. For the comparison with the baseline: the
smallest share of clusters turned worse that the paired test finds four times in five. A suite that
cannot see what its rule forbids says so here and not after the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from errata import jsonl
from errata.errors import BadInput
from errata.language import say
from errata.metrics import LEVEL, spec
from errata.outcome import Outcome
from errata.records import Case
from errata.release.evidence import COLUMNS
from errata.release.rules import Line
from errata.report import markdown_table, shown
from errata.sizing import most_hits, smallest_regression
from errata.workspace import Workspace

POWER = 0.8
CHURN = 0.02  # clusters that turn by chance between two models alike, half of them each way


class Sight(NamedTuple):
    """What one line sees: how many may be bad, the true rate that passes, the regression."""

    metric: str
    strictness: str
    n: int
    clusters: int
    min_n: int
    limit: float | None
    most: int | None
    passes: float | None
    sees: float | None

    @property
    def enough(self) -> bool:
        """Whether this suite can give a decision at all, and a clean candidate pass."""
        return self.n >= self.min_n and (self.limit is None or self.most is not None)


def sights(ruled: Sequence[Line], cases: Sequence[Case], alpha: float) -> list[Sight]:
    """One for each rule on a rate that is made of cases."""
    out = []
    for strictness, rule in ruled:
        column = COLUMNS.get(rule.metric)
        if column is None or spec(rule.metric).unit != "rate":
            continue  # at a count of 0 there is nothing to see
        mine = [case for case in cases if case.category in column.categories]
        clusters = len({case.cluster for case in mine})
        bad = _as_bad(rule.metric, rule.limit)
        most = None if bad is None else most_hits(clusters, bad, LEVEL)
        sees = smallest_regression(clusters, CHURN, alpha, POWER)
        passes = None if most is None else _passes(clusters, most)
        out.append(Sight(rule.metric, strictness, len(mine), clusters, rule.min_n, bad,
                         most, passes, sees))  # fmt: skip
    return out


def _as_bad(metric: str, limit: float | None) -> float | None:
    """A limit on what is good as one on what is bad."""
    if limit is None:
        return None
    return 1 - limit if spec(metric).worse == "lower" else limit


def _passes(n: int, most: int) -> float:
    """The true rate at which at most so many of n are bad with the wanted chance: an 80 % bound."""
    from scipy.special import betaincinv

    return 1.0 if most >= n else float(betaincinv(most + 1, n - most, 1 - POWER))


def outcome(ws: Workspace, ruled: Sequence[Line], suites: Sequence[str], alpha: float) -> Outcome:
    """The table; exit 4 where a hard line can give no decision with these suites."""
    missing = [name for name in suites if not ws.path(name).is_file()]
    if missing:
        raise BadInput(f"gate: suites: no {', '.join(missing)}; correct `suites` in gate.yaml")
    cases = [case for name in suites for case in jsonl.read(ws.path(name), Case)
             if case.split == "heldout"]  # fmt: skip
    found = sights(ruled, cases, alpha)
    heads = [
        say("metric", "指标"), say("kind", "类型"), say("cases", "用例"), say("clusters", "簇"),
        say("limit (bad)", "阈值（坏）"), say("bad clusters allowed", "允许的坏簇"),
        say("passes 4 in 5 below", "真实率低于此 80% 通过"),
        say("sees a regression of", "可见的最小退化"),
    ]  # fmt: skip
    rows = [
        [s.metric, s.strictness, s.n, s.clusters, shown(s.limit, "rate") if s.limit is not None
         else "–", "–" if s.most is None else s.most, "–" if s.passes is None
         else shown(s.passes, "rate"), "–" if s.sees is None else shown(s.sees, "rate")]
        for s in found
    ]  # fmt: skip
    blind = [s.metric for s in found if s.strictness == "hard" and not s.enough]
    text = markdown_table(heads, rows)
    if blind:
        text += say(f"No decision is possible with these suites: {', '.join(blind)}. Add cases.",
                    f"用例不足，无法裁决：{', '.join(blind)}。请补充用例。")  # fmt: skip
    else:
        text += say("next: `errata evaluate`, `errata safety`, `errata bench`, `errata gate`",
                    "下一步：`errata evaluate`、`safety`、`bench`、`gate`")  # fmt: skip
    return Outcome(4 if blind else 0, text, {"power": [s._asdict() for s in found], "blind": blind})
