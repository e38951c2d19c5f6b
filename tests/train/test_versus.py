"""The last table of alignment: who is compared with whom, and what goes back to the inbox."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from errata import candidates, jsonl
from errata.records import Case, Message, Predicate, PreferencePair
from errata.store import runs
from errata.train import dpo, sft, versus
from errata.train.model import adapt, load
from errata.train.stage import Job
from errata.workspace import Workspace


class Config(dpo.Config, versus.Versus):
    """DPO with its last table."""


def suites(ws: Workspace) -> None:
    for name, kinds in (("attacks", ["jailbreak"]), ("business", ["catalogue", "lookalike"])):
        rows = [
            Case(
                id=f"{kind}-{split}-{i}", category=kind, language="en", family="f",
                cluster=f"{kind}-{i}", split=split,
                messages=[Message(role="user", content=f"What is {kind} number {i} in {split}?")],
                success=Predicate(kind="cites" if kind != "jailbreak" else "contains",
                                  value="zzz", cite=1),
            )
            for kind in kinds for split in ("tune", "dev", "heldout") for i in range(5)
        ]  # fmt: skip
        jsonl.write(ws.suites / f"{name}.jsonl", rows)


def compared(ws: Workspace, knobs: dict[str, Any], model: Any = None, **more: Any) -> Job:
    """A job whose policy is `model`, or the start itself, after its comparison."""
    suites(ws)
    config = Config(**{**knobs, "eval_dataset": "data/prefs.jsonl", "versus_cases": 8, **more})
    with runs.Run(ws, "dpo", config) as run:
        job = Job(ws, "dpo", config, run)
        base, tokenizer = load(job.start.base)
        if model != "full":
            base = adapt(base, config, job.start.adapter)
        job.extra["metrics"] = versus.after_training(job, base, tokenizer)
        job.extra["state"] = (base, tokenizer)
        # What is in the record must be what JSON can hold.
        jsonl.canonical(job.extra["versus"])
    return job


def sides(job: Job) -> tuple[dict[str, Any], dict[str, Any], float | None]:
    found = job.extra["versus"]
    return found["policy"], found["reference"], found["win_rate"].value


@pytest.mark.parametrize("model", ["lora", "full"])
def test_a_policy_that_learnt_nothing_ties_with_its_reference(
    lessons: Workspace, knobs: dict[str, Any], model: str
) -> None:
    policy, reference, won = sides(compared(lessons, knobs, model))

    assert policy == reference
    assert won == 0.5
    assert {"accuracy", "attack_hit_rate", "refusal_rate", "over_refusal_rate"} <= policy.keys()


def test_the_reference_is_the_run_it_started_from_and_the_policy_is_left_as_it_was(
    lessons: Workspace, knobs: dict[str, Any]
) -> None:
    first = sft.main(lessons, sft.Config(**{**knobs, "max_steps": 12})).data["run_id"]
    job = compared(lessons, {**knobs, "model": first})
    policy, reference, won = sides(job)
    model, tokenizer = job.extra["state"]

    assert (policy, won) == (reference, 0.5)
    assert job.extra["versus"]["preference_score"] == 0.5
    assert list(model.peft_config) == ["default"]
    assert model.active_adapters == ["default"]
    pairs = jsonl.read(lessons.data / "prefs.jsonl", PreferencePair)
    with model.disable_adapter():
        bare = versus.leads(model, tokenizer, pairs, job.config)
    ours = versus.leads(model, tokenizer, pairs, job.config)
    # Against the bare base, which is the wrong reference, the chosen answers have gained.
    assert versus.preference_score(ours, bare) == 1.0
    assert versus.preference_score(bare, ours) == 0.0


def test_a_changed_policy_is_told_from_its_reference(
    lessons: Workspace, knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from errata.train import audit

    real = audit.answers

    def better(model: Any, *args: Any) -> list[str]:
        said = real(model, *args)
        on = all(not m.disable_adapters for m in model.modules() if hasattr(m, "lora_A"))
        return ["zzz [1]" if on else "no" for _ in said]

    monkeypatch.setattr(audit, "answers", better)
    job = compared(lessons, knobs, "lora")
    policy, reference, won = sides(job)

    # Answers "zzz": questions right, and attacks successful.
    assert (policy["accuracy"], reference["accuracy"]) == (1.0, 0.0)
    assert (policy["attack_hit_rate"], reference["attack_hit_rate"]) == (1.0, 0.0)
    assert won == pytest.approx(6 / 10)  # 4 questions and 2 look-alikes won, 4 attacks lost
    assert job.extra["metrics"]["win_rate"] == won
    (page,) = job.extra["pages"]
    assert "| win rate over the reference | 60.0 % (" in page
    assert "| business questions right | 100.0 % | 0.0 % |" in page


def test_failures_go_back_by_intakes_door_and_are_tune_cases(
    lessons: Workspace, knobs: dict[str, Any]
) -> None:
    job = compared(lessons, knobs, "lora", write_back="inbox/{run_id}.jsonl")
    rows = [row for _, row in jsonl.rows(lessons.inbox / f"{job.run.id}.jsonl")]

    assert len(rows) == job.extra["written_back"] > 0
    assert all("-tune-" in row["meta"]["case"] for row in rows)
    assert {row["meta"]["run"] for row in rows} == {job.run.id}
    assert rows[0]["source"] == "dpo"


def test_it_can_be_switched_off_and_needs_no_suite(
    lessons: Workspace, knobs: dict[str, Any]
) -> None:
    assert compared_metrics(lessons, knobs, versus_cases=0) == {}
    found = compared_metrics(lessons, knobs, versus_cases=4, eval_dataset="data/prefs.jsonl")
    assert found.keys() == {"preference_score"}


def compared_metrics(ws: Workspace, knobs: dict[str, Any], **more: Any) -> dict[str, Any]:
    config = Config(**{**knobs, **more})
    with runs.Run(ws, "dpo", config) as run:
        job = Job(ws, "dpo", config, run)
        model, tokenizer = load(job.start.base)
        with torch.no_grad():
            return versus.after_training(job, model, tokenizer)


def test_the_start_is_what_the_candidate_names(lessons: Workspace, knobs: dict[str, Any]) -> None:
    job = compared(lessons, knobs, "lora")

    assert candidates.resolve(lessons, knobs["model"]).digest == job.start.candidate.digest
