"""The preference score: a real reward model, and no score without a licence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from errata import candidates, jsonl
from errata.build.lint import as_turns
from errata.errors import BadInput
from errata.evaluate import preference
from errata.evaluate.preference import Judge, judge
from errata.records import Case, Message, Predicate, PreferencePair
from errata.serve.reward import rewards
from errata.store import past
from errata.store.runs import Run
from errata.train import reward
from errata.workspace import Workspace


def test_a_reward_model_no_better_than_chance_has_no_licence() -> None:
    """30 of 50: the lower end is 47.4 %; 32 of 50: 51.5 %."""
    assert not Judge("r", 0.60, 50, "m").licensed
    assert Judge("r", 0.64, 50, "m").licensed
    assert not Judge("r", 1.0, 0, "m").licensed
    assert Judge("r", 0.60, 50, "m").low == pytest.approx(0.474, abs=0.001)


@pytest.fixture
def ranked(lessons: Workspace, knobs: dict[str, Any]) -> Workspace:
    """With a reward model, measured on the pairs it learnt."""
    lines = (lessons.data / "prefs.jsonl").read_text().splitlines(keepends=True)
    (lessons.data / "valid.jsonl").write_text("".join(lines[:6]))
    more = {"eval_dataset": "data/valid.jsonl", "max_steps": 12, "lr": 1e-2}
    reward.main(lessons, reward.Config(**{**knobs, **more}))
    return lessons


def ask(ws: Workspace, ours: list[str], theirs: list[str]) -> preference.Preferred:
    cases = [
        Case(
            id=str(i), category="smalltalk", language="en", family="f", cluster=str(i),
            split="heldout", messages=[Message(role="user", content="Hello")],
            success=Predicate(kind="polite"),
        )
        for i in range(len(ours))
    ]  # fmt: skip
    with Run(ws, "evaluate", {}) as run:
        return preference.score(ws, run, "last", cases, ours, theirs)


def test_the_score_is_read_where_training_read_it(ranked: Workspace) -> None:
    """The same pairs, scored here and by the trainer's own validation: the same share right."""
    record = past.last_run(ranked, "rm")
    assert record
    pairs = jsonl.read(ranked.data / "valid.jsonl", PreferencePair)
    rows = [
        [*as_turns(pair.prompt), Message(role="assistant", content=str(side))]
        for pair in pairs
        for side in (pair.chosen, pair.rejected)
    ]
    base, _ = candidates.verify(ranked, candidates.resolve(ranked, record["config"]["model"]))
    folder = Path(ranked.runs / record["id"] / "adapter")
    given = rewards(base, folder, rows, batch=5)
    right = sum(a > b for a, b in zip(given[::2], given[1::2], strict=True)) / len(pairs)
    assert right == pytest.approx(record["facts"]["metrics"]["preference_score"])
    assert record["facts"]["held_back"] == 6
    alone = [rewards(base, folder, [row])[0] for row in rows]
    assert given == pytest.approx(alone, abs=1e-4), "batch mates and padding change nothing"


def test_equal_answers_score_one_half_and_an_unlicensed_judge_nothing(
    ranked: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = judge(ranked, "last")
    assert found
    assert found.n == 6
    monkeypatch.setattr(preference, "judge", lambda *_: found._replace(right=1.0, n=100))
    same = ask(ranked, ["Hello."] * 4, ["Hello."] * 4)
    assert (same.metric.value, same.metric.n) == (0.5, 4)
    monkeypatch.setattr(preference, "judge", lambda *_: found._replace(right=0.5, n=100))
    none = ask(ranked, ["Hello."] * 4, ["Go away."] * 4)
    assert (none.metric.value, none.metric.n) == (None, 0)
    assert "not shown better than chance" in none.told


def test_without_a_reward_model_there_is_no_score(lessons: Workspace) -> None:
    assert judge(lessons, "last") is None
    assert ask(lessons, ["Hello."], ["Hello."]).metric.value is None
    with Run(lessons, "sft", {}) as run:
        pass
    with pytest.raises(BadInput, match="no finished run of `errata rm`"):
        judge(lessons, run.id)
