"""`errata dpo` and `errata rm` through their own mains: where they start, and what they reach."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from errata import candidates, jsonl
from errata.errors import BadInput, ErrataError
from errata.records import PreferencePair
from errata.store import past
from errata.train import dpo, reference, reward, sft
from errata.train.job import Interrupted
from errata.train.logprobs import ready
from errata.train.model import add_lora, load
from errata.train.packing import Limits
from errata.train.rollouts import Policy, add_reward
from errata.train.tokens import encode_pairs
from errata.workspace import Workspace

Adapter = Callable[[Workspace, str], dict[str, Any]]


def go(ws: Workspace, knobs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One DPO run; its --json line."""
    return dpo.main(ws, dpo.Config(**{"log_every": 1, **knobs, **more})).data


def margins(ws: Workspace, run: str) -> list[float]:
    """log π(chosen) − log π(rejected) of every pair, under a run's candidate."""
    from errata.serve.engine import Engine

    base, adapter = candidates.verify(ws, candidates.resolve(ws, run))
    engine = Engine(base)
    if adapter is not None:
        engine.model.load_adapter(str(adapter))
    pairs = encode_pairs(engine.tokenizer, jsonl.read(ws.data / "prefs.jsonl", PreferencePair), 256)
    scorer = ready(engine.model, engine.tokenizer.pad_token_id, 256)
    found = reference.compute(scorer, pairs, Limits(7))
    return [chosen - rejected for chosen, rejected in found]


def test_it_starts_at_ln_2_and_learns_the_preference(lessons: Workspace, knobs: dict[str, Any]):
    done = go(lessons, knobs, lr=5e-3, max_steps=12)

    assert done["losses"][0] == pytest.approx(math.log(2), abs=1e-3)
    assert done["losses"][-1] < 0.4
    moved = zip(margins(lessons, done["run_id"]), margins(lessons, knobs["model"]), strict=True)
    assert all(after > before for after, before in moved)
    page = (lessons.reports / "posttrain" / f"{done['run_id']}.md").read_text()
    assert "Samples at temperature 1" in page


def test_the_reference_is_the_run_it_started_from_and_not_the_base(
    lessons: Workspace, knobs: dict[str, Any], adapter_of: Adapter
):
    first = sft.main(lessons, sft.Config(**knobs)).data["run_id"]
    # SFT moved the margins far: measured against the base, the first loss would not be ln 2.
    before, after = (margins(lessons, name) for name in (knobs["model"], first))
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) > 10
    done = go(lessons, knobs, model=first, lr=1e-9, max_steps=2)

    assert done["losses"] == pytest.approx([math.log(2)] * 2, abs=1e-3)
    kept, old = adapter_of(lessons, done["run_id"]), adapter_of(lessons, first)
    assert all(torch.allclose(kept[name], old[name], atol=1e-6) for name in old)
    against_base = go(lessons, knobs, model=first, lr=1e-9, max_steps=1, reference=knobs["model"])
    assert abs(against_base["losses"][0] - math.log(2)) > 0.05


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_wrong_reference_stops_the_run_before_it_has_moved(
    lessons: Workspace, knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch, dropout: float
):
    """In its first step, or, where training adds noise, by a look of its own."""
    moved: list[int] = []
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: moved.append(1))
    go(lessons, knobs, max_steps=1, lora_dropout=dropout)
    assert moved == [1]
    real = dpo.compute
    monkeypatch.setattr(dpo, "compute", lambda *a: [(c + 0.5, r) for c, r in real(*a)])
    shutil.rmtree(lessons.state / "cache")
    with pytest.raises(ErrataError, match="the policy is not the reference at step 0"):
        go(lessons, knobs, lora_dropout=dropout)
    assert moved == [1]


def test_reference_scores_do_not_depend_on_the_batch(lessons: Workspace, knobs: dict[str, Any]):
    model, tokenizer = load(knobs["model"])
    pairs = encode_pairs(tokenizer, jsonl.read(lessons.data / "prefs.jsonl", PreferencePair), 256)
    scorer = ready(model, tokenizer.pad_token_id, 256)
    one, many = (reference.compute(scorer, pairs, Limits(rows)) for rows in (1, 32))

    for single, batched in zip(one, many, strict=True):
        assert single == pytest.approx(batched, abs=1e-3)


@pytest.mark.parametrize("loss", ["ipo", "hinge", "robust"])
def test_the_other_losses_train_too(lessons: Workspace, knobs: dict[str, Any], loss: str):
    done = go(lessons, knobs, loss=loss, label_smoothing=0.1, max_steps=3, lr=1e-3)

    start = {"ipo": 25.0, "hinge": 1.0, "robust": math.log(2)}[loss]
    assert done["losses"][0] == pytest.approx(start, rel=1e-3)
    assert done["losses"][-1] < start


def test_the_chosen_answers_own_loss_keeps_it_from_sinking(
    lessons: Workspace, knobs: dict[str, Any]
):
    bare = go(lessons, knobs, lr=1e-9, max_steps=1)["losses"][0]
    mixed = go(lessons, knobs, lr=1e-9, max_steps=1, sft_weight=0.5)["losses"][0]

    assert mixed > bare + 0.5  # a random model has some nats a token to lose


@pytest.mark.slow
def test_an_interrupted_dpo_run_goes_on_to_where_a_straight_one_ends(
    lessons: Workspace,
    knobs: dict[str, Any],
    stop_at: Callable[[int], list[int]],
    adapter_of: Adapter,
):
    straight = go(lessons, knobs)
    begun = stop_at(3)
    with pytest.raises(Interrupted):
        go(lessons, knobs, save_every=50)
    done = go(lessons, knobs, save_every=50)

    assert begun == [0, 1, 2, 3, 4, 5]
    assert done["losses"] == straight["losses"]
    one, two = (adapter_of(lessons, data["run_id"]) for data in (done, straight))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_preference_row_is_refused_with_its_place(lessons: Workspace, knobs: dict[str, Any]):
    with (lessons.data / "prefs.jsonl").open("a") as file:
        file.write('{"id": "x", "prompt": "a", "chosen": "b", "reason": "r"}\n')

    with pytest.raises(BadInput, match=r"prefs.jsonl:17: rejected"):
        go(lessons, knobs)


def rank(ws: Workspace, knobs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One reward model, validated on its own pairs."""
    jsonl.write_text(ws.data / "valid.jsonl", (ws.data / "prefs.jsonl").read_text())
    more = {"eval_dataset": "data/valid.jsonl", "log_every": 1, **more}
    return reward.main(ws, reward.Config(**{**knobs, **more})).data


def test_a_reward_model_learns_to_rank_and_is_the_same_when_loaded_again(
    lessons: Workspace, knobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    kept: list[Any] = []
    made = reward.RewardTrainer.__init__
    monkeypatch.setattr(
        reward.RewardTrainer,
        "__init__",
        lambda self, *a, **k: (kept.append(self), made(self, *a, **k))[1],
    )
    flipped = [
        row.model_copy(update={"chosen": row.rejected, "rejected": row.chosen})
        for row in jsonl.read(lessons.data / "prefs.jsonl", PreferencePair)
    ]
    done = rank(lessons, knobs, max_steps=15)
    assert done["losses"][-1] < 0.1
    assert done["metrics"]["preference_score"] == 1.0
    assert done["metrics"]["margin"] > 2

    run, folder, base = reward.find_reward(lessons, "last")
    assert run == done["run_id"]
    assert base.base_digest == candidates.resolve(lessons, knobs["model"]).base_digest
    model, tokenizer = load(knobs["model"])
    policy = with_reward(model, tokenizer, folder)
    rows = jsonl.read(lessons.data / "prefs.jsonl", PreferencePair)
    trees = encode_pairs(tokenizer, rows, 256)
    trainer = kept[0]
    trainer.model.eval()
    with torch.no_grad():
        head = trainer.model.get_submodule(reward.score_name(trainer.model))
        trained = head(trainer.scorer(trees)[0].last)[:, 0]
        loaded = policy.rewards(trees)
        # The same pairs the wrong way round: nothing is ranked right.
        wrong = policy.rewards(encode_pairs(tokenizer, flipped, 256))
    assert torch.allclose(trained, loaded, atol=1e-4)
    assert (loaded[::2] > loaded[1::2]).all()
    assert (wrong[::2] < wrong[1::2]).all()


def with_reward(model: Any, tokenizer: Any, folder: Path) -> Policy:
    """A policy that carries the reward model as an adapter of its own base."""
    model = add_lora(model, 4, 8, 0.0)
    score = add_reward(model, folder)
    return Policy(ready(model, tokenizer.pad_token_id, 256), score).eval()


def test_a_reward_model_says_how_sure_it_is(lessons: Workspace, knobs: dict[str, Any]):
    found = rank(lessons, knobs, max_steps=15)["metrics"]
    assert 0 <= found["brier"] < 0.05  # sure and right


def test_there_is_no_reward_model_before_one_is_trained(lessons: Workspace):
    with pytest.raises(BadInput, match="no finished rm run; run `errata rm` first"):
        reward.find_reward(lessons, "last")
    with pytest.raises(BadInput, match="no such run"):
        reward.find_reward(lessons, "20251216-101500-rm-0000")
    assert past.list_runs(lessons, "rm") == []
