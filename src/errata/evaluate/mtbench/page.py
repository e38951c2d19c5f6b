"""Grades and votes to metrics with bounds over questions, and the page that says what they rest on.

A number that may not be trusted is not published: its value is None, and the page says why. What
was measured of the judge stands there all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from errata import metrics, report
from errata.evaluate import agreement, weighted
from errata.evaluate.mtbench.questions import HIGHEST, LOWEST
from errata.evaluate.mtbench.votes import Bias, Trust
from errata.records import CaseResult, Language, Metric, Slice

GOOD = 7.0  # a turn with this score or more is a hit in the cases, which are compared one by one


class Turn(NamedTuple):
    """One answer to one turn, and its score from 1 to 10; None: unscored."""

    question: str
    turn: int
    category: str
    language: Language
    answer: str
    score: float | None
    why: str

    @property
    def cells(self) -> list[tuple[str | None, Language | None]]:
        """The slices it belongs to: its turn, its language, its category."""
        return [(f"turn-{self.turn}", None), (None, self.language), (self.category, None)]


class Limits(NamedTuple):
    """When a judge's numbers are none: see the config of `errata mtbench`."""

    unscored: float
    inconsistent: float
    flips: float
    alpha: float


def results(turns: Sequence[Turn]) -> list[CaseResult]:
    """A case for each turn, so that two files can be compared pair by pair."""
    return [
        CaseResult(
            prompt_id=f"{one.question}/{one.turn}", category=one.category, language=one.language,
            family=f"turn-{one.turn}", cluster=one.question, answer=one.answer,
            hit=None if one.score is None else one.score >= GOOD,
            why=f"{report.shown(one.score)}; {one.why}" if one.score is not None else one.why,
        )
        for one in turns
    ]  # fmt: skip


def scores(turns: Sequence[Turn]) -> Metric:
    """`evaluate.mt_bench`: the mean score, n the turns that have one."""
    points = [None if t.score is None else (t.score - LOWEST) / (HIGHEST - LOWEST) for t in turns]
    return summed("evaluate.mt_bench", turns, points, LOWEST, HIGHEST)


def summed(
    name: str, turns: Sequence[Turn], points: Sequence[float | None], least: float, most: float
) -> Metric:
    """The mean of points between 0 and 1, told from `least` to `most`, bounds over questions."""
    what = metrics.spec(name)

    def part(places: Sequence[int]) -> dict[str, float | int | None]:
        told = [(turns[at].question, point) for at in places if (point := points[at]) is not None]
        ids, values = [id for id, _ in told], [point for _, point in told]
        found = weighted.mean(values, [1.0] * len(values), ids)
        reach = weighted.ends(found, least, most)
        return {**reach, "n": len(told), "unscored": len(places) - len(told)}

    each = [dict.fromkeys(column) for column in zip(*(turn.cells for turn in turns), strict=True)]
    slices = []
    for kind, language in (cell for column in each for cell in column):
        places = [at for at, turn in enumerate(turns) if (kind, language) in turn.cells]
        slices.append(Slice(kind=kind, language=language, **part(places)))  # type: ignore[arg-type]
    whole = part(range(len(turns)))
    return Metric(name=name, unit=what.unit, worse=what.worse, slices=slices, **whole)  # type: ignore[arg-type]


def withheld(metric: Metric, doubts: Sequence[str]) -> Metric:
    """The metric without its numbers, where there is a doubt."""
    if not doubts:
        return metric
    return metric.model_copy(update={"value": None, "low": None, "high": None, "slices": []})


def of_scores(turns: Sequence[Turn], limits: Limits, trust: Trust | None) -> list[str]:
    """Why scores that a judge gave are no ground to decide on, in both languages."""
    told = [turn.score for turn in turns if turn.score is not None]
    doubts = _unscored(len(turns) - len(told), len(turns), limits)
    if len(told) >= 10 and len(set(told)) == 1:
        doubts.append(f"the judge gave every answer the same score ({told[0]:g}) / "
                      f"评审给所有回答打了同一个分（{told[0]:g}）")  # fmt: skip
    return doubts + _untrusted(trust)


def of_votes(found: Bias, unread: int, limits: Limits, trust: Trust | None) -> list[str]:
    """Why wins that a judge told are no ground to decide on."""
    doubts = _unscored(unread, found.n + unread, limits)
    leans = found.p <= limits.alpha and found.share > limits.inconsistent
    if leans:
        where = ("first", "第一") if 2 * found.first > found.inconsistent else ("second", "第二")
        doubts.append(
            f"the judge prefers the {where[0]} place: {found.first} of {found.inconsistent} votes "
            f"that change with the order are for the first (p = {found.p:.2g}) / 评审偏向{where[1]}"
            f"个位置：随顺序改变的 {found.inconsistent} 票中有 {found.first} 票投给第一个"
        )
    if found.share > limits.flips:
        doubts.append(f"{found.share:.0%} of the votes change with the order, at most "
                      f"{limits.flips:.0%} may / {found.share:.0%} 的判定随顺序改变，上限 "
                      f"{limits.flips:.0%}")  # fmt: skip
    return doubts + _untrusted(trust)


def _unscored(unread: int, n: int, limits: Limits) -> list[str]:
    if n and unread <= limits.unscored * n:
        return []
    return [f"{unread} of {n} could not be read, at most {limits.unscored:.0%} may / "
            f"{n} 条中有 {unread} 条无法判读，上限 {limits.unscored:.0%}"]  # fmt: skip


def _untrusted(trust: Trust | None) -> list[str]:
    if trust is None or (trust.every.low is not None and trust.every.low > 0):
        return []
    bound = "none" if trust.every.low is None else f"{trust.every.low:.2f}"
    return [f"agreement with the labels may be no better than chance (lower bound of kappa: "
            f"{bound}, {trust.every.n} pairs) / 与标注的一致性可能不高于随机（kappa 下界 {bound}，"
            f"{trust.every.n} 对）"]  # fmt: skip


def judged(
    who: str, kinds: Sequence[tuple[str, int, int]], found: Bias | None,
    trusts: Sequence[tuple[str, Trust]],
) -> str:  # fmt: skip
    """What was measured of the judge; `kinds`: what it was asked, how often, how often unread."""
    parts = ["\n## Judge / 评审\n", who, ""]
    if kinds:
        head = ["asked / 判定", "n", "unread / 未判读"]
        parts.append(report.markdown_table(head, kinds))
    if found:
        share = f"{found.inconsistent} ({found.share:.0%})"
        row = [found.n, share, found.first, f"{found.p:.2g}"]
        head = ["pairs in both orders / 双序对", "inconsistent / 不一致",
                "of these for the first place / 其中投给第一位", "p"]  # fmt: skip
        parts.append(report.markdown_table(head, [row]))
    if trusts:
        rows = []
        for name, trust in trusts:
            rows.append(_kappa(f"{name}, with ties / 含平局", trust.every))
            rows.append(_kappa(f"{name}, without ties / 不含平局", trust.decided))
        head = ["against labels / 与标注对比", "n", "agree / 一致", "kappa"]
        parts.append(report.markdown_table(head, rows))
    elif kinds:
        parts.append("Its agreement with people was not measured here: `labels=FILE` does. / "
                     "此处未测评审与人的一致性：用 `labels=FILE` 测量。\n")  # fmt: skip
    return "\n".join(parts)


def _kappa(name: str, found: agreement.Kappa) -> list[str]:
    raw = report.shown(found.raw, "rate")
    reach = report.bounds(found.raw_low, found.raw_high, "rate")
    kappa = "–" if found.kappa is None else f"{found.kappa:.2f}"
    if found.low is not None and found.high is not None:
        kappa += f" [{found.low:.2f}, {found.high:.2f}]"
    return [name, str(found.n), f"{raw} [{reach}]", kappa]


def verdict(doubts: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Numbers that are withheld, and why."""
    lines = [f"- `{name}`: {why}" for name, reasons in doubts for why in reasons]
    if not lines:
        return ""
    return "\n## No decision / 无法裁决\n\n" + "\n".join(lines) + "\n"
