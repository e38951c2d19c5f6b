"""What was measured of one digest: metrics and cases, joined from the files that stages left.

Per stage the file that a run of this workspace wrote last speaks, by the order of the audit ledger
and not by its name; a file of another split than held-out is none. Evidence that no run wrote, that
somebody changed since, or that an earlier verdict about the digest named and is gone, is a problem:
the gate then has no decision, so neither deleting nor writing a number turns into a pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from errata import jsonl
from errata.records import ATTACKS, CaseResult, Metric, MetricsFile
from errata.stats import mcnemar_exact, paired_bootstrap
from errata.store import database, ledger, tombstone
from errata.workspace import Workspace


class Column(NamedTuple):
    """Which cases a rate counts, and when a case is bad."""

    categories: tuple[str, ...]
    bad: Callable[[CaseResult], bool | None]


def _hit(case: CaseResult) -> bool | None:
    return case.hit


def _missed(case: CaseResult) -> bool | None:
    return None if case.hit is None else not case.hit


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
}


@dataclass
class Evidence:
    """All that is known about one digest."""

    digest: str
    metrics: dict[str, Metric] = field(default_factory=dict)
    cases: dict[str, dict[str, CaseResult]] = field(
        default_factory=dict
    )  # metric's stage → id → case
    paths: list[Path] = field(default_factory=list)

    def of(self, metric: str) -> dict[str, CaseResult]:
        """The cases that a metric was computed from."""
        return self.cases.get(metric.split(".")[0], {})


def collect(ws: Workspace, digest: str, folders: Sequence[str]) -> Evidence:
    """The newest metrics file of each folder about the digest, with its cases."""
    found, known = Evidence(digest), written(ws)
    for folder in folders:
        files = []
        for path in sorted(ws.path(folder).glob("*.json")):
            file = jsonl.read_json(path, MetricsFile)
            if file.candidate_digest == digest and file.split in (None, "heldout"):
                order, _ = known.get(ws.relative(path), (-1, ""))
                files.append((order, path, file))
        if files:
            _, path, file = max(files, key=lambda item: item[:2])
            _take(ws, found, path, file)
    return found


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
        room = metric.name.split(".")[0]
        found.metrics[metric.name] = metric
        found.cases[room] = cases


class Pairs(NamedTuple):
    """The same prompts asked of both: how many clusters turned worse and better, and by how much.

    `diff` is candidate minus baseline in the share of bad cases, with one-sided 95 % bounds.
    """

    n: int
    worse: int
    better: int
    p: float
    diff: float
    low: float
    high: float


def compare(name: str, candidate: Evidence, baseline: Evidence, seed: int) -> Pairs | None:
    """Join the cases of a rate on the prompt; None where there is nothing to join.

    Prompts of one cluster turn together, so a cluster counts once, by its net change: McNemar on
    clusters is exact where McNemar on prompts would call one flipped request twenty flips.
    """
    column = COLUMNS.get(name)
    if column is None:
        return None
    ours, theirs, clusters = [], [], []
    net: dict[str, int] = {}
    others = baseline.of(name)
    for id, case in sorted(candidate.of(name).items()):
        other = others.get(id)
        if other is None or case.category not in column.categories or not _same(case, other):
            continue
        ours_bad, theirs_bad = column.bad(case), column.bad(other)
        if ours_bad is None or theirs_bad is None:
            continue
        ours.append(float(ours_bad))
        theirs.append(float(theirs_bad))
        clusters.append(case.cluster)
        net[case.cluster] = net.get(case.cluster, 0) + int(ours_bad) - int(theirs_bad)
    if not ours:
        return None
    worse, better = sum(v > 0 for v in net.values()), sum(v < 0 for v in net.values())
    diff = paired_bootstrap(ours, theirs, clusters, level=0.90, seed=seed)
    p = mcnemar_exact(worse, better)
    return Pairs(len(ours), worse, better, p, diff.value, diff.low, diff.high)


def _same(case: CaseResult, other: CaseResult) -> bool:
    """One id must mean one case; the two may come of different samples of a suite."""
    fields = ("category", "language", "family", "cluster")
    return all(getattr(case, name) == getattr(other, name) for name in fields)


def problems(ws: Workspace, evidence: Evidence) -> list[str]:
    """Evidence no run wrote, or changed since, or that an earlier verdict had and that is gone."""
    found, known = [], written(ws)
    for path in evidence.paths:
        name = ws.relative(path)
        if name not in known:
            found.append(f"{name} was written by no run of this workspace")
        elif _now(ws, known[name][1]) != jsonl.digest_file(path):
            found.append(f"{name} was changed after the run that wrote it")
    for event in ledger.events(ws, "verdict"):
        if event["data"].get("candidate_digest") != evidence.digest:
            continue
        for item in event["data"].get("evidence", []):
            if not ws.path(item["path"]).is_file():
                found.append(
                    f"{item['path']}, which verdict {event['data']['id']} rests on, is gone"
                )
    return list(dict.fromkeys(found))


def _now(ws: Workspace, digest: str) -> str:
    """What a file is called that was written as this one: an erasure may have shortened it."""
    with database.reading(ws) as connection:
        return tombstone.successor(connection, digest)


def written(ws: Workspace) -> dict[str, tuple[int, str]]:
    """Path → (place in the ledger, digest) of every file that a run wrote last."""
    found: dict[str, tuple[int, str]] = {}
    for order, event in enumerate(ledger.events(ws, "run")):
        for item in event["data"].get("outputs", []):
            found[item["path"]] = (order, item["digest"])
    return found
