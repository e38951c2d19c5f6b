"""A signed waiver lets one metric of one candidate through, for so many users, until a day."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.release.conftest import World

from errata import git, jsonl
from errata.errors import BadInput, Blocked
from errata.records import Waiver
from errata.release import decide, monitor, rollout, routing, standing, waiver, waivers
from errata.release.live import Live
from errata.release.rules import Rule
from errata.store import database, keys, ledger
from errata.store.ledger import events

Gate = Callable[..., Any]
PATH = "runs/20251216-101500-dpo-bad/candidate.json"
ASK = {"candidate": PATH, "risk": "r", "impact": "i", "rollback_plan": "p", "owner": "li"}
METRIC = "safety.attack_hit_rate.privacy"


@pytest.fixture
def missed(world: World, run_gate: Gate) -> World:
    """`bad` has 12 of 60 privacy hits: 20 %, and the gate blocks."""
    world.publish("base")
    world.publish("bad", {"privacy": set(range(12))})
    assert run_gate("bad").code == 3
    return world


def waived(world: World, **changes: Any) -> str:
    """Asked for and signed; its id."""
    asked = waiver.main(
        world.ws, waiver.Config(args=["create"], **{"metric": METRIC, **ASK, **changes})
    )
    waiver.main(world.ws, waiver.Config(args=["sign", asked.data["id"]]))
    return str(asked.data["id"])


def line(outcome: Any, metric: str = METRIC) -> dict[str, Any]:
    return next(f for f in outcome.data["findings"] if f["metric"] == metric)


def test_it_lets_the_metric_through_and_says_to_how_many(missed: World, run_gate: Gate) -> None:
    id = waived(missed)
    outcome = run_gate("bad")
    assert (outcome.code, line(outcome)["status"], line(outcome)["waiver"]) == (0, "waived", id)
    assert (outcome.data["waivers"], outcome.data["max_percent"]) == ([id], 5)
    assert "at most 5 % of users" in outcome.text
    page = missed.ws.reports / "gate" / f"{outcome.data['id']}.md"
    assert f"Let through by / 由豁免放行: {id}, for at most 5 %" in page.read_text()
    (verdict,) = [e for e in events(missed.ws, "verdict") if e["data"]["decision"] == "pass"]
    assert verdict["data"]["waivers"] == [id], "in the ledger"
    release = rollout.start(missed.ws, PATH)
    assert release.waivers == [id], "in the release record"


def test_a_pass_by_a_waiver_commits_the_waiver(missed: World, run_gate: Gate) -> None:
    """Else the commit has a verdict that nobody can check."""
    git.git(missed.ws.root, "init", "--quiet")
    id = waived(missed)
    assert run_gate("bad", commit=True).code == 0
    assert f"waivers/{id}.json" in git.git(missed.ws.root, "ls-files").stdout


def nothing_needed() -> decide.Watch:
    """Has seen as many answers as can be compared, and asks for no more."""
    watch = decide.Watch(decide.Accept(), {1: 0})
    for arm in ("canary", "stable"):
        watch.add([Live(stage=5, arm=arm, release="r", digest="d", failed=False)] * 5)  # type: ignore[arg-type]
    return watch


def test_it_ends_above_its_share_of_users(missed: World, run_gate: Gate) -> None:
    waived(missed)
    run_gate("bad")
    rollout.start(missed.ws, PATH)
    assert rollout.advance(missed.ws, "asked").stage_percent == 5
    with pytest.raises(Blocked, match="covers 5 % of users, not 25 %"):
        rollout.advance(missed.ws, "asked")
    watch = nothing_needed()
    canary = routing.current(missed.ws).canary
    assert canary
    action, why, _ = monitor.called_for(missed.ws, watch, canary)
    assert (action, "not 25 %" in why) == ("hold", True), "it may stay where it is"


def test_another_candidate_under_the_same_name_does_not_inherit_the_canary(
    missed: World, run_gate: Gate
) -> None:
    """The manifest of `good`, about which nothing was said, under the path of what was waived."""
    waived(missed)
    run_gate("bad")
    rollout.start(missed.ws, PATH)
    assert rollout.advance(missed.ws, "asked").stage_percent == 5
    jsonl.write_json(missed.ws.path(PATH), missed.made["good"])
    with pytest.raises(Blocked, match="is no longer the candidate that was released"):
        rollout.advance(missed.ws, "asked")
    canary = routing.current(missed.ws).canary
    assert canary
    watch = nothing_needed()
    assert monitor.called_for(missed.ws, watch, canary)[0] == "rollback"


def a_year_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = database.now()
    monkeypatch.setattr(database, "now", lambda: f"{int(now[:4]) + 1}{now[4:]}")


def test_on_expiry_gate_and_rollout_end(
    missed: World, run_gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    waived(missed, days=3)
    run_gate("bad")
    rollout.start(missed.ws, PATH)
    a_year_on(monkeypatch)
    outcome = run_gate("bad", max_age_days=400)
    assert outcome.code == 3
    assert "expired on" in line(outcome)["why"]
    canary = routing.current(missed.ws).canary
    assert canary
    action, why, _ = monitor.called_for(missed.ws, nothing_needed(), canary)
    assert action == "rollback"
    assert "is blocked" in why


def test_expiry_alone_takes_the_canary_back(
    missed: World, run_gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    waived(missed, days=3)
    run_gate("bad")
    rollout.start(missed.ws, PATH)
    a_year_on(monkeypatch)
    assert monitor.main(missed.ws, monitor.Config()).code == 3
    with pytest.raises(Blocked, match="expired on"):
        rollout.advance(missed.ws, "asked")


def test_a_worse_value_than_was_signed_is_not_covered(missed: World, run_gate: Gate) -> None:
    waived(missed)
    missed.publish("bad", {"privacy": set(range(13))})
    outcome = run_gate("bad")
    assert outcome.code == 3
    assert "covers 0.2, and it is 0.216667 now" in line(outcome)["why"]
    missed.publish("bad", {"privacy": set(range(11))})
    assert run_gate("bad").code == 0, "a better value is"


def test_lower_is_worse_where_lower_is_worse() -> None:
    assert waivers.worse("evaluate.accuracy", 0.80, 0.81)
    assert not waivers.worse("evaluate.accuracy", 0.82, 0.81)
    assert waivers.worse("safety.refusal_rate", 0.5, 0.4)
    assert waivers.worse("safety.refusal_rate", 0.3, 0.4), "either way is another value"


def test_no_other_metric_and_no_other_candidate(missed: World, run_gate: Gate) -> None:
    waived(missed)
    missed.publish("bad", {"privacy": set(range(12)), "injection": set(range(12))})
    outcome = run_gate("bad")
    assert outcome.code == 3
    assert line(outcome)["status"] == "waived"
    assert line(outcome, "safety.attack_hit_rate.injection")["status"] == "over_limit"
    missed.publish("good", {"privacy": set(range(12))})
    assert run_gate("good").code == 3


def test_missing_data_is_never_waived(missed: World, run_gate: Gate) -> None:
    waived(missed)
    missed.publish("bad", {"privacy": set(range(12))}, skip=("privacy",))
    outcome = run_gate("bad")
    assert (outcome.code, line(outcome)["status"]) == (4, "no_decision")
    with pytest.raises(BadInput, match="missing data is never waived"):
        waived(missed)


def test_what_the_gate_does_not_block_on_cannot_be_waived(missed: World) -> None:
    with pytest.raises(BadInput, match=r"does not block on evaluate\.accuracy; nothing to waive"):
        waived(missed, metric="accuracy")
    with pytest.raises(BadInput, match="no metric `privcy`"):
        waived(missed, metric="privcy")


def test_a_soft_line_has_nothing_to_waive(missed: World, run_gate: Gate) -> None:
    """It never blocks, so that a signature under it would only look like an excuse."""
    soft = [Rule(metric="accuracy", limit=0.999, min_n=1, why="w", runbook="look here")]
    run_gate("bad", soft=soft)
    with pytest.raises(BadInput, match=r"does not block on evaluate\.accuracy; nothing to waive"):
        waived(missed, metric="accuracy")


def spoil(world: World, id: str, **changes: Any) -> None:
    path = world.ws.waivers / f"{id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [{"max_percent": 100}, {"expires": "2099-01-01"}, {"value_at_signing": 1.0}, {"owner": "you"}],
)
def test_an_edited_waiver_counts_no_more(
    missed: World, run_gate: Gate, changes: dict[str, Any]
) -> None:
    id = waived(missed)
    spoil(missed, id, **changes)
    outcome = run_gate("bad")
    assert outcome.code == 3
    assert "was changed after it was signed" in line(outcome)["why"]


@pytest.mark.parametrize("changes", [{"max_percent": 100}, {"requested_by": "somebody else"}])
def test_what_was_changed_between_asking_and_signing_is_not_signed(
    missed: World, changes: dict[str, Any]
) -> None:
    """Else who asks need only write another name into the file to be the second pair of eyes."""
    asked = waiver.main(missed.ws, waiver.Config(args=["create"], metric=METRIC, **ASK))
    spoil(missed, asked.data["id"], **changes)
    with pytest.raises(BadInput, match="was changed after `errata waive create` wrote it"):
        waiver.main(missed.ws, waiver.Config(args=["sign", asked.data["id"]]))


def test_a_signature_that_the_ledger_does_not_know_counts_nothing(
    missed: World, run_gate: Gate
) -> None:
    """Whoever has the key can sign any file; only the command looks at who asked, and for what."""
    id = waived(missed)
    path = missed.ws.waivers / f"{id}.json"
    key = keys.own(missed.ws, "waiver")
    made = jsonl.read_json(path, Waiver).model_copy(update={"max_percent": 100, "signature": None})
    signature = f"{keys.key_id(key.public_key())}:{keys.sign(key, jsonl.canonical(made))}"
    jsonl.write_json(path, made.model_copy(update={"signature": signature}))
    outcome = run_gate("bad")
    assert outcome.code == 3
    assert "by what the ledger says" in line(outcome)["why"]


def test_a_key_that_nobody_trusts_signs_nothing(missed: World, run_gate: Gate) -> None:
    id = waived(missed)
    path = missed.ws.waivers / f"{id}.json"
    signed = jsonl.read_json(path, Waiver)
    assert signed.signature
    spoil(missed, id, signature="k0000000000000000:" + signed.signature.split(":")[1])
    outcome = run_gate("bad")
    assert outcome.code == 3
    assert "whose public key is not in keys/" in line(outcome)["why"]


def test_revoked_is_over_at_once(missed: World, run_gate: Gate) -> None:
    id = waived(missed)
    assert run_gate("bad").code == 0
    rollout.start(missed.ws, PATH)
    waiver.main(missed.ws, waiver.Config(args=["revoke", id]))
    assert "was revoked" in standing.objection(missed.ws, missed.made["bad"], 1)
    assert run_gate("bad").code == 3


def test_a_verdict_that_was_edited_carries_nobody(missed: World, run_gate: Gate) -> None:
    """Without this, dropping the waived line from its file would free the release of the waiver."""
    waived(missed)
    outcome = run_gate("bad")
    path = missed.ws.reports / "gate" / f"{outcome.data['id']}.json"
    told = json.loads(path.read_text())
    told["findings"] = [f for f in told["findings"] if f["status"] != "waived"]
    path.write_text(json.dumps(told))
    with pytest.raises(Blocked, match="was changed after it was given"):
        rollout.start(missed.ws, PATH)


def test_who_waives_is_in_the_ledger(missed: World) -> None:
    id = waived(missed)
    told = [
        e["data"]["action"] for e in ledger.events(missed.ws, "waiver") if e["data"]["id"] == id
    ]
    assert told == ["create", "sign"]
