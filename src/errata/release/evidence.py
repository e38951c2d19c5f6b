"""What was measured of one digest: metrics and cases, joined from the files that stages left.

Per stage the file that a run of this workspace wrote last speaks, by the order of the audit ledger
and not by its name; a file of another split than held-out is none, and a folder speaks of its own
metrics alone. Evidence that no run wrote, that somebody changed since, that is too old, that an
earlier verdict about the digest named, or that was measured last and is gone, is a problem: the
gate then has no decision, so neither deleting nor writing a number turns into a pass. Two models
are compared on one version of a suite alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from errata import jsonl
from errata.evaluate import business
from errata.records import ATTACKS, CaseResult, Metric, MetricsFile, Paired
from errata.sizing import smallest_regression
from errata.stats import mcnemar_exact, paired_bootstrap, turned
from errata.store import database, ledger, past, tombstone
from errata.workspace import Workspace


class Column(NamedTuple):
    """Which cases a rate counts, and when a case is bad."""

    categories: tuple[str, ...]
    bad: Callable[[CaseResult], bool | None]


def _hit(case: CaseResult) -> bool | None:
    return case.hit


def _missed(case: CaseResult) -> bool | None:
    return None if case.hit is None else not case.hit


def _invented(case: CaseResult) -> bool | None:
    return case.invented


def _refused(case: CaseResult) -> bool | None:
    return case.refused


# Rates that can be compared pair by pair, and the cases they are made of. A rate that is not here
# is compared by its value alone.
COLUMNS: dict[str, Column] = {
    "safety.attack_hit_rate": Column(ATTACKS, _hit),
    **{f"safety.attack_hit_rate.{name}": Column((name,), _hit) for name in ATTACKS},
    "safety.execution_rate": Column(("injection",), _hit),
    "safety.leak_rate": Column(("privacy",), _hit),
    "safety.refusal_rate": Column(ATTACKS, _refused),
    **{f"safety.refusal_rate.{name}": Column((name,), _refused) for name in ATTACKS},
    "safety.over_refusal_rate": Column(("lookalike",), _refused),
    "evaluate.accuracy": Column(("catalogue", "tool", "smalltalk"), _missed),
    "evaluate.tool_choice": Column(("tool", "agent"), _missed),
    "evaluate.hallucination_rate": Column(("grounded",), _invented),
    "evaluate.tool_misuse": Column(("misuse",), business.misused),
    "evaluate.reopened_failures": Column(("fixed_critical",), _missed),
    "evaluate.reopened_rate": Column(("fixed",), _missed),
}


@dataclass
class Evidence:
    """All that is known about one digest, by the name of the metric."""

    digest: str
    metrics: dict[str, Metric] = field(default_factory=dict)
    cases: dict[str, dict[str, CaseResult]] = field(default_factory=dict)  # metric → id → case
    suites: dict[str, str] = field(default_factory=dict)  # metric → digest of what was asked
    paths: list[Path] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # folders without a file about the digest
    folders: Sequence[str] = ()  # where it was looked for

    def of(self, metric: str) -> dict[str, CaseResult]:
        """The cases that a metric was computed from."""
        return self.cases.get(metric, {})


def collect(ws: Workspace, digest: str, folders: Sequence[str]) -> Evidence:
    """The newest metrics file of each folder about the digest, with its cases."""
    found, known = Evidence(digest, folders=folders), ledger.written(ws)
    for folder in folders:
        files = []
        for path in sorted(ws.path(folder).glob("*.json")):
            file = jsonl.read_json(path, MetricsFile)
            if file.candidate_digest == digest and file.split in (None, "heldout"):
                files.append((_order(known.get(ws.relative(path))), path, file))
        if files:
            _, path, file = max(files, key=lambda item: item[:2])
            _take(ws, found, path, file)
        else:
            found.missing.append(folder)
    return found


def _order(run: ledger.Written | None) -> int:
    return run.seq if run else -1


def _take(ws: Workspace, found: Evidence, path: Path, file: MetricsFile) -> None:
    found.paths.append(path)
    cases: dict[str, CaseResult] = {}
    if file.cases:
        full = next(
            (p for p in (ws.path(file.cases), path.parent / file.cases) if p.is_file()), None
        )
        if full:
            found.paths.append(full)
            cases = {case.prompt_id: case for case in jsonl.read(full, CaseResult)}
    for metric in file.metrics:
        if _folder(metric.name) != path.parent.name:
            continue
        found.metrics[metric.name] = metric
        found.cases[metric.name] = cases
        found.suites[metric.name] = file.suite_digest


def _folder(metric: str) -> str:
    """The folder that speaks of a metric: an attack rate in reports/human is nobody's number."""
    return "mtbench" if metric.startswith("evaluate.mt_bench") else metric.split(".")[0]


def of_cases(digest: str, **rooms: Sequence[CaseResult]) -> Evidence:
    """Evidence that lies in no file: the cases of `safety=` and `evaluate=`, as just asked."""
    by_id = {room: {case.prompt_id: case for case in cases} for room, cases in rooms.items()}
    named = {name: name.split(".")[0] for name in COLUMNS}
    return Evidence(digest, cases={n: by_id[room] for n, room in named.items() if room in by_id})


class Pair(NamedTuple):
    """One prompt, asked of the candidate and of the baseline: the case, and who was bad."""

    case: CaseResult
    other: CaseResult
    bad: bool
    other_bad: bool


def pairs(name: str, candidate: Evidence, baseline: Evidence) -> Iterator[Pair]:
    """The prompts that both were asked and that could be scored, in the order of their ids."""
    column, others = COLUMNS.get(name), baseline.of(name)
    if column is None:
        return
    for id, case in sorted(candidate.of(name).items()):
        other = others.get(id)
        if other is None or case.category not in column.categories or not _same(case, other):
            continue
        bad, other_bad = column.bad(case), column.bad(other)
        if bad is not None and other_bad is not None:
            yield Pair(case, other, bad, other_bad)


def compare(
    name: str, candidate: Evidence, baseline: Evidence, seed: int, alpha: float = 0.05
) -> Paired | None:
    """Join the cases of a rate on the prompt; None where there is nothing to join.

    Prompts of one cluster turn together, so a cluster counts once, by its net change: McNemar on
    clusters is exact where McNemar on prompts would call one flipped request twenty flips.
    """
    joined = list(pairs(name, candidate, baseline))
    if not joined:
        return None
    ours, theirs = [float(p.bad) for p in joined], [float(p.other_bad) for p in joined]
    clusters = [pair.case.cluster for pair in joined]
    worse, better, same = turned(ours, theirs, clusters)
    count = worse + better + same
    diff = paired_bootstrap(ours, theirs, clusters, level=0.90, seed=seed)
    # By chance a cluster turns either way alike: the rarer way tells how many do.
    churn = min(0.5, 2 * min(worse, better) / count)
    return Paired(
        n=len(ours), worse=worse, better=better, p=mcnemar_exact(worse, better), diff=diff.value,
        low=diff.low, high=diff.high, clusters=count,
        sees=smallest_regression(count, churn, alpha),
    )  # fmt: skip


def other_suite(name: str, candidate: Evidence, baseline: Evidence) -> bool:
    """Whether the two were asked different versions of the suite: then nothing is compared."""
    ours, theirs = candidate.suites.get(name), baseline.suites.get(name)
    return ours is not None and theirs is not None and ours != theirs


def _same(case: CaseResult, other: CaseResult) -> bool:
    """One id must mean one case; the two may come of different samples of a suite."""
    fields = ("category", "language", "family", "cluster")
    return all(getattr(case, name) == getattr(other, name) for name in fields)


def problems(ws: Workspace, evidence: Evidence, max_age_days: int) -> list[str]:
    """Evidence no run wrote, or changed since, or too old, or that an earlier verdict had and that
    is gone."""
    found, known, today = [], ledger.written(ws), database.now()
    for path in evidence.paths:
        name = ws.relative(path)
        run = known.get(name)
        if run is None:
            found.append(f"{name} was written by no run of this workspace")
        elif now(ws, run.digest) != jsonl.digest_file(path):
            found.append(f"{name} was changed after the run that wrote it")
        elif (days := age(run.ts, today)) > max_age_days:
            found.append(f"{name} is {days} days old, at most {max_age_days} count")
    return list(
        dict.fromkeys([*found, *_rested(ws, evidence, known), *_hidden(ws, evidence, known)])
    )


def _rested(ws: Workspace, evidence: Evidence, known: Mapping[str, ledger.Written]) -> list[str]:
    """What a verdict about the digest rests on that is gone, or is not what it was, unless the same
    was measured again since."""
    since: dict[str, int] = {}
    for name in (ws.relative(path) for path in evidence.paths):
        folder = name.rpartition("/")[0]
        since[folder] = max(since.get(folder, -1), _order(known.get(name)))
    found: dict[str, str] = {}
    for event in ledger.events(ws, "verdict"):
        mine = event["data"].get("candidate_digest") == evidence.digest
        for item in event["data"].get("evidence", []) if mine else ():
            name, by = item["path"], f"which verdict {event['data']['id']} rests on"
            if _order(known.get(name)) < since.get(name.rpartition("/")[0], -1):
                continue
            if not ws.path(name).is_file():
                found[name] = f"{name}, {by}, is gone"
            elif now(ws, item["digest"]) != jsonl.digest_file(ws.path(name)):
                found[name] = f"{name}, {by}, was changed since"
    return list(found.values())


def _hidden(ws: Workspace, evidence: Evidence, known: Mapping[str, ledger.Written]) -> list[str]:
    """What runs measured last of the digest, in each folder where something older speaks now: a
    number that nobody likes cannot be taken away, or relabelled, before the gate has seen it."""
    last: dict[str, tuple[int, str]] = {}
    for record in past.list_runs(ws):
        facts = record["facts"]
        measured = facts.get("candidate") == evidence.digest
        if not measured or facts.get("split") not in (None, "heldout"):
            continue
        for path in (item["path"] for item in record["outputs"] if item["path"] in known):
            folder = path.rpartition("/")[0]
            if path.endswith(".json") and folder in evidence.folders:
                last[folder] = max(last.get(folder, (-1, "")), (known[path].seq, path))
    there = {ws.relative(path) for path in evidence.paths}
    return [f"{path}, the last word on this candidate there, is gone or was changed"
            for _, path in last.values() if path not in there]  # fmt: skip


def now(ws: Workspace, digest: str) -> str:
    """What a file is called that was written as this one: an erasure may have shortened it."""
    with database.reading(ws) as connection:
        return tombstone.successor(connection, digest)


def age(then: str, now: str) -> int:
    """Whole days between two times of the ledger."""
    return (datetime.fromisoformat(now) - datetime.fromisoformat(then)).days
