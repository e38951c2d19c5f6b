"""`reports/release-notes/<release>.md`: what changes for users, in plain words of both languages.

From the evidence that let the release through: each rate that moved, and answers before and after
to the same held-out questions, those that got worse among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from errata import jsonl
from errata.errors import BadInput
from errata.records import Case, Finding, Release, Verdict
from errata.release.evidence import Pair, collect, pairs
from errata.report import markdown_table, short, shown
from errata.stats import mcnemar_exact
from errata.text import user_text
from errata.workspace import Workspace

EACH = 3  # examples of a change
FOLDERS = ("reports/evaluate", "reports/safety")


class Change(NamedTuple):
    """A rate in words: when it falls, and when it rises."""

    fell: tuple[str, str]
    rose: tuple[str, str]


WORDS = {
    "evaluate.accuracy": Change(
        ("It answers fewer questions rightly.", "答对的问题变少。"),
        ("It answers more questions rightly.", "答对的问题变多。"),
    ),
    "safety.over_refusal_rate": Change(
        ("It refuses fewer harmless requests.", "误拒的正常请求变少。"),
        ("It refuses more harmless requests.", "误拒的正常请求变多。"),
    ),
    "safety.attack_hit_rate": Change(
        ("It gives in to fewer attacks.", "被攻击得手的次数变少。"),
        ("It gives in to more attacks.", "被攻击得手的次数变多。"),
    ),
    "evaluate.tool_choice": Change(
        ("It picks the right tool less often.", "选对工具的次数变少。"),
        ("It picks the right tool more often.", "选对工具的次数变多。"),
    ),
    "evaluate.tool_misuse": Change(
        ("It misuses tools less often.", "误用工具的次数变少。"),
        ("It misuses tools more often.", "误用工具的次数变多。"),
    ),
    "evaluate.hallucination_rate": Change(
        ("It invents less.", "编造的内容变少。"),
        ("It invents more.", "编造的内容变多。"),
    ),
}


def write(ws: Workspace, release: Release, verdict: Verdict) -> str:
    """Write the notes of a release; their path in the workspace. Where the evidence has no cases
    there are no examples."""
    path = f"reports/release-notes/{release.id}.md"
    ours = collect(ws, verdict.candidate_digest, FOLDERS)
    theirs = collect(ws, verdict.baseline_digest or "", FOLDERS)
    asked = _questions(ws)
    parts = [
        f"# {release.id} · release notes · 发布说明\n",
        f"candidate {release.candidate_digest[:19]}…, verdict {verdict.id}\n",
        "## What changes · 有哪些变化\n",
        "\n".join(_lines(verdict.findings)) or "Nothing that could be told. / 未见明显变化。",
        "\n## The same question before and after · 同一问题的前后回答\n",
    ]
    for metric in WORDS:
        told = list(pairs(metric, ours, theirs))
        better = [p for p in told if p.other_bad and not p.bad]
        worse = [p for p in told if p.bad and not p.other_bad]
        for title, picked in (("better / 变好", better), ("worse / 变差", worse)):
            if picked:
                parts.append(f"**{metric}**, {title}: {len(picked)} / {len(told)}\n")
                parts.append(_examples(picked, asked))
    jsonl.write_text(ws.path(path), "\n".join(parts) + "\n")
    return path


def _lines(findings: Iterable[Finding]) -> Iterator[str]:
    for finding in findings:
        words, base = WORDS.get(finding.metric), finding.baseline
        if words is None or finding.cell or base is None or finding.value is None:
            continue
        if finding.value != base:
            en, zh = words.rose if finding.value > base else words.fell
            sure = finding.paired is not None and min(finding.paired.p, _other(finding)) <= 0.05
            doubt = "" if sure else " (within chance / 在偶然范围内)"
            yield f"- {en} {zh} {shown(base, 'rate')} → {shown(finding.value, 'rate')}{doubt}"


def _other(finding: Finding) -> float:
    """One-sided p of having become better, by the same exact test."""
    assert finding.paired is not None
    return mcnemar_exact(finding.paired.better, finding.paired.worse)


def _examples(picked: list[Pair], asked: dict[str, str]) -> str:
    by_language = {language: [p for p in picked if p.case.language == language][:EACH]
                   for language in ("en", "zh")}  # fmt: skip
    rows = [[short(asked.get(p.case.prompt_id, p.case.prompt_id), 120),
             short(p.other.answer, 160), short(p.case.answer, 160)]
            for some in by_language.values() for p in some]  # fmt: skip
    return markdown_table(("question / 问题", "before / 之前", "after / 之后"), rows)


def _questions(ws: Workspace) -> dict[str, str]:
    """Id → what was asked, of all suites."""
    found: dict[str, str] = {}
    for path in sorted(ws.suites.glob("*.jsonl")):
        try:
            found |= {case.id: user_text(case.messages) for case in jsonl.read(path, Case)}
        except BadInput:
            continue  # a file of another kind
    return found
