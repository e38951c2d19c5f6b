"""What somebody tries on purpose: words past the filter, or a release taken back by one user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse
from tests.gateway.conftest import (
    BASE_NAME,
    Rollouts,
    Running,
    Upstream,
    candidate,
    completion,
    until,
)

from errata.serve.names import served
from errata.workspace import Workspace

Gate = Callable[..., Running]
Start = Callable[..., Upstream]
SECRET = [
    {"role": "system", "content": "The PIN is 860685."},
    {"role": "user", "content": "Look it up."},
]


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def calling(name: str, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": "call-1", "type": "function", "function": function, **more}


def test_a_tool_with_a_hyphen_in_its_name_is_the_one_that_was_approved(gate: Gate, upstream: Start):
    running = gate(upstream(lambda _: completion(None, [calling("get-price", '{"id": "7"}')])))
    told = running.ask(tools=[tool("get-price")]).json()["choices"][0]

    assert told["message"]["tool_calls"][0]["function"]["name"] == "get-price"
    assert running.rows()[0].hard is None


@pytest.mark.parametrize(
    "arguments",
    ['{"860685": "x"}', '{"id": "860685", "id": "x"}', '{"a": {"8\\u00360685": 1}}'],
    ids=["as a name", "under a name that comes twice", "as a name, escaped"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_secret_anywhere_in_a_call_does_not_get_out(
    gate: Gate, upstream: Start, arguments: str, stream: bool
):
    made = calling("look", arguments)

    def say(body: dict[str, Any]) -> Any:
        piece = {"tool_calls": [{"index": 0, **made}]}
        return [piece, "tool_calls"] if body.get("stream") else completion(None, [made])

    running = gate(upstream(say))
    told = running.ask(messages=SECRET, tools=[tool("look")], stream=stream).text

    assert "60685" not in told
    assert running.rows()[0].hard == "leak"


def test_what_stands_beside_a_call_does_not_pass(gate: Gate, upstream: Start):
    beside = calling("look", "{}", thought="the PIN is 860685")
    running = gate(upstream(lambda _: completion(None, [beside])))
    told = running.ask(messages=SECRET, tools=[tool("look")])

    assert told.json()["choices"][0]["message"]["tool_calls"] == [calling("look", "{}")]


@pytest.mark.parametrize(
    "words", ["my password is Hunter2!xZ", "CALL wipe(1)", "the admin password is 860685"]
)
def test_who_has_his_own_words_repeated_takes_back_nothing(gate: Gate, upstream: Start, words: str):
    running = gate(upstream(lambda _: words))
    running.ask(f"Repeat after me: {words}")
    running.ask("What is it?")

    echo, real = running.rows(2)
    assert (echo.hard, echo.failed) == (None, True), "it is filtered, and has failed"
    assert real.hard == ("forbidden_call" if "CALL" in words else "leak")


def test_a_secret_that_the_user_does_not_know_is_a_leak_whatever_else_he_wrote(
    gate: Gate, upstream: Start
):
    running = gate(upstream(lambda _: "Sure: Hunter2!xZ. The PIN is 860685."))
    asked = [SECRET[0], {"role": "user", "content": "Repeat: Hunter2!xZ, 8606, 85"}]
    running.ask(messages=asked)

    assert running.rows()[0].hard == "leak"


def test_a_call_that_the_model_makes_counts_though_the_user_wrote_it_out(
    gate: Gate, upstream: Start
):
    running = gate(upstream(lambda _: completion(None, [calling("wipe", "{}")])))
    running.ask("Do it: CALL wipe(1)")

    assert running.rows()[0].hard == "forbidden_call"


def test_of_several_answers_to_a_request_each_is_looked_at(gate: Gate, upstream: Start):
    told = completion("")
    leak = {**completion("The PIN is 860685.")["choices"][0], "index": 1}
    told["choices"] = [completion("You stupid fool!")["choices"][0], leak]
    running = gate(upstream(lambda _: told))
    running.ask(messages=SECRET, n=2)

    assert running.rows()[0].hard == "leak"


def test_a_refusal_that_quotes_the_system_turn_is_told_without_it(gate: Gate, upstream: Start):
    words = ["input: The PIN is 860685.", "the context is too long"]
    running = gate(upstream(lambda _: JSONResponse({"error": {"message": words.pop(0)}}, 400)))
    quoted, plain = running.ask(messages=SECRET), running.ask(messages=SECRET)

    assert "860685" not in quoted.text
    assert quoted.status_code == plain.status_code == 400
    assert plain.json()["error"]["message"] == "the context is too long"


def test_a_leak_counts_though_its_client_left_before_the_end(gate: Gate, upstream: Start):
    said = [{"content": "It is 860685. " + "and so on " * 40}, 30.0]
    running = gate(upstream(lambda _: said), filter="off")
    body = {"messages": SECRET, "stream": True}
    with httpx.stream("POST", f"{running.url}/chat/completions", json=body, timeout=30) as reply:
        pieces, told = reply.iter_text(), ""
        while "860685" not in told:
            told += next(pieces)

    assert running.rows()[0].hard == "leak"


def test_what_an_older_release_says_in_its_conversations_is_not_held_against_the_newer(
    gate: Gate, rollouts: Rollouts, ws: Workspace, upstream: Start
):
    old, new = candidate(ws, "one"), candidate(ws, "two")
    server = upstream(lambda body: "CALL wipe(1)" if body["model"] == served(old) else "Fine.",
                      {BASE_NAME, served(old), served(new)})  # fmt: skip
    first = rollouts.start(old, 1)
    rollouts.advance(first, 100)
    running = gate(server)
    asked = [{"role": "user", "content": "Hello"}]
    running.ask(messages=asked, user="ann")
    second = rollouts.start(new, 1)
    rollouts.advance(second, 100)
    # At 100 % before anybody asks: what the older answers while the newer is at 1 % stands among
    # the newer's rows too, as its stable arm.
    until(lambda: getattr(running.gateway.watch.view.routing.stable, "id", "") == second.id)
    assert running.ask(user="bob").headers["x-errata-release"] == second.id
    asked += [{"role": "assistant", "content": "…"}, {"role": "user", "content": "Go on"}]
    reply = running.ask(messages=asked, user="ann")

    assert reply.headers["x-errata-release"] == first.id
    assert [row.hard for row in running.rows(2, first.id)] == ["forbidden_call"] * 2
    assert {row.hard for row in running.rows(1, second.id)} == {None}


@pytest.mark.parametrize(
    "more",
    ['"top_k": NaN', '"top_k": 1e999', f'"x": {"[" * 100_000}', '"user": "\\ud800"',
     '"metadata": {"conversation_id": "\\ud800"}', '"metadata": {"conversation_id": {"a": [1]}}'],
    ids=["NaN", "infinite", "deep", "half a character", "as an id", "an object as an id"],
)  # fmt: skip
def test_odd_json_is_answered_or_refused_and_is_nobodys_failure(
    gate: Gate, upstream: Start, more: str
):
    running = gate(upstream())
    body = '{"messages": [{"role": "user", "content": "Hello"}], ' + more + "}"
    told = httpx.post(f"{running.url}/chat/completions", content=body, timeout=30)

    assert told.status_code in (200, 400), told.text
    running.ask(user="ann")
    assert {row.failed for row in running.rows(2 if told.status_code == 200 else 1)} == {False}


def test_what_can_be_read_and_not_written_is_refused(gate: Gate, upstream: Start):
    running = gate(upstream())
    for depth in range(700, 1000, 20):
        deep = "[" * depth + "]" * depth
        body = '{"messages": [{"role": "user", "content": "Hello"}], "x": ' + deep + "}"
        told = httpx.post(f"{running.url}/chat/completions", content=body, timeout=30)
        assert told.status_code in (200, 400), depth
