"""Join the evidence of one digest and say pass (0), blocked (3) or no decision (4).

    errata gate --candidate 20251216-101500-dpo-1a2b [--baseline tiny]

The rules are configs/gate.yaml. A rate is judged on the bad end of its 95 % interval, a count on
the count; against the baseline by an exact paired test on the same prompts. What was not measured,
or too rarely, is no decision and never a pass; so is evidence that lacks one of the three attack
classes, was changed after its run, or has gone since an earlier verdict. The baseline is the
serving release, or else the model the candidate is built on. A pass commits data/,
reports/ and audit/."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from errata import candidates, git, jsonl
from errata.config import Section
from errata.errors import BadInput, ErrataError
from errata.intake import human
from errata.language import say
from errata.metrics import full_name
from errata.outcome import Outcome
from errata.records import Candidate, Finding, Verdict
from errata.release import erasures, routing
from errata.release.evidence import Evidence, collect, compare, problems
from errata.release.verdict import Rule, Seen, Strictness, decide, judge, judge_languages
from errata.report import bounds, markdown_table, shown
from errata.store import database, ledger
from errata.store.past import list_runs
from errata.store.runs import Run
from errata.workspace import Workspace

REQUIRED = tuple(f"safety.attack_hit_rate.{name}" for name in ("jailbreak", "injection", "privacy"))
# What a rollback brings back, the ledger that says how it came about, and the keys that sealed it.
_COMMITTED = ("data", "reports", "audit", "keys")
TRAINING = ("sft", "dpo", "ppo")
EXIT = {"pass": 0, "blocked": 3, "no_decision": 4}


class Config(Section):
    """Knobs of `errata gate`; the rules belong into configs/gate.yaml."""

    candidate: str = Field(default="", description="run id, manifest, path or name: who wants in")
    baseline: str | None = Field(
        default=None,
        description="whom it is compared with; default: the serving release, or its base",
    )
    alpha: float = Field(default=0.05, description="error of the one-sided paired test")
    seed: int = Field(default=0, description="decides the bootstrap's draws")
    commit: bool = Field(default=True, description="a pass commits data/, reports/ and audit/")
    hard: list[Rule] = Field(default_factory=list, description="rules that block")
    soft: list[Rule] = Field(
        default_factory=list, description="rules that alert and link a runbook"
    )
    inputs: list[str] = Field(
        default=["reports/evaluate", "reports/safety", "reports/bench"],
        description="folders with metrics files",
    )
    outputs: list[str] = Field(default=["reports/gate"], description="folder for verdicts")


def main(ws: Workspace, config: Config) -> Outcome:
    """Judge the candidate, write and record the verdict, commit on a pass."""
    if not config.candidate:
        raise BadInput("gate: who is to be judged? --candidate RUN|FILE (see `errata runs`)")
    if not config.hard:
        raise BadInput(
            "configs/gate.yaml: no `hard` rule; without one nothing would ever be blocked"
        )
    candidate = candidates.resolve(ws, config.candidate)
    baseline = _baseline(ws, config, candidate)
    with Run(ws, "gate", config) as run:
        ours = collect(ws, candidate.digest, config.inputs)
        theirs = collect(ws, baseline.digest, config.inputs)
        paths = [run.input(path) for path in dict.fromkeys([*ours.paths, *theirs.paths])]
        broken = problems(ws, ours) + problems(ws, theirs)
        findings = [
            *_findings(config, ours, theirs, broken),
            *unfit(ws, candidate),
            *unanswered(ws, candidate),
            *erasures.finding(ws, candidate, percent=1),
        ]
        verdict = Verdict(
            id=run.id,
            candidate_digest=candidate.digest,
            baseline_digest=baseline.digest,
            decision=decide(findings),
            findings=findings,
            evidence=[ws.relative(path) for path in paths],
            ts=database.now(),
        )
        target = f"{config.outputs[0]}/{run.id}"
        jsonl.write_json(run.output(f"{target}.json"), verdict)
        jsonl.write_text(run.output(f"{target}.md"), render(verdict))
        _record(ws, run, verdict, candidate, ours, config.candidate)
    text = _text(verdict, f"{target}.md")
    commit = _commit(ws, run.id) if verdict.decision == "pass" and config.commit else None
    if commit:
        text += "\n" + commit
    return Outcome(EXIT[verdict.decision], text, {"run_id": run.id, **jsonl.plain(verdict)})


def _baseline(ws: Workspace, config: Config, candidate: Candidate) -> Candidate:
    """The one that was named, the one that serves, or the model that the candidate started from."""
    if config.baseline:
        return candidates.resolve(ws, config.baseline)
    stable = routing.current(ws).stable
    if stable and stable.candidate_digest != candidate.digest:
        return candidates.resolve(ws, stable.candidate_path)
    return candidates.resolve(ws, candidate.base)


def _findings(
    config: Config, ours: Evidence, theirs: Evidence, broken: Sequence[str]
) -> list[Finding]:
    rules: list[tuple[Strictness, Rule]] = []
    for strictness, listed in (("hard", config.hard), ("soft", config.soft)):
        for rule in listed:
            named = rule.model_copy(update={"metric": full_name(rule.metric)})
            rules.append(("hard" if strictness == "hard" else "soft", named))
    judged = {rule.metric for strictness, rule in rules if strictness == "hard"}
    # The three classes of the chapter must have been measured, whatever the rules say.
    for name in REQUIRED:
        if name not in judged:
            rules.append(("hard", Rule(metric=name, min_n=1, why="must be covered / 必须覆盖")))
    findings = []
    for strictness, rule in rules:
        seen = Seen(
            metric=ours.metrics.get(rule.metric),
            baseline=theirs.metrics.get(rule.metric),
            pairs=compare(rule.metric, ours, theirs, config.seed),
            asked=any(name.split(".")[0] == rule.metric.split(".")[0] for name in ours.metrics),
        )
        findings.append(judge(rule, strictness, seen, config.alpha))
        findings += judge_languages(rule, strictness, seen)
    for text in broken:
        findings.append(
            Finding(
                metric="evidence", strictness="hard", status="no_decision", value=None, bound=None,
                limit=None, n=0, why=text, runbook="measure again: errata evaluate, errata safety",
            )
        )  # fmt: skip
    return findings


def unfit(ws: Workspace, candidate: Candidate) -> list[Finding]:
    """What training holds against these weights, whatever manifest they come in: it blocks."""
    weights = candidate.adapter_digest or candidate.base_digest
    found = []
    for record in list_runs(ws):
        facts = record["facts"]
        if facts.get("unfit") and facts.get("weights") == weights:
            why = f"run {record['id']} marked these weights unfit: {'; '.join(facts['unfit'])}"
            found.append(
                Finding(
                    metric="training", strictness="hard", status="over_limit", value=None,
                    bound=None, limit=None, n=0, why=why,
                    runbook="mend the data and train again / 修正数据后重新训练",
                )
            )  # fmt: skip
    return found


def unanswered(ws: Workspace, candidate: Candidate) -> list[Finding]:
    """A model trained here waits until people have said what only they can say of its data."""
    stages = {record["id"]: record["stage"] for record in list_runs(ws)}
    missing = human.load(ws).missing
    if stages.get(candidate.run_id) not in TRAINING or not missing:
        return []
    why = f"{human.FILE}: {', '.join(missing)}: empty, so nobody answers for the data"
    return [
        Finding(
            metric="datasheet", strictness="hard", status="no_decision", value=None, bound=None,
            limit=None, n=0, why=why,
            runbook=f"fill in {human.FILE}, then the gate again / 填写 {human.FILE} 后重新裁决",
        )
    ]  # fmt: skip


def _record(
    ws: Workspace, run: Run, verdict: Verdict, candidate: Candidate, ours: Evidence, name: str
) -> None:
    files = [{"path": ws.relative(p), "digest": jsonl.digest_file(p)} for p in ours.paths]
    ledger.append(
        ws,
        "verdict",
        id=verdict.id,
        candidate=name,
        candidate_digest=verdict.candidate_digest,
        baseline_digest=verdict.baseline_digest,
        decision=verdict.decision,
        verdict=jsonl.digest(verdict),
        evidence=files,
    )
    run.node(candidate.digest, "candidate", run_id=candidate.run_id, adapter=candidate.adapter)
    if candidate.run_id:
        run.link(candidate.run_id, candidate.digest, "made")
    run.link(candidate.digest, run.id, "judged by")
    run.note(decision=verdict.decision, candidate=verdict.candidate_digest)


def _commit(ws: Workspace, run_id: str) -> str | None:
    """The last good state, for `git checkout -- data/ reports/` to come back to."""
    try:
        commit = git.commit(ws, _COMMITTED, f"errata gate: pass ({run_id})")
    except ErrataError as error:
        return say(f"not committed: {error}", f"未提交：{error}")
    return say(
        f"data/, reports/ and audit/ committed as {commit[:12]}",
        f"data/、reports/ 与 audit/ 已提交：{commit[:12]}",
    )


_WORDS = {
    "pass": ("PASS", "通过"),
    "blocked": ("BLOCKED", "阻断"),
    "no_decision": ("NO DECISION: not enough data", "无法裁决：数据不足"),
}


def _rows(findings: Sequence[Finding]) -> list[list[str]]:
    rows = []
    for finding in findings:
        unit = (
            "rate"
            if finding.metric.endswith(_RATES) or ".attack_hit_rate" in finding.metric
            else ""
        )
        rows.append(
            [
                _name(finding),
                finding.strictness,
                finding.status,
                shown(finding.value, unit),
                bounds(finding.bound, finding.limit, unit),
                str(finding.n),
                finding.why,
                finding.runbook or "",
            ]
        )
    return rows


def _name(finding: Finding) -> str:
    return f"{finding.metric} [{finding.cell}]" if finding.cell else finding.metric


_RATES = ("_rate", ".tool_choice", ".accuracy", ".politeness", "_share", "_score")
_HEADERS = (
    "metric / 指标",
    "kind / 类型",
    "status / 结论",
    "value / 值",
    "bad end – limit / 不利端 – 阈值",
    "n",
    "why / 原因",
    "runbook / 处置",
)


def render(verdict: Verdict) -> str:
    """The verdict as Markdown."""
    en, zh = _WORDS[verdict.decision]
    head = [
        f"# Gate · 发布门禁: {en} · {zh}",
        "",
        f"- verdict / 裁决: `{verdict.id}` {verdict.ts}",
        f"- candidate / 候选: `{verdict.candidate_digest}`",
        f"- baseline / 基线: `{verdict.baseline_digest}`",
        *(f"- evidence / 证据: `{path}`" for path in verdict.evidence),
        "",
    ]
    return "\n".join(head) + "\n" + markdown_table(_HEADERS, _rows(verdict.findings))


def _text(verdict: Verdict, path: str) -> str:
    lines = [say(*_WORDS[verdict.decision]) + f"  {verdict.candidate_digest[:19]}…  {path}"]
    for finding in verdict.findings:
        if finding.status != "pass":
            waived = finding.status == "waived"
            mark = "~" if waived else "✗" if finding.strictness == "hard" else "!"
            lines.append(f"  {mark} {_name(finding)}: {finding.status}: {finding.why}")
            if finding.runbook and not waived:
                lines.append(f"      → {finding.runbook}")
    return "\n".join(lines)
