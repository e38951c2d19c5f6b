"""The gate's page: hard and soft lines with their intervals, the baseline, what flipped, the
waivers, what is missing, and the conclusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from errata.language import say
from errata.metrics import CATALOGUE
from errata.records import Finding, Verdict
from errata.release.evidence import Evidence, Pair, pairs
from errata.release.lacking import Lack
from errata.report import bounds, markdown_table, short, shown

WORDS = {
    "pass": ("PASS", "通过"),
    "blocked": ("BLOCKED", "阻断"),
    "no_decision": ("NO DECISION: not enough data", "无法裁决：数据不足"),
}
_STATUS = {
    "pass": "pass / 通过",
    "over_limit": "over limit / 超阈值",
    "regressed": "regressed / 退化",
    "no_decision": "no decision / 无法裁决",
    "waived": "waived / 已豁免",
}
SHOWN_FLIPS = 10


class Told(NamedTuple):
    """What a page tells."""

    verdict: Verdict
    flips: dict[str, list[Pair]]  # metric → the prompts that turned worse
    lacks: Sequence[Lack]


def flips(verdict: Verdict, ours: Evidence, theirs: Evidence) -> dict[str, list[Pair]]:
    """Per compared metric, the prompts that the baseline got right and the candidate does not."""
    found = {}
    for metric in dict.fromkeys(f.metric for f in verdict.findings if f.paired and f.paired.worse):
        found[metric] = [p for p in pairs(metric, ours, theirs) if p.bad and not p.other_bad]
    return found


def _unit(finding: Finding) -> str:
    spec = CATALOGUE.get(finding.metric)
    return spec.unit if spec else ""


def name(finding: Finding) -> str:
    """The metric, and the part of it that the line is about."""
    return f"{finding.metric} [{finding.cell}]" if finding.cell else finding.metric


def _against(finding: Finding) -> list[str]:
    """The baseline's value, and what flipped against it."""
    base = "–" if finding.baseline is None else shown(finding.baseline, _unit(finding))
    pair = finding.paired
    if pair is None:
        return [base, "–", "–"]
    turned = f"{pair.worse} worse, {pair.better} better of {pair.clusters}, p = {pair.p:.2g}"
    diff = f"{pair.diff:+.1%} [{pair.low:+.1%}, {pair.high:+.1%}]"
    seen = "–" if pair.sees is None else shown(pair.sees, "rate")
    return [base, f"{turned}; {diff}", seen]


def _rows(findings: Sequence[Finding]) -> list[list[str]]:
    rows = []
    for finding in findings:
        unit = _unit(finding)
        limit = "–" if finding.limit is None else shown(finding.limit, unit)
        value, reach = shown(finding.value, unit), bounds(finding.low, finding.high, unit)
        rows.append([name(finding), _STATUS[finding.status], value, reach, limit, str(finding.n),
                     *_against(finding), finding.why, finding.runbook or ""])  # fmt: skip
    return rows


_HEADS = ("metric / 指标", "status / 结论", "value / 值", "95 % bounds / 界", "limit / 阈值", "n",
          "baseline / 基线", "clusters flipped / 翻转的簇", "could see / 可见退化", "why / 原因",
          "runbook / 处置")  # fmt: skip


def conclusion(verdict: Verdict) -> str:
    """One paragraph in both languages: how it stands, why, and what to do."""
    hard = [f for f in verdict.findings if f.strictness == "hard"]
    missed = [name(f) for f in hard if f.status in ("over_limit", "regressed")]
    open_ = [name(f) for f in hard if f.status == "no_decision"]
    alerts = [name(f) for f in verdict.findings if f.strictness == "soft" and f.status != "pass"]
    en, zh = WORDS[verdict.decision]
    told = [f"**{en} · {zh}.**"]
    if missed:
        told.append(f"Hard lines missed / 未达标的硬指标: {', '.join(missed)}.")
    if open_:
        told.append(f"Without decision / 无法裁决: {', '.join(open_)}.")
    if verdict.waivers:
        told.append(
            f"Let through by / 由豁免放行: {', '.join(verdict.waivers)}, for at most "
            f"{verdict.max_percent} % of users / 至多 {verdict.max_percent} % 用户."
        )
    if alerts:
        told.append(f"Alerts / 告警: {', '.join(alerts)}.")
    told.append(_NEXT[verdict.decision])
    return " ".join(told)


_NEXT = {
    "pass": "Next / 下一步: `errata rollout start`.",
    "blocked": "Next / 下一步: the runbooks below; `errata review` has the failing cases; what "
    "serves stays / 按下表处置；未通过的用例在 `errata review`；线上版本不变.",
    "no_decision": "Next / 下一步: measure what is missing, then the gate again / 补测后重新裁决.",
}


def render(told: Told) -> str:
    """The page as Markdown."""
    verdict = told.verdict
    en, zh = WORDS[verdict.decision]
    parts = [
        f"# Gate · 发布门禁: {en} · {zh}\n",
        conclusion(verdict) + "\n",
        f"- verdict / 裁决: `{verdict.id}` {verdict.ts}\n"
        f"- candidate / 候选: `{verdict.candidate_digest}`\n"
        f"- baseline / 基线: `{verdict.baseline_digest}`\n"
        f"- rules / 规则: `{verdict.rules}`\n",
    ]
    for strictness, title in (("hard", "Hard: they block · 硬指标：阻断"),
                              ("soft", "Soft: they alert · 软指标：告警")):  # fmt: skip
        lines = [f for f in verdict.findings if f.strictness == strictness]
        parts.append(f"## {title}\n\n{markdown_table(_HEADS, _rows(lines)) if lines else '–'}")
    parts.append(_flipped(told))
    parts.append(_missing(told.lacks))
    evidence = "\n".join(f"- `{path}`" for path in verdict.evidence) or "–"
    parts.append(f"## Evidence · 证据\n\n{evidence}")
    return "\n".join(parts) + "\n"


def _flipped(told: Told) -> str:
    out = ["## Turned worse against the baseline · 相对基线变差的用例\n"]
    heads = ("case / 用例", "class / 类别", "family / 家族", "baseline said / 基线回答",
             "candidate says / 候选回答")  # fmt: skip
    for metric, turned in told.flips.items():
        rows = [[p.case.prompt_id, f"{p.case.category} {p.case.language}", p.case.family,
                 short(p.other.answer, 100), short(p.case.answer, 100)]
                for p in turned[:SHOWN_FLIPS]]  # fmt: skip
        more = len(turned) - len(rows)
        rest = f"\n… {more} more / 另有 {more} 条\n" if more > 0 else ""
        out.append(f"**{metric}**: {len(turned)}\n\n{markdown_table(heads, rows)}{rest}")
    return "\n".join(out) if told.flips else out[0] + "\nnone / 无\n"


def _missing(lacks: Sequence[Lack]) -> str:
    title = "## Missing data and filter · 缺少的数据与过滤器\n\n"
    if not lacks:
        return title + "nothing / 无\n"
    rows = [[lack.metric, f"{lack.label} {lack.language}", lack.failing, lack.advice]
            for lack in lacks]  # fmt: skip
    heads = ("metric / 指标", "label / 标签", "failing / 未通过", "what is missing / 缺什么")
    return title + markdown_table(heads, rows)


def text(told: Told, path: str) -> str:
    """For the terminal: the decision, and every line that is not a pass with what to do."""
    verdict = told.verdict
    lines = [say(*WORDS[verdict.decision]) + f"  {verdict.candidate_digest[:19]}…  {path}"]
    for finding in verdict.findings:
        if finding.status != "pass":
            waived = finding.status == "waived"
            mark = "~" if waived else "✗" if finding.strictness == "hard" else "!"
            status = say(*_STATUS[finding.status].split(" / "))
            lines.append(f"  {mark} {name(finding)}: {status}: {finding.why}")
            if finding.runbook and not waived:
                lines.append(f"      → {finding.runbook}")
    if verdict.waivers:
        lines.append(say(f"  at most {verdict.max_percent} % of users may get it",
                         f"  至多 {verdict.max_percent}% 用户可用"))  # fmt: skip
    if told.lacks:
        lines.append(say("  failing held-out cases wait in `errata review`; none of them may train",
                         "  未通过的留出用例在 `errata review`，不得用于训练"))  # fmt: skip
    if verdict.decision == "pass":
        lines.append(say("next: `errata rollout start`", "下一步：`errata rollout start`"))
    return "\n".join(lines)
