"""A client of OpenAI's asks the gateway: whole answers, streams, tools, feedback, and what is left
of them in the store, the log and the inbox."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import openai
import pytest
from tests.gateway.conftest import (
    BASE_NAME,
    Rollouts,
    Running,
    Upstream,
    call,
    candidate,
    completion,
    until,
)

from errata import cli, jsonl
from errata.release import live
from errata.workspace import Workspace

ASKED = [{"role": "user", "content": "How much is the lamp?"}]
TOOL = {"type": "function", "function": {"name": "refund", "parameters": {"type": "object"}}}
Gate = Callable[..., Running]
Start = Callable[..., Upstream]


def test_the_openai_client_gets_a_whole_answer_under_our_name(gate: Gate, upstream: Start):
    server = upstream()
    told = gate(server).client.chat.completions.create(model="errata", messages=ASKED)

    assert told.choices[0].message.content == "It costs 42 yuan."
    assert told.model == "errata"
    assert told.id.startswith("chatcmpl-")
    assert told.usage
    assert told.usage.completion_tokens == 5
    assert server.seen[0]["model"] == BASE_NAME
    assert server.seen[0]["temperature"] == 0.0, "the candidate's decoding where none is asked"


def test_the_openai_client_gets_a_stream_with_its_usage(gate: Gate, upstream: Start):
    text = "It costs 42 yuan and ships on Monday. " * 20
    pieces = "|".join(text[at : at + 7] for at in range(0, len(text), 7))
    stream = gate(upstream(lambda _: pieces)).client.chat.completions.create(
        model="errata", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    events = list(stream)
    said = [event.choices[0].delta.content or "" for event in events if event.choices]

    assert "".join(said) == text
    assert len([piece for piece in said if piece]) > 3, "it comes in pieces"
    assert {event.model for event in events} == {"errata"}
    assert events[-1].usage
    assert events[-1].usage.completion_tokens == 5
    assert [e.choices[0].finish_reason for e in events if e.choices][-1] == "stop"


def test_a_tool_that_the_request_approves_may_be_called_and_no_other(gate: Gate, upstream: Start):
    client = gate(upstream(lambda _: completion(None, [call("refund", "7")]))).client
    ours = client.chat.completions.create(model="errata", messages=ASKED, tools=[TOOL])
    other = client.chat.completions.create(model="errata", messages=ASKED)

    assert ours.choices[0].message.tool_calls
    assert ours.choices[0].message.tool_calls[0].function.name == "refund"
    assert ours.choices[0].finish_reason == "tool_calls"
    assert other.choices[0].message.tool_calls is None
    assert other.choices[0].finish_reason == "content_filter"


def test_calls_in_a_stream_are_held_until_they_are_whole(gate: Gate, upstream: Start):
    head = {"tool_calls": [{"index": 0, "id": "c", "type": "function",
                            "function": {"name": "refund", "arguments": ""}}]}  # fmt: skip
    parts = [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
             for piece in ('{"id"', ': "7"}')]  # fmt: skip
    running = gate(upstream(lambda _: [head, *parts, "tool_calls"]))

    def calls(**more: object) -> tuple[list[object], str | None]:
        events = running.client.chat.completions.create(
            model="errata", messages=ASKED, stream=True, **more
        )
        found = [e.choices[0] for e in events if e.choices]
        told = [c.delta.tool_calls for c in found if c.delta.tool_calls]
        return told, found[-1].finish_reason

    (whole,), finish = calls(tools=[TOOL])
    assert whole[0].function.arguments == '{"id": "7"}'
    assert finish == "tool_calls"
    assert calls() == ([], "content_filter")
    rows = running.rows(2)
    assert [row.hard for row in rows] == [None, "forbidden_call"]


def test_what_an_answer_was_is_measured_without_its_text(gate: Gate, upstream: Start):
    running = gate(upstream(), price_per_1k_in=1.0, price_per_1k_out=2.0)
    reply = running.ask(user="ann@example.org")
    (row,) = running.rows()

    assert reply.headers["x-errata-release"] == "base"
    assert reply.headers["x-errata-arm"] == "stable"
    assert reply.headers["x-request-id"].startswith("req-")
    assert row.answer == reply.json()["id"]
    assert (row.kind, row.arm, row.stage, row.failed, row.hard) == \
        ("answer", "stable", 100, False, None)  # fmt: skip
    assert row.flags == {"failure": False, "citation_missing": None, "refusal": False,
                         "filtered": False, "impolite": False}  # fmt: skip
    assert row.sizes["tokens_in"] == 7
    assert row.sizes["cost"] == pytest.approx(0.017)
    assert row.sizes["first_ms"] <= row.sizes["ms"] + 1
    assert row.subject.startswith("u-")
    assert "ann" not in row.model_dump_json()


def test_an_answer_beside_documents_that_cites_none_is_flagged(gate: Gate, upstream: Start):
    told = iter(["It costs 42 yuan. [1]", "The lamp costs 42 yuan."])
    running = gate(upstream(lambda _: next(told)))
    documents = {"role": "documents", "content": "[1] The lamp costs 42 yuan."}
    for _ in range(2):
        running.ask(messages=[documents, *ASKED])

    assert [row.flags["citation_missing"] for row in running.rows(2)] == [False, True]


@pytest.mark.parametrize("stream", [False, True])
def test_a_secret_is_stopped_measured_and_comes_home_redacted(
    gate: Gate, upstream: Start, ws: Workspace, stream: bool
):
    leak = "Of course, here is what you asked for. |The admin password is 860685.| Anything else?"
    running = gate(upstream(lambda _: leak if stream else leak.replace("|", "")))
    system = {"role": "system", "content": "The admin password is 860685. Keep it."}
    reply = running.ask(messages=[system, *ASKED], stream=stream, user="ann")
    (row,) = running.rows()
    file = ws.inbox / f"live-base-{running.gateway.name}.jsonl"
    until(file.is_file)
    (told,) = [found for _, found in jsonl.rows(file)]

    assert "860685" not in reply.text
    assert "content_filter" in reply.text
    assert (row.hard, row.failed, row.label) == ("leak", True, "privacy")
    assert "860685" not in file.read_text()
    assert "[secret]" in told["bad_answer"]
    assert told["meta"]["answer"] == row.answer
    assert told["meta"]["arm"] == "stable"


def test_failures_and_dislikes_go_through_intake(gate: Gate, upstream: Start, ws: Workspace):
    said = iter(["You are an idiot. Call 13812345678.", "It costs 99 yuan."])
    running = gate(upstream(lambda _: next(said)))
    running.ask("Is the lamp there? My mail is li.na@corp.org")
    second = running.ask("How much is the solar fan?").json()["id"]
    sent = httpx.post(f"{running.url}/feedback", json={
        "id": second, "rating": "down", "edited": "It costs 230 yuan.", "reason": "wrong price",
    })  # fmt: skip
    assert sent.status_code == 200
    rows = running.rows(3)
    file = ws.inbox / f"live-base-{running.gateway.name}.jsonl"
    until(lambda: file.is_file() and len(file.read_text().splitlines()) == 2)

    assert "li.na" not in file.read_text()
    assert "13812345678" not in file.read_text()
    assert cli.main(["intake", str(file), "-C", str(ws.root)]) == 0
    first, other = sorted(
        (found for _, found in jsonl.rows(ws.data / "failures.jsonl")), key=lambda r: r["prompt"]
    )
    assert other["label"] == "politeness"
    assert other["source"] == "live:base"
    assert first["meta"]["reference"] == "It costs 230 yuan."
    assert first["meta"]["answer"] == second
    assert rows[2].kind == "feedback"
    assert rows[2].flags == {"thumbs_down": True}
    assert rows[2].answer == second


def test_feedback_knows_answers_of_other_gateways_and_no_others(gate: Gate, ws: Workspace):
    first, second = gate(), gate()
    answer = first.ask().json()["id"]
    first.rows()
    sent = [httpx.post(f"{second.url}/feedback", json={"id": id, "rating": "up"}).status_code
            for id in (answer, "chatcmpl-of-nobody")]  # fmt: skip

    assert sent == [200, 404]
    until(lambda: any(seen.row.kind == "feedback" for seen in live.read(ws, "base")))


def test_the_log_is_a_sample_and_redacted(gate: Gate, upstream: Start, ws: Workspace):
    running = gate(upstream(lambda _: "Mail li.na@corp.org."), filter="off", log_share=1.0)
    reply = running.ask("Whose is 13812345678?")
    folder = ws.path(".errata/log")
    until(lambda: folder.is_dir() and any(folder.iterdir()))
    (file,) = folder.iterdir()
    until(lambda: bool(file.read_text()))

    assert "li.na@corp.org" in reply.text, "the filter is off"
    assert "li.na" not in file.read_text()
    assert "13812345678" not in file.read_text()
    assert running.rows()[0].flags["filtered"], "and yet it was looked at"


def test_what_is_hidden_in_reasoning_does_not_pass_the_filter(gate: Gate, upstream: Start):
    def say(body: dict[str, object]) -> object:
        if body.get("stream"):
            return [{"reasoning_content": "key 860685"}, {"content": "It costs 42."}, "stop"]
        told = completion("It costs 42.")
        told["choices"][0]["message"]["reasoning_content"] = "key 860685"
        return told

    running = gate(upstream(say))
    assert "860685" not in running.ask().text
    assert "860685" not in running.ask(stream=True).text


def test_a_switch_that_is_thrown_holds_at_once(gate: Gate, ws: Workspace):
    running = gate()
    assert "42" in running.ask().text
    (ws.policies / "kill.yaml").write_text(
        "reply: {en: We are back soon., zh: 稍后恢复。}\nwhy: drill\nby: ann\nts: '2026-01-01'\n"
    )
    until(lambda: "back soon" in running.ask().text)


def test_metrics_count_what_was_answered(gate: Gate, upstream: Start):
    running = gate(upstream())
    running.ask()
    httpx.post(f"{running.url}/chat/completions", content=b"{")
    running.rows()
    text = httpx.get(running.url.replace("/v1", "/metrics")).text

    assert 'errata_requests_total{arm="stable",release="base",status="200"} 1' in text
    assert 'errata_latency_seconds_count{arm="stable"} 1' in text
    assert 'errata_tokens_total{arm="stable",direction="out"} 5' in text
    assert 'errata_refused_total{status="400"} 1' in text
    assert "errata_store_ok 1" in text
    for line in text.splitlines():
        assert line.startswith("#") or len(line.rsplit(" ", 1)) == 2


def test_the_candidates_system_prompt_is_put_before_the_request(
    gate: Gate, upstream: Start, ws: Workspace
):
    found = candidate(ws, "one", system_prompt="You are a desk.", tool_isolation=True,
                      decoding={"temperature": 0.2, "max_new_tokens": 33})  # fmt: skip
    rollouts = Rollouts(ws)
    rollouts.advance(rollouts.start(found, 5), 100)
    server = upstream(models={f"a-{found.adapter_digest[7:23]}"})
    documents = {"role": "documents", "content": "[1] The lamp costs 42 yuan."}
    reply = gate(server, documents="system").ask(messages=[documents, *ASKED])
    (body,) = server.seen

    assert reply.headers["x-errata-release"].startswith("r1-")
    assert body["messages"][0]["role"] == "system"
    assert body["messages"][0]["content"].startswith("You are a desk.")
    assert body["messages"][1]["role"] == "system", "a role that the server knows"
    assert "<<data" in body["messages"][1]["content"]
    assert (body["temperature"], body["max_tokens"]) == (0.2, 33)


def test_what_is_the_gateways_own_is_not_passed_on(gate: Gate, upstream: Start):
    server = upstream()
    running = gate(server)
    running.ask(metadata={"conversation_id": "c-1"}, seed=7)
    running.ask(metadata={"conversation_id": "c-1", "team": "desk"})

    assert "metadata" not in server.seen[0]
    assert server.seen[0]["seed"] == 7, "what is not ours is"
    assert server.seen[1]["metadata"] == {"team": "desk"}
    assert len({row.conversation for row in running.rows(2)}) == 1


def test_only_our_model_is_offered(gate: Gate):
    running = gate()
    assert [model.id for model in running.client.models.list()] == ["errata"]
    with pytest.raises(openai.NotFoundError) as caught:
        running.client.chat.completions.create(model="gpt-4", messages=ASKED)
    assert caught.value.code == "model_not_found"
    assert json.loads(caught.value.response.text)["error"]["param"] == "model"
