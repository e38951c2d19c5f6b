"""Who gets which release: by bucket, monotone, the same everywhere; conversations do not switch;
a rollback is obeyed within a poll, and measured."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.conftest import BASE_NAME, Rollouts, Running, Upstream, candidate, until

from errata.gateway import asked as requests
from errata.records import Candidate
from errata.release import rollback, routing
from errata.serve.names import served
from errata.serve.refused import Refused
from errata.store import database, ledger
from errata.workspace import Workspace

Gate = Callable[..., Running]
Start = Callable[..., Upstream]
TOKEN = "a-token-of-this-test"


def said(turns: str, **more: Any) -> list[dict[str, str]]:
    """`u:hi|a:hello|u:more` as messages."""
    roles = {"u": "user", "a": "assistant", "s": "system"}
    return [{"role": roles[t[0]], "content": t[2:]} for t in turns.split("|")]


@pytest.fixture
def two(ws: Workspace, upstream: Start) -> tuple[Candidate, Candidate, Upstream]:
    """Two candidates, and a server that has both and the base."""
    first, second = candidate(ws, "one"), candidate(ws, "two")
    server = upstream(lambda body: f"I am {body['model']}.",
                      {BASE_NAME, served(first), served(second)})  # fmt: skip
    return first, second, server


def users(running: Running, names: list[str]) -> dict[str, str]:
    """Name → release that answers."""
    with concurrent.futures.ThreadPoolExecutor(4) as many:
        told = many.map(lambda name: running.ask(user=name).headers["x-errata-release"], names)
        return dict(zip(names, told, strict=True))


def test_a_growing_share_only_adds_users_and_the_models_are_those_of_the_release(
    gate: Gate, rollouts: Rollouts, two: tuple[Candidate, Candidate, Upstream]
):
    first, _, server = two
    running = gate(server)
    names = [f"user-{n}" for n in range(40)]
    assert set(users(running, names).values()) == {"base"}
    release = rollouts.start(first, 25)
    until(lambda: running.gateway.watch.view.routing.canary is not None)
    at25 = users(running, names)
    rollouts.advance(release, 50)
    until(lambda: running.gateway.watch.view.stage == 50)
    at50 = users(running, names)

    inside = {name for name, got in at25.items() if got == release.id}
    assert inside
    assert inside < {name for name, got in at50.items() if got == release.id}
    canary = next(iter(inside))
    reply = running.ask(user=canary)
    assert reply.headers["x-errata-arm"] == "canary"
    assert served(first) in reply.json()["choices"][0]["message"]["content"]
    rows = running.rows(81, release.id)
    assert {row.arm for row in rows} == {"stable", "canary"}
    assert {row.digest for row in rows if row.arm == "canary"} == {first.digest}
    assert {row.stage for row in rows} == {25, 50}


def test_a_conversation_stays_with_the_release_that_began_it(
    gate: Gate, rollouts: Rollouts, two: tuple[Candidate, Candidate, Upstream]
):
    first, second, server = two
    rollouts.advance(rollouts.start(first, 50), 100)
    running, other = gate(server), gate(server)
    begun = running.ask(user="ann", messages=said("u:hi")).headers["x-errata-release"]
    running.rows(1, begun)
    old, new = rollouts.made, rollouts.start(second, 50)
    rollouts.advance(new, 100)
    for one in (running, other):
        until(lambda one=one: one.gateway.watch.view.routing.stable.id == new.id)  # type: ignore[misc]

    goes_on = said("u:hi|a:I am here.|u:more")
    assert begun.startswith(f"r{old}-")
    for one in (running, other):  # by memory, and by the store
        assert one.ask(user="ann", messages=goes_on).headers["x-errata-release"] == begun
        assert one.ask(user="bob", messages=goes_on).headers["x-errata-release"] == new.id
        assert one.ask(user="ann", messages=said("u:hello")).headers["x-errata-release"] == new.id
    server.models.discard(served(first))
    until(lambda: not running.gateway.pool.offers(served(first)))
    assert running.ask(user="ann", messages=goes_on).headers["x-errata-release"] == new.id


def test_a_conversation_of_a_release_that_was_rolled_back_goes_to_the_stable_one(
    gate: Gate, rollouts: Rollouts, ws: Workspace, two: tuple[Candidate, Candidate, Upstream]
):
    first, second, server = two
    rollouts.advance(rollouts.start(first, 50), 100)
    bad = rollouts.start(second, 99)
    running = gate(server)
    begun = running.ask(user="ann", messages=said("u:hi")).headers["x-errata-release"]
    rollback.roll_back(ws, "a test")
    until(lambda: running.gateway.watch.view.routing.canary is None)
    goes_on = running.ask(user="ann", messages=said("u:hi|a:ok|u:more"))

    assert begun == bad.id
    assert goes_on.headers["x-errata-release"].startswith("r1-")
    until(lambda: bool(ledger.events(ws, "rollback done")))
    (told,) = ledger.events(ws, "rollback done")
    assert told["data"]["release"] == bad.id
    assert told["data"]["gateway"] == running.gateway.name


@pytest.mark.parametrize("policy", ["drain", "cut"])
def test_streams_under_way_drain_or_are_cut(
    gate: Gate, rollouts: Rollouts, ws: Workspace, upstream: Start, policy: str
):
    found = candidate(ws, "one")
    go_on, word = threading.Event(), {"content": "word " * 60}
    said = [word, go_on, word, "stop"] if policy == "drain" else [word, 0.05] * 600
    server = upstream(lambda _: said, {BASE_NAME, served(found)})
    release = rollouts.start(found, 99)
    running, began = gate(server, inflight=policy), time.time()
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        asked = other.submit(running.ask, user="ann", stream=True)
        until(lambda: len(running.gateway.in_flight) == 1)
        until(lambda: bool(server.seen))
        rollback.roll_back(ws, "a test")
        until(lambda: running.gateway.watch.view.routing.canary is None)
        go_on.set()
        text = asked.result().text
    until(lambda: bool(ledger.events(ws, "rollback done")))
    seconds = ledger.events(ws, "rollback done")[0]["data"]["seconds"]

    assert asked.result().headers["x-errata-release"] == release.id
    assert ("[DONE]" in text) == (policy == "drain")
    assert ("rolled_back" in text) == (policy == "cut")
    if policy == "drain":
        assert 0 < seconds <= time.time() - began, "at most as long as the longest stream"
    else:
        assert seconds < 15, "half of what the stream would have taken; see bench/release.py"


def test_a_server_with_names_of_its_own_is_asked_by_them(
    gate: Gate, rollouts: Rollouts, upstream: Start, ws: Workspace
):
    found = candidate(ws, "one")
    server = upstream(models={BASE_NAME, "desk-lora"})
    release = rollouts.start(found, 99)
    reply = gate(server, names={found.adapter_digest: "desk-lora"}).ask(user="ann")

    assert reply.headers["x-errata-release"] == release.id
    assert server.seen[0]["model"] == "desk-lora"


def test_the_store_may_be_away(
    gate: Gate, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch,
    two: tuple[Candidate, Candidate, Upstream],
):  # fmt: skip
    first, _, server = two
    release = rollouts.start(first, 99)
    running = gate(server)
    monkeypatch.setenv("ERRATA_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:9/none")
    until(lambda: bool(running.gateway.watch.trouble))
    reply = running.ask(user="ann")
    health = httpx.get(running.url.replace("/v1", "/healthz"))

    assert reply.headers["x-errata-release"] == release.id, "by the last routing that was known"
    assert health.status_code == 200
    assert "away" in health.json()["store"]
    monkeypatch.delenv("ERRATA_DATABASE_URL")
    assert len(running.rows(1, release.id)) == 1, "written once the store is back"


def test_admin_wants_its_token_and_rolls_back(
    gate: Gate, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch,
    two: tuple[Candidate, Candidate, Upstream],
):  # fmt: skip
    first, _, server = two
    monkeypatch.setenv("ERRATA_ADMIN_TOKEN", TOKEN)
    release = rollouts.start(first, 99)
    running = gate(server)
    assert running.admin
    ours = {"Authorization": f"Bearer {TOKEN}"}

    for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": f"Bearer {TOKEN}x"}):
        refused = httpx.post(f"{running.admin}/rollback", json={"why": "x"}, headers=headers)
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "invalid_admin_token"
    assert httpx.get(running.url.replace("/v1", "/admin/state"), headers=ours).status_code == 404
    state = httpx.get(f"{running.admin}/state", headers=ours).json()
    assert state["routing"]["canary"] == release.id
    assert state["models"][release.id] == served(first)
    assert httpx.post(f"{running.admin}/rollback", json={}, headers=ours).status_code == 400
    told = httpx.post(f"{running.admin}/rollback", json={"why": "a test"}, headers=ours)
    assert told.json()["rolled_back"] == [release.id]
    assert running.ask(user="ann").headers["x-errata-release"] == "base"
    assert httpx.post(f"{running.admin}/reload", json={}, headers=ours).status_code == 200
    assert httpx.post(f"{running.admin}/drain", json={}, headers=ours).status_code == 200
    assert running.thread
    running.thread.join(30)
    assert not running.thread.is_alive()


def test_an_admin_token_that_can_be_guessed_is_refused(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ERRATA_ADMIN_TOKEN", "short")
    assert "at least 16" in str(gate().error[0])


def test_a_manifest_that_was_changed_leaves_the_routing_as_it_was(
    gate: Gate, rollouts: Rollouts, ws: Workspace, two: tuple[Candidate, Candidate, Upstream]
):
    first, _, server = two
    running = gate(server)
    path = ws.runs / "one" / "candidate.json"
    path.write_text((ws.runs / "two" / "candidate.json").read_text())
    rollouts.start(first, 99)
    until(lambda: bool(running.gateway.watch.trouble))

    assert "not what" in running.gateway.watch.trouble
    assert running.ask(user="ann").headers["x-errata-release"] == "base"


def read(turns: str, headers: dict[str, str] | None = None, **more: Any) -> requests.Asked:
    body = json.dumps({"messages": said(turns), **more}).encode()
    return requests.read(body, headers or {}, ["errata"])


def test_the_bucket_is_the_users_else_the_conversations_else_the_keys():
    auth = {"authorization": "Bearer sk"}
    assert read("u:hi", user="ann", safety_identifier="b").key == "ann"
    assert read("u:hi", safety_identifier="b").key == "b"
    assert read("u:hi", metadata={"conversation_id": "c"}).key == "id:c"
    assert read("u:hi", {"x-conversation-id": "c"}).key == "id:c"
    assert read("s:be kind|u:hi").key == read("s:be kind|u:hi|a:hello|u:more").key
    assert read("u:hi").key != read("s:be kind|u:hi").key
    assert read("s:alone", auth).key.startswith("key:")
    assert "sk" not in read("s:alone", auth).key.removeprefix("key:")[:2]


@given(st.text(max_size=40), st.floats(0, 100), st.floats(0, 100))
def test_who_is_inside_a_share_is_inside_a_larger_one(user: str, one: float, other: float):
    small, large = sorted((one, other))
    where = routing.bucket("salt", user)
    assert not where < small / 100 or where < large / 100


@given(st.binary(max_size=300))
def test_whatever_bytes_come_are_a_request_or_a_problem_of_its_sender(raw: bytes):
    with contextlib.suppress(Refused):
        assert requests.read(raw, {}, ["errata"]).turns


def test_the_store_is_asked_for_little_while_nothing_changes(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, ws: Workspace
):
    running = gate(poll_seconds=0.02)
    asked: list[str] = []
    whole = ledger.events
    monkeypatch.setattr(ledger, "events", lambda *a: asked.append("all") or whole(*a))
    looked = running.gateway.watch.looked
    until(lambda: running.gateway.watch.looked > looked + 0.1)

    assert asked == []
    assert database.connect(ws).dialect.name in ("sqlite", "postgresql")
