"""A candidate that learnt from erased rows trains again, or is waived: signed, scoped, expiring."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.release.conftest import World
from tests.store.conftest import store

from errata import candidates, cli, jsonl
from errata.errors import BadInput, Blocked
from errata.records import Waiver
from errata.release import erasures, monitor, rollout, routing, waiver, waivers
from errata.store import database, keys, ledger, lineage, status, tombstone
from errata.store.runs import Run
from errata.workspace import Workspace

__all__ = ["store"]


@pytest.fixture
def ws(store: Workspace) -> Workspace:
    """On both databases."""
    return store


Gate = Callable[..., Any]
PATH = "runs/20251216-101500-dpo-good/candidate.json"
ASK = {"candidate": PATH, "risk": "r", "impact": "i", "rollback_plan": "p", "owner": "li"}
TEAM = "team: several\npeople: {{{key}: {{name: wang, roles: [safety]}}}}\n"


@pytest.fixture
def carrying(world: World) -> World:
    """`good` learnt from three rows; two of them were erased since."""
    with Run(world.ws, "dpo", {}) as run:
        run.links((row, run.id, "trained") for row in ("p-1", "p-2", "p-3"))
        run.link(run.id, world.made["good"].digest, "made")
    with database.writing(world.ws) as connection:
        tombstone.bury(connection, ["p-1", "p-2"], "2026-01-01T00:00:00Z")
    world.publish("base")
    world.publish("good")
    return world


def ask(ws: Workspace, **changes: Any) -> Waiver:
    outcome = waiver.main(ws, waiver.Config(args=["create"], **{**ASK, **changes}))
    return Waiver.model_validate(outcome.data)


def sign(ws: Workspace, id: str) -> None:
    waiver.main(ws, waiver.Config(args=["sign", id]))


def line(verdict: Any) -> dict[str, Any]:
    return next(row for row in verdict.data["findings"] if row["metric"] == "erasure")


def test_the_gate_blocks_until_a_waiver_is_signed(carrying: World, run_gate: Gate) -> None:
    outcome = run_gate("good")
    assert outcome.code == 3
    assert (line(outcome)["status"], line(outcome)["value"]) == ("over_limit", 2.0)
    asked = ask(carrying.ws)
    assert run_gate("good").code == 3  # asked for is not signed
    sign(carrying.ws, asked.id)

    outcome = run_gate("good")
    assert outcome.code == 0
    assert line(outcome)["status"] == "waived"
    assert asked.id in line(outcome)["why"]


def test_a_candidate_that_carries_nothing_has_no_such_line(carrying: World) -> None:
    carrying.publish("bad")
    assert erasures.finding(carrying.ws, carrying.made["bad"], 1) == []


def test_the_weights_are_known_in_another_manifest(carrying: World) -> None:
    """A changed system prompt makes another candidate; it is the same model."""
    with Run(carrying.ws, "sft", {}) as run:
        run.link("p-1", run.id, "trained")
        run.note(weights="sha256:adapter")
    new = {"adapter": "a", "adapter_digest": "sha256:adapter"}
    fields = carrying.made["bad"].model_dump() | new
    other = candidates.Candidate(**{**fields, "digest": candidates.digest_of(fields)})
    assert erasures.finding(carrying.ws, other, 1)[0].value == 1.0


def test_a_rollout_stops_where_the_waiver_ends(carrying: World, run_gate: Gate) -> None:
    asked = ask(carrying.ws, max_percent=5)
    sign(carrying.ws, asked.id)
    assert run_gate("good").code == 0
    rollout.start(carrying.ws, PATH)
    assert status.carrying(carrying.ws) == {routing.current(carrying.ws).canary.id: 2}  # type: ignore[union-attr]
    rollout.advance(carrying.ws, "asked")
    with pytest.raises(Blocked, match="covers 5 % of users, not 25 %"):
        rollout.advance(carrying.ws, "asked")
    assert routing.current(carrying.ws).canary.stage_percent == 5  # type: ignore[union-attr]


def test_an_erasure_after_the_verdict_stops_the_rollout(world: World, run_gate: Gate) -> None:
    world.publish("base")
    world.publish("good")
    assert run_gate("good").code == 0
    with Run(world.ws, "dpo", {}) as run:
        run.link("p-1", run.id, "trained")
        run.link(run.id, world.made["good"].digest, "made")
    with database.writing(world.ws) as connection:
        tombstone.bury(connection, ["p-1"], "2026-01-01T00:00:00Z")
    with pytest.raises(Blocked, match="1 rows erased since"):
        rollout.start(world.ws, PATH)


def spoil(ws: Workspace, asked: Waiver, **changes: Any) -> None:
    path = ws.waivers / f"{asked.id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_percent": 100}, "changed after it was signed"),
        ({"expires": "2099-01-01"}, "changed after it was signed"),
        ({"value_at_signing": 99.0}, "changed after it was signed"),
        ({"signature": "k0000000000000000:AAAA"}, "not in keys/"),
        ({"signature": None}, "not signed"),
    ],
)
def test_an_edited_waiver_does_not_count(
    carrying: World, run_gate: Gate, changes: dict[str, Any], words: str
) -> None:
    asked = ask(carrying.ws)
    sign(carrying.ws, asked.id)
    spoil(carrying.ws, asked, **changes)
    outcome = run_gate("good")
    assert outcome.code == 3
    assert words in line(outcome)["why"]


def test_it_ends_by_itself(
    carrying: World, run_gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ask(carrying.ws, days=1)
    sign(carrying.ws, asked.id)
    found = waivers.all_of(carrying.ws)[0]
    assert waivers.problem(carrying.ws, found, 2, 1, found.expires) is None
    assert "expired" in str(waivers.problem(carrying.ws, found, 2, 1, "2099-01-01"))
    assert "it is 3 now" in str(waivers.problem(carrying.ws, found, 3, 1, found.expires))
    waiver.main(carrying.ws, waiver.Config(args=["revoke", asked.id]))
    assert "revoked" in line(run_gate("good"))["why"]


def test_who_asks_cannot_sign_in_a_team(
    carrying: World, run_gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = carrying.ws
    key = keys.key_id(keys.own(ws, "waiver").public_key())
    jsonl.write_text(ws.policies / "roles.yaml", TEAM.format(key=key))
    monkeypatch.setenv("ERRATA_ACTOR", "wang")
    asked = ask(ws)
    with pytest.raises(Blocked, match="who asks for a waiver cannot sign"):
        sign(ws, asked.id)

    monkeypatch.setenv("ERRATA_ACTOR", "li")
    with pytest.raises(Blocked, match="to sign is a right of"):
        sign(ws, asked.id)
    asked = ask(ws, risk="another")
    monkeypatch.setenv("ERRATA_ACTOR", "wang")
    sign(ws, asked.id)
    assert run_gate("good").code == 0

    # The right is looked at when the waiver is used, not only when it was signed.
    jsonl.write_text(ws.policies / "roles.yaml", TEAM.format(key=key).replace("safety", "model"))
    assert "no right to sign" in line(run_gate("good"))["why"]
    jsonl.write_text(ws.policies / "roles.yaml", TEAM.format(key="k1"))
    assert "does not give to wang" in line(run_gate("good"))["why"]


def test_it_is_in_the_ledger_and_the_lineage(carrying: World) -> None:
    asked = ask(carrying.ws)
    sign(carrying.ws, asked.id)
    told = [event["data"]["action"] for event in ledger.events(carrying.ws, "waiver")]
    assert told == ["create", "sign"]
    found = lineage.lineage(carrying.ws, asked.id)
    assert carrying.made["good"].digest in {src for src, _, _ in found.up}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["create"], "say candidate"),
        (["create", "metric=accuracy", *(f"{k}={v}" for k, v in ASK.items())], "no verdict about"),
        (["sign"], "the waiver's id"),
        (["sign", "w-1"], "no waiver `w-1`"),
        (["burn", "w-1"], "say create, list"),
    ],
)
def test_bad_usage_is_one_line(
    carrying: World, capsys: pytest.CaptureFixture[str], words: list[str], part: str
) -> None:
    assert cli.main(["waive", *words, "-C", str(carrying.ws.root)]) == 2
    assert part in capsys.readouterr().err


def test_there_is_nothing_to_waive_for_who_carries_nothing(world: World) -> None:
    with pytest.raises(BadInput, match="nothing to waive"):
        ask(world.ws)


def test_a_waiver_that_counts_is_no_failure_and_one_that_ended_takes_the_canary_back(
    carrying: World, run_gate: Gate
) -> None:
    asked = ask(carrying.ws)
    sign(carrying.ws, asked.id)
    said = run_gate("good").text
    assert "~ erasure: waived" in said
    assert "train again" not in said
    rollout.start(carrying.ws, PATH)
    assert monitor.main(carrying.ws, monitor.Config()).code == 0
    waiver.main(carrying.ws, waiver.Config(args=["revoke", asked.id]))
    outcome = monitor.main(carrying.ws, monitor.Config())
    assert (outcome.code, outcome.data["decision"]) == (3, "rollback")
    assert "erased since" in outcome.data["why"]
