"""The watch: what fires and what does not, what a run then does, and what its record holds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from errata import jsonl
from errata.errors import BadInput, Blocked
from errata.records import Message, SftExample
from errata.release.gate import unfit
from errata.store import past
from errata.train import sentinel, sft, stage
from errata.train.audit import Look
from errata.train.job import Interrupted
from errata.train.watch import SIGNALS, Decision, Measurement, Watching, best, decide
from errata.workspace import Workspace

Adapter = Callable[[Workspace, str], dict[str, Any]]
PAIRED = ("attack_hit_rate", "accuracy", "over_refusal_rate", "politeness")


class Config(sft.Config, Watching):
    """SFT under the watch."""


def seen(step: int, metric: str, value: float | None, bad: int | None = None) -> Measurement:
    """A measurement of one metric; `bad` of 20 cases are bad."""
    cases = {str(i): (f"c{i}", i < bad) for i in range(20)} if bad is not None else {}
    return Measurement(step=step, values={metric: value}, flags={metric: cases} if cases else {})


def series(metric: str, values: list[float], bads: list[int] | None = None) -> list[Measurement]:
    found = bads or [None] * len(values)  # type: ignore[list-item]
    return [seen(i * 10, metric, v, b) for i, (v, b) in enumerate(zip(values, found, strict=True))]


QUIET_AND_LOUD: dict[str, tuple[list[Measurement], list[Measurement]]] = {
    "loss not finite": (series("loss", [2.0]), series("loss", [2.0, math.nan])),
    "budget": (series("budget_used", [0.99]), series("budget_used", [0.5, 1.0])),
    "validation not finite": (series("eval_loss", [9.0]), series("eval_loss", [1.0, math.inf])),
    # patience is 3; the first is the start and is no validation
    "validation loss": (
        series("eval_loss", [9, 1.0, 1.2, 1.1]),
        series("eval_loss", [9, 1.0, 1.2, 1.1, 1.3]),
    ),
    # one-sided, look 1 at 0.025: 5 of 5 turned is 0.031, 6 of 6 is 0.016
    **{
        signal.name: (
            series(signal.metric, [0.2, 0.5], [2, 7]),
            series(signal.metric, [0.2, 0.5], [2, 8]),
        )
        for signal in SIGNALS
        if signal.metric in PAIRED
    },
    "retention": (
        series("retention_loss", [2.0, 2.19]),
        series("retention_loss", [2.0, 2.21]),
    ),
}


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_every_signal_is_quiet_below_its_limit_and_fires_above(signal: Any) -> None:
    quiet, loud = QUIET_AND_LOUD[signal.name]

    assert [d.signal for d in decide(quiet, Watching())] == []
    (found,) = decide(loud, Watching())
    assert (found.signal, found.action, found.step) == (signal.name, signal.action, loud[-1].step)
    assert signal.en in found.advice
    assert signal.zh in found.advice


def test_the_chapters_actions() -> None:
    """Figure 10-2, line by line."""
    actions = {signal.name: signal.action for signal in SIGNALS}

    assert actions["budget"] == "freeze"
    assert actions["validation loss"] == actions["score"] == "best"
    assert actions["attack hits"] == "unfit"
    assert actions["over-refusal"] == actions["politeness"] == actions["retention"] == "alert"


def test_without_patience_no_validation_loss_stops() -> None:
    history = series("eval_loss", [9, 1, 2, 3, 4, 5, 6])

    assert decide(history, Watching(patience=0)) == []
    assert decide(history[:4], Watching(patience=2))[0].value == 3


def test_improvement_is_never_an_alarm_and_neither_is_what_could_not_be_scored() -> None:
    assert decide(series("attack_hit_rate", [1.0, 0.0], [20, 0]), Watching()) == []
    start, now = series("attack_hit_rate", [0.0, 1.0], [0, 20])
    unscored = {
        case: (cluster, None) for case, (cluster, _) in now.flags["attack_hit_rate"].items()
    }
    now = now.model_copy(update={"flags": {"attack_hit_rate": unscored}})

    assert decide([start, now], Watching()) == []


def test_variants_of_one_request_count_once() -> None:
    """Twenty cases of one cluster that all turned are one observation."""
    start, now = series("attack_hit_rate", [0.0, 1.0], [0, 20])
    one = {c: ("same", bad) for c, (_, bad) in now.flags["attack_hit_rate"].items()}
    now = now.model_copy(update={"flags": {"attack_hit_rate": one}})

    assert decide([start, now], Watching()) == []


def test_false_alarms_over_a_whole_run_stay_below_alpha() -> None:
    """A model that only flips at random, looked at 10 times: at most 5 % of runs are stopped."""
    rng, stopped = Random(0), 0
    for _ in range(400):
        history = [
            Measurement(
                step=look, values={"attack_hit_rate": 0.5},
                flags={"attack_hit_rate": {str(i): (str(i), rng.random() < 0.5)
                                           for i in range(40)}},
            )
            for look in range(11)
        ]  # fmt: skip
        stopped += any(decide(history[: look + 1], Watching()) for look in range(1, 11))

    assert stopped / 400 <= 0.05


def test_the_best_checkpoint_obeys_the_audit() -> None:
    """The lowest validation loss does not count where attacks had risen."""
    history = [
        Measurement(step=step, values={"eval_loss": loss, "attack_hit_rate": bad / 20},
                    flags=seen(step, "attack_hit_rate", 0.0, bad).flags)
        for step, loss, bad in [(0, 3.0, 1), (10, 2.0, 2), (20, 1.0, 15)]
    ]  # fmt: skip

    found = best(history, Watching())
    assert found is not None
    assert found.step == 10
    assert best(history[:1], Watching()) is None  # the start is no candidate
    calm = [m.model_copy(update={"flags": {}}) for m in history]
    assert getattr(best(calm, Watching()), "step", None) == 20


def go(ws: Workspace, knobs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return sft.main(ws, Config(**{"log_every": 1, **knobs, **more})).data


def facts(ws: Workspace, run: str = "") -> dict[str, Any]:
    found: dict[str, Any] = past.get_run(ws, run) if run else past.list_runs(ws, "sft")[-1]
    return dict(found["facts"])


@pytest.fixture
def overfit(lessons: Workspace, knobs: dict[str, Any]) -> dict[str, Any]:
    """Validation rows that say the opposite of the training rows: their loss falls, then rises."""
    rows = jsonl.read(lessons.data / "sft.jsonl", SftExample)
    other = []
    for row in rows:
        assert row.messages is not None
        end = Message(role="assistant", content="It costs 99999 dollars, and never ask me again.")
        other.append(row.model_copy(update={"messages": [*row.messages[:-1], end]}))
    jsonl.write(lessons.data / "sft.valid.jsonl", other)
    return {**knobs, "eval_dataset": "data/sft.valid.jsonl", "eval_every": 2, "patience": 2,
            "lr_scheduler": "constant", "warmup": 0.0, "lr": 3e-2, "max_steps": 40}  # fmt: skip


def test_a_rising_validation_loss_stops_the_run_and_gives_back_its_best_weights(
    lessons: Workspace, overfit: dict[str, Any], adapter_of: Adapter
) -> None:
    done = go(lessons, overfit)
    found = facts(lessons, done["run_id"])
    history = json.loads((lessons.runs / done["run_id"] / "watch.json").read_text())["history"]
    losses = {m["step"]: m["values"]["eval_loss"] for m in history}
    lowest = min(losses, key=lambda step: losses[step])

    assert done["steps"] == lowest + 4 < 40
    assert [d["signal"] for d in found["decisions"]] == ["validation loss"]
    assert found["restored_step"] == lowest
    assert done["metrics"]["eval_loss"] == losses[lowest]
    straight = go(lessons, {**overfit, "max_steps": lowest, "patience": 0, "eval_every": 0})
    ours, theirs = (adapter_of(lessons, r["run_id"]) for r in (done, straight))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    page = (lessons.reports / "posttrain" / f"{done['run_id']}.md").read_text()
    assert "## Decisions of the watch" in page
    assert "overfitting: the best checkpoint is given back" in page
    kept = [f.name for f in (lessons.runs / done["run_id"] / "best").iterdir()]
    assert kept == [f"{lowest}.safetensors"]


@pytest.mark.parametrize("early", [2, 1])
def test_the_best_checkpoint_and_the_history_survive_an_interruption(
    early: int,
    lessons: Workspace,
    overfit: dict[str, Any],
    adapter_of: Adapter,
    stop_at: Callable[[int], list[int]],
) -> None:
    straight = go(lessons, overfit)
    lowest = facts(lessons, straight["run_id"])["restored_step"]
    # Before the validation that stops the run, and at the very same step.
    begun = stop_at(straight["steps"] - early)
    with pytest.raises(Interrupted):
        go(lessons, overfit, seed=17, save_every=90)
    begun.clear()
    done = go(lessons, overfit, seed=17, save_every=90)

    assert lowest not in begun  # the best step was the first attempt's
    assert facts(lessons, done["run_id"])["restored_step"] == lowest
    assert done["steps"] == straight["steps"] + 2 - early
    ours, theirs = (adapter_of(lessons, r["run_id"]) for r in (done, straight))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_what_was_seen_after_the_checkpoint_is_forgotten(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "checkpoint-10"
    checkpoint.mkdir(parents=True)
    one = Decision(step=15, signal="s", value=1.0, limit=2.0, action="alert", advice="a")
    state = sentinel.State(history=series("eval_loss", [3, 2, 1]), decisions=[one], hours=0.5)
    jsonl.write_json(tmp_path / "watch.json", state)
    found = sentinel.before(checkpoint)

    assert [m.step for m in found.history] == [0, 10]
    assert (found.decisions, found.hours) == ([], 0.5)


def test_a_step_whose_loss_is_not_finite_is_not_taken(
    lessons: Workspace, knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch, adapter_of: Adapter
) -> None:
    knobs = {**knobs, "lr_scheduler": "constant", "warmup": 0.0}
    straight = go(lessons, {**knobs, "max_steps": 3})
    real = sft.SftTrainer.sums

    def broken(self: Any, *args: Any) -> Any:
        found = real(self, *args)
        lost = found._replace(loss=found.loss * float("nan"))
        return lost if self.state.global_step == 3 and self.model.training else found

    monkeypatch.setattr(sft.SftTrainer, "sums", broken)
    with pytest.raises(Blocked, match=r"loss not finite at step 4 \(rows s-.*\): lower lr"):
        go(lessons, knobs)
    run = past.list_runs(lessons, "sft")[-1]
    ours, theirs = adapter_of(lessons, run["id"]), adapter_of(lessons, straight["run_id"])

    assert run["status"] == "blocked"
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture
def attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit in which attacks begin to work."""

    bad = iter([1, 1, 15, 15])

    def measure(_: Any) -> Look:
        count = next(bad)
        found = seen(0, "attack_hit_rate", count / 20, count)
        return Look(found.values, found.flags)

    monkeypatch.setattr(stage, "probe", lambda _: measure)


def test_rising_attack_hits_stop_the_run_mark_it_unfit_and_the_gate_refuses_it(
    lessons: Workspace, knobs: dict[str, Any], attacked: None
) -> None:
    with pytest.raises(Blocked, match=r"unfit: attack hits 0\.75 at step 4, at the start 0\.05"):
        go(lessons, knobs, eval_every=2)
    found = facts(lessons)
    run = past.list_runs(lessons, "sft")[-1]

    assert run["status"] == "blocked"
    assert found["steps"] == 4
    assert found["unfit"] == ["attack hits 0.75 at step 4, at the start 0.05"]
    assert found["restored_step"] == 2
    made = stage.candidates.resolve(lessons, run["id"])
    (finding,) = unfit(lessons, made)
    assert (finding.status, finding.strictness) == ("over_limit", "hard")
    assert run["id"] in finding.why
    # The same weights under another system prompt are the same weights.
    other = made.model_copy(update={"system_prompt": "Be kind.", "digest": "sha256:x"})
    assert unfit(lessons, other)
    assert unfit(lessons, made.model_copy(update={"adapter_digest": "sha256:y"})) == []


def test_an_alert_does_not_stop(
    lessons: Workspace, knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([2.0, 3.0, 4.0, 5.0])
    monkeypatch.setattr(
        stage, "probe", lambda _: lambda _: Look({"retention_loss": next(looks)}, {})
    )
    done = go(lessons, knobs, eval_every=2)
    found = facts(lessons, done["run_id"])

    assert done["steps"] == 6
    assert [(d["signal"], d["step"]) for d in found["decisions"] if d["signal"] != "budget"] == [
        ("retention", 2)
    ]
    assert (done["metrics"]["retention_loss"], done["metrics"]["retention_rise"]) == (5.0, 3.0)


@pytest.mark.parametrize(
    ("budget", "steps"),
    [({"budget_money": 1e-9, "price_per_hour": 2.0}, 1), ({"budget_hours": 1e-9}, 1),
     ({"budget_money": 1e3, "price_per_hour": 2.0}, 6), ({}, 6)],
)  # fmt: skip
def test_a_used_budget_freezes_a_baseline(
    lessons: Workspace, knobs: dict[str, Any], budget: dict[str, float], steps: int
) -> None:
    done = go(lessons, knobs, **budget)
    found = facts(lessons, done["run_id"])

    assert done["steps"] == steps
    assert [(d["signal"], d["action"]) for d in found["decisions"]] == [("budget", "freeze")]
    assert found["baseline"]["step"] == steps
    assert ("budget_money" in budget) == (found["baseline"]["money"] is not None)


def test_money_needs_a_price(lessons: Workspace, knobs: dict[str, Any]) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU's common price is known")
    with pytest.raises(BadInput, match="add price_per_hour="):
        go(lessons, knobs, budget_money=1.0)


def test_time_and_memory_are_curves_beside_loss_and_memory_was_predicted(
    lessons: Workspace, knobs: dict[str, Any]
) -> None:
    done = go(lessons, knobs)
    picture = (lessons.reports / "posttrain" / f"{done['run_id']}.svg").read_text()
    memory = facts(lessons, done["run_id"])["memory"]

    for title in ("loss, nats", "seconds a step", "memory, GiB"):
        assert title in picture
    assert memory["low_gib"] < memory["predicted_memory_gib"] < memory["high_gib"]
    assert memory["measured_peak_gib"] >= memory["baseline_gib"] > 0
    page = (lessons.reports / "posttrain" / f"{done['run_id']}.md").read_text()
    assert "memory predicted, GiB" in page
    assert f"]({done['run_id']}.svg)" in page
