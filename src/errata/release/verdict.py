"""From measured numbers to findings: pure, so that it can be tried on any numbers.

A finding gets worse in one direction only. Worsening a value, widening its interval, shrinking its
n below `min_n`, or taking it away never makes a finding pass that did not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

from errata.metrics import CATALOGUE, spec
from errata.records import Finding, Language, Metric, Paired, Slice
from errata.release.evidence import COLUMNS
from errata.release.rules import Rule, Strictness

Decision = Literal["pass", "blocked", "no_decision"]
MISSED = ("over_limit", "regressed")


class Seen(NamedTuple):
    """What is known for one rule: the candidate's metric, the baseline's, and the pairs."""

    metric: Metric | None
    baseline: Metric | None = None
    pairs: Paired | None = None
    asked: bool = False  # the stage that measures it did run, with or without a case for it
    other_suite: bool = False  # the baseline was asked another version of the suite
    previous: float | None = None  # what the last verdict that passed saw


def judge(rule: Rule, strictness: Strictness, seen: Seen, alpha: float) -> Finding:
    """One rule against what was seen."""
    status, note, bound = _limit(rule, seen)
    why = note
    if status == "pass" and seen.metric and seen.metric.value is not None:
        status, why, bound = _regression(rule, seen, alpha, bound)
    if status == "pass" and rule.max_change is not None:
        status, why, bound = _changed(rule, seen, bound)
    why = why or note
    metric = seen.metric
    return Finding(
        metric=rule.metric,
        strictness=strictness,
        status=status,
        value=metric.value if metric else None,
        bound=bound,
        limit=rule.limit,
        n=metric.n if metric else 0,
        why=f"{why} ({rule.why})" if why else rule.why,
        runbook=rule.runbook,
        low=metric.low if metric else None,
        high=metric.high if metric else None,
        baseline=seen.baseline.value if seen.baseline else None,
        paired=None if seen.other_suite else seen.pairs,
        previous=seen.previous,
    )


def judge_languages(rule: Rule, strictness: Strictness, seen: Seen) -> list[Finding]:
    """With `per_language`, the limit in each language: a good average can hide a bad one.

    A language without a slice is a finding as well, and no decision."""
    metric = seen.metric
    if not rule.per_language or metric is None:
        return []  # a metric that is not there is a finding of its own already
    cells = [cell for cell in metric.slices if cell.language]
    there = {cell.language for cell in cells}
    cells += [
        Slice(language=name, value=None, n=0) for name in get_args(Language) if name not in there
    ]
    per_cell = rule.model_copy(update={"min_n": rule.min_n_slice})
    findings = []
    for cell in cells:
        numbers = cell.model_dump(include={"value", "n", "low", "high", "unscored"})
        status, why, bound = _limit(
            per_cell, Seen(metric.model_copy(update={**numbers, "slices": []}))
        )
        findings.append(
            Finding(
                metric=rule.metric, strictness=strictness, status=status, value=cell.value,
                n=cell.n, bound=bound, limit=rule.limit, low=cell.low, high=cell.high,
                why=f"{why} ({rule.why})" if why else rule.why,
                runbook=rule.runbook, cell=_cell_name(cell, metric),
            )
        )  # fmt: skip
    return findings


def _cell_name(cell: Slice, metric: Metric) -> str:
    """The language, and the class where the metric's own name does not say it."""
    named = cell.kind is None or metric.name.endswith(f".{cell.kind}")
    return str(cell.language) if named else f"{cell.kind} {cell.language}"


Status = Literal["pass", "over_limit", "regressed", "no_decision", "waived"]
Step = tuple[Status, str, float | None]


def bad_end(metric: Metric) -> float | None:
    """The end of the interval that a rate is judged on; a count or a time is judged on itself."""
    if metric.unit != "rate":
        return metric.value
    return metric.low if metric.worse == "lower" else metric.high


def _limit(rule: Rule, seen: Seen) -> Step:
    metric = seen.metric
    if metric is None or metric.value is None:
        # `min_n: 0` says that having no case is fine: a first release has no fixed failures yet.
        none_there = metric is None or metric.n + metric.unscored == 0
        if rule.min_n == 0 and seen.asked and none_there:
            return "pass", "nothing to measure", None
    if metric is None:
        return "no_decision", "not measured", None
    if metric.value is None:
        return "no_decision", "no data", None
    if metric.n < rule.min_n:
        return "no_decision", f"n = {metric.n}, at least {rule.min_n} are needed", bad_end(metric)
    end = bad_end(metric)
    if end is None or not _possible(metric, end):
        return "no_decision", "a rate without its interval, or numbers that cannot be", end
    if rule.limit is None:
        return "pass", "", end
    lower = metric.worse == "lower"
    if end < rule.limit if lower else end > rule.limit:
        return "over_limit", f"{end:.4g} misses {rule.limit:g}", end
    worst = _were_they_bad(metric, end)
    if worst < rule.limit if lower else worst > rule.limit:
        told = f"{metric.unscored} could not be scored; were they bad, it would be {worst:.4g}"
        # A count may not be missed once; of a rate the audit says that they are to be labelled.
        status: Status = "no_decision" if metric.unit == "count" else "pass"
        return status, f"{told}, which misses {rule.limit:g}: label them", end
    return "pass", "", end


def _possible(metric: Metric, end: float) -> bool:
    """Whether the numbers are some: nothing is above NaN, and a bound on the wrong side of its
    value would let the value pass."""
    if not (math.isfinite(metric.value or 0.0) and math.isfinite(end) and metric.unscored >= 0):
        return False
    if metric.unit != "rate":
        return metric.unit != "count" or end >= 0
    worse = (end, metric.value) if metric.worse == "lower" else (metric.value, end)
    return 0 <= (worse[0] or 0.0) <= (worse[1] or 0.0) + 1e-9 <= 1 + 1e-9


def _were_they_bad(metric: Metric, end: float) -> float:
    """The bad end if every case that could not be scored were bad: an answer that nobody can read
    must not be a way around the limit."""
    if not metric.unscored or metric.unit not in ("rate", "count"):
        return end
    bad = 0.0 if metric.worse == "lower" else float(metric.unscored)
    return (
        end + bad
        if metric.unit == "count"
        else (end * metric.n + bad) / (metric.n + metric.unscored)
    )


def _regression(rule: Rule, seen: Seen, alpha: float, bound: float | None) -> Step:
    assert seen.metric is not None
    if seen.metric.unit == "count" and rule.limit == 0:
        return "pass", "", bound  # at zero there is nothing to be worse than
    compared = rule.metric in COLUMNS or rule.max_regression is not None
    if seen.other_suite and compared:
        why = "the baseline was asked another version of the suite; measure it again"
        return "no_decision", why, bound
    if rule.metric not in COLUMNS:
        return _by_value(rule, seen, bound)
    return _by_pairs(rule, seen, alpha, bound)


def _by_pairs(rule: Rule, seen: Seen, alpha: float, bound: float | None) -> Step:
    """The same prompts, asked of both."""
    assert seen.metric is not None
    pairs = seen.pairs
    if pairs is None or pairs.n < rule.min_n:
        count = pairs.n if pairs else 0
        return (
            "no_decision",
            f"{count} prompts in common with the baseline, {rule.min_n} are needed",
            bound,
        )
    flips = f"{pairs.worse} clusters worse, {pairs.better} better, p = {pairs.p:.3g}"
    allowed = rule.max_regression
    if seen.metric.worse == "either":
        if allowed is None:
            return "pass", "", bound
        if abs(pairs.diff) > allowed:
            return "regressed", f"moved by {pairs.diff:+.4f}, at most {allowed:g}", bound
        if max(pairs.high, -pairs.low) > allowed:
            return "no_decision", f"may have moved by more than {allowed:g}", bound
        return "pass", "", bound
    if pairs.p <= alpha:
        return "regressed", f"worse than the baseline: {flips}", bound
    if allowed is not None and pairs.high > allowed:
        text = f"may be worse by {pairs.high:.4f}, at most {allowed:g}; {flips}"
        return "no_decision", text, bound
    return "pass", "", bound


def _by_value(rule: Rule, seen: Seen, bound: float | None) -> Step:
    """Numbers without cases (latency, cost): the difference of the values."""
    if rule.max_regression is None:
        return "pass", "", bound
    if seen.baseline is None or seen.baseline.value is None:
        return "no_decision", "the baseline has no such number", bound
    assert seen.metric is not None
    assert seen.metric.value is not None
    change = seen.metric.value - seen.baseline.value
    worse = {"higher": change, "lower": -change, "either": abs(change)}[seen.metric.worse]
    if worse > rule.max_regression:
        return "regressed", f"worse by {worse:.4g}, at most {rule.max_regression:g}", bound
    return "pass", "", bound


def _changed(rule: Rule, seen: Seen, bound: float | None) -> Step:
    """Against the previous period: the share by which the value got worse since."""
    if not seen.previous or seen.metric is None or seen.metric.value is None:
        return "pass", "", bound  # a first verdict has nothing before it
    share = (seen.metric.value - seen.previous) / abs(seen.previous)
    worse = {"higher": share, "lower": -share, "either": abs(share)}[seen.metric.worse]
    if worse <= (rule.max_change or 0):
        return "pass", "", bound
    told = f"{share:+.0%} since the last verdict that passed ({seen.previous:.4g})"
    return "regressed", f"{told}, at most {rule.max_change:.0%}", bound


Covering = Callable[[str, float], tuple[str | None, str]]


def worst(findings: Sequence[Finding], metric: str) -> float | None:
    """The worst value among the hard lines of a metric that were missed or waived: what a waiver of
    it has to cover. None where no line was: then there is nothing to waive."""
    lines = [f for f in findings if f.metric == metric and f.strictness == "hard"]
    missed = [line for line in lines if line.status in (*MISSED, "waived")]
    values = [line.value for line in missed if line.value is not None]
    if not values:
        return None
    return min(values) if spec(metric).worse == "lower" else max(values)


def waive(findings: Sequence[Finding], covering: Covering) -> list[Finding]:
    """Missed hard lines that a waiver covers, as `waived`. `covering(metric, value)` names the
    waiver that counts, or says why those there are do not. What has no decision stays so: a waiver
    speaks of a number, and there is none."""
    out = []
    for finding in findings:
        if _waivable(finding):
            value = worst(findings, finding.metric)
            assert value is not None
            held, why = covering(finding.metric, value)
            told = f"waived by {held}" if held else why
            change: dict[str, str | None] = {"status": "waived", "waiver": held} if held else {}
            whole = f"{finding.why}; {told}" if told else finding.why
            finding = finding.model_copy(update={**change, "why": whole})
        out.append(finding)
    return out


def _waivable(finding: Finding) -> bool:
    missed = finding.strictness == "hard" and finding.status in MISSED
    return missed and finding.metric in CATALOGUE


def decide(findings: Sequence[Finding]) -> Decision:
    """Hard findings decide: blocked, then no decision, then pass. None at all: no decision."""
    hard = [finding.status for finding in findings if finding.strictness == "hard"]
    if any(status in MISSED for status in hard):
        return "blocked"
    if not hard or "no_decision" in hard:
        return "no_decision"
    return "pass"
