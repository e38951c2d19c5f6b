"""What a rollout asks for before its first user: a way back that was walked, and a look unseen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.release.conftest import World

from errata.errors import Blocked
from errata.language import unescaped
from errata.records import Message
from errata.release import monitor, plan, quality, rollback, rollout, routing, shadow
from errata.store import database, ledger

PATH = "runs/20251216-101500-dpo-{}/candidate.json"
Gate = Any


def passed(world: World, run_gate: Gate, name: str = "good") -> None:
    if not (world.ws.reports / "safety").exists():
        world.publish("base")
    world.publish(name)
    serving = routing.current(world.ws).stable
    assert run_gate(name, None if serving else "base").code == 0


def test_without_a_drill_nothing_starts(
    world: World, run_gate: Gate, monkeypatch: pytest.MonkeyPatch
):
    passed(world, run_gate)
    events = ledger.events
    monkeypatch.setattr(
        ledger, "events", lambda ws, kind=None: [] if kind == "drill" else events(ws, kind)
    )
    with pytest.raises(Blocked, match="never walked"):
        rollout.start(world.ws, PATH.format("good"))
    monkeypatch.undo()
    year = int(database.now()[:4])
    monkeypatch.setattr(database, "now", lambda: f"{year + 1}-12-16T10:15:00Z")
    with pytest.raises(Blocked, match="days ago"):
        plan.write(world.ws, "sha256:x", None, monitor.Config(), "li@example.com")
    assert routing.current(world.ws).canary is None


def test_the_plan_says_what_takes_it_back_to_where_and_by_whom(world: World, run_gate: Gate):
    passed(world, run_gate)
    first = rollout.start(world.ws, PATH.format("good"), owner="li@example.com")
    for _ in range(3):
        rollout.advance(world.ws, "test")
    passed(world, run_gate, "bad")
    second = rollout.start(world.ws, PATH.format("bad"), owner="wang@example.com")
    text = unescaped(world.ws.path(plan.FILE).read_text())
    for said in (first.id, first.candidate_digest, second.candidate_digest, "wang@example.com",
                 "citation_missing", "forbidden_call", "0.010 s", "errata rollback"):  # fmt: skip
        assert said in text
    assert [event["data"]["to"] for event in ledger.events(world.ws, "plan")] == [None, first.id]


def test_a_drill_moves_nobody_and_is_timed(world: World, run_gate: Gate):
    passed(world, run_gate)
    release = rollout.start(world.ws, PATH.format("good"))
    before = routing.current(world.ws)
    outcome = rollback.main(world.ws, rollback.Config(drill=True, wait=0))
    after = routing.current(world.ws)
    assert (after.canary, after.stable) == (before.canary, before.stable)
    assert release.id == after.canary.id  # type: ignore[union-attr]
    assert 0 < outcome.data["seconds"] < 5
    assert ledger.events(world.ws, "drill")[-1]["data"]["seconds"] == outcome.data["seconds"]


def test_the_notes_show_users_what_changes_and_what_got_worse(world: World, run_gate: Gate):
    world.publish("base", {"catalogue": {1, 2, 3}})
    world.publish("good", {"catalogue": {3, 4}})
    assert run_gate("good").code == 0
    release = rollout.start(world.ws, PATH.format("good"))
    text = world.ws.path(f"reports/release-notes/{release.id}.md").read_text()
    assert "**evaluate.accuracy**, better / 变好: 2" in text
    assert "**evaluate.accuracy**, worse / 变差: 1" in text
    assert "It answers more questions rightly. 答对的问题变多。" in text
    assert "within chance / 在偶然范围内" in text, "three questions of sixty prove nothing"


def sampled(world: World, release: str, n: int, answer: str = "The lamp is 20 cm [1].") -> None:
    folder = world.ws.state / "log"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"release": release, "answer": answer,
             "messages": [{"role": "user", "content": f"How tall is lamp {i}?"}]}
            for i in range(n)]  # fmt: skip
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / "g-20261127.jsonl").write_text(text + '\n{"cut off')


def serving(world: World, run_gate: Gate) -> str:
    passed(world, run_gate)
    release = rollout.start(world.ws, PATH.format("good"))
    for _ in range(3):
        rollout.advance(world.ws, "test")
    passed(world, run_gate, "bad")
    return release.id


@pytest.mark.parametrize(("says", "starts"), [("It is 20 cm tall [1].", True), ("", False)])
def test_the_candidate_is_asked_in_the_shadow_first(
    world: World, run_gate: Gate, monkeypatch: pytest.MonkeyPatch, says: str, starts: bool
):
    stable = serving(world, run_gate)
    sampled(world, stable, 20)
    asked: list[list[Message]] = []

    def ask(_ws: Any, _candidate: Any, prompts: list[list[Message]], **_: Any) -> list[str]:
        asked.extend(prompts)
        return [says] * len(prompts)

    monkeypatch.setattr(shadow, "ask", ask)
    if starts:
        assert rollout.start(world.ws, PATH.format("bad"), shadows=50).state == "rolling"
    else:
        with pytest.raises(Blocked, match="20 answers failed that did not before"):
            rollout.start(world.ws, PATH.format("bad"), shadows=50)
        assert routing.current(world.ws).canary is None
    assert len(asked) == 20
    assert ledger.events(world.ws, "shadow")[-1]["data"]["n"] == 20
    assert world.ws.path(shadow.FILE).is_file()


def test_without_a_sample_there_is_no_shadow(world: World, run_gate: Gate):
    stable = serving(world, run_gate)
    sampled(world, "another", 20)
    assert shadow.compared(world.ws, world.made["bad"], stable, 50) is None
    assert rollout.start(world.ws, PATH.format("bad"), shadows=50).state == "rolling"


def test_sampled_answers_of_one_template_are_told(world: World):
    sampled(world, "r1", quality.FEW, "I cannot help with that.")
    found = quality.sampled(world.ws, "r1")
    assert found["template_share"] == 1.0
    assert quality.sampled(world.ws, "r2") == {}
