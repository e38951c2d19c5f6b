"""Ratings → rates with bounds, agreement between raters, and the page that says what they rest on.

A rated row stands for N / (rated of its stratum) cases: post-stratified, so that rows which nobody
could judge do not shrink their stratum. A row's value is the mean of its raters. A rate whose
raters agree too little, or were measured too little, is not published: None, and the page says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from errata import metrics, report
from errata.evaluate import agreement, weighted
from errata.evaluate.agreement import Alpha, Rater
from errata.evaluate.people import ratings
from errata.evaluate.people.ratings import Rating
from errata.evaluate.people.sample import Row, Sample, Side
from errata.records import Metric, Slice

POINTS = {"yes": 1.0, "no": 0.0, "ours": 1.0, "tie": 0.5, "theirs": 0.0}
METRICS = {"factuality": "human.factuality", "politeness": "human.politeness",
           "safety": "human.safety", "preference": "human.win_rate"}  # fmt: skip
Done = Mapping[tuple[str, str], Rating]


class Limits(NamedTuple):
    """See the config of `errata human`."""

    alpha_floor: float
    least_double: int
    coverage: float


class Found(NamedTuple):
    """One question: its metric (withheld where in doubt), the baseline's rate, agreement."""

    question: str
    metric: Metric | None
    theirs: Metric | None
    alpha: Alpha
    raters: list[Rater]
    doubts: list[str]


def told(done: Done, question: str, side: Side) -> dict[str, dict[str, str]]:
    """Row → rater → what was said; skips are left out."""
    out: dict[str, dict[str, str]] = {}
    for (row, rater), rating in done.items():
        marks = rating.marks.get(side, {})
        said = rating.preference if question == "preference" else marks.get(question)
        if said and said != "skip":
            out.setdefault(row, {})[rater] = said
    return out


def rate(name: str, sample: Sample, values: Mapping[str, float]) -> Metric:
    """The post-stratified share, one-sided 95 % bounds over clusters, and each stratum's own."""
    what, rated = metrics.spec(name), [row for row in sample.rows if row.id in values]
    in_stratum = Counter(row.stratum for row in rated)

    def part(rows: Sequence[Row], of: int) -> dict[str, float | int | None]:
        weights = [sample.strata[row.stratum] / in_stratum[row.stratum] for row in rows]
        clusters = [row.cluster for row in rows]
        found = weighted.mean([values[row.id] for row in rows], weights, clusters)
        return {**weighted.ends(found), "n": len(rows), "unscored": of - len(rows)}

    slices = []
    for stratum in sample.strata:
        kind, language = stratum.rsplit("/", 1)
        own = [row for row in rated if row.stratum == stratum]
        of = sum(row.stratum == stratum for row in sample.rows)
        slices.append(Slice(kind=kind, language=language, **part(own, of)))  # type: ignore[arg-type]
    whole = part(rated, len(sample.rows))
    return Metric(name=name, unit=what.unit, worse=what.worse, slices=slices, **whole)  # type: ignore[arg-type]


def covered(sample: Sample, rated: Mapping[str, object]) -> float:
    """The share of all cases that the rated rows stand for, as they were drawn."""
    return sum(row.weight for row in sample.rows if row.id in rated) / sum(
        row.weight for row in sample.rows
    )


def found(sample: Sample, done: Done, question: str, limits: Limits) -> Found:
    """One question, summed up."""
    sides: tuple[Side, ...] = ("ours",) if question == "preference" else ratings.sides(sample)
    by_side = {side: told(done, question, side) for side in sides}
    units = [by_rater for side in sides for by_rater in by_side[side].values()]
    alpha = agreement.alpha([list(unit.values()) for unit in units])
    name = METRICS.get(question)
    own = {side: _values(rows) for side, rows in by_side.items()} if name else {}
    doubts = _doubts(sample, own["ours"], alpha, limits) if name else []
    metric = rate(name, sample, own["ours"]) if name else None
    if metric and doubts:
        metric = metric.model_copy(update={"value": None, "low": None, "high": None, "slices": []})
    known = name is not None and "theirs" in own and not doubts
    theirs = rate(METRICS[question], sample, own["theirs"]) if known else None
    return Found(question, metric, theirs, alpha, agreement.raters(units), doubts)


def _values(rows: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
    return {
        row: fmean(POINTS[said] for said in by_rater.values()) for row, by_rater in rows.items()
    }


def _doubts(sample: Sample, values: Mapping[str, float], alpha: Alpha, limits: Limits) -> list[str]:
    out, share = [], covered(sample, values)
    if share < limits.coverage:
        out.append(
            f"rated rows stand for {share:.0%} of the cases, {limits.coverage:.0%} are needed / "
            f"已评样本只代表 {share:.0%} 的用例，需要 {limits.coverage:.0%}"
        )
    if alpha.doubles < limits.least_double:
        out.append(
            f"{alpha.doubles} answers have two raters or more, {limits.least_double} are needed / "
            f"只有 {alpha.doubles} 个回答有两人以上评分，需要 {limits.least_double}"
        )
    elif alpha.value is None:
        out.append(
            "all raters say the same of every answer: whether they looked cannot be told / "
            "所有评分都相同，无法判断是否认真评审"
        )
    elif alpha.value < limits.alpha_floor:
        out.append(
            f"raters agree too little: alpha {alpha.value:.2f}, {limits.alpha_floor:g} is needed / "
            f"评分者一致性不足：alpha {alpha.value:.2f}，需要 {limits.alpha_floor:g}"
        )
    return out


def render(sample: Sample, every: Sequence[Found], done: Done, fed: str) -> str:
    """The page below the metrics: agreement, raters, strata, the baseline, what is withheld."""
    parts = [_withheld(every), "## Agreement / 一致性\n"]
    parts.append(
        "Krippendorff's alpha (nominal) over answers with two raters or more; 1 is full agreement, "
        "0 is chance. / Krippendorff alpha（名义尺度），1 为完全一致，0 为随机。\n"
    )
    head = [
        "question / 问题",
        "rated twice or more / 多人评分",
        "same / 相同",
        "alpha",
        "95 % / 界",
    ]
    parts.append(report.markdown_table(head, [_alpha(one) for one in every]))
    parts += ["## Raters / 评分者\n", _raters(sample, every, done)]
    if sample.baseline:
        rows = [
            [one.question, report.shown(one.theirs.value, "rate"),
             report.bounds(one.theirs.low, one.theirs.high, "rate"), one.theirs.n]
            for one in every
            if one.theirs
        ]  # fmt: skip
        head = ["the baseline's / 基线", "value / 值", "95 % bounds / 界", "n"]
        parts += [report.markdown_table(head, rows)] if rows else []
    parts += ["## Sample / 抽样\n", _strata(sample, done)]
    return "\n".join([*parts, fed])


def _withheld(every: Sequence[Found]) -> str:
    lines = [f"- `{METRICS[one.question]}`: {why}" for one in every for why in one.doubts]
    return "\n".join(["", "## No decision / 无法裁决\n", *lines, ""]) if lines else ""


def _alpha(one: Found) -> list[str]:
    alpha = one.alpha
    value = "undefined / 无定义" if alpha.value is None else f"{alpha.value:.3f}"
    known = alpha.low is not None and alpha.high is not None
    reach = f"{alpha.low:.2f} – {alpha.high:.2f}" if known else "–"
    return [one.question, str(alpha.doubles), report.shown(alpha.same, "rate"), value, reach]


def _raters(sample: Sample, every: Sequence[Found], done: Done) -> str:
    rows, off = [], []
    for name in sample.raters:
        line = [name, sum(name in row.raters for row in sample.rows),
                sum(rater == name for _, rater in done)]  # fmt: skip
        for one in every:
            mine = next((rater for rater in one.raters if rater.name == name), None)
            line.append("–" if mine is None else f"{mine.same}/{mine.pairs}")
            if mine and mine.off and mine.others is not None:
                off.append(
                    f"- `{name}` is far off the others in {one.question}: agrees in {mine.same} of "
                    f"{mine.pairs}, they in {mine.others:.0%} / `{name}` 在 {one.question} 上与他人"
                    f"差异明显：{mine.pairs} 次中 {mine.same} 次一致，他人之间为 {mine.others:.0%}"
                )
        rows.append(line)
    head = ["rater / 评分者", "given / 分配", "rated / 已评", *(one.question for one in every)]
    return report.markdown_table(head, rows) + "\n".join(["", *off, ""])


def _strata(sample: Sample, done: Done) -> str:
    rated = {row for row, _ in done}
    rows = []
    for stratum, size in sample.strata.items():
        own = [row for row in sample.rows if row.stratum == stratum]
        weight = f"{own[0].weight:.1f}" if own else "–"
        rows.append([stratum, size, len(own), sum(row.id in rated for row in own), weight])
    head = ["stratum / 层", "cases / 用例", "drawn / 抽取", "rated / 已评", "stands for / 权重"]
    return report.markdown_table(head, rows)
