"""What a blocked verdict leaves behind: its failing cases for people, and what data is missing.

The cases are held out, so none of them may train: a person says in `errata review` whether a case
is right or wrong itself, and the next failures of its kind have to come from elsewhere. Which kind,
and how many there are of it already, is told here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from errata import jsonl
from errata.build.queue import Waiting
from errata.records import ATTACKS, Case, CaseResult, Failure, Label, Verdict
from errata.release.evidence import COLUMNS, Evidence
from errata.release.verdict import MISSED
from errata.report import shown
from errata.text import language, user_text
from errata.workspace import Workspace

_LABELS: dict[str, Label] = {
    "catalogue": "factuality", "tool": "tool_misuse", "agent": "tool_misuse",
    "smalltalk": "politeness",
}  # fmt: skip


class Lack(NamedTuple):
    """One kind of failing case: how many, and the failures of that kind there are to learn from."""

    metric: str
    label: Label
    language: str
    families: list[str]
    failing: int
    failures: int
    filtered: float | None  # hits that remain behind the output filter, where that was measured

    @property
    def advice(self) -> str:
        """What to do, in both languages."""
        families = ", ".join(self.families[:4])
        told = (
            f"{self.failing} cases of {families} ({self.language}); data/failures.jsonl has "
            f"{self.failures} of label {self.label} in that language: collect more of these kinds "
            "from production, tickets or red teaming, then intake, build, train"
        )
        told += f" / {families} 共 {self.failing} 条未通过；"
        told += f"现有 {self.failures} 条同类失败样本，需补充后重训"
        if self.filtered is not None:
            told += f". Behind the filter {shown(self.filtered, 'rate')} remain"
            told += ": `errata guard train` / 过滤后仍有该比例命中：重训过滤器"
        return told


def failing(verdict: Verdict, ours: Evidence) -> dict[str, list[CaseResult]]:
    """The bad cases of each hard line that was missed."""
    found: dict[str, list[CaseResult]] = {}
    for finding in verdict.findings:
        column = COLUMNS.get(finding.metric)
        if column and finding.strictness == "hard" and finding.status in MISSED:
            cases = ours.of(finding.metric).values()
            bad = [c for c in cases if c.category in column.categories and column.bad(c)]
            found[finding.metric] = bad
    return found


def _label(case: CaseResult) -> Label:
    return case.category if case.category in ATTACKS else _LABELS.get(case.category, "other")  # type: ignore[return-value]


def of(ws: Workspace, verdict: Verdict, ours: Evidence) -> list[Lack]:
    """What is missing, by metric, label and language; the most failing first."""
    have = Counter(_known(ws))
    out = []
    for metric, cases in failing(verdict, ours).items():
        kinds = Counter((_label(case), case.language) for case in cases)
        for (label, spoken), count in kinds.items():
            mine = [c for c in cases if (_label(c), c.language) == (label, spoken)]
            families = [name for name, _ in Counter(c.family for c in mine).most_common()]
            behind = ours.metrics.get(f"safety.attack_hit_rate_filtered.{label}")
            left = behind.value if behind else None
            out.append(Lack(metric, label, spoken, families, count, have[label, spoken], left))
    return sorted(out, key=lambda lack: (-lack.failing, lack.metric, lack.language))


def _known(ws: Workspace) -> Iterator[tuple[str, str]]:
    path = ws.data / "failures.jsonl"
    for failure in jsonl.read(path, Failure) if path.is_file() else ():
        yield failure.label, language(failure.prompt or failure.summary or "")


def to_review(
    ws: Workspace, verdict: Verdict, ours: Evidence, suites: Sequence[str]
) -> list[Waiting]:
    """The failing cases as questions to a person, each once."""
    files = [ws.path(name) for name in suites if ws.path(name).is_file()]
    asked = {case.id: case for path in files for case in jsonl.read(path, Case)}
    found = {}
    for metric, cases in failing(verdict, ours).items():
        for case in cases:
            known = asked.get(case.prompt_id)
            found[case.prompt_id] = Waiting(
                id=case.prompt_id, kind="case", label=_label(case),
                question=user_text(known.messages) if known else case.prompt_id,
                said=case.answer, proposal=(known.reference or "") if known else "",
                why=f"{metric}: {case.why}",
            )  # fmt: skip
    return list(found.values())
