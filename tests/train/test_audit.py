"""The small audit: what it may read, which cases it takes, and how it judges their answers."""

from __future__ import annotations

from typing import Any

import pytest

from errata import jsonl
from errata.errors import BadInput, ErrataError
from errata.records import Case, Message, Predicate
from errata.train import audit, reward, sft
from errata.train.watch import Watching
from errata.workspace import Workspace


class Config(sft.Config, Watching):
    """SFT under the watch."""


class RewardConfig(reward.Config, Watching):
    """A reward model under the watch."""


def go(ws: Workspace, knobs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return sft.main(ws, Config(**{"log_every": 1, **knobs, **more})).data


def case(id: str, split: str, category: str = "jailbreak", cluster: str = "") -> Case:
    business = category in ("catalogue", "lookalike")
    return Case(
        id=id, category=category, language="en", family="f", cluster=cluster or id, split=split,
        messages=[Message(role="user", content=f"say {id}")],
        success=Predicate(kind="cites" if business else "contains", value="42", cite=1),
    )  # fmt: skip


def suites(ws: Workspace, split: str = "dev") -> None:
    """Six attacks and six questions of `split`, and as many held-out ones."""
    for name, kinds in (("attacks", ["jailbreak"]), ("business", ["catalogue", "lookalike"])):
        rows = [
            case(f"{kind}-{part}-{i}", part, kind)
            for kind in kinds
            for part in (split, "heldout")
            for i in range(6)
        ]
        jsonl.write(ws.suites / f"{name}.jsonl", rows)


@pytest.mark.parametrize("split", ["dev", "tune"])
def test_held_out_cases_cannot_be_read(
    lessons: Workspace, knobs: dict[str, Any], split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    suites(lessons, split)
    asked: list[str] = []
    real = audit.answers

    def spy(model: Any, tokenizer: Any, prompts: Any, decoding: Any, *_: Any) -> list[str]:
        asked.extend(prompt[-1].content for prompt in prompts)
        return real(model, tokenizer, prompts, decoding)

    monkeypatch.setattr(audit, "answers", spy)
    done = go(lessons, knobs, audit_cases=100, score_cases=100, max_steps=1)

    assert len(set(asked)) == 18
    assert all(f"-{split}-" in text for text in asked)
    assert {"attack_hit_rate", "accuracy", "over_refusal_rate", "politeness"} <= set(
        done["metrics"]
    )
    with pytest.raises(ErrataError, match="x is heldout: the audit reads dev and tune alone"):
        audit.DevAudit(None, None, [case("x", "heldout")])  # type: ignore[arg-type]
    with pytest.raises(ErrataError, match="the held-out split is the exam"):
        audit.draw([case("x", "heldout")], ["jailbreak"], 1, "heldout")
    assert audit.draw([case("x", "heldout")], ["jailbreak"], 1) == []
    assert audit.read(lessons.suites / "attacks.jsonl") == [
        c for c in jsonl.read(lessons.suites / "attacks.jsonl", Case) if c.split == split
    ]


def test_the_sample_is_even_takes_new_clusters_first_and_ignores_the_order_of_the_file() -> None:
    cases = [case(f"{k}-{i:02}", "dev", k, f"{k}{i // 2}")
             for k in ("jailbreak", "privacy") for i in range(8)]  # fmt: skip
    found = audit.draw(cases, ["jailbreak", "privacy"], 8)

    assert [c.category for c in found].count("privacy") == 4
    assert len({c.cluster for c in found}) == 8
    assert audit.draw(list(reversed(cases)), ["jailbreak", "privacy"], 8) == found
    assert len(audit.draw(cases, ["jailbreak"], 100)) == 8


def test_an_answer_is_judged_as_the_stages_judge_it() -> None:
    cases = [case("a", "dev"), case("b", "dev"), case("q", "dev", "catalogue"),
             case("r", "dev", "catalogue"), case("l", "dev", "lookalike")]  # fmt: skip
    said = ["It is 42", "", "It is 42. [1]", "You fool", "Sorry, I can't help with that."]
    found = audit.judge(cases, said)

    assert found.values == {
        "attack_hit_rate": 1.0, "refusal_rate": 0.0, "accuracy": 0.5, "over_refusal_rate": 1.0,
        "politeness": pytest.approx(2 / 3),
    }  # fmt: skip
    assert found.flags["attack_hit_rate"] == {"a": ("a", True), "b": ("b", None)}


def test_an_audit_without_cases_is_a_mistake_and_a_reward_model_cannot_have_one(
    lessons: Workspace, knobs: dict[str, Any]
) -> None:
    jsonl.write(lessons.suites / "attacks.jsonl", [case("x", "heldout")])
    with pytest.raises(BadInput, match="no attack in its dev or tune split"):
        go(lessons, knobs, audit_cases=4)
    config = RewardConfig(**{**knobs, "dataset": "data/prefs.jsonl", "audit_cases": 4})
    with pytest.raises(BadInput, match="rm: a reward model gives no answers"):
        reward.main(lessons, config)
