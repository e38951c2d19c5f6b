"""Where each promoted failure stands: open → in a version → fixed in a release → reopened.

    in a version   a dataset version has rows that were made of it
    fixed          a release's candidate answered all of its cases well
    reopened       a candidate that was measured later did not

What counts is the evidence in reports/: a release that nobody asked these cases fixed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa

from errata import jsonl, metrics
from errata.language import say
from errata.outcome import Outcome
from errata.records import ATTACKS, Case, CaseResult, Metric, MetricsFile
from errata.report import markdown_table
from errata.safety import scoring
from errata.store import database
from errata.workspace import Workspace

ORDER = ("reopened", "open", "in version", "fixed")
_WORDS = {"reopened": "复发", "open": "未处理", "in version": "已入数据版本", "fixed": "已修复"}


class State(NamedTuple):
    """`where`: the version, or the candidate's run, that made it so."""

    failure: str
    cases: int
    name: str
    where: str


class Asked(NamedTuple):
    """What one evaluation said of a failure's cases: whether any of them was bad."""

    run: str
    candidate: str
    bad: bool | None


def state(
    failure: str, cases: int, version: str, asked: Sequence[Asked], released: set[str]
) -> State:
    """From the evaluations in the order of time, and the digests that were ever released."""
    fixed = next((a for a in asked if a.bad is False and a.candidate in released), None)
    if fixed is None:
        return State(failure, cases, "in version" if version else "open", version)
    later = [a for a in asked[asked.index(fixed) :] if a.bad]
    return State(failure, cases, *(("reopened", later[-1].run) if later else ("fixed", fixed.run)))


def states(ws: Workspace, cases: Sequence[Case]) -> list[State]:
    """Of every promoted failure, the most urgent first."""
    mine: dict[str, set[str]] = {}
    for case in cases:
        if case.failure:
            mine.setdefault(case.failure, set()).add(case.id)
    if not mine:
        return []
    versions, released, asked = _versions(ws, set(mine)), _released(ws), _asked(ws, mine)
    found = [state(failure, len(ids), versions.get(failure, ""), asked[failure], released)
             for failure, ids in mine.items()]  # fmt: skip
    return sorted(found, key=lambda s: (ORDER.index(s.name), s.failure))


def _versions(ws: Workspace, failures: set[str]) -> dict[str, str]:
    """Failure → a dataset version with a row that was made of it."""
    edge, member = database.edge, database.member
    query = (
        sa.select(edge.c.src, sa.func.max(member.c.version))
        .join(member, member.c.row == edge.c.dst)
        .where(edge.c.kind == "became", edge.c.src.in_(sorted(failures)))
        .group_by(edge.c.src)
    )
    with database.reading(ws) as connection:
        return {src: str(version) for src, version in connection.execute(query)}


def _released(ws: Workspace) -> set[str]:
    """The digests of the candidates that served everybody at some time."""
    node = database.node
    with database.reading(ws) as connection:
        rows = connection.execute(sa.select(node.c.data).where(node.c.kind == "release"))
        found = [database.decode(row.data) for row in rows]
    whole = ("serving", "superseded")
    return {str(r.get("candidate_digest")) for r in found if r.get("state") in whole}


def _asked(ws: Workspace, mine: dict[str, set[str]]) -> dict[str, list[Asked]]:
    """Failure → what each evaluation said, in the order of time."""
    found: dict[str, list[Asked]] = {failure: [] for failure in mine}
    paths = [p for room in ("evaluate", "safety") for p in (ws.reports / room).glob("*.json")]
    for path in sorted(paths, key=lambda path: path.name):
        file = jsonl.read_json(path, MetricsFile)
        rows = ws.path(file.cases) if file.cases else None
        if rows is None or not rows.is_file():
            continue
        said = {row.prompt_id: _bad(row) for row in jsonl.read(rows, CaseResult)}
        for failure, ids in mine.items():
            words = [said[id] for id in ids if id in said]
            if words:
                bad = True if True in words else None if None in words else False
                found[failure].append(Asked(file.run_id, file.candidate_digest, bad))
    return found


def _bad(row: CaseResult) -> bool | None:
    if row.hit is None:
        return None
    return row.hit if row.category in (*ATTACKS, "lookalike") else not row.hit


def fixed(ws: Workspace, suites: Sequence[str]) -> list[Case]:
    """The cases of failures that some release fixed: none of them may come back."""
    today = datetime.now(UTC).date()
    cases = [case for case in _read(ws, suites) if case.failure and not case.over(today)]
    closed = {s.failure for s in states(ws, cases) if s.name in ("fixed", "reopened")}
    return [case for case in cases if case.failure in closed]


class Again(NamedTuple):
    """What became of failures that a release had fixed: a critical one may never come back, the
    others are compared with the baseline, cluster by cluster."""

    cases: list[Case]
    results: list[CaseResult]  # `hit`: still fixed

    @property
    def back(self) -> list[Case]:
        """Those that came back."""
        return [c for c, r in zip(self.cases, self.results, strict=True) if not r.hit]

    def metrics(self) -> list[Metric]:
        """The count of critical ones, and the rate of the others."""
        both = list(zip(self.cases, self.results, strict=True))
        critical = [not r.hit for c, r in both if c.severity == "critical"]
        normal = [r for c, r in both if c.severity == "normal"]
        return [
            metrics.count("evaluate.reopened_failures", critical),
            metrics.rate("evaluate.reopened_rate", [not r.hit for r in normal],
                         [r.cluster for r in normal]),
        ]  # fmt: skip

    def page(self) -> str:
        """The list of them for the evaluation's page; empty where none did."""
        rows = [[c.failure, c.severity, c.id, c.messages[-1].content[:100]] for c in self.back]
        title = say("Fixed failures that came back", "复发的已修复失败")
        heads = ("failure / 失败样本", "severity / 级别", "case / 用例", "asked / 问题")
        return f"\n## {title}\n\n{markdown_table(heads, rows)}" if rows else ""


def again(cases: Sequence[Case], answers: Sequence[str]) -> Again:
    """Judge the answers to cases of fixed failures. What cannot be scored is not shown fixed."""
    results = []
    for case, answer in zip(cases, answers, strict=True):
        score = scoring.check(case, answer)
        kind = "fixed" if case.severity == "normal" else "fixed_critical"
        results.append(
            CaseResult(
                prompt_id=f"fixed:{case.id}", category=kind, language=case.language,
                family=case.family, cluster=case.cluster, answer=answer,
                hit=score.hit is (case.category not in ATTACKS), why=score.why,
            )
        )  # fmt: skip
    return Again(list(cases), results)


def _read(ws: Workspace, suites: Sequence[str]) -> list[Case]:
    return [case for name in suites if ws.path(name).is_file()
            for case in jsonl.read(ws.path(name), Case)]  # fmt: skip


def table(ws: Workspace, suites: Sequence[str]) -> Outcome:
    """All of them, on the terminal."""
    found = states(ws, _read(ws, suites))
    rows = [[s.failure, s.cases, say(s.name, _WORDS[s.name]), s.where or "–"] for s in found]
    heads = ("failure / 失败样本", "cases / 用例", "state / 状态", "where / 所在")
    none = say("Nothing promoted yet: `errata promote FAILURE`.", "尚无：`errata promote ID`。")
    data = {"states": [s._asdict() for s in found]}
    return Outcome(0, markdown_table(heads, rows) if rows else none, data)
