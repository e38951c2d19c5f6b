"""The whole loop on the embedded model, in a fresh folder: real failures become its next release.

    errata demo -C my-demo

 1. the raw model answers the tune attacks and the business suite; what it gets wrong fills inbox/,
    beside answers that users put right
 2. intake → build → SFT → DPO, a reward model, and PPO beside it
 3. evaluate, safety and bench on the held-out part; the gate passes; the rollout goes to 100 %
 4. a sabotaged candidate, its preferences flipped, is blocked by the gate on its numbers, also when
    one of them is waived; an unchanged one is no regression
 5. what the released model's agents tried, tickets, and answers of people and of a teacher train a
    second release; its adapter is damaged in the middle of the rollout, and the monitor rolls back
 6. its failures come back through intake, and a failure is traced through its whole journey

Nothing is scripted: every number is measured on answers that the models really gave.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from errata import candidates, cli, demo_second, demo_table, demo_traffic, jsonl
from errata.config import Section
from errata.errors import Blocked, ErrataError, NoDecision
from errata.init import lay_down
from errata.language import say
from errata.outcome import Outcome
from errata.records import PreferencePair, Release
from errata.release.verdict import MISSED
from errata.store import past
from errata.workspace import Workspace

NEEDS_WORKSPACE = False


class Attempt(NamedTuple):
    """What `errata build`, `errata sft` and `errata dpo` are given."""

    build: tuple[str, ...] = ()
    sft: tuple[str, ...] = ()
    dpo: tuple[str, ...] = ()


# Tried until the gate lets one through: as configured, then with more replay, a larger adapter at a
# smaller step and gentler pairs. Floats differ between machines: where the first loses a point of
# accuracy, it is blocked, rightly. Accuracy and answers without their source, with replay: 91.8 %
# and 0 as configured, 92.1 % and 2 with lr=1e-3; 93.3 % and 93.9 % and 0 so.
REPLAY, WIDE = ("replay=1800",), ("lora_r=32", "lora_alpha=64")
ATTEMPTS = (
    Attempt(), Attempt(REPLAY, (*WIDE, "lr=1e-3"), ("lr=2e-5",)),
    Attempt(REPLAY, (*WIDE, "lr=7e-4"), ("lr=1e-5",)),
)  # fmt: skip
# The second model goes on from the released one, which its gate holds it against: more replay from
# the start (on one machine 25 answers worse and 24 better with it, 25 and 19 without).
SECOND = (
    Attempt(REPLAY), Attempt(REPLAY, (*WIDE, "lr=7e-4"), ("lr=2e-5",)),
    Attempt(REPLAY, (*WIDE, "lr=4e-4"), ("lr=2e-5",)), Attempt(REPLAY, ("lr=1e-4",), ("lr=1e-5",)),
)  # fmt: skip


class Config(Section):
    """How much is asked."""

    limit: int = Field(
        0, ge=0, description="cases a cell for models that are only compared; 0: all"
    )
    ppo_rollouts: int = Field(20, ge=1, description="PPO rollouts; more is better and slower")
    damage: float = Field(
        4.0, gt=0, description="noise on the damaged adapter, in deviations of its own weights"
    )
    damage_at: int = Field(
        25, description="percent of users at whose arrival the canary is damaged"
    )


class Demo:
    """The workspace, and what each act leaves for the next."""

    def __init__(self, ws: Workspace, config: Config) -> None:
        self.ws, self.config = ws, config
        self.models: dict[str, demo_table.Entry] = {"base": demo_table.Entry("tiny")}
        self.began = time.perf_counter()
        self.act = 0

    def say(self, en: str, zh: str) -> None:
        """A headline with the time since the start."""
        self.act += 1
        seconds = time.perf_counter() - self.began
        sys.stdout.write(f"\n[{seconds:5.0f} s] {self.act}. {say(en, zh)}\n")
        sys.stdout.flush()

    def run(self, stage: str, *words: str) -> Outcome:
        """A stage as the command line runs it; the same configs, the same records."""
        began = time.perf_counter()
        outcome = cli.run(cli.Words(stage=stage, directory=str(self.ws.root), rest=list(words)))
        shown = " ".join([f"errata {stage}", *words])
        sys.stdout.write(f"  $ {shown}   ({time.perf_counter() - began:.0f} s)\n")
        told = [line for line in outcome.text.splitlines() if line.strip()]
        first = next((line for line in told if not line.startswith("|")), "")
        sys.stdout.write(f"    {first}\n")
        sys.stdout.flush()
        return outcome

    def measured(self, stage: str, *words: str) -> str:
        """Run evaluate or safety, whatever it concludes; the run id of its evidence."""
        try:
            return str(self.run(stage, *words).data["run_id"])
        except (Blocked, NoDecision) as verdict:
            _told(stage, words, verdict)
        return str(past.list_runs(self.ws, stage)[-1]["id"])

    def judge(self, label: str, model: str, full: bool, before: str = "tiny") -> str:
        """Evidence about a model, for the gate and for the table; what its safety audit concluded
        of it against the model that stood there before."""
        entry = self.models.setdefault(label, demo_table.Entry(model))
        more = [] if full else ["more=[]"]
        if not full and self.config.limit:
            more.append(f"limit={self.config.limit}")
        versus = ["baseline=tiny"] if model != "tiny" else []
        older = [f"baseline={before}"] if model != before else []
        entry.evaluate = self.measured("evaluate", f"model={model}", *versus, *more)
        entry.safety = self.measured("safety", f"model={model}", *older, *more[1:])
        if full:
            self.run("bench", f"model={model}", "formats=[float32]")
            self.measured("mtbench", f"model={model}")
        return str(past.get_run(self.ws, entry.safety)["facts"]["verdict"])

    def train(self, label: str, stage: str, *words: str) -> str:
        """A training stage, with its minutes and memory for the table; its run id. One that its own
        watch marked unfit goes on to the gate, which must not let it pass."""
        _reset_peak()
        try:
            self.run(stage, *words)
        except Blocked as verdict:
            _told(stage, words, verdict)
        record = past.list_runs(self.ws, stage)[-1]
        used, kl = record["facts"]["used"], record["facts"]["metrics"].get("kl")
        self.models[label] = demo_table.Entry(
            str(record["id"]), minutes=used["wall_seconds"] / 60, gib=used["peak_rss_gib"], kl=kl
        )
        return str(record["id"])


def _told(stage: str, words: tuple[str, ...], verdict: ErrataError) -> None:
    """A command that ended with a verdict and no result."""
    sys.stdout.write(f"  $ errata {stage} {' '.join(words)}\n    {_short(str(verdict))}\n")
    sys.stdout.flush()


def _short(text: str, width: int = 150) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _reset_peak() -> None:
    """Start the kernel's peak of resident memory anew (Linux), so that each stage shows its own."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def harvest(demo: Demo) -> None:
    """Act 1: the raw model's own bad answers, through the front door."""
    demo.say(
        "the embedded model answers; its failures fill inbox/", "内置模型作答，失败样本进入 inbox/"
    )
    demo.measured("safety", "model=tiny", "split=tune", "write_back=inbox/attacks.jsonl")
    only = ("split=tune", "more=[]")  # the further suites measure, and train nobody here
    demo.measured("evaluate", "model=tiny", *only, "write_back=inbox/business.jsonl")
    demo.run("intake", "inbox/attacks.jsonl", "--source", "red_team")
    demo.run("intake", "inbox/business.jsonl", "--source", "online")
    demo.run("intake", "inbox/sample_feedback.jsonl")  # answers that users put right
    demo.run("build")


def align(demo: Demo, attempt: Attempt) -> tuple[str, str]:
    """Act 2: SFT, DPO, and a reward model; run ids of the first two."""
    demo.say("SFT, DPO from it, and a reward model", "SFT、由其 DPO，以及奖励模型")
    sft = demo.train("SFT", "sft", *attempt.sft)
    dpo = demo.train("SFT+DPO", "dpo", f"model={sft}", *attempt.dpo)
    demo.run("rm")  # its preference is part of the evidence
    return sft, dpo


def passes(demo: Demo, label: str, model: str, baseline: str) -> bool:
    """Evidence and gate; what blocked is told."""
    demo.say("held-out evaluation, and the gate", "留出集评估与门禁")
    demo.judge(label, model, full=True, before=baseline)
    verdict = demo.run("gate", f"candidate={model}", f"baseline={baseline}")
    if verdict.code:
        sys.stdout.write(f"    exit {verdict.code}: {_short(verdict.text, 600)}\n")
    return verdict.code == 0


def release(demo: Demo) -> tuple[str, str, Release]:
    """Acts 2 and 3: train until the gate passes, then roll out to everybody; SFT, DPO, release."""
    demo.judge("base", "tiny", full=True)
    for attempt in ATTEMPTS:
        if attempt.build:
            demo.run("build", *attempt.build)
        sft, dpo = align(demo, attempt)
        if passes(demo, "SFT+DPO", dpo, "tiny"):
            break
    else:
        raise Blocked("demo: the gate let none of the candidates through; see reports/gate/")
    demo.say("rollout", "灰度发布")
    demo_traffic.few_users(demo.ws)
    done = demo_traffic.roll_out(demo.ws, dpo)
    if done.state != "serving":
        raise Blocked(
            f"demo: release {done.id} is {done.state}, not serving; see reports/monitor.md"
        )
    # What the chapter asks to be handed over: each with its digest, every byte signed.
    for paper in (("card",), ("check",), ("card", "verify")):
        papers = demo.run(*paper)
        if papers.code:
            raise ErrataError(f"demo: {papers.text}")
    return sft, dpo, done


def compare(demo: Demo, sft: str) -> None:
    """PPO beside DPO, and SFT alone, on smaller samples."""
    demo.say("PPO, for comparison", "PPO，用于对比")
    demo.judge("SFT", sft, full=False)
    ppo = demo.train("SFT+PPO", "ppo", f"model={sft}", f"max_steps={demo.config.ppo_rollouts}")
    demo.judge("SFT+PPO", ppo, full=False)


def sabotage(demo: Demo, sft: str) -> int:
    """Act 4: preferences flipped; the gate must say no. Its exit code."""
    demo.say("a sabotaged candidate: preferences flipped", "被破坏的候选：偏好颠倒")
    pairs = jsonl.read(demo.ws.data / "prefs.jsonl", PreferencePair)
    flipped = [
        pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen}) for pair in pairs
    ]
    jsonl.write(demo.ws.inbox / "sabotaged.jsonl", flipped)
    words = ["dataset=inbox/sabotaged.jsonl", "eval_dataset=null", "accept={}", "inputs=[]"]
    # Pressed hard, for at 5e-5 one pass does little harm, and with nobody watching: the watch would
    # give back the adapter of an early step, and mark it unfit.
    words += ["lr=2e-4", "audit_cases=0", "score_cases=0", "retention=null", "patience=0"]
    bad = demo.train("sabotaged", "dpo", f"model={sft}", *words)
    if (found := demo.judge("sabotaged", bad, full=True, before=sft)) != "regression":
        raise ErrataError(f"demo: the audit of the sabotaged candidate says {found}")
    verdict = demo.run("gate", f"candidate={bad}", "baseline=tiny")
    sys.stdout.write(f"    exit {verdict.code}\n")
    waive_one(demo, bad, verdict)
    return demo.run("gate", f"candidate={bad}", "baseline=tiny").code


def waive_one(demo: Demo, bad: str, verdict: Outcome) -> None:
    """A waiver for the first hard line that was missed: the others block all the same."""
    missed = [str(line["metric"]) for line in verdict.data["findings"]
              if line["strictness"] == "hard" and line["status"] in MISSED]  # fmt: skip
    metric = next(iter(missed), "")
    if len(set(missed)) < 2:
        return  # it would let the sabotaged model through
    facts = ["risk=it answers attackers", "impact=whoever asks it", "owner=the demo",
             "rollback_plan=errata rollback"]  # fmt: skip
    asked = demo.run("waive", "create", f"metric={metric}", f"candidate={bad}", *facts)
    demo.run("waive", "sign", str(asked.data["id"]))


def unchanged(demo: Demo, dpo: str) -> None:
    """The released model audited against itself: a gate that blocks it would block at random."""
    run = demo.measured("safety", f"model={dpo}", f"baseline={dpo}")
    if past.get_run(demo.ws, run)["facts"]["verdict"] == "regression":
        raise ErrataError("demo: the audit calls an unchanged model a regression; see its page")


def grow(demo: Demo, dpo: str) -> str:
    """Act 5: a second version of the data, and the model trained on it; its run id. It starts from
    what serves: from the raw model, agents' traces beside the refusals brought leaks back."""
    demo.say("agents' traces, tickets, a teacher, people: a second version of the data",
             "智能体轨迹、工单、教师模型与人工：第二版数据")  # fmt: skip
    demo_second.gather(demo.ws, dpo, demo.run)
    for attempt in SECOND:
        demo.run("build", f"negatives.model={dpo}", "negatives.each=2", *attempt.build)
        sft = demo.train("second SFT", "sft", f"model={dpo}", *attempt.sft)
        del demo.models["second SFT"]  # nobody measures it by itself
        second = demo.train("second SFT+DPO", "dpo", f"model={sft}", *attempt.dpo)
        if passes(demo, "second SFT+DPO", second, dpo):
            return second
    raise Blocked("demo: the gate let none of the second candidates through; see reports/gate/")


def degrade(demo: Demo, second: str) -> Release:
    """Act 6: in the rollout of the second model a damaged adapter answers in its place."""
    demo.say("its canary degrades in the middle of the rollout", "其金丝雀在灰度途中劣化")
    ws = demo.ws
    damaged = demo_traffic.damage(ws, candidates.resolve(ws, second), demo.config.damage)
    after = demo_traffic.roll_out(ws, second, damaged, demo.config.damage_at)
    if after.state != "rolled_back":
        raise Blocked(f"demo: the damaged canary is {after.state}; see reports/monitor.md")
    return after


def come_back(demo: Demo, release: Release) -> str:
    """The canary's failures through intake, and one failure's whole journey; its id."""
    demo.say("its failures come back; one failure traced", "失败样本回流；追溯其中一条")
    path = demo_traffic.written_back(release)
    demo.run("intake", path, "--source", f"live:{release.id}")
    first = next(
        row
        for _, row in jsonl.rows(demo.ws.data / "failures.jsonl")
        if row["label"] == "privacy" and not str(row["source"]).startswith("live")
    )
    left = demo.run("redact", "--rescan").data["files"]
    if left:
        told = "; ".join(f"{name}: {', '.join(counts)}" for name, counts in left.items())
        raise ErrataError(f"demo: redaction would find something in {told}")
    outcome = demo.run("trace", str(first["id"]))
    sys.stdout.write("\n".join(f"    {line}" for line in outcome.text.splitlines()[:24]) + "\n")
    return str(first["id"])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence loading bars of libraries; our own lines remain."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    yield


def main(ws: Workspace, config: Config) -> Outcome:
    """All acts, then one table."""
    root = ws.root
    if root.is_dir() and any(root.iterdir()):  # such as the folder one happens to stand in
        root = root / f"errata-demo-{time.strftime('%Y%m%d-%H%M%S')}"
    demo = Demo(lay_down(root), config)
    demo_second.people_say(demo.ws)
    with quiet():
        harvest(demo)
        sft, dpo, serving = release(demo)
        compare(demo, sft)
        blocked = sabotage(demo, sft)
        if blocked != 3:
            raise ErrataError(f"demo: the gate's exit for the sabotaged one: {blocked}, not 3")
        unchanged(demo, dpo)
        second = grow(demo, dpo)
        bad = degrade(demo, second)
        failure = come_back(demo, bad)
    return demo_table.last_page(demo, serving, bad, failure)
