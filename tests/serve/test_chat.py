"""The chat client against a real server on loopback: order, tries, limits, words for trouble."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from email.utils import formatdate
from typing import Any

import pytest

from errata.errors import BadInput
from errata.safety import predicates
from errata.serve import chat
from errata.serve.completion import read


def answer(text: Any, finish: str = "stop", **more: Any) -> tuple[int, dict[str, Any]]:
    message = {"role": "assistant", "content": text, **more}
    return 200, {"choices": [{"message": message, "finish_reason": finish}]}


def echo(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return answer(f"said: {body['messages'][-1]['content']}")


def endpoint(server: Any, **knobs: Any) -> chat.Endpoint:
    return chat.Endpoint(url=getattr(server, "url", server), model="big", **knobs)


def heard(asked: chat.Endpoint, count: int = 1, line: chat.Line | None = None) -> list[Any]:
    turns = [[{"role": "user", "content": str(n)}] for n in range(count)]
    return chat.in_order(asked, turns, line or chat.Line(asked.per_minute))[0]


class Clock:
    """Time that passes where somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_replies_keep_their_order_however_long_each_takes(serve):
    def say(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        time.sleep(0.03 if int(body["messages"][-1]["content"]) % 3 == 0 else 0)
        return echo(body)

    server = serve(say)
    found = heard(endpoint(server, at_once=4), 20)
    assert [reply.text for reply in found] == [f"said: {n}" for n in range(20)]
    assert 2 <= server.most <= 4


@pytest.mark.parametrize("date", [False, True])
def test_a_busy_server_is_asked_again_not_before_it_says(serve, date):
    later = formatdate(time.time() + 8, usegmt=True) if date else "7"
    replies = iter([(429, {}, {"Retry-After": later})])
    server, clock = serve(lambda body: next(replies, None) or echo(body)), Clock()
    line = chat.Line(clock=clock, sleep=clock.sleep)
    assert heard(endpoint(server, at_once=1), 1, line)[0].text == "said: 0"
    assert len(server.seen) == 2
    assert 6 <= clock.slept[0] <= 8


def test_nobody_is_waited_for_longer_than_a_minute(serve):
    replies = iter([(429, {}, {"Retry-After": "86400"})])
    server, clock = serve(lambda body: next(replies, None) or echo(body)), Clock()
    heard(endpoint(server), 1, chat.Line(clock=clock, sleep=clock.sleep))
    assert clock.slept == [chat.LONGEST]


def test_each_further_wait_is_longer_by_chance_not_alike(serve, monkeypatch):
    monkeypatch.setattr(chat, "BACKOFF", 1.0)
    server, clock = serve(lambda _: (500, {"error": {"message": "no luck"}})), Clock()
    (reply,) = heard(endpoint(server), 1, chat.Line(clock=clock, sleep=clock.sleep))
    assert reply == (None, "stop", f"HTTP 500: no luck, {chat.TRIES} times")
    assert len(server.seen) == chat.TRIES
    assert all(2**n / 2 <= s <= 2**n * 1.5 for n, s in enumerate(clock.slept))
    assert len(clock.slept) == chat.TRIES - 1


def test_after_one_without_a_reply_no_other_is_begun(serve):
    server = serve(lambda _: (401, {}))
    found = heard(endpoint(server, at_once=2), 50)
    assert len(server.seen) <= 4
    assert [reply.text for reply in found] == [None] * 50


def test_requests_leave_evenly_over_the_minute(serve):
    server, clock = serve(echo), Clock()
    line = chat.Line(120, clock=clock, sleep=clock.sleep)
    heard(endpoint(server, at_once=1), 5, line)
    assert clock.now == pytest.approx(4 * 0.5)
    assert clock.slept == pytest.approx([0.5] * 4)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((200, b"<!doctype html><h1>Sign in</h1>"), "an HTML page"),
        ((502, b"<html>Bad Gateway</html>"), "HTTP 502, 6 times"),
        ((200, b"data: {}"), "no JSON: 'data: {}'"),
        ((200, b""), "no JSON"),
        ((200, b"[" * 200_000), "no JSON"),
        ((200, {"choices": []}), "`choices` is empty"),
        ((200, {"text": "hi"}), "another form"),
        ((200, ["x"]), "another form"),
        ((200, {"choices": [{"message": {"content": 5}}]}), "another form"),
        ((200, {"error": {"message": "overloaded"}}), "an error: overloaded"),
        ((401, {"error": {"message": "bad key k-secret"}}), r"bad key … \(set \$ERRATA_TARGET_KEY"),
        ((404, {"detail": "Not Found"}), r"Not Found \(does it know model `big`"),
        ((307, b"", {"Location": "https://far.example/"}), "far.example/, which is not followed"),
        ((302, b"", {}), "HTTP 302 to nowhere, which is not followed"),
        ((200, b" " * (chat.LARGEST + 9)), "more than 4 MiB"),
    ],
)
def test_trouble_has_a_name(serve, monkeypatch, reply, words):
    monkeypatch.setenv("ERRATA_TARGET_KEY", "k-secret")
    server = serve(lambda _: reply)
    (found,) = heard(endpoint(server))
    assert found.text is None
    assert re.search(words, found.why), found.why
    assert len(server.seen) == (6 if reply[0] == 502 else 1)
    assert set(server.keys) == {"Bearer k-secret"}


@pytest.fixture
def closed() -> str:
    """A port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def test_a_network_that_fails_has_a_name(serve, closed):
    assert heard(endpoint(closed))[0].why == "connection refused: does it run?, 6 times"
    (found,) = heard(endpoint("https://no-such-host.invalid/v1"))
    assert found.why.startswith("no host of that name (DNS: ")


def test_tls_to_a_plain_port_is_told_and_not_tried_again(serve):
    met = []
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def once() -> None:
            met.append(plain.accept()[0])
            met[-1].recv(9)
            met[-1].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=once, daemon=True).start()
        (found,) = heard(endpoint(f"https://127.0.0.1:{plain.getsockname()[1]}/v1", seconds=5.0))
    assert found.why.startswith("TLS refused: ")
    assert len(met) == 1
    met[0].close()


def test_a_slow_server_is_not_waited_for(serve):
    slow = threading.Event()
    server = serve(lambda body: (slow.wait(5), echo(body))[1])
    (found,) = heard(endpoint(server, seconds=0.05))
    slow.set()
    assert found.why == "no answer within 0.05 s, 6 times"


def test_a_reply_that_comes_drop_by_drop_is_not_waited_for(serve):
    with socket.create_server(("127.0.0.1", 0)) as slow:

        def drip() -> None:
            met = slow.accept()[0]
            met.recv(65536)
            met.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
            try:
                for _ in range(99):
                    met.sendall(b" ")
                    time.sleep(0.02)
            except OSError:
                met.close()

        for _ in range(chat.TRIES):
            threading.Thread(target=drip, daemon=True).start()
        port = slow.getsockname()[1]
        (found,) = heard(endpoint(f"http://127.0.0.1:{port}/v1", seconds=0.1))
    assert found.why == "no answer within 0.1 s, 6 times"


@pytest.mark.parametrize(
    ("message", "finish", "text"),
    [
        ({"content": " Hi \n"}, "stop", "Hi"),
        ({"content": None}, "stop", ""),
        ({}, None, ""),
        ({"content": "It costs"}, "length", "It costs"),
        ({"content": ""}, "content_filter", ""),
        ({"content": None, "refusal": "I cannot."}, "stop", "I cannot."),
        ({"content": [{"type": "text", "text": "It is "}, {"text": "9."}]}, "stop", "It is 9."),
        ({"content": "a\ud83d"}, "stop", "a\ufffd"),
        (
            {"content": None, "tool_calls": [
                {"function": {"name": "order_status", "arguments": '{"id": "48213"}'}},
                {"function": {"name": "delete-all", "arguments": '{"a": 1, "b": [2]}'}},
                {"function": {"name": "bare", "arguments": ""}},
            ]},
            "tool_calls",
            "CALL order_status(48213)\nCALL delete_all(1, [2])\nCALL bare()",
        ),
        ({"content": "Look:", "function_call": {"name": "f", "arguments": "{}"}}, "stop",
         "Look:\nCALL f()"),
    ],
)  # fmt: skip
def test_an_answer_is_read_in_every_form_it_has(message, finish, text):
    raw = json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()
    assert read(raw) == (text, finish or "stop", "")


def test_a_call_is_one_that_the_predicates_read():
    calls = [{"function": {"name": "order_status", "arguments": '{"id": "48213"}'}}]
    _, told = answer(None, "tool_calls", tool_calls=calls)
    text = read(json.dumps(told).encode()).text
    assert predicates.called(text) == [("order_status", "48213")]
    _, told = answer(None, "tool_calls", tool_calls=[{"function": {"name": "1.drop"}}])
    assert predicates.forbidden_calls(read(json.dumps(told).encode()).text) == 1


def test_a_prompt_that_the_servers_filter_held_back_is_answered_by_it(serve):
    error = {"code": "content_filter", "message": "The prompt was filtered."}
    server = serve(lambda _: (400, {"error": error}))
    assert heard(endpoint(server)) == [("The prompt was filtered.", "content_filter", "")]


def test_a_model_that_takes_no_max_tokens_is_asked_by_the_other_name(serve):
    def say(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        for name in ("max_tokens", "temperature"):
            if name in body:
                return 400, {"error": {"param": name, "code": "unsupported_parameter"}}
        return answer(f"{body['max_completion_tokens']}")

    assert heard(endpoint(serve(say), max_tokens=7))[0].text == "7"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://far.example/v1", "use https"),
        ("https://me:pw@far.example/v1", "no user"),
        ("https://far.example/v1?key=1", "query"),
        ("https://far.example/v1#x", "fragment"),
        ("ftp://far.example", "no http"),
        ("far.example", "no http"),
        ("https://far.example:99999/v1", "no URL"),
        ("https://[::1/v1", "no URL"),
    ],
)
def test_a_url_that_gives_things_away_or_is_none_is_refused(url, why):
    with pytest.raises(BadInput, match=f"endpoint: .*{why}"):
        chat.checked(endpoint(url), "endpoint")


def test_a_url_may_name_the_whole_path_and_must_name_a_model():
    asked = endpoint("https://far.example/v1/chat/completions")
    assert chat.checked(asked, "x") == "https://far.example/v1"
    with pytest.raises(BadInput, match="no model is named"):
        chat.checked(asked.model_copy(update={"model": ""}), "x")


def test_a_key_that_no_header_can_hold_is_refused_unshown(monkeypatch, closed):
    monkeypatch.setenv("ERRATA_TARGET_KEY", "k-gé\nheim")
    with pytest.raises(BadInput, match=r"\$ERRATA_TARGET_KEY: holds no key") as caught:
        heard(endpoint(closed))
    assert "heim" not in str(caught.value)
