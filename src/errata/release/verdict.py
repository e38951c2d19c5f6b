"""From measured numbers to findings: pure, so that it can be tried on any numbers.

A finding gets worse in one direction only. Worsening a value, widening its interval, shrinking its
n below `min_n`, or taking it away never makes a finding pass that did not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from pydantic import Field

from errata.config import Section
from errata.records import Finding, Language, Metric, Slice
from errata.release.evidence import COLUMNS, Pairs

Strictness = Literal["hard", "soft"]
Decision = Literal["pass", "blocked", "no_decision"]


class Rule(Section):
    """One line of configs/gate.yaml."""

    metric: str = Field(description="a catalogued name or the chapter's bare one")
    limit: float | None = Field(
        default=None, description="the bad end of the interval may not pass it"
    )
    max_regression: float | None = Field(
        default=None,
        description="how much worse than the baseline the difference may be, at its bad end",
    )
    min_n: int = Field(description="fewer cases than this are no decision")
    per_language: bool = Field(
        default=False, description="the limit holds in each language too, not only over both"
    )
    min_n_slice: int = Field(
        default=20, ge=1, description="with per_language: cases a language needs to be judged"
    )
    why: str = Field(description="why this number matters")
    runbook: str | None = Field(default=None, description="what to do when it is missed")


class Seen(NamedTuple):
    """What is known for one rule: the candidate's metric, the baseline's, and the pairs."""

    metric: Metric | None
    baseline: Metric | None = None
    pairs: Pairs | None = None
    asked: bool = False  # the stage that measures it did run, with or without a case for it


def judge(rule: Rule, strictness: Strictness, seen: Seen, alpha: float) -> Finding:
    """One rule against what was seen."""
    status, why, bound = _limit(rule, seen)
    if status == "pass" and seen.metric and seen.metric.value is not None:
        status, why, bound = _regression(rule, seen, alpha, bound)
    return Finding(
        metric=rule.metric,
        strictness=strictness,
        status=status,
        value=seen.metric.value if seen.metric else None,
        bound=bound,
        limit=rule.limit,
        n=seen.metric.n if seen.metric else 0,
        why=f"{why} ({rule.why})" if why else rule.why,
        runbook=rule.runbook,
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
                n=cell.n, bound=bound, limit=rule.limit,
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
    if end is None:
        return "no_decision", "a rate without its interval", None
    if rule.limit is None:
        return "pass", "", end
    over = end < rule.limit if metric.worse == "lower" else end > rule.limit
    return ("over_limit", f"{end:.4g} misses {rule.limit:g}", end) if over else ("pass", "", end)


def _regression(rule: Rule, seen: Seen, alpha: float, bound: float | None) -> Step:
    assert seen.metric is not None
    if seen.metric.unit == "count" and rule.limit == 0:
        return "pass", "", bound  # at zero there is nothing to be worse than
    if rule.metric not in COLUMNS:
        return _by_value(rule, seen, bound)
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


def decide(findings: Sequence[Finding]) -> Decision:
    """Hard findings decide: blocked, then no decision, then pass. None at all: no decision."""
    hard = [finding.status for finding in findings if finding.strictness == "hard"]
    if any(status in ("over_limit", "regressed") for status in hard):
        return "blocked"
    if not hard or "no_decision" in hard:
        return "no_decision"
    return "pass"
