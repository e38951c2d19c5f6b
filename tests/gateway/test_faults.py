"""What goes wrong before and behind the gateway: an error of OpenAI's shape, in time, about nobody
else; and what is safe to try again is tried again."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import threading
from collections.abc import Callable

import httpx
import openai
import pytest
from starlette.responses import JSONResponse, PlainTextResponse
from tests.gateway.conftest import BASE_NAME, Running, Upstream, completion, until

from errata.errors import BadInput
from errata.workspace import Workspace

ASKED = [{"role": "user", "content": "How much is the lamp?"}]
Gate = Callable[..., Running]
Start = Callable[..., Upstream]


def error_in(reply: httpx.Response) -> dict[str, object]:
    told = reply.json()
    assert set(told) == {"error"}
    assert set(told["error"]) == {"message", "type", "param", "code"}
    return told["error"]


@pytest.fixture
def one(gate: Gate, upstream: Start) -> Running:
    return gate(upstream(), max_body_mib=0.01)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"", None),
        (b"[]", None),
        (b"[" * 5000, None),
        ('{"messages": [{"role": "user", "content": "价"}]}'.encode("gb18030"), None),
        (b'{"messages": []}', "messages"),
        (b'{"messages": "hi"}', "messages"),
        (b'{"messages": [7]}', "messages.0.role"),
        (b'{"messages": [{"role": "boss", "content": "hi"}]}', "messages.0.role"),
        (b'{"messages": [{"role": ["user"], "content": "hi"}]}', "messages.0.role"),
        (b'{"messages": [{"role": "user", "content": 7}]}', "messages.0.content"),
        (b'{"messages": [{"role": "user", "content": ""}]}', "messages.0.content"),
        (b'{"messages": [{"role": "user", "content": "\\ud83d"}]}', "messages.0.content"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "stream": "yes"}', "stream"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "user": 7}', "user"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "n": 99}', "n"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 0}', "max_tokens"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "temperature": NaN}', "temperature"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "tools": [{}]}', "tools"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "metadata": "x"}', "metadata"),
    ],
)
def test_a_request_that_is_none_is_told_why(one: Running, body: bytes, param: str | None):
    reply = httpx.post(f"{one.url}/chat/completions", content=body)
    assert reply.status_code == 400
    assert error_in(reply)["param"] == param
    assert one.ask().status_code == 200, "and nobody else notices"


def test_too_long_and_elsewhere(one: Running):
    assert error_in(one.ask("x" * 20_000))["type"] == "invalid_request_error"
    assert one.ask("x" * 20_000).status_code == 413
    told = httpx.post(f"{one.url}/chat/completions", content=iter([b"x" * 6000] * 3))
    assert told.status_code == 413, "also where no length was told"
    assert httpx.get(f"{one.url}/nothing").status_code == 404
    assert error_in(httpx.get(f"{one.url}/chat/completions"))["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("slow", "sent", "told"),
    [
        ("body", b"Content-Length: 99\r\n\r\n{", b"408"),
        ("header", b"Accept: ", b""),  # closed without a word
    ],
)
def test_a_request_that_comes_too_slowly_is_given_up(
    gate: Gate, slow: str, sent: bytes, told: bytes
):
    running = gate(timeouts={slow: 0.3})
    port = int(running.url.split(":")[2].split("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + sent)
        heard = client.recv(4096)
    assert (told in heard) if told else not heard


def test_who_has_no_key_is_refused(
    gate: Gate, upstream: Start, monkeypatch: pytest.MonkeyPatch, ws: Workspace
):
    monkeypatch.setenv("ERRATA_GATEWAY_KEYS", "sk-one, sk-two")
    monkeypatch.setenv("ERRATA_UPSTREAM_TEST", "sk-theirs")
    server = upstream()
    running = gate(upstreams=[{"url": server.url, "key_env": "ERRATA_UPSTREAM_TEST"}])

    assert running.ask().status_code == 401
    assert running.ask(headers={"Authorization": "Bearer sk-onesk-two"}).status_code == 401
    assert running.ask(headers={"Authorization": "Bearer sk-two"}).status_code == 200
    assert httpx.get(f"{running.url}/models").status_code == 401
    assert server.headers[0]["authorization"] == "Bearer sk-theirs", "the client's key stays here"


def test_without_keys_it_listens_on_loopback_only(gate: Gate):
    running = gate(host="0.0.0.0")
    assert isinstance(running.error[0], BadInput)
    assert "ERRATA_GATEWAY_KEYS" in str(running.error[0])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("say", "status"),
    [
        (lambda _: JSONResponse({"error": {"message": "trace of key sk-9"}}, 500), 502),
        (lambda _: JSONResponse({"error": {"message": "bad key sk-9"}}, 401), 502),
        (lambda _: JSONResponse({"error": {"message": "too many tokens"}}, 400), 400),
        (lambda _: JSONResponse({"error": "slow down"}, 429, {"Retry-After": "7"}), 429),
        (lambda _: threading.Event(), 504),
    ],
)
def test_what_the_server_says_instead_of_an_answer(
    gate: Gate, upstream: Start, say: Callable[[object], object], status: int, stream: bool
):
    short = {"first_byte": 0.3, "whole": 0.6} if status == 504 else {}
    running = gate(upstream(say), timeouts=short)
    reply = running.ask(stream=stream)
    assert reply.status_code == status
    assert "sk-9" not in reply.text
    assert error_in(reply)["message"]
    assert (reply.headers.get("retry-after") == "7") == (status == 429)
    (row,) = running.rows()
    assert row.failed
    assert row.flags["refusal"] is None, "what was not answered is no refusal, and no answer"


LATIN = PlainTextResponse(
    '{"choices": [{"index": 0, "message": {"content": "caf\u00e9"}}]}'.encode("latin-1")
)


@pytest.mark.parametrize(
    "reply", [PlainTextResponse("<html>"), JSONResponse({}), JSONResponse({"choices": []}),
              JSONResponse({"choices": [7]}), JSONResponse([]), LATIN]
)  # fmt: skip
def test_an_answer_in_no_known_form_is_an_error(gate: Gate, upstream: Start, reply: object):
    told = gate(upstream(lambda _: reply)).ask()
    assert told.status_code == 502
    assert error_in(told)["code"] == "upstream_broken"


@pytest.mark.parametrize("end", [None, threading.Event()])
def test_half_a_stream_ends_with_an_error_and_never_as_done(
    gate: Gate, upstream: Start, end: threading.Event | None
):
    running = gate(upstream(lambda _: [{"content": "It costs "}, end]), timeouts={"between": 0.3})
    reply = running.ask(stream=True)
    last = reply.text.strip().split("\n\n")[-1]

    assert "[DONE]" not in reply.text
    assert "error" in json.loads(last.removeprefix("data: "))
    with pytest.raises(openai.APIError):
        list(running.client.chat.completions.create(model="errata", messages=ASKED, stream=True))
    assert all(row.failed for row in running.rows(2))


def test_a_server_that_went_away_is_not_asked_and_another_is(gate: Gate, upstream: Start):
    first, second = upstream(), upstream()
    running = gate(first, second)
    until(lambda: all(server.well for server in running.gateway.pool.servers))
    first.stop()
    with concurrent.futures.ThreadPoolExecutor(4) as many:
        told = list(many.map(lambda _: running.ask().status_code, range(12)))

    assert told == [200] * 12
    second.stop()
    assert running.ask().status_code == 502
    health = httpx.get(running.url.replace("/v1", "/healthz"))
    assert health.status_code == 503
    assert "127.0.0.1" not in health.text


def test_a_503_is_tried_again_and_a_500_is_not(gate: Gate, upstream: Start):
    said = iter([JSONResponse({}, 503), completion("Yes."), JSONResponse({}, 500)])
    server = upstream(lambda _: next(said))
    running = gate(server)

    assert running.ask().status_code == 200
    assert len(server.seen) == 2
    assert running.ask().status_code == 502
    assert len(server.seen) == 3


def test_no_server_offers_the_model(gate: Gate, upstream: Start):
    reply = gate(upstream(models={"another"})).ask()
    assert reply.status_code == 503
    assert error_in(reply)["code"] == "model_unavailable"


def test_more_than_fit_are_told_to_come_back(gate: Gate, upstream: Start):
    go_on = threading.Event()
    running = gate(upstream(lambda _: go_on), max_in_flight=2)
    with concurrent.futures.ThreadPoolExecutor(2) as many:
        first = [many.submit(running.ask) for _ in range(2)]
        until(lambda: len(running.gateway.in_flight) == 2)
        told = [running.ask() for _ in range(4)]
        go_on.set()

    assert [(one.status_code, one.headers["retry-after"]) for one in told] == [(429, "1")] * 4
    assert [one.result().status_code for one in first] == [200] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_who_goes_away_frees_the_server(gate: Gate, upstream: Start, stream: bool):
    never = threading.Event()
    server = upstream(lambda _: [{"content": "x" * 400}, never] if stream else never)
    running = gate(server)
    host, port = running.url.removesuffix("/v1").removeprefix("http://").split(":")
    body = json.dumps({"messages": ASKED, "stream": stream})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(f"{head}\r\n\r\n{body}".encode())
        until(lambda: bool(server.seen))
        if stream:
            assert b"200" in client.recv(4096)
    until(lambda: server.left == 1)
    until(lambda: len(running.gateway.in_flight) == 0)
    assert BASE_NAME in server.models


def test_what_is_under_way_ends_before_the_gateway_does(gate: Gate, upstream: Start):
    go_on = threading.Event()
    running = gate(upstream(lambda _: [{"content": "a" * 200}, go_on, {"content": "b"}, "stop"]))
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        asked = other.submit(running.ask, stream=True)
        until(lambda: len(running.gateway.in_flight) == 1)
        running.gateway.stop()
        until(lambda: running.gateway.draining)
        go_on.set()
        assert "[DONE]" in asked.result().text
    running.stop()
    with pytest.raises(httpx.ConnectError):
        running.ask()
    assert len(running.rows()) == 1, "and it was measured"
