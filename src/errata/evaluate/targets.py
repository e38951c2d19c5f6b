"""What is asked elsewhere: a model behind an OpenAI-compatible URL, or a Python function.

    endpoint:https://host/v1#MODEL[#VERSION]
    python:package.module:function[#VERSION]      python:path/to/file.py:function[#VERSION]

The name is the whole identity, and the gate finds evidence by it. Nobody can hash a model on
another machine: such evidence is bound to URL, model and the VERSION that the user gives, and holds
as long as the server keeps its word. A function is bound to the bytes of its file, not to what it
imports or calls. It takes OpenAI's messages, a list of `{"role", "content"}`, and gives a string;
`async def` for `at_once` calls in flight. Its own retries are its own business.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from errata import candidates, jsonl
from errata.errors import BadInput
from errata.language import say
from errata.records import Candidate, Message
from errata.serve import chat
from errata.serve.completion import Reply, sound
from errata.store import ledger
from errata.workspace import Workspace

if TYPE_CHECKING:
    from errata.evaluate.generate import Decoding
    from errata.store.runs import Run

LONGEST = 1024  # tokens of an endpoint's answer; a longer one is scored as far as it goes
Asker = Callable[[Sequence[Sequence[Message]]], Iterator[tuple[int, Reply]]]


class Target(Candidate):
    """A candidate and how it is reached, which decides no answer: neither record nor digest has
    it."""

    reach: chat.Reach = Field(exclude=True)
    asked_by: str = Field("", exclude=True)  # the run, for the ledger


class Name(NamedTuple):
    """A target's name, taken apart: (URL, model) of an endpoint, (file or module, function)."""

    kind: str
    where: str
    what: str
    version: str


def parsed(name: str) -> Name:
    """The parts of a target's name; BadInput says how to write it."""
    kind, _, rest = name.partition(":")
    if kind == "endpoint":
        where, *parts = rest.split("#")
        if not 1 <= len(parts) <= 2 or not all(parts):
            raise BadInput(f"{name}: write endpoint:https://HOST/v1#MODEL, or …#MODEL#VERSION")
        return Name(kind, where, parts[0], "".join(parts[1:]))
    rest, _, version = rest.partition("#")
    where, _, what = rest.rpartition(":")
    if not where or not what.isidentifier():
        raise BadInput(f"{name}: write python:package.module:function or python:FILE.py:function")
    return Name(kind, where, what, version)


def candidate(ws: Workspace, name: str) -> Candidate:
    """The candidate that a target's name stands for: its URL as it is asked, its file as it is."""
    kind, where, what, version = parsed(name)
    decoding: dict[str, Any] = {}
    if kind == "endpoint":
        where = chat.checked(chat.Endpoint(url=where, model=what), "endpoint")
        identity = {"endpoint": where, "model": what, "version": version}
        decoding = {"temperature": 0.0, "max_new_tokens": LONGEST}
        base = f"endpoint:{where}#{what}"
    else:
        source = _source(ws, where)
        identity = {"source": jsonl.digest_file(source), "function": what, "version": version}
        base = f"python:{ws.relative(source) if where.endswith('.py') else where}:{what}"
    base = f"{base}#{version}" if version else base
    whole = Candidate(base=base, base_digest=jsonl.digest(identity), decoding=decoding, digest="")
    return whole.model_copy(update={"digest": candidates.digest_of(whole.model_dump())})


def reached(found: Candidate, reach: chat.Reach, run: str) -> Target:
    """The same candidate, asked with these knobs by this run."""
    knobs = chat.Reach(**{name: getattr(reach, name) for name in chat.Reach.model_fields})
    return Target(**found.model_dump(), reach=knobs, asked_by=run)


def asked_by(run: Run, found: Candidate, reach: chat.Reach, subject: bool = True) -> Candidate:
    """A candidate as this run asks it; the record of the run says which target is its subject. The
    key of `reach` goes to the subject's URL, and to no other."""
    if not found.base.startswith(candidates.TARGETS):
        return found
    if subject:
        run.note(target=found.base)
    url = str(run.facts.get("target")).split("#")[0]
    key = reach.key if found.base.split("#")[0] == url else "ERRATA_BASELINE_KEY"
    return reached(found, reach.model_copy(update={"key": key}), run.id)


def bound(name: str) -> str:
    """What evidence about a target holds for, as its page says it."""
    if name.startswith("python:"):
        en = "bound to the bytes of that file, not to what it imports or calls."
        zh = "证据只绑定该文件的字节，不含其导入或调用的内容。"
    else:
        en = "bound to that URL and name, not to weights, which nobody here can hash; it says "
        en += "nothing of what answers there once the server was changed."
        zh = "证据只绑定该地址与名称，不绑定权重（此处无法计算其哈希）；服务端更换即失效。"
    return "\n" + say(f"Target `{name}`: {en}", f"被测对象 `{name}`：{zh}") + "\n"


def asker(ws: Workspace, who: Candidate, decoding: Decoding) -> Asker:
    """A function that asks a part of the prompts and gives (place, reply) as replies come."""
    reach = who.reach if isinstance(who, Target) else chat.Reach()
    return ASKERS[parsed(who.base).kind](ws, who, reach, decoding)


def _endpoint(ws: Workspace, who: Candidate, reach: chat.Reach, decoding: Decoding) -> Asker:
    _, url, model, version = parsed(who.base)
    asked = chat.Endpoint(
        **reach.model_dump(), url=url, model=model,
        temperature=decoding.temperature, max_tokens=decoding.max_new_tokens,
    )  # fmt: skip
    line, run = chat.Line(reach.per_minute), who.asked_by if isinstance(who, Target) else ""

    def ask(prompts: Sequence[Sequence[Message]]) -> Iterator[tuple[int, Reply]]:
        # Nothing is redacted here: an attack without its planted value would measure nothing.
        ledger.append(ws, "sent", run=run, to=url, model=model, rows=len(prompts),
                      version=version, purpose="target")  # fmt: skip
        return chat.replies(asked, [_turns(messages) for messages in prompts], line)

    return ask


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """OpenAI's roles: documents and what tools said join the user's turn, under their names."""
    from errata.train.turns import fold

    return [message.model_dump() for message in fold(messages)]


def _python(ws: Workspace, who: Candidate, reach: chat.Reach, _: Decoding) -> Asker:
    name = parsed(who.base)
    if candidate(ws, who.base).base_digest != who.base_digest:
        raise BadInput(f"{who.base}: the file is another than the candidate's; evaluate it again")
    function, line = _function(_source(ws, name.where), name), chat.Line(reach.per_minute)
    call = getattr(function, "__call__", None)  # noqa: B004 - an object's own, which may be async
    waits = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)

    def ask(prompts: Sequence[Sequence[Message]]) -> Iterator[tuple[int, Reply]]:
        if waits:
            return _together(function, prompts, reach, line)
        return _one_by_one(function, prompts, line)

    return ask


ASKERS: dict[str, Callable[[Workspace, Candidate, chat.Reach, Decoding], Asker]] = {
    "endpoint": _endpoint,
    "python": _python,
}


def _one_by_one(
    function: Callable[..., Any], prompts: Sequence[Sequence[Message]], line: chat.Line
) -> Iterator[tuple[int, Reply]]:
    """A plain function need not be safe in threads: one call at a time."""
    for place, messages in enumerate(prompts):
        line.wait()
        try:
            reply = _reply(function(_turns(messages)))
        except (Exception, SystemExit) as error:
            reply = _raised(error)
        yield place, reply
        if reply.text is None:
            return


def _together(
    function: Callable[..., Any],
    prompts: Sequence[Sequence[Message]],
    reach: chat.Reach,
    line: chat.Line,
) -> Iterator[tuple[int, Reply]]:
    """`at_once` calls of an async function in flight; after one that failed no other begins."""

    async def one(place: int) -> tuple[int, Reply]:
        await asyncio.sleep(line.turn())
        try:
            async with asyncio.timeout(reach.seconds):
                return place, _reply(await function(_turns(prompts[place])))
        except TimeoutError:
            return place, Reply(None, why=f"no answer within {reach.seconds:g} s")
        except (Exception, SystemExit) as error:
            return place, _raised(error)

    waiting, running = list(range(len(prompts)))[::-1], set[asyncio.Task[tuple[int, Reply]]]()
    while waiting or running:
        while waiting and len(running) < reach.at_once:
            running.add(_loop().get_loop().create_task(one(waiting.pop())))
        done, running = _loop().run(_first(running))
        for task in done:
            place, reply = task.result()
            if reply.text is None:
                waiting.clear()
            yield place, reply


async def _first(running: set[asyncio.Task[Any]]) -> tuple[set[Any], set[Any]]:
    return await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)


@cache
def _loop() -> asyncio.Runner:
    """One loop for the whole process: a client that a module keeps belongs to the loop it met."""
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


def _reply(said: object) -> Reply:
    if isinstance(said, str):
        return Reply(sound(said).strip())
    if inspect.iscoroutine(said):
        said.close()
        return Reply(None, why="gives a coroutine; write it as `async def`")
    return Reply(None, why=f"gives {type(said).__name__}, not a string")


def _raised(error: BaseException) -> Reply:
    return Reply(None, why=f"raised {type(error).__name__}: {error}")


def _source(ws: Workspace, where: str) -> Path:
    """The file of a path (from the workspace or from here) or of a module."""
    if where.endswith(".py"):
        for path in (ws.path(where), Path(where)):
            if path.is_file():
                return path.resolve()
        raise BadInput(f"python:{where}: no such file; a path counts from the workspace")
    if str(ws.root) not in sys.path:
        sys.path.append(str(ws.root))
    try:
        spec = importlib.util.find_spec(where)
    except (Exception, SystemExit) as error:  # finding a.b imports a
        raise BadInput(f"python:{where}: {type(error).__name__}: {error}") from None
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        raise BadInput(f"python:{where}: no such module with a file; install it, or give FILE.py")
    return Path(spec.origin)


@cache
def _loaded(source: Path, where: str, _digest: str) -> Any:
    """The module, imported once for as long as its file is the same."""
    if not where.endswith(".py"):
        return importlib.import_module(where)
    spec = importlib.util.spec_from_file_location(f"errata_target_{source.stem}", source)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look for it there
    if str(source.parent) not in sys.path:
        sys.path.append(str(source.parent))
    spec.loader.exec_module(module)
    return module


def _function(source: Path, name: Name) -> Callable[..., Any]:
    """What the name stands for, which can be called; BadInput where the file does not load."""
    try:
        module = _loaded(source, name.where, jsonl.digest_file(source))
    except (Exception, SystemExit) as error:  # a script that ends itself must not end the audit
        raise BadInput(f"{name.where}: {type(error).__name__}: {error}; it must import") from error
    found = getattr(module, name.what, None)
    if not callable(found):
        raise BadInput(f"{name.where}: no function `{name.what}` in it; name one it has")
    return found  # type: ignore[no-any-return]
