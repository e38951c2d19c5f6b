"""From verdict to users and back: stages, buckets, the monitor, the way back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.release import crowd as traffic
from tests.release.conftest import World, case, rules
from tests.release.crowd import Checked, Settings
from tests.store.conftest import store

from errata import jsonl
from errata.errors import BadInput, Blocked, NoDecision
from errata.intake import stage as intake
from errata.records import Case, Failure, Message, Release
from errata.release import gate, live, monitor, rollback, rollout, routing
from errata.release.live import Live
from errata.store import audit, database, ledger
from errata.store.runs import Run
from errata.workspace import Workspace

__all__ = ["store"]


@pytest.fixture
def ws(store: Workspace) -> Workspace:
    """On both databases."""
    return store


Gate = Callable[..., Any]
POOL = [case(f"q{i}", f"Question number {i} about the lamp?") for i in range(100)]
PATH = "runs/20251216-101500-dpo-{}/candidate.json"


def passed(world: World, run_gate: Gate, name: str = "good") -> Release:
    if name not in world.made:
        world.candidate(name)
    if not (world.ws.reports / "safety").exists():
        world.publish("base")
    world.publish(name)
    serving = routing.current(world.ws).stable
    assert run_gate(name, None if serving else "base").code == 0
    return rollout.start(world.ws, PATH.format(name))


def answers(failing: dict[str, set[int]]) -> Callable[[str, list[list[Message]]], list[str]]:
    """A scripted model per digest: which questions it gets wrong."""

    def answer(digest: str, prompts: list[list[Message]]) -> list[str]:
        numbers = [int(turns[-1].content.split()[2]) for turns in prompts]
        return ["wrong" if n in failing.get(digest, set()) else "right" for n in numbers]

    return answer


def check(case: Case, answer: str) -> Checked:
    hard = "leak" if answer == "leak" else None
    return Checked(failed=answer != "right", label="factuality", hard=hard, why=answer)


def test_weights_swapped_after_the_verdict_are_refused(
    world: World, run_gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = passed(world, run_gate)
    monkeypatch.setattr("errata.candidates.weights_digest", lambda _: "sha256:swapped")
    with pytest.raises(BadInput, match="weights differ"):
        rollout.advance(world.ws, "asked")
    rollback.roll_back(world.ws, "asked")
    with pytest.raises(BadInput, match="weights differ"):
        rollout.start(world.ws, release.candidate_path)


def test_the_experiment_log_follows_a_candidate_to_its_verdict_and_its_release(
    world: World, run_gate: Gate
) -> None:
    with Run(world.ws, "dpo", {"model": "tiny"}) as run:
        run.note(candidate_digest=world.made["good"].digest)
    release = passed(world, run_gate)

    def told() -> str:
        log = (world.ws.reports / "posttrain" / "experiment-log.md").read_text(encoding="utf-8")
        return next(line for line in log.splitlines() if line.startswith(f"| {run.id} "))

    assert f"| pass / 通过 ({release.verdict_id}) | {release.id} rolling / 灰度中 1 % |" in told()
    rollback.roll_back(world.ws, "asked")
    assert f"{release.id} rolled" in told()
    assert "已回滚 0 % |" in told()


def test_good_canary_reaches_everybody_stage_by_stage(world: World, run_gate: Gate) -> None:
    release = passed(world, run_gate)
    bad = {"stable": set(range(10)), release.candidate_digest: {1, 2, 3}}
    journey = traffic.drive(world.ws, release, answers(bad), POOL, check, stable="stable")
    assert journey.state == "serving"
    percents = list(dict.fromkeys(step.percent for step in journey.steps))
    assert percents == [1, 5, 25]
    now = routing.current(world.ws)
    assert now.stable
    assert (now.stable.id, now.stable.stage_percent, now.canary) == (release.id, 100, None)
    assert monitor.main(world.ws, monitor.Config()).data["serving"] == release.id


def test_degraded_canary_is_rolled_back_and_its_failures_come_home(
    world: World, run_gate: Gate
) -> None:
    release = passed(world, run_gate)
    bad = {"stable": {0}, release.candidate_digest: set(range(60))}
    journey = traffic.drive(world.ws, release, answers(bad), POOL, check, stable="stable")
    assert journey.state == "rolled_back"
    assert ledger.events(world.ws, "rollout")[-1]["data"]["seconds"] < 5
    assert routing.current(world.ws).canary is None
    assert journey.written_back
    taken = intake.main(world.ws, intake.Config(args=[journey.written_back]))
    assert taken.data["quarantined"] == 0
    rows = jsonl.read(world.ws.data / "failures.jsonl", Failure)
    assert {row.meta["release"] for row in rows} == {release.id}
    assert all(row.bad_answer == "wrong" and row.meta["reference"] for row in rows)


def test_canary_that_breaks_on_arrival_at_a_stage_is_caught_in_its_first_window(
    world: World, run_gate: Gate
) -> None:
    """Even where one window is exposure enough to advance, it is judged before it goes on."""
    release = passed(world, run_gate)
    failing: dict[str, set[int]] = {"stable": {0}}
    cache: traffic.Cache = {}

    def breaks(step: traffic.Step) -> None:
        if step.reached == 25:
            failing[release.candidate_digest] = set(range(60))
            cache.clear()

    journey = traffic.drive(
        world.ws,
        release,
        lambda digest, prompts: answers(failing)(digest, prompts),
        POOL,
        check,
        stable="stable",
        config=monitor.Config(min_exposure={1: 1, 5: 1, 25: 1}),
        on_step=breaks,
        cache=cache,
    )
    last = journey.steps[-1]
    assert (last.percent, last.action, last.reached) == (25, "rollback", 0)
    assert [step.percent for step in journey.steps].count(25) == 1


def test_one_leak_rolls_back_at_once(world: World, run_gate: Gate) -> None:
    release = passed(world, run_gate)

    def leaky(digest: str, prompts: list[list[Message]]) -> list[str]:
        return ["leak" if digest == release.candidate_digest else "right"] * len(prompts)

    journey = traffic.drive(world.ws, release, leaky, POOL, check, stable="stable")
    assert journey.steps[-1].action == "rollback"
    assert "leak" in journey.steps[-1].why
    assert {row.row.window for row in live.read(world.ws, release.id) if row.row.arm == "canary"}


def test_what_its_traffic_took_back_does_not_start_again_on_the_same_verdict(
    world: World, run_gate: Gate
) -> None:
    release = passed(world, run_gate)
    rollback.roll_back(world.ws, "looked wrong", only=release.id)
    again = rollout.start(world.ws, release.candidate_path)
    rollback.roll_back(world.ws, "leak: 1", only=again.id, evidence={"metric": "leak"})
    with pytest.raises(Blocked, match="was taken back after its verdict: leak: 1"):
        rollout.start(world.ws, release.candidate_path)
    assert run_gate("good", "base").code == 0
    assert rollout.start(world.ws, release.candidate_path).state == "rolling"


def test_same_seed_same_journey_and_recorded_windows_tell_it_again(
    world: World, run_gate: Gate
) -> None:
    release = passed(world, run_gate)
    bad = {"stable": set(range(10)), release.candidate_digest: set(range(12))}
    settings = Settings(max_windows=6)
    go = lambda: traffic.drive(  # noqa: E731
        world.ws,
        release,
        answers(bad),
        POOL,
        check,
        stable="stable",
        settings=settings,
        config=monitor.Config(min_exposure={1: 10_000}),
    )
    first = go()
    again, rows = monitor.replay(world.ws, monitor.Config(), release)
    assert len(rows) == first.requests
    assert monitor.replay(world.ws, monitor.Config(), release)[0].told == again.told
    assert again.duels["failure"].canary.n > 0
    with database.writing(world.ws) as connection:
        connection.execute(database.live.delete())
    assert go().steps == first.steps


def test_each_prompt_is_answered_once_per_digest(world: World, run_gate: Gate) -> None:
    release = passed(world, run_gate)
    asked: list[tuple[str, str]] = []

    def answer(digest: str, prompts: list[list[Message]]) -> list[str]:
        asked.extend((digest, turns[-1].content) for turns in prompts)
        return ["right"] * len(prompts)

    journey = traffic.drive(world.ws, release, answer, POOL, check, stable="stable")
    assert journey.requests > len(asked)
    assert len(set(asked)) == len(asked) <= 2 * len(POOL)


def rows(canary: list[bool], stable: list[bool], percent: int, release: str) -> list[Live]:
    return [
        Live(stage=percent, arm=arm, release=release, digest="d", failed=failed)
        for arm, flags in (("canary", canary), ("stable", stable))
        for failed in flags
    ]  # type: ignore[arg-type]


@given(
    st.text(max_size=20),
    st.text(max_size=20),
    st.lists(st.integers(1, 100), min_size=2, max_size=5),
)
def test_buckets_are_stable_and_monotone(salt: str, user: str, percents: list[int]) -> None:
    place = routing.bucket(salt, user)
    assert 0 <= place < 1
    assert routing.bucket(salt, user) == place
    inside = [place < percent / 100 for percent in sorted(percents)]
    assert inside == sorted(inside), "a growing share only adds users"


def test_share_of_users_is_the_stage() -> None:
    """10,000 users at 5 %: 500 expected, standard deviation 22."""
    inside = sum(routing.bucket("salt", f"user-{i}") < 0.05 for i in range(10_000))
    assert 400 < inside < 600


def test_start_needs_a_passing_verdict_of_this_digest(world: World, run_gate: Gate) -> None:
    with pytest.raises(Blocked, match="no candidate has passed"):
        rollout.start(world.ws, None)
    with pytest.raises(Blocked, match="no verdict"):
        rollout.start(world.ws, PATH.format("good"))
    world.publish("base")
    world.publish("bad", {"privacy": set(range(30))})
    assert run_gate("bad").code == 3
    with pytest.raises(Blocked, match="is blocked"):
        rollout.start(world.ws, PATH.format("bad"))


def test_a_newer_block_takes_the_pass_away(world: World, run_gate: Gate) -> None:
    world.publish("base")
    world.publish("good")
    assert run_gate("good").code == 0
    world.publish("good", {"jailbreak": set(range(30))})
    assert run_gate("good").code == 3
    with pytest.raises(Blocked):
        rollout.start(world.ws, PATH.format("good"))
    with pytest.raises(Blocked):
        rollout.start(world.ws, None)


def test_a_pass_is_one_by_the_rules_that_the_workspace_has(world: World, run_gate: Gate) -> None:
    """Loosen the file, pass, and put it back as it was: the rollout asks by which it was."""
    strict, lax = rules(), [r.model_copy(update={"limit": 1.0}) for r in rules()]
    lax = [r.model_copy(update={"limit": 0.0}) if r.metric == "accuracy" else r for r in lax]
    world.publish("base", {"privacy": set(range(30))})
    world.publish("bad", {"privacy": set(range(30))})
    assert run_gate("bad", hard=lax).code == 0
    file = world.ws.configs / "gate.yaml"
    jsonl.write_json(file, {**json.loads(file.read_text()), "hard": jsonl.plain(strict)})
    with pytest.raises(Blocked, match=r"by other rules than configs/gate\.yaml has now"):
        rollout.start(world.ws, PATH.format("bad"))
    assert run_gate("bad").code == 3


@pytest.mark.parametrize("knob", [{"alpha": 0.01}, {"seed": 7}, {"max_age_days": 400}])
def test_each_knob_that_decides_is_among_the_rules(knob: dict[str, Any]) -> None:
    """A bootstrap's seed too: one that flatters could be looked for."""
    assert gate.judged_by(gate.Config(**knob)) != gate.judged_by(gate.Config())
    same = gate.Config(candidate="c", baseline="b", commit=False)
    assert gate.judged_by(same) == gate.judged_by(gate.Config())


def test_a_pass_is_one_against_what_serves(world: World, run_gate: Gate) -> None:
    """Beside a bad enough baseline nobody looks worse."""
    serve(world, run_gate, "good")
    world.publish("bad")
    assert run_gate("bad", "base").code == 0
    with pytest.raises(Blocked, match=r"compares with another model than r1-.*, which serves"):
        rollout.start(world.ws, PATH.format("bad"))
    assert run_gate("bad", None).code == 0
    assert rollout.start(world.ws, PATH.format("bad")).state == "rolling"


def test_advance_by_hand_waits_for_exposure_and_obeys_the_monitor(
    world: World, run_gate: Gate
) -> None:
    release = passed(world, run_gate)
    advance = rollout.Config(args=["advance"])
    with pytest.raises(NoDecision, match="0 of 100"):
        rollout.main(world.ws, advance)
    live.append(world.ws, rows([False] * 100, [False] * 3300, 1, release.id))
    assert rollout.main(world.ws, advance).data["stage_percent"] == 5
    live.append(world.ws, rows([True] * 60, [False] * 900, 5, release.id))
    with pytest.raises(Blocked, match="fails more often"):
        rollout.main(world.ws, advance)
    assert monitor.main(world.ws, monitor.Config()).code == 3


def test_one_rollout_at_a_time_and_abort_ends_it(world: World, run_gate: Gate) -> None:
    passed(world, run_gate)
    with pytest.raises(BadInput, match="under way"):
        rollout.start(world.ws, PATH.format("good"))
    rollout.main(world.ws, rollout.Config(args=["abort"]))
    assert routing.current(world.ws).canary is None
    with pytest.raises(BadInput, match="nothing to abort"):
        rollout.main(world.ws, rollout.Config(args=["abort"]))
    with pytest.raises(BadInput, match="say what to do"):
        rollout.main(world.ws, rollout.Config(args=["go"]))


def serve(world: World, run_gate: Gate, name: str) -> Release:
    release = passed(world, run_gate, name)
    for _ in range(3):
        release = rollout.advance(world.ws, "test")
    assert release.state == "serving"
    return release


def test_rollback_returns_to_the_last_good_release(world: World, run_gate: Gate) -> None:
    first = serve(world, run_gate, "good")
    with pytest.raises(BadInput, match="already serves"):
        rollout.start(world.ws, PATH.format("good"))
    second = serve(world, run_gate, "next")
    third = serve(world, run_gate, "third")
    outcome = rollback.main(world.ws, rollback.Config())
    assert outcome.data["rolled_back"] == [third.id]
    assert outcome.data["serving"] == second.id
    assert 0 < outcome.data["seconds"] < 5
    outcome = rollback.main(world.ws, rollback.Config(to=first.id))
    assert outcome.data["serving"] == first.id
    with pytest.raises(BadInput, match="is rolled_back"):
        rollback.main(world.ws, rollback.Config(to=third.id))
    rollback.main(world.ws, rollback.Config())
    assert routing.current(world.ws).stable is None, "below the first release is the base model"
    with pytest.raises(BadInput, match="nothing is being rolled out"):
        rollback.main(world.ws, rollback.Config())


def test_after_a_rollback_to_an_early_release_the_way_goes_on_backwards(
    world: World, run_gate: Gate
) -> None:
    first, second, third, fourth = (serve(world, run_gate, n) for n in ("a", "b", "c", "d"))
    assert rollback.main(world.ws, rollback.Config(to=second.id)).data["serving"] == second.id
    assert routing.current(world.ws).releases[third.id].state == "superseded"
    outcome = rollback.main(world.ws, rollback.Config())
    assert outcome.data == {**outcome.data, "rolled_back": [second.id], "serving": first.id}
    assert fourth.id != first.id


def test_rollback_to_a_release_ends_a_rollout_too(world: World, run_gate: Gate) -> None:
    first = serve(world, run_gate, "good")
    serve(world, run_gate, "next")
    canary = passed(world, run_gate, "third")
    manifest = world.ws.path(first.candidate_path)
    kept = manifest.read_text()
    manifest.unlink()
    with pytest.raises(BadInput):
        rollback.main(world.ws, rollback.Config(to=first.id))
    assert routing.current(world.ws).canary == canary, "gateways could not follow"
    manifest.write_text(kept)
    outcome = rollback.main(world.ws, rollback.Config(to=first.id))
    now = routing.current(world.ws)
    assert now.stable
    assert (now.canary, now.stable.id) == (None, first.id)
    assert canary.id in outcome.data["rolled_back"]


def test_state_is_the_fold_of_the_ledger(world: World, run_gate: Gate) -> None:
    serve(world, run_gate, "good")
    passed(world, run_gate, "next")
    events = ledger.events(world.ws, "rollout")
    assert routing.fold(events) == routing.current(world.ws)
    assert routing.fold(events[:1]).canary
    assert audit.verify(world.ws) == []


@pytest.mark.parametrize("stages", [[], [5, 1, 100], [1, 5], [0, 100], [1, 1, 100]])
def test_stages_must_rise_to_100(world: World, run_gate: Gate, stages: list[int]) -> None:
    with pytest.raises(BadInput, match="must rise"):
        rollout._checked(stages)


def test_of_two_that_promote_at_once_one_wins_and_the_other_is_told(
    world: World, run_gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have looked at the routing before either has written."""
    release = passed(world, run_gate)
    both, outcomes = threading.Barrier(2), list[Any]()
    look = routing.current

    def current(ws: Any) -> routing.Routing:
        now = look(ws)
        if now.canary and now.canary.stage_percent == 1:
            both.wait(timeout=30)
        return now

    def promote() -> None:
        try:
            outcomes.append(rollout.advance(world.ws, "asked"))
        except BadInput as error:
            outcomes.append(error)

    with monkeypatch.context() as patch:
        patch.setattr(routing, "current", current)
        threads = [threading.Thread(target=promote) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    told = [found for found in outcomes if isinstance(found, BadInput)]
    assert len(told) == 1
    assert "another process was faster" in str(told[0])
    now = routing.current(world.ws)
    assert now.canary
    assert (now.canary.id, now.canary.stage_percent) == (release.id, 5)
