"""Join the evidence of one digest and say pass (0), blocked (3) or no decision (4).

    errata gate --candidate 20251216-101500-dpo-1a2b [--baseline tiny]
    errata gate power=true           before a run: what these suites can see
    errata gate again=true           the newest verdict's candidate, from what is committed: for CI

The rules are configs/gate.yaml. A rate is judged on the bad end of its 95 % interval, a count on
the count; against the baseline by an exact paired test on the same prompts. What was not measured,
or too rarely, or too long ago, is no decision and never a pass; so is evidence that lacks one of
the three attack classes, was changed after its run, or has gone since an earlier verdict. The
baseline is the serving release, or else the model the candidate is built on. A hard line that was
missed can be let through by a signed waiver, for so many users and days. A pass commits data/,
reports/ and audit/; what blocks leaves its failing cases to `errata review`, none to training."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from errata import candidates, git, jsonl
from errata.build import queue
from errata.config import Section
from errata.errors import BadInput, ErrataError
from errata.evaluate import promoted
from errata.intake import human
from errata.language import say
from errata.outcome import Outcome
from errata.records import Candidate, Finding, Verdict
from errata.release import again, erasures, lacking, page, power, routing, verdicts, waivers
from errata.release.evidence import Evidence, collect, compare, other_suite, problems
from errata.release.rules import EMPTY, Line, Rule, lines
from errata.release.verdict import Seen, decide, judge, judge_languages, waive
from errata.store import database, ledger
from errata.store.past import list_runs
from errata.store.runs import Run
from errata.workspace import Workspace

# What a rollback brings back, the ledger that says how it came about, what was signed for it, and
# the keys that sealed both.
_COMMITTED = ("data", "reports", "audit", "waivers", "keys")
TRAINING = ("sft", "dpo", "ppo", "export")
EXIT = {"pass": 0, "blocked": 3, "no_decision": 4}


class Config(Section):
    """Knobs of `errata gate`; the rules belong into configs/gate.yaml."""

    candidate: str = Field(default="", description="run id, manifest, path or name: who wants in")
    baseline: str | None = Field(
        default=None,
        description="whom it is compared with; default: the serving release, or its base",
    )
    alpha: float = Field(
        default=0.05, ge=0.01, le=0.2, description="error of the one-sided paired test"
    )
    seed: int = Field(default=0, description="decides the bootstrap's draws")
    commit: bool = Field(default=True, description="a pass commits data/, reports/ and audit/")
    max_age_days: int = Field(
        default=30, ge=1, description="evidence older than this is no decision: measure again"
    )
    power: bool = Field(
        default=False, description="judge nobody; say what the suites as they are can see"
    )
    again: bool = Field(
        default=False,
        description="judge the newest verdict's candidate from what is committed; for CI",
    )
    summary: str = Field(default="", description="also append the page to this file, as CI wants")
    suites: list[str] = Field(
        default=["suites/business.jsonl", "suites/attacks.jsonl"],
        description="what is asked: for power=true, and for the failing cases in `errata review`",
    )
    hard: list[Rule] = Field(default_factory=list, description="rules that block")
    soft: list[Rule] = Field(
        default_factory=list, description="rules that alert and link a runbook"
    )
    inputs: list[str] = Field(
        default=["reports/evaluate", "reports/safety", "reports/bench"],
        description="folders that each must have a metrics file about the candidate",
    )
    more: list[str] = Field(
        default=["reports/mtbench", "reports/human"],
        description="folders that are read too, where there is such a file",
    )
    outputs: list[str] = Field(default=["reports/gate"], description="folder for verdicts")


def main(ws: Workspace, config: Config) -> Outcome:
    """Judge the candidate, write and record the verdict, commit on a pass."""
    ruled = lines(config.hard, config.soft)
    if config.power:
        return power.outcome(ws, ruled, config.suites, config.alpha)
    ledger.adopt(ws)
    name, candidate, baseline = _asked(ws, config)
    with Run(ws, "gate", config) as run:
        ours, theirs = (
            collect(ws, digest, [*config.inputs, *config.more])
            for digest in (candidate.digest, baseline)
        )
        paths = [run.input(path) for path in dict.fromkeys([*ours.paths, *theirs.paths])]
        findings = [
            *_measured(ws, config, ruled, ours, theirs),
            *_unsound(ws, config, ours, theirs),
            *unfit(ws, candidate),
            *unanswered(ws, candidate),
            *again.taken_over(ws, candidate),
            *unasked(ws, ruled, config.suites, ours),
            *erasures.finding(ws, candidate, percent=1),
        ]
        findings = waive(findings, lambda metric, value: _covered(ws, candidate, metric, value))
        held = _waivers(ws, findings)
        verdict = Verdict(
            id=run.id,
            candidate_digest=candidate.digest,
            baseline_digest=baseline,
            decision=decide(findings),
            findings=findings,
            evidence=[ws.relative(path) for path in paths],
            ts=database.now(),
            waivers=list(held),
            max_percent=min(held.values(), default=100),
            rules=judged_by(config),
        )
        target = f"{config.outputs[0]}/{run.id}"
        told = page.Told(verdict, page.flips(verdict, ours, theirs), lacking.of(ws, verdict, ours))
        jsonl.write_json(run.output(f"{target}.json"), verdict)
        jsonl.write_text(run.output(f"{target}.md"), page.render(told))
        if verdict.decision == "blocked":
            waiting = lacking.to_review(ws, verdict, ours, config.suites)
            jsonl.write(run.dir / queue.QUEUE, waiting)
        jsonl.write_json(run.output(again.manifest(candidate.digest)), candidate)
        _record(ws, run, verdict, ours, f"{target}.json", name)
        if config.summary:
            with ws.path(config.summary).open("a", encoding="utf-8") as file:
                file.write(page.render(told))
    text = page.text(told, f"{target}.md")
    commit = _commit(ws, run.id) if verdict.decision == "pass" and config.commit else None
    if commit:
        text += "\n" + commit
    return Outcome(EXIT[verdict.decision], text, {"run_id": run.id, **jsonl.plain(verdict)})


def _asked(ws: Workspace, config: Config) -> tuple[str, Candidate, str]:
    """Who is to be judged, by name and whole, and the digest of whom it is compared with."""
    if config.again:
        name, baseline = again.last_judged(ws)
        return name, candidates.resolve(ws, name), baseline
    if not config.candidate:
        raise BadInput("gate: who is to be judged? --candidate RUN|FILE (see `errata runs`)")
    candidate = candidates.resolve(ws, config.candidate)
    return config.candidate, candidate, _baseline(ws, config, candidate).digest


def judged_by(config: Config) -> str:
    """The digest of all in a config that decides a verdict: a rollout holds it against the file."""
    lax = {"candidate", "baseline", "commit", "power", "suites", "outputs"}
    lax |= {"again", "summary"}
    return jsonl.digest(config.model_dump(exclude=lax))


def _baseline(ws: Workspace, config: Config, candidate: Candidate) -> Candidate:
    """The one that was named, the one that serves, or the model that the candidate started from."""
    if config.baseline:
        return candidates.resolve(ws, config.baseline)
    stable = routing.current(ws).stable
    if stable and stable.candidate_digest != candidate.digest:
        return candidates.resolve(ws, stable.candidate_path)
    return candidates.resolve(ws, candidate.base)


def _measured(
    ws: Workspace, config: Config, ruled: Sequence[Line], ours: Evidence, theirs: Evidence
) -> list[Finding]:
    """A finding a line, and one a language where the line asks for it."""
    past = verdicts.last_passed(ws)
    before = {f.metric: f.value for f in past.findings if f.cell is None} if past else {}
    rooms = {name.split(".")[0] for name in ours.metrics}
    findings = []
    for strictness, rule in ruled:
        seen = Seen(
            metric=ours.metrics.get(rule.metric),
            baseline=theirs.metrics.get(rule.metric),
            pairs=compare(rule.metric, ours, theirs, config.seed, config.alpha),
            asked=rule.metric.split(".")[0] in rooms,
            other_suite=other_suite(rule.metric, ours, theirs),
            previous=before.get(rule.metric),
        )
        findings.append(judge(rule, strictness, seen, config.alpha))
        findings += judge_languages(rule, strictness, seen)
    return findings


def _unsound(ws: Workspace, config: Config, ours: Evidence, theirs: Evidence) -> list[Finding]:
    """Evidence that nobody may lean on, and evidence that is not there."""
    days = config.max_age_days
    told = problems(ws, ours, days) + problems(ws, theirs, days)
    told += [f"{folder} has nothing about this candidate"
             for folder in ours.missing if folder in config.inputs]  # fmt: skip
    return [
        Finding(
            metric="evidence", strictness="hard", status="no_decision", value=None, bound=None,
            limit=None, n=0, why=text,
            runbook="measure again: errata evaluate, errata safety, errata bench / 重新测量",
        )
        for text in told
    ]  # fmt: skip


def _covered(
    ws: Workspace, candidate: Candidate, metric: str, value: float
) -> tuple[str | None, str]:
    """The waiver that counts at the first stage; the rollout asks again at each further one."""
    held, why = waivers.covering(ws, metric, candidate.digest, value, percent=1)
    return (held.id if held else None), why


def _waivers(ws: Workspace, findings: Sequence[Finding]) -> dict[str, int]:
    """The waivers that let this through, and the share of users that each of them covers."""
    used = {finding.waiver for finding in findings if finding.waiver}
    return {held.id: held.max_percent for held in waivers.all_of(ws) if held.id in used}


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
    ended = (event["data"] for event in ledger.events(ws, "run"))  # a clone has them too
    stages = {told["id"]: told.get("stage") for told in ended}
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


def unasked(
    ws: Workspace, ruled: Sequence[Line], suites: Sequence[str], ours: Evidence
) -> list[Finding]:
    """Fixed failures that the evaluation did not ask again: they were fixed since, or what said so
    was away. `min_n: 0` of these lines is for there being none, and not for asking none."""
    if not any(line.rule.metric in EMPTY for line in ruled):
        return []
    asked = ours.of(EMPTY[0])
    missing = [c.failure for c in promoted.fixed(ws, suites) if f"fixed:{c.id}" not in asked]
    if not missing:
        return []
    names = ", ".join(list(dict.fromkeys(missing))[:4])
    return [
        Finding(
            metric=EMPTY[0], strictness="hard", status="no_decision", value=None, bound=None,
            limit=None, n=0, why=f"{len(missing)} cases of fixed failures were not asked: {names}",
            runbook="errata evaluate, then the gate again / 重新评测后再裁决",
        )
    ]  # fmt: skip


def _record(
    ws: Workspace, run: Run, verdict: Verdict, ours: Evidence, path: str, name: str
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
        waivers=verdict.waivers,
        rules=verdict.rules,
        path=path,
        verdict=jsonl.digest(verdict),
        evidence=files,
    )
    candidate = candidates.resolve(ws, name)
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
