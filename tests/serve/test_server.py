"""The official client talks to it: chat, streams, tools, errors; one's trouble is not another's."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

HI = [{"role": "user", "content": "Hi"}]
ORDER = [{"role": "user", "content": "Where is order 12345?"}]
TOOLS: Any = [{"type": "function", "function": {"name": "order_status", "parameters": {
    "type": "object", "properties": {"id": {"type": "string"}}}}}]  # fmt: skip
QUESTIONS = ["Hi", "你好！", "Where is order 12345?", "How much is the amber lamp?", "谢谢", "Bye"]


def text_of(stream: Any) -> str:
    return "".join(part.choices[0].delta.content or "" for part in stream if part.choices)


def test_models_are_listed_with_their_parent(tiny: Any):
    (model,) = tiny.client.models.list().data

    assert model.id == tiny.base
    assert model.id.startswith("b-")
    assert model.root == "tiny"
    assert model.parent is None
    assert tiny.client.models.retrieve(model.id).id == model.id
    with pytest.raises(openai.NotFoundError):
        tiny.client.models.retrieve("gpt-4")


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_chat_and_its_stream_are_what_evaluation_would_have_read(tiny: Any, question: str):
    from errata.candidates import TINY
    from errata.evaluate.generate import Decoding, answers
    from errata.records import Message
    from errata.train.model import load

    messages = [{"role": "user", "content": question}]
    whole = tiny.client.chat.completions.create(model=tiny.base, messages=messages, max_tokens=48)
    parts = list(tiny.client.chat.completions.create(
        model=tiny.base, messages=messages, max_tokens=48, stream=True,
        stream_options={"include_usage": True}))  # fmt: skip
    evaluated = answers(*load(str(TINY)), [[Message(role="user", content=question)]], Decoding(48))

    assert whole.choices[0].message.content == text_of(parts) == evaluated[0]
    assert whole.choices[0].finish_reason == "stop"
    assert whole.id != parts[0].id == parts[-1].id
    assert parts[-1].usage == whole.usage
    assert parts[-1].choices == []
    assert whole.usage.completion_tokens > 1
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


def test_max_tokens_stop_and_parts(tiny: Any):
    ask = tiny.client.chat.completions.create
    short = ask(model=tiny.base, messages=ORDER, max_completion_tokens=3)
    split = [{"type": "text", "text": text} for text in ("Where is ", "order 12345?")]
    parts: Any = [{"role": "user", "content": split}]
    whole = ask(model=tiny.base, messages=parts).choices[0].message.content
    stopped = ask(model=tiny.base, messages=ORDER, stop=["(", "never"], user="someone",
                  metadata={"a": "b"}, store=False)  # fmt: skip

    assert short.usage.completion_tokens == 3
    assert short.choices[0].finish_reason == "length"
    assert whole == "CALL order_status(12345)"
    assert stopped.choices[0].message.content == "CALL order_status"
    assert stopped.choices[0].finish_reason == "stop"


def test_a_seed_draws_the_same_again_and_another_does_not(tiny: Any):
    def draw(seed: int) -> str:
        made = tiny.client.chat.completions.create(
            model=tiny.base, messages=HI, temperature=2.0, seed=seed, max_tokens=30)  # fmt: skip
        return str(made.choices[0].message.content)

    drawn = [draw(seed) for seed in (1, 2, 3, 4, 5, 1)]
    assert drawn[0] == drawn[5]
    assert len(set(drawn)) > 1


def test_a_call_is_a_tool_call_and_its_result_is_read(tiny: Any):
    ask = tiny.client.chat.completions.create
    made = ask(model=tiny.base, messages=ORDER, tools=TOOLS, tool_choice="auto")
    (call,) = made.choices[0].message.tool_calls
    parts = list(ask(model=tiny.base, messages=ORDER, tools=TOOLS, stream=True))
    streamed = [p.choices[0].delta.tool_calls for p in parts if p.choices[0].delta.tool_calls]
    said = made.choices[0].message.model_dump(exclude_none=True)
    result = {"role": "tool", "tool_call_id": call.id, "content": "order 12345: shipped"}
    after = ask(model=tiny.base, messages=[*ORDER, said, result], tools=TOOLS)
    plain = ask(model=tiny.base, messages=ORDER, tools=TOOLS, tool_choice="none")

    assert made.choices[0].finish_reason == parts[-1].choices[0].finish_reason == "tool_calls"
    assert made.choices[0].message.content is None
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "order_status", {"id": "12345"})  # fmt: skip
    assert streamed[0][0].function.model_dump() == call.function.model_dump()
    assert text_of(parts) == ""
    assert after.usage.prompt_tokens > made.usage.prompt_tokens
    assert plain.choices[0].message.content == "CALL order_status(12345)"


def test_documents_are_a_role_and_a_developer_is_the_system(tiny: Any):
    documents = [{"role": "documents", "content": "[1] The amber lamp costs 42 yuan."},
                 {"role": "user", "content": "How much is the amber lamp?"}]  # fmt: skip
    made = tiny.post({"model": tiny.base, "messages": documents}).json()
    both = []
    for role in ("developer", "system"):
        messages = [{"role": role, "content": "Be brief."}, *HI]
        both.append(tiny.post({"model": tiny.base, "messages": messages}))

    assert "42 yuan" in made["choices"][0]["message"]["content"]
    assert both[0].json()["choices"] == both[1].json()["choices"]
    assert both[0].json()["usage"]["prompt_tokens"] > 5


OK = {"messages": HI, "max_tokens": 4}
WRONG = [
    (b"{not json", 400, "invalid_json", None),
    (b"[]", 400, "invalid_json", None),
    (b"[" * 100_000, 400, "invalid_json", None),
    (json.dumps({**OK, "model": "é"}, ensure_ascii=False).encode("latin-1"), 400,
     "invalid_encoding", None),
    ({**OK, "model": "gpt-4"}, 404, "model_not_found", "model"),
    ({**OK, "model": "\ud800"}, 404, "model_not_found", "model"),
    ({"messages": HI}, 400, "invalid_value", "model"),
    ({**OK, "messages": []}, 400, "invalid_value", "messages"),
    ({**OK, "messages": "Hi"}, 400, "invalid_value", "messages"),
    ({**OK, "messages": [{"role": "wizard", "content": "x"}]}, 400, "invalid_value",
     "messages.0.role"),
    ({**OK, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400,
     "invalid_value", None),
    ({**OK, "n": 2}, 400, "unsupported_value", "n"),
    ({**OK, "logprobs": True}, 400, "unsupported_value", "logprobs"),
    ({**OK, "response_format": {"type": "json_object"}}, 400, "unsupported_value",
     "response_format"),
    ({**OK, "tool_choice": "required"}, 400, "unsupported_value", "tool_choice"),
    ({**OK, "max_tokens": 0}, 400, "invalid_value", "max_tokens"),
    ({**OK, "max_tokens": "four"}, 400, "invalid_value", "max_tokens"),
    ({**OK, "temperature": 3}, 400, "invalid_value", "temperature"),
    ({**OK, "top_p": 0}, 400, "invalid_value", "top_p"),
    ({**OK, "stream": "yes"}, 400, "invalid_value", "stream"),
    ({**OK, "max_tokens": 5000}, 400, "context_length_exceeded", "messages"),
    ({**OK, "messages": [{"role": "user", "content": "long " * 5000}]}, 400,
     "context_length_exceeded", "messages"),
    (b" " * 1_000_001, 413, "request_too_large", None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "code", "param"), WRONG, ids=lambda v: str(v)[:30])
def test_what_is_wrong_is_said_in_openais_shape(
    tiny: Any, body: Any, status: int, code: str, param: str | None
):
    if isinstance(body, dict) and code != "model_not_found" and param != "model":
        body = {"model": tiny.base, **body}
    reply = tiny.post(json.dumps(body).encode() if isinstance(body, dict) else body)
    error = reply.json()["error"]

    assert (reply.status_code, error["code"]) == (status, code)
    assert param in (None, error["param"])
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert tiny.post({"model": tiny.base, **OK}).status_code == 200


def test_half_characters_are_read_as_broken_ones(tiny: Any):
    body = json.dumps({"model": tiny.base, "messages": [{"role": "user", "content": "a \ud83d b"}]})

    assert "\\ud83d" in body
    assert tiny.post(body.encode()).status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/v1/chat/completions", 405), ("GET", "/nowhere", 404), ("POST", "/admin/models", 404),
])  # fmt: skip
def test_other_paths_are_refused_in_the_same_shape(tiny: Any, method: str, path: str, status: int):
    reply = httpx.request(method, tiny.url.removesuffix("/v1") + path)

    assert (reply.status_code, reply.json()["error"]["code"]) == (status, "unknown_url")


def test_the_client_raises_its_own_errors(tiny: Any):
    with pytest.raises(openai.NotFoundError, match="GET /v1/models"):
        tiny.client.chat.completions.create(model="gpt-4", messages=HI)
    with pytest.raises(openai.BadRequestError, match="context"):
        tiny.client.chat.completions.create(model=tiny.base, messages=HI, max_tokens=10**6)


def test_sixty_at_once_get_what_each_gets_alone(tiny: Any):
    def ask(number: int) -> str:
        messages: Any = [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]
        if number % 2:
            return text_of(tiny.client.chat.completions.create(
                model=tiny.base, messages=messages, stream=True))  # fmt: skip
        made = tiny.client.chat.completions.create(model=tiny.base, messages=messages)
        return str(made.choices[0].message.content)

    alone = [ask(number) for number in range(6)]
    with ThreadPoolExecutor(60) as pool:
        together = list(pool.map(ask, range(60)))
    assert together == alone * 10
    tiny.until(lambda: tiny.service.open == tiny.service.batcher.busy == 0)


def test_numbers_are_there_to_be_scraped(tiny: Any):
    before = tiny.post({"model": tiny.base, **OK}).json()["usage"]
    text = httpx.get(tiny.url.removesuffix("v1") + "metrics").text
    health = httpx.get(tiny.url.removesuffix("v1") + "healthz")

    assert before["completion_tokens"] == 4
    assert f'errata_tokens_total{{kind="completion",model="{tiny.base}"}}' in text
    assert 'errata_requests_total{status="200"}' in text
    assert 'le="+Inf"' in text
    for line in text.splitlines():
        assert line.startswith("# ") or len(line.rsplit(" ", 1)) == 2
    assert health.json() == {"status": "ok", "models": [tiny.base], "running": 0, "waiting": 0}


@pytest.mark.parametrize("stream", [True, False])
def test_who_goes_away_frees_his_row(
    start: Callable[..., Any], tiny_models: Callable[[str], str], stream: bool
):
    live = start(model=[tiny_models("llama")], max_rows=1)
    body = json.dumps({"model": live.base, "messages": HI, "max_tokens": 450, "stream": stream})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", live.port)) as line:
        line.sendall((head + body).encode())
        live.until(lambda: live.service.open == 1)
        if stream:
            assert line.recv(10)
    live.until(lambda: live.service.open == live.service.batcher.busy == 0)

    written = live.service.tokens.values[(("kind", "completion"), ("model", live.base))]
    assert written < 450


def test_a_full_queue_is_told_with_when_to_come_again(
    start: Callable[..., Any], tiny_models: Callable[[str], str]
):
    live = start(model=[tiny_models("llama")], max_rows=1, max_waiting=1)
    body = {"model": live.base, "messages": HI, "max_tokens": 450}
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: live.post(body), range(12)))
    refused = [reply for reply in replies if reply.status_code == 429]

    assert {reply.status_code for reply in replies} == {200, 429}
    assert refused[0].json()["error"]["type"] == "rate_limit_error"
    assert int(refused[0].headers["retry-after"]) >= 1


POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("slow", "sent", "told"),
    [
        ("header_seconds", b"", b""),
        ("header_seconds", POST, b""),
        ("body_seconds", POST + b"Content-Length: 9\r\n\r\n{", b" 408 "),
    ],
)
def test_what_is_slow_to_send_is_cut_off(
    start: Callable[..., Any], tiny_models: Callable[[str], str], slow: str, sent: bytes,
    told: bytes,
):  # fmt: skip
    live = start(model=[tiny_models("llama")], **{slow: 0.2})
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as line:
        line.sendall(sent)
        heard = b""
        while more := line.recv(1000):
            heard += more
    assert (told in heard) if told else not heard


def test_who_takes_nothing_of_his_answer_is_dropped(
    start: Callable[..., Any], tiny_models: Callable[[str], str]
):
    live = start(model=[tiny_models("llama")], write_seconds=0.2)
    live.running.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    body = json.dumps({"model": live.base, "messages": HI, "max_tokens": 480, "stream": True})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", live.port))
        line.sendall(8 * (head + body).encode())  # more than the buffers on the way hold
        live.until(lambda: not live.running.servers[0].server_state.connections
                   and live.service.open == 0 < live.service.batcher.steps)  # fmt: skip
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while more := line.recv(65536):
                heard += more
    assert b"chat.completion.chunk" in heard
    assert heard.count(b"[DONE]") < 8


def test_a_server_that_goes_down_ends_what_it_began(
    start: Callable[..., Any], tiny_models: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
):
    from errata.serve.batch import Batch

    step, go_on = Batch.step, threading.Event()
    monkeypatch.setattr(Batch, "step", lambda *a: (go_on.wait(60), step(*a))[1])
    go_on.set()
    live = start(model=[tiny_models("llama")])
    kept = httpx.Client()
    assert kept.get(f"{live.url}/models").status_code == 200
    stream = live.client.chat.completions.create(
        model=live.base, messages=HI, max_tokens=400, stream=True)  # fmt: skip
    next(iter(stream))
    go_on.clear()
    going = threading.Thread(target=live.end)
    going.start()
    live.until(lambda: live.service.draining)
    refused = live.post({"model": live.base, **OK})
    go_on.set()

    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "draining"
    assert [part.choices[0].finish_reason for part in stream][-1] in ("length", "stop")
    going.join(30)
    assert not live.thread.is_alive()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{live.url}/models")


def test_an_answer_that_takes_longer_than_the_drain_ends_with_an_error(
    start: Callable[..., Any], tiny_models: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
):
    import time

    from errata.serve.batch import Batch

    step = Batch.step
    monkeypatch.setattr(Batch, "step", lambda *a: (time.sleep(0.05), step(*a))[1])
    live = start(model=[tiny_models("llama")], drain_seconds=0.1)
    body = {"model": live.base, "messages": HI, "max_tokens": 400, "stream": True}
    with httpx.stream("POST", f"{live.url}/chat/completions", json=body, timeout=30) as reply:
        lines = reply.iter_lines()
        next(lines)
        live.loop.call_soon_threadsafe(live.running.stop.set)
        rest = ""
        with pytest.raises(httpx.RemoteProtocolError):
            for line in lines:
                rest += line
    assert "[DONE]" not in rest
    live.thread.join(30)
    assert not live.thread.is_alive()
