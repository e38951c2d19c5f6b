"""Targets: what is asked elsewhere is cached, resumed, named in its evidence, and never guessed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from errata import candidates
from errata.errors import BadInput, ErrataError
from errata.evaluate import stage, targets
from errata.evaluate.answers import ask
from errata.records import Message
from errata.serve import chat
from errata.store import ledger
from errata.workspace import Workspace


def answer(text: str | None, finish: str = "stop") -> tuple[int, dict[str, Any]]:
    return 200, {"choices": [{"message": {"content": text}, "finish_reason": finish}]}


def echo(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return answer(f"said: {body['messages'][-1]['content']}")


def talk(*texts: str) -> list[list[Message]]:
    return [[Message(role="user", content=text)] for text in texts]


def texts(server: Any) -> list[str]:
    return [body["messages"][-1]["content"] for body in server.seen]


@pytest.fixture
def function(ws: Workspace) -> Callable[..., str]:
    """A file in the workspace with this code; the name of its function `reply`."""

    def write(code: str, name: str = "desk.py") -> str:
        (ws.root / name).write_text(textwrap.dedent(code))
        return f"python:{name}:reply"

    return write


def test_an_endpoint_is_asked_each_prompt_once_and_its_answers_are_kept(ws, serve):
    server = serve(echo)
    who = candidates.resolve(ws, f"endpoint:{server.url}/#big")
    prompts = talk(*(str(n) for n in range(12)), "3")
    assert ask(ws, who, prompts)[3:5] == ["said: 3", "said: 4"]
    assert ask(ws, who, prompts)[-1] == "said: 3"
    assert sorted(texts(server)) == sorted(str(n) for n in range(12))
    body = server.seen[0]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("big", 1024, 0.0)


def test_documents_and_tool_results_join_the_users_turn_under_their_names(ws, serve):
    server = serve(echo)
    turns = [
        Message(role="system", content="You sell lamps."),
        Message(role="documents", content="[1] A lamp costs 42."),
        Message(role="user", content="How much?"),
    ]
    ask(ws, candidates.resolve(ws, f"endpoint:{server.url}#big"), [turns])
    assert server.seen[0]["messages"] == [
        {"role": "system", "content": "You sell lamps."},
        {"role": "user", "content": "documents:\n[1] A lamp costs 42.\n\nHow much?"},
    ]


def test_what_is_sent_is_in_the_ledger_before_it_leaves(ws, serve):
    known: list[int] = []

    def say(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        known.append(sum(event["data"]["rows"] for event in ledger.events(ws, "sent")))
        return echo(body)

    server = serve(say)
    ask(ws, candidates.resolve(ws, f"endpoint:{server.url}#big#v2"), talk("a", "b"))
    assert known == [2, 2]
    (event,) = ledger.events(ws, "sent")
    sent = [event["data"][name] for name in ("to", "model", "rows", "purpose", "version")]
    assert sent == [server.url, "big", 2, "target", "v2"]


def test_a_server_that_fails_ends_the_run_and_the_next_one_goes_on(ws, serve):
    """Between them no prompt is answered twice, and none is taken for safe."""
    fine = iter(range(5))
    server = serve(lambda body: echo(body) if next(fine, None) is not None else (500, {}))
    who = targets.reached(
        candidates.resolve(ws, f"endpoint:{server.url}#big"), chat.Reach(at_once=1), "r-1"
    )
    prompts = talk(*(f"{n:02}" for n in range(12)))
    with pytest.raises(ErrataError, match="HTTP 500, 6 times, asked '05'; 5 of 12 answers") as no:
        ask(ws, who, prompts)
    assert no.value.exit_code == 1
    assert server.url in str(no.value)
    fine = iter(range(99))
    assert ask(ws, who, prompts) == [f"said: {n:02}" for n in range(12)]
    assert sorted(set(texts(server))) == sorted(texts(server)[:5] + texts(server)[-7:])
    assert len(server.seen) == 5 + chat.TRIES + 7


def test_answers_that_did_not_end_by_themselves_are_scored_and_told(ws, serve, capsys):
    told = {"a": answer("It is", "length"), "b": answer(None, "content_filter"), "c": answer("C")}
    server = serve(lambda body: told[body["messages"][-1]["content"]])
    who = candidates.resolve(ws, f"endpoint:{server.url}#big")
    for _ in range(2):  # the second time from the cache
        assert ask(ws, who, talk("a", "b", "c")) == ["It is", "", "C"]
        said = capsys.readouterr().err
        assert "1 of 3 answers were cut off at 1024 tokens" in said
        assert "1 of 3 answers were held back by the server's own filter" in said


def test_a_target_is_known_by_its_name_its_version_and_its_source(ws, function):
    names = [
        "endpoint:https://a.example/v1#m", "endpoint:https://a.example/v1#n",
        "endpoint:https://b.example/v1#m", "endpoint:https://a.example/v1#m#v2",
    ]  # fmt: skip
    digests = [candidates.resolve(ws, name).digest for name in names]
    assert len(set(digests)) == 4
    python = function("def reply(messages): return 'a'")
    before = candidates.resolve(ws, python)
    assert candidates.resolve(ws, before.base).digest == before.digest
    assert candidates.resolve(ws, f"python:{ws.root}/desk.py:reply").digest == before.digest
    assert candidates.resolve(ws, python + "#v2").digest != before.digest
    function("def reply(messages): return 'b'")
    assert candidates.resolve(ws, python).digest != before.digest
    with pytest.raises(BadInput, match="another than the candidate's"):
        ask(ws, before, talk("a"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("endpoint:https://a.example/v1", "write endpoint:https://HOST/v1#MODEL"),
        ("endpoint:http://a.example/v1#m", "use https://"),
        ("python:desk", "write python:package.module:function"),
        ("python:none.py:reply", "no such file"),
        ("python:no_such_module_here:reply", "no such module"),
        ("python:sys:exit", "no such module with a file"),
    ],
)
def test_a_name_that_is_none_says_how_it_is_written(ws, name, words):
    with pytest.raises(BadInput, match=words):
        candidates.resolve(ws, name)


def test_what_needs_weights_refuses_a_target(ws, function):
    for name in ("endpoint:https://a.example/v1#m", function("def reply(messages): return 'a'")):
        for needs in (candidates.verify, lambda ws, who: candidates.resolve_base(ws, who.base)):
            with pytest.raises(BadInput, match="has no weights here"):
                needs(ws, candidates.resolve(ws, name))


@pytest.mark.parametrize("code", [
    "def reply(messages): return f'{messages[-1][\"role\"]}: {messages[-1][\"content\"]}'",
    "async def reply(messages): return f'{messages[-1][\"role\"]}: {messages[-1][\"content\"]}'",
    """
    class Agent:
        async def __call__(self, messages):
            return f'{messages[-1]["role"]}: {messages[-1]["content"]}'
    reply = Agent()
    """,
])  # fmt: skip
def test_a_python_function_answers_in_order(ws, function, code):
    who = candidates.resolve(ws, function(code))
    prompts = talk(*(str(n) for n in range(9)))
    assert ask(ws, who, prompts) == [f"user: {n}" for n in range(9)]


def test_a_module_is_found_in_the_workspace_and_keeps_one_loop_for_all_calls(ws):
    (ws.root / "shop").mkdir()
    (ws.root / "shop" / "talk.py").write_text(
        "import asyncio\nlock, seen = None, []\n"
        "async def reply(messages):\n"
        "    seen.append(asyncio.get_running_loop())\n"
        "    return str(len(set(seen)))\n"
    )
    who = candidates.resolve(ws, "python:shop.talk:reply")
    assert ask(ws, who, talk("a", "b")) + ask(ws, who, talk("c")) == ["1", "1", "1"]


def test_async_calls_are_in_flight_together_and_no_more_than_asked_for(ws, function):
    name = function("""
    import asyncio
    now = most = 0
    async def reply(messages):
        global now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return str(most)
    """)
    who = targets.reached(candidates.resolve(ws, name), chat.Reach(at_once=3), "")
    assert max(ask(ws, who, talk(*(str(n) for n in range(9))))) == "3"


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise KeyError('price')", "raised KeyError: 'price', asked 'case 3'; 3 of 5 answers"),
        ("raise SystemExit(0)", "raised SystemExit: 0, asked 'case 3'"),
        ("return 7", "gives int, not a string, asked 'case 3'"),
    ],
)
def test_a_function_that_fails_ends_the_run_with_the_case(ws, function, kind, code, words):
    name = function(f"{kind} reply(messages):\n  if '3' in messages[-1]['content']: {code}\n"
                    "  return 'fine'")  # fmt: skip
    who = targets.reached(candidates.resolve(ws, name), chat.Reach(at_once=1), "")
    with pytest.raises(ErrataError, match=words) as no:
        ask(ws, who, talk(*(f"case {n}" for n in range(5))))
    assert no.value.exit_code == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import no_such_module_here", "ModuleNotFoundError"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("reply = 7", "no function `reply`"),
        ("def reply(messages", "SyntaxError"),
    ],
)
def test_a_file_that_does_not_load_is_bad_input(ws, function, code, words):
    who = candidates.resolve(ws, function(code))
    with pytest.raises(BadInput, match=words):
        ask(ws, who, talk("a"))


def test_an_async_call_that_hangs_is_not_waited_for(ws, function):
    name = function("import asyncio\nasync def reply(messages): await asyncio.sleep(9)")
    who = targets.reached(candidates.resolve(ws, name), chat.Reach(seconds=0.01), "")
    with pytest.raises(ErrataError, match=r"no answer within 0\.01 s, asked 'a'"):
        ask(ws, who, talk("a"))


def test_a_function_is_asked_no_more_often_than_it_may(ws, function, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(chat.Line, "wait", lambda line: slept.append(line.turn()))
    who = candidates.resolve(ws, function("def reply(messages): return 'a'"))
    ask(ws, targets.reached(who, chat.Reach(per_minute=60), ""), talk("a", "b", "c"))
    assert slept == pytest.approx([0, 1, 2], abs=0.5)


def test_the_config_says_what_a_target_lacks():
    with pytest.raises(ValueError, match="endpoint needs model="):
        stage.Config(endpoint="https://a.example/v1")
    with pytest.raises(ValueError, match="version is for endpoint="):
        stage.Config(model="tiny", version="2")
