"""The frame of a training run: what it resumes, where it starts, what it refuses."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from errata import jsonl
from errata.errors import BadInput, Blocked
from errata.records import Message, PreferencePair
from errata.store import past
from errata.store.runs import Run
from errata.train import accept, dpo, job, reward, sft
from errata.train.job import Interrupted, Watch
from errata.train.model import load
from errata.train.settings import Bound
from errata.train.stage import Job
from errata.web import jobs
from errata.workspace import Workspace

STAGES = {"sft": sft, "dpo": dpo, "rm": reward}


def go(ws: Workspace, stage: str, knobs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One run; its --json line."""
    module = STAGES[stage]
    return module.main(ws, module.Config(**{"log_every": 1, **knobs, **more})).data


def copy_rows(ws: Workspace, name: str, source: str = "sft.jsonl") -> str:
    """Another file of the same rows; its name from the workspace."""
    jsonl.write_text(ws.data / name, (ws.data / source).read_text())
    return f"data/{name}"


def shorten_file(path: Path) -> None:
    """Another version of a file of rows: without its last."""
    jsonl.write_text(path, "".join(path.read_text().splitlines(keepends=True)[:-1]))


# What a run resumes


def fingerprint(ws: Workspace, knobs: dict[str, Any], also: tuple[str, ...] = ()) -> str:
    config = sft.Config(**knobs)
    with Run(ws, "sft", config) as run:
        return Job(ws, "sft", config, run, also).fingerprint


@pytest.mark.parametrize(
    ("read", "more"),
    [
        ("data/sft.jsonl", {}),
        ("data/other.jsonl", {"eval_dataset": "data/other.jsonl"}),
        ("data/other.jsonl", {"retention": "data/other.jsonl"}),
        ("data/other.jsonl", {"replay": "data/other.jsonl"}),
        ("suites/attacks.jsonl", {"audit_cases": 2}),
        ("suites/business.jsonl", {"score_cases": 2}),
        # what the suites hold is kept out of a replay
        ("suites/attacks.jsonl", {"replay": "data/other.jsonl"}),
    ],
)
def test_every_file_that_decides_a_run_is_in_its_fingerprint(
    lessons: Workspace, knobs: dict[str, Any], read: str, more: dict[str, Any]
):
    copy_rows(lessons, "other.jsonl")
    for name in ("attacks", "business"):
        jsonl.write_text(lessons.suites / f"{name}.jsonl", '{"a": 1}\n{"a": 2}\n')
    idle = fingerprint(lessons, knobs)
    before = fingerprint(lessons, {**knobs, **more})
    assert before == fingerprint(lessons, {**knobs, **more})
    shorten_file(lessons.path(read))

    assert fingerprint(lessons, {**knobs, **more}) != before
    # A file that the run does not read says nothing.
    assert (fingerprint(lessons, knobs) == idle) == (read != "data/sft.jsonl")


def test_what_a_stage_resolves_itself_is_in_the_fingerprint_too(
    lessons: Workspace, knobs: dict[str, Any]
):
    found = {fingerprint(lessons, knobs, also) for also in ((), ("rm-1",), ("rm-1", "sha256:x"))}
    assert len(found) == 3


def test_other_validation_rows_are_never_resumed(
    lessons: Workspace, knobs: dict[str, Any], stop_at: Callable[[int], list[int]]
):
    more = {"eval_dataset": copy_rows(lessons, "valid.jsonl")}
    stop_at(2)
    with pytest.raises(Interrupted):
        go(lessons, "sft", knobs, **more)
    cut = past.list_runs(lessons, "sft")[-1]["id"]
    shorten_file(lessons.data / "valid.jsonl")

    with pytest.raises(BadInput, match=f"resume={cut}: no checkpoint of this config and data"):
        go(lessons, "sft", knobs, resume=cut, **more)
    done = go(lessons, "sft", knobs, **more)
    notes = past.get_run(lessons, done["run_id"])["facts"]["notes"]
    assert not any("resumed" in note for note in notes)


def steps_of(ws: Workspace, run_id: str) -> list[tuple[float, float]]:
    return jobs.progress(ws, run_id).curves["loss"]


def test_what_a_run_tells_while_it_goes_on_is_its_curve(
    lessons: Workspace, knobs: dict[str, Any], stop_at: Callable[[int], list[int]]
):
    """Of a run that was gone on with, the whole curve: the desk draws it from this file."""
    straight = go(lessons, "sft", knobs, resume="never")
    told = steps_of(lessons, straight["run_id"])
    assert told == list(enumerate(straight["losses"], 1))
    stop_at(3)
    with pytest.raises(Interrupted):
        go(lessons, "sft", knobs, save_every=1, seed=18)
    cut = past.list_runs(lessons, "sft")[-1]["id"]
    assert 1 <= len(steps_of(lessons, cut)) < 6
    done = go(lessons, "sft", knobs, save_every=1, seed=18)
    whole = steps_of(lessons, done["run_id"])
    assert [step for step, _ in whole] == [1, 2, 3, 4, 5, 6]
    assert jobs.progress(lessons, done["run_id"]).steps == 6


def test_another_version_of_the_reference_is_never_resumed(
    lessons: Workspace, knobs: dict[str, Any], stop_at: Callable[[int], list[int]], tmp_path: Path
):
    other = tmp_path / "other"
    shutil.copytree(knobs["model"], other)
    knobs = {**knobs, "versus_cases": 0, "reference": str(other)}
    stop_at(2)
    with pytest.raises(Interrupted):
        go(lessons, "dpo", knobs)
    tokenizer = other / "tokenizer_config.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    notes = past.get_run(lessons, go(lessons, "dpo", knobs)["run_id"])["facts"]["notes"]

    assert not any("resumed" in note for note in notes)


def test_processes_stop_at_the_same_step(monkeypatch: pytest.MonkeyPatch):
    """This process was told nothing; another one was."""
    control = SimpleNamespace(should_save=False, should_training_stop=False)
    watch = Watch(None)
    watch.on_step_end(None, None, control)
    assert not control.should_training_stop
    monkeypatch.setattr(job, "anywhere", lambda *_: [True, False])
    watch.on_step_end(None, None, control)

    assert control.should_save
    assert control.should_training_stop
    assert (watch.interrupted, watch.signalled) == (True, False)


# Where DPO starts


@pytest.mark.parametrize("kind", ["start", "path"])
def test_a_policy_in_autocast_starts_as_its_reference(
    lessons: Workspace, knobs: dict[str, Any], kind: str
):
    knobs = {**knobs, "method": "full", "lr": 1e-9, "max_steps": 1, "versus_cases": 0}
    more = {"reference": "start" if kind == "start" else knobs["model"]}
    plain = go(lessons, "dpo", knobs, **more)
    mixed = go(lessons, "dpo", knobs, bf16=True, **more)

    assert plain["losses"] == [pytest.approx(math.log(2), abs=1e-4)]
    # Rounded products: as far as the micro batch's order moves them, and no further.
    assert mixed["losses"] == [pytest.approx(math.log(2), abs=2e-3)]
    assert len(list((lessons.cache / "reference").iterdir())) == 2


def test_the_preference_part_of_a_mixed_loss_starts_at_ln_2(
    lessons: Workspace, knobs: dict[str, Any]
):
    knobs = {**knobs, "versus_cases": 0, "lr": 1e-9, "max_steps": 2, "sft_weight": 0.5}
    done = go(lessons, "dpo", knobs, save_every=2)
    state = lessons.runs / done["run_id"] / "checkpoints" / "checkpoint-2" / "trainer_state.json"
    logged = json.loads(state.read_text())["log_history"]

    assert [p["preference_loss"] for p in logged if "loss" in p] == pytest.approx(
        [math.log(2)] * 2, abs=1e-4
    )
    assert done["losses"][0] > math.log(2) + 0.5
    curves = (lessons.reports / "posttrain" / f"{done['run_id']}.svg").read_text()
    assert "preference_loss" in curves


# What is refused before training


@pytest.mark.parametrize(
    ("stage", "name", "more", "words"),
    [
        ("sft", "eval_loss", {}, "`eval_loss` needs validation rows: set eval_dataset"),
        ("dpo", "margin", {}, "`margin` needs validation rows"),
        ("rm", "brier", {}, "`brier` needs validation rows"),
        ("rm", "brier", {"eval_dataset": "data/gone.jsonl"}, "to a file that is there"),
        ("sft", "lost", {}, "`lost` is not measured here; known: hours, loss, peak_memory_gib"),
        ("sft", "margin", {}, "`margin` is not measured here"),
        ("dpo", "preference_loss", {"sft_weight": 0.0}, "`preference_loss` is not measured here"),
        ("sft", "attack_hit_rate", {}, "needs audit_cases above 0"),
        ("sft", "retention_rise", {}, "needs rows in `retention`"),
        ("dpo", "win_rate", {"versus_cases": 0}, "needs versus_cases above 0"),
    ],
)
def test_a_threshold_that_cannot_be_measured_is_refused_before_training(
    lessons: Workspace, knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
    stage: str, name: str, more: dict[str, Any], words: str,
):  # fmt: skip
    monkeypatch.setattr("errata.train.prepare.load", lambda *_, **__: pytest.fail("it loads"))
    with pytest.raises(BadInput, match=words):
        go(lessons, stage, knobs, accept={name: Bound(min=0.0)}, **more)


@pytest.mark.parametrize("stage", ["dpo", "rm"])
def test_what_accept_knows_is_what_validation_gives(
    lessons: Workspace, knobs: dict[str, Any], stage: str
):
    valid = copy_rows(lessons, "valid.jsonl", "prefs.jsonl")
    names = [*accept.VALIDATED[stage], "eval_loss", *accept.ALWAYS]
    more: dict[str, Any] = {"sft_weight": 0.1} if stage == "dpo" else {}
    bounds = {name: Bound(min=-1e9) for name in names}
    done = go(lessons, stage, knobs, eval_dataset=valid, accept=bounds, max_steps=1, **more)

    assert set(names) <= done["metrics"].keys()


def test_answers_that_are_the_same_after_truncation_are_refused(
    lessons: Workspace, knobs: dict[str, Any]
):
    def said(first: str) -> list[Message]:
        turns = [("assistant", first + " Well." * 40), ("user", "And?"), ("assistant", "Yes.")]
        return [Message(role=role, content=text) for role, text in turns]  # type: ignore[arg-type]

    pair = PreferencePair(
        id="cut", prompt="Hi", chosen=said("It costs 42."), rejected=said("Fool!"), reason="r"
    )
    jsonl.write(lessons.data / "prefs.jsonl", [pair])
    with pytest.raises(BadInput, match="pair cut: both answers are the same tokens; take it out"):
        go(lessons, "dpo", knobs, seq_len=24)
    assert go(lessons, "dpo", knobs, seq_len=512, max_steps=1, versus_cases=0)["steps"] == 1


def test_a_tokenizer_without_a_pad_token_trains(
    lessons: Workspace, knobs: dict[str, Any], tmp_path: Path
):
    folder = tmp_path / "model"
    shutil.copytree(knobs["model"], folder)
    for name, change in (
        ("tokenizer_config.json", {"pad_token": None}),
        ("config.json", {"pad_token_id": None}),
    ):
        found = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**found, **change}))
    losses = go(lessons, "sft", knobs, max_steps=2)["losses"]
    assert go(lessons, "sft", knobs, model=str(folder), max_steps=2)["losses"] == losses


def test_a_run_whose_base_was_exchanged_is_refused(
    lessons: Workspace, knobs: dict[str, Any], tmp_path: Path
):
    folder = tmp_path / "model"
    shutil.copytree(knobs["model"], folder)
    first = go(lessons, "sft", knobs, model=str(folder), max_steps=1)["run_id"]
    other, _ = load(knobs["model"])
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    other.save_pretrained(folder)

    with pytest.raises(BadInput, match="weights differ from the manifest's"):
        go(lessons, "dpo", knobs, model=first, max_steps=1)


@pytest.mark.parametrize("stage", ["dpo", "rm"])
def test_a_loss_that_is_not_finite_keeps_the_last_good_weights_and_names_its_rows(
    lessons: Workspace, knobs: dict[str, Any], adapter_of: Callable[[Workspace, str], Any],
    monkeypatch: pytest.MonkeyPatch, stage: str,
):  # fmt: skip
    knobs = {**knobs, "lr_scheduler": "constant", "warmup": 0.0, "lr": 1e-3}
    knobs |= {"versus_cases": 0} if stage == "dpo" else {}
    straight = go(lessons, stage, {**knobs, "max_steps": 2})
    trainer: Any = {"dpo": dpo.DpoTrainer, "rm": reward.RewardTrainer}[stage]
    real = trainer.sums

    def broken(self: Any, *args: Any) -> Any:
        found = real(self, *args)
        lost = found._replace(loss=found.loss * float("inf"))
        return lost if self.state.global_step == 2 and self.model.training else found

    monkeypatch.setattr(trainer, "sums", broken)
    with pytest.raises(Blocked, match=r"loss not finite at step 3 \(rows p-.*\): lower lr"):
        go(lessons, stage, knobs)
    run = past.list_runs(lessons, stage)[-1]["id"]
    ours, theirs = adapter_of(lessons, run), adapter_of(lessons, straight["run_id"])
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
