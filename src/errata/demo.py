"""The whole loop on the embedded model, in a fresh folder: real failures become its next release.

    errata demo -C my-demo

 1. the raw model answers the tune attacks and the business suite; what it gets wrong fills inbox/,
    beside answers that users put right
 2. intake → build → SFT → DPO, and a reward model with PPO beside it
 3. evaluate and safety on the held-out part; the gate passes; the rollout goes to 100 %
 4. a sabotaged candidate, its preferences flipped, is blocked by the gate on its numbers
 5. a canary whose adapter is damaged in the middle of its rollout is rolled back by the monitor;
    its failures come back through intake, and a failure is traced through its whole journey

Nothing is scripted: every number is measured on answers that the models really gave.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from errata import candidates, cli, demo_table, demo_traffic, jsonl
from errata.config import Section
from errata.errors import Blocked, ErrataError, NoDecision
from errata.init import lay_down
from errata.intake import human
from errata.language import say
from errata.outcome import Outcome
from errata.records import Candidate, PreferencePair, Release
from errata.workspace import Workspace

NEEDS_WORKSPACE = False


# What people say of the demo's data; a real team writes its own.
DATASHEET = """
owner: "the demo: nobody else's data is in it"
licence: apache-2.0
purpose: "to show the loop; no fact in it is true, and no product should learn from it"
collected: "answers of the embedded model to invented questions; a few that we put right"
known_gaps: "one invented desk, two languages, short turns; no dialects, long documents, images"
"""


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
        first = next((line for line in outcome.text.splitlines() if line.strip()), "")
        sys.stdout.write(f"    {first}\n")
        sys.stdout.flush()
        return outcome

    def measured(self, stage: str, *words: str) -> str:
        """Run evaluate or safety, whatever it concludes; the run id of its evidence."""
        from errata.store import past

        try:
            return str(self.run(stage, *words).data["run_id"])
        except (Blocked, NoDecision) as verdict:
            _told(stage, words, verdict)
        return str(past.list_runs(self.ws, stage)[-1]["id"])

    def judge(self, label: str, model: str, full: bool, baseline: str = "tiny") -> None:
        """Evidence about a model, for the gate and for the table."""
        entry = self.models.setdefault(label, demo_table.Entry(model))
        more = [] if full or not self.config.limit else [f"limit={self.config.limit}"]
        versus = [f"baseline={baseline}"] if model != baseline else []
        entry.evaluate = self.measured("evaluate", f"model={model}", *versus, *more)
        entry.safety = self.measured("safety", f"model={model}", *more)

    def train(self, label: str, stage: str, *words: str) -> str:
        """A training stage, with its minutes and memory for the table; its run id. One that its own
        watch marked unfit goes on to the gate, which must not let it pass."""
        from errata.store import past

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
    demo.measured("evaluate", "model=tiny", "split=tune", "write_back=inbox/business.jsonl")
    demo.run("intake", "inbox/attacks.jsonl", "--source", "red_team")
    demo.run("intake", "inbox/business.jsonl", "--source", "online")
    demo.run("intake", "inbox/sample_feedback.jsonl")  # answers that users put right
    demo.run("build")


def align(demo: Demo) -> tuple[str, str]:
    """Act 2: SFT and DPO; run ids."""
    demo.say("SFT, then DPO from it", "先 SFT，再 DPO")
    sft = demo.train("SFT", "sft")
    dpo = demo.train("SFT+DPO", "dpo", f"model={sft}")
    return sft, dpo


def release(demo: Demo, dpo: str) -> Release:
    """Act 3: evidence, gate, rollout to everybody."""
    demo.say("held-out evaluation, gate, rollout", "留出集评估、门禁、灰度")
    demo.judge("base", "tiny", full=True)
    demo.judge("SFT+DPO", dpo, full=True)
    verdict = demo.run("gate", f"candidate={dpo}", "baseline=tiny")
    if verdict.code:
        raise Blocked(f"demo: the gate did not pass: {_short(verdict.text, 400)}")
    done = roll_out(demo, dpo, "tiny")
    if done.state != "serving":
        raise Blocked(
            f"demo: release {done.id} is {done.state}, not serving; see reports/monitor.md"
        )
    return done


def roll_out(demo: Demo, name: str, stable: str, damaged: Path | None = None) -> Release:
    """Serve traffic through both models until the release serves all, or is taken back."""
    from errata import config as configs
    from errata.evaluate.answers import ask
    from errata.evaluate.failures import judge
    from errata.release import monitor, rollout, traffic
    from errata.serve.engine import engine_for

    ws = demo.ws
    new, old = candidates.resolve(ws, name), candidates.resolve(ws, stable)
    known = {new.digest: new, old.digest: old}
    cache: traffic.Cache = {}
    state = {"damaged": False}

    def answer(digest: str, prompts: list[Any]) -> list[str]:
        if digest == new.digest and state["damaged"] and damaged is not None:
            engine, _ = engine_for(ws, new)
            return engine.answer(prompts, engine.add(damaged))
        return ask(ws, known[digest], prompts, label="traffic")

    def watch(step: traffic.Step) -> None:
        sys.stdout.write(
            f"    window {step.window}: {step.percent} % {step.action}: {_short(step.why, 100)}\n"
        )
        if damaged is not None and step.reached >= demo.config.damage_at and not state["damaged"]:
            state["damaged"] = True
            for key in [key for key in cache if key[0] == new.digest]:
                del cache[key]
            sys.stdout.write(say("    -- the canary's adapter is damaged now --\n",
                                 "    -- 金丝雀的适配器此刻损坏 --\n"))  # fmt: skip

    begun = rollout.start(ws, name)
    knobs = configs.load(ws.configs / "monitor.yaml", monitor.Config)
    pool = demo_traffic.pool(ws)
    journey = traffic.drive(
        ws, begun, answer, pool, judge, stable=old.digest, config=knobs, cache=cache, on_step=watch
    )
    if journey.written_back:
        sys.stdout.write(f"    → {journey.written_back}\n")
    return journey.release


def compare(demo: Demo, sft: str) -> None:
    """PPO beside DPO, and SFT alone, on smaller samples."""
    demo.say("reward model and PPO, for comparison", "奖励模型与 PPO，用于对比")
    demo.judge("SFT", sft, full=False)
    demo.run("rm")
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
    demo.judge("sabotaged", bad, full=False)
    verdict = demo.run("gate", f"candidate={bad}", "baseline=tiny")
    sys.stdout.write(f"    exit {verdict.code}\n")
    return verdict.code


def degrade(demo: Demo, dpo: str, serving: Release) -> Release:
    """Act 5: a change of configuration passes its own gate; then its adapter is damaged."""
    demo.say("a canary that degrades in the middle of its rollout", "灰度途中劣化的金丝雀")
    ws = demo.ws
    base = candidates.resolve(ws, dpo)
    changed = base.model_dump(exclude={"digest"}) | {
        "decoding": {"temperature": 0.0, "max_new_tokens": 40}
    }
    manifest = ws.runs / dpo / "candidate-shorter.json"
    jsonl.write_json(manifest, Candidate(**changed, digest=candidates.digest_of(changed)))
    name = ws.relative(manifest)
    demo.judge("SFT+DPO, 40 tokens", name, full=True)
    verdict = demo.run("gate", f"candidate={name}", f"baseline={dpo}")
    if verdict.code:
        raise Blocked(f"demo: the second candidate did not pass: {_short(verdict.text, 400)}")
    damaged = demo_traffic.damage(ws, ws.runs / dpo / "adapter", demo.config.damage)
    after = roll_out(demo, name, serving.candidate_path, damaged)
    if after.state != "rolled_back":
        raise Blocked(f"demo: the damaged canary is {after.state}; see reports/monitor.md")
    return after


def come_back(demo: Demo, release: Release) -> str:
    """The canary's failures through intake, and one failure's whole journey; its id."""
    demo.say("its failures come back; one failure traced", "失败样本回流；追溯其中一条")
    path = f"inbox/canary-{release.id}.jsonl"
    demo.run("intake", path, "--source", f"canary:{release.id}")
    first = next(
        row
        for _, row in jsonl.rows(demo.ws.data / "failures.jsonl")
        if row["label"] == "privacy" and not str(row["source"]).startswith("canary")
    )
    left = demo.run("redact", "--rescan").data["files"]
    if left:
        raise ErrataError(f"demo: redaction would find something in {', '.join(left)}")
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
    jsonl.write_text(demo.ws.root / human.FILE, DATASHEET)
    with quiet():
        harvest(demo)
        sft, dpo = align(demo)
        serving = release(demo, dpo)
        compare(demo, sft)
        blocked = sabotage(demo, sft)
        if blocked != 3:
            raise ErrataError(
                f"demo: the sabotaged candidate got exit {blocked} from the gate, not 3"
            )
        bad = degrade(demo, dpo, serving)
        failure = come_back(demo, bad)
    return last_page(demo, serving, bad, failure)


def last_page(demo: Demo, serving: Release, bad: Release, failure: str) -> Outcome:
    """The table of all models, and what to look at next."""
    ws, minutes = demo.ws, (time.perf_counter() - demo.began) / 60
    table = demo_table.render(ws, demo.models)
    table += "\n\n" + demo_table.tool_choice(ws, demo.models["base"], demo.models["SFT+DPO"])
    jsonl.write_text(ws.reports / "demo.md", f"# Demo\n\n{table}\n")
    told = say(
        f"{minutes:.1f} minutes. Released: {serving.id}. Blocked: the sabotaged one (exit 3). "
        f"Rolled back: {bad.id}.",
        f"用时 {minutes:.1f} 分钟。已发布：{serving.id}。被门禁拦下：被破坏的候选（退出码 3）。"
        f"已回滚：{bad.id}。",
    )
    pages = "reports/safety.md, reports/posttrain/experiment-log.md"
    more = say("next: ", "下一步：") + f"`errata trace {failure} -C {ws.root}`, {pages}"
    data = {
        "minutes": minutes,
        "released": serving.id,
        "rolled_back": bad.id,
        "failure": failure,
        "models": demo_table.as_data(ws, demo.models),
    }
    return Outcome(0, f"\n{table}\n\n{told}\n{more}", data)
