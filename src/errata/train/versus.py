"""What alignment ends with: the policy against the model it started from, on the same questions.

Both answer the same dev cases (attacks, business questions, look-alikes), and score the same
validation pairs. Failures go back into the inbox by the door that `errata evaluate` uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from errata import jsonl, report
from errata.config import Section
from errata.evaluate import failures
from errata.evaluate.winrate import win_rate
from errata.language import say
from errata.records import ATTACKS, Case, Metric, PreferencePair
from errata.train.audit import DevAudit, Look, draw, judge, questions, read

if TYPE_CHECKING:
    from errata.train.settings import Panel
    from errata.train.stage import Job

PAIRS = 128  # validation pairs that both models score
NOISE = 1e-4  # nats: two forwards of the same weights differ by less


class Versus(Section):
    """Knobs of the last table; `errata dpo` and `errata ppo` have them."""

    versus_cases: int = Field(
        64, ge=0, description="dev cases that policy and reference answer at the end; 0: no table"
    )
    write_back: str | None = Field(
        None, description="inbox file for the policy's failures, on tune cases; none: not written"
    )


def after_training(job: Job, model: Any, tokenizer: Any) -> dict[str, float | None]:
    """Compare, add the page to the report, write failures back; the policy's metrics.

    `win_rate`, `preference_score`, `attack_hit_rate`, `refusal_rate`, `over_refusal_rate`,
    `accuracy`; one without cases is not among them. The record has both sides in `versus`.
    """
    config = job.config
    if not isinstance(config, Versus) or not config.versus_cases:
        return {}
    cases = _cases(job, config)
    pairs = jsonl.read(job.validation, PreferencePair)[:PAIRS] if job.validation else []
    audit = DevAudit(job.start.candidate, tokenizer, cases)
    ours, our_leads = audit.answer(model), leads(model, tokenizer, pairs, config)
    with reference(job, model) as start:
        theirs, their_leads = audit.answer(start), leads(start, tokenizer, pairs, config)
    won, score = win_rate(cases, ours, theirs), preference_score(our_leads, their_leads)
    policy, before = judge(cases, ours), judge(cases, theirs)
    job.extra["versus"] = {
        "win_rate": won,
        "preference_score": score,
        "policy": policy.values,
        "reference": before.values,
    }
    job.extra.setdefault("pages", []).append(
        page(won, score, policy, before, len(cases), len(pairs))
    )
    if config.write_back:
        path = job.ws.path(config.write_back.format(run_id=job.run.id))
        count = failures.write_back(path, cases, ours, job.stage, run=job.run.id)
        job.extra["written_back"] = count
        name = job.ws.relative(path)
        job.notes.append(say(f"{count} failures written to {name}", f"{count} 条失败写入 {name}"))
    found = {"win_rate": won.value, "preference_score": score, **policy.values}
    found.pop("politeness", None)
    return {name: value for name, value in found.items() if value is not None}


def _cases(job: Job, config: Versus) -> list[Case]:
    """Half attacks, half questions (and look-alikes); tune cases when failures are written back."""
    attacks, business = job.suites
    split = "tune" if config.write_back else ""
    found: list[Case] = []
    half = (config.versus_cases + 1) // 2
    if attacks.is_file():
        found += draw(read(job.run.input(attacks)), ATTACKS, half, split)
    if business.is_file():
        found += questions(read(job.run.input(business)), half, split)
    if not found:
        job.notes.append(say("no suite here: policy and reference are compared on pairs alone",
                             "没有测评集：策略与参考模型只在偏好对上比较"))  # fmt: skip
    return found


@contextmanager
def reference(job: Job, model: Any) -> Iterator[Any]:
    """The model that the run started from: adapters off, the start's adapter, or, after full
    fine-tuning, the start itself, loaded again."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        yield from _loaded(job)
    elif job.start.adapter is None:
        with model.disable_adapter():
            yield model
    else:
        model.load_adapter(str(job.start.adapter), adapter_name="versus", is_trainable=False)
        model.set_adapter("versus")
        try:
            yield model
        finally:
            model.set_adapter("default")
            model.delete_adapter("versus")


def _loaded(job: Job) -> Iterator[Any]:
    from errata.train.model import load, weights_dtype, with_adapter

    model, _ = load(job.start.base, weights_dtype(job.config))
    if job.start.adapter is not None:
        model = with_adapter(model, job.start.adapter, False)
    yield model.eval()


def leads(
    model: Any, tokenizer: Any, pairs: Sequence[PreferencePair], config: Panel
) -> list[float]:
    """log π(chosen) − log π(rejected) of each pair."""
    from errata.train.logprobs import ready
    from errata.train.packing import Limits
    from errata.train.reference import compute
    from errata.train.step import autocast, tokens_at_once
    from errata.train.tokens import encode_pairs

    scorer = ready(model, tokenizer.pad_token_id, config.seq_len)
    trees = encode_pairs(tokenizer, pairs, config.seq_len)
    limits = Limits(len(trees), tokens_at_once(config, scorer.device))
    with autocast(config, scorer.device):  # as the policy was trained
        found = compute(scorer, trees, limits)
    return [chosen - rejected for chosen, rejected in found]


def preference_score(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Share of pairs whose chosen answer gained more on the reference than the rejected one did.

    DPO's own accuracy. A tie is one half, so that the reference itself has 50 %; None: no pair.
    Leads within the noise of float32 sums are ties."""
    gained = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    points = [0.5 if abs(gain) < NOISE else float(gain > 0) for gain in gained]
    return sum(points) / len(points) if points else None


_ROWS = (
    ("attack_hit_rate", "attacks that reach their goal", "攻击命中率"),
    ("refusal_rate", "attacks refused", "攻击拒答率"),
    ("over_refusal_rate", "harmless questions refused", "过度拒答率"),
    ("accuracy", "business questions right", "业务正确率"),
    ("politeness", "answers in a polite tone", "礼貌率"),
)


def page(
    won: Metric,
    score: float | None,
    policy: Look,
    before: Look,
    cases: int,
    pairs: int,
) -> str:
    """The table, as a page of the run's report."""

    def shown(value: float | None) -> str:
        return report.shown(value, "rate")

    reach = report.bounds(won.low, won.high, "rate")
    won_by = say("win rate over the reference", "相对参考模型的胜率")
    table = [
        [won_by, f"{shown(won.value)} ({reach})", "–"],
        [say("preference score", "偏好得分"), shown(score), shown(0.5)],
    ]
    for name, en, zh in _ROWS:
        if name in policy.values:
            ours, theirs = policy.values[name], before.values[name]
            table.append([say(en, zh), shown(ours), shown(theirs)])
    head = say("Policy against reference", "策略与参考模型")
    note = say(
        f"{cases} dev cases, {pairs} validation pairs; a tie is half a win. The held-out split "
        "was not read: that is the exam (`errata evaluate`, `errata safety`).",
        f"{cases} 个 dev 用例、{pairs} 个验证偏好对；平局计半胜。未读取留出集："
        "那是考试（`errata evaluate`、`errata safety`）。",
    )
    names = [say("measure", "指标"), say("policy", "策略"), say("reference", "参考模型")]
    return f"## {head}\n\n{report.markdown_table(names, table)}\n{note}"
