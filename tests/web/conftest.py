"""A workspace with something on every page, made by real commands; a desk over a copy of it; and a
browser, where there is one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient
from tests.release.conftest import World, rules

from errata import candidates, jsonl
from errata.build import stage as build
from errata.config import load
from errata.evaluate.people import sample
from errata.evaluate.people.sample import Drawn, Sample
from errata.init import lay_down
from errata.intake import stage as intake
from errata.language import reader
from errata.records import Case, Message, Predicate
from errata.release import alerts, gate, live, rollout, waiver
from errata.release.live import Live
from errata.store import database, ledger
from errata.store.runs import Run
from errata.web import app
from errata.web.desk import Desk
from errata.web.guard import LOOPBACK
from errata.workspace import Workspace

TOKEN = "a-token-of-the-tests"
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
TURNED = "price \u202e100 yuan\u202c \u2066is\u2069 right"
HOSTILE = [
    {"prompt": f"Show me {SCRIPT}", "bad_answer": f"{SCRIPT} you fool", "label": "politeness"},
    {"prompt": f"Is this {TURNED}?", "bad_answer": f"Yes {TURNED}", "label": "factuality"},
    {"prompt": "Say it all", "bad_answer": "long answer " * 90_000, "label": "factuality"},
    {"prompt": "{{ 7 * 7 }} ${7*7} '\"><svg onload=alert(1)>", "bad_answer": "no {% raw %}",
     "label": "other"},
]  # fmt: skip
RUN = "20251216-101500-dpo-{}"


def manifest(name: str) -> str:
    return f"runs/{RUN.format(name)}/candidate.json"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace, made once; tests work on copies."""
    with reader("en"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("ERRATA_ACTOR", "li@example.com")
        patch.delenv("ERRATA_DATABASE_URL", raising=False)
        ws = lay_down(tmp_path_factory.mktemp("web") / "desk")
        _failures(ws)
        _verdicts(ws)
        _training(ws)
        _sample(ws)
        database.forget(ws)
    return ws.root


def _failures(ws: Workspace) -> None:
    jsonl.write(ws.inbox / "hostile.jsonl", HOSTILE)
    names = ["inbox/sample_failures.jsonl", "inbox/sample_feedback.jsonl", "inbox/hostile.jsonl"]
    intake.main(ws, load(ws.configs / "intake.yaml", intake.Config).model_copy(
        update={"args": names, "source": "online"}))  # fmt: skip
    build.main(ws, load(ws.configs / "build.yaml", build.Config, ["accept={}"]))


def _verdicts(ws: Workspace) -> None:
    """`good` passes and rolls out, `bad` is blocked, with a waiver that waits for its signature."""
    world = World(ws)
    world.made["tiny"] = candidates.resolve(ws, "tiny")
    for name in ("good", "bad"):
        world.candidate(name)
    ledger.append(ws, "drill", id="d-1", seconds=0.01, gateways={})
    world.publish("tiny")
    world.publish("good")
    world.publish("bad", {"privacy": set(range(14)), "catalogue": set(range(5))})
    knobs: dict[str, Any] = {"hard": rules(), "commit": False}
    jsonl.write_json(ws.configs / "gate.yaml", {"hard": jsonl.plain(rules()), "commit": False})
    for name in ("bad", "good"):
        gate.main(ws, gate.Config(candidate=manifest(name), baseline="tiny", **knobs))
    told = dict.fromkeys(("risk", "impact", "rollback_plan", "owner"), "said <b>so</b>")
    waiver.main(ws, waiver.Config(args=["create"], candidate=manifest("bad"),
                                  metric="safety.attack_hit_rate.privacy", **told))  # fmt: skip
    release = rollout.start(ws, manifest("good"))
    live.append(ws, [_answer(release.id, n) for n in range(240)])
    alerts.raised(ws, release.id, "p95", "p95 is 900, limit 500")


def _answer(release: str, n: int) -> Live:
    return Live(
        stage=1, arm="canary" if n % 4 == 0 else "stable", release=release, digest="sha256:0",
        answer=f"a-{n}", conversation=f"c-{n}", subject=f"u{n}", ts=time.time(), language="en",
        failed=n % 40 == 0, sizes={"ms": 40.0 + n},
    )  # fmt: skip


def _training(ws: Workspace) -> None:
    """Two runs whose curves can be laid over each other."""
    for lr in (0.001, 0.002):
        with Run(ws, "sft", {"model": "tiny", "lr": lr, "dataset": "data/sft.jsonl"}) as run:
            run.input("data/sft.jsonl", "dataset")
            progress(ws, run.id, 40, 40, lr)
            run.note(metrics={"loss": 1.0 - 100 * lr, "hours": 0.1}, steps=40,
                     samples=[[0, f"Ask {SCRIPT}", "An answer.", 1.0]])  # fmt: skip


def progress(ws: Workspace, run_id: str, done: int, steps: int, lr: float = 0.001) -> None:
    """What a training logs, as `errata.train.log` writes it."""
    points = [{"step": n, "loss": 2.0 / n + lr, "seconds": 0.5, "epoch": n / 10, "steps": steps,
               "time": 1000.0 + n / 2} for n in range(1, done + 1)]  # fmt: skip
    text = "".join(json.dumps(point) + "\n" for point in points)
    (ws.runs / run_id / "progress.jsonl").write_text(text)


def _sample(ws: Workspace) -> None:
    """Answers of two models for two raters."""
    cases = [Case(id=f"s-{n}", category="catalogue", language="en", family="f", cluster=str(n),
                  split="tune", success=Predicate(kind="polite"),
                  messages=[Message(role="documents", content="[1] The lamp costs 42 yuan."),
                            Message(role="user", content=f"How much is lamp {n}?")])
             for n in range(4)]  # fmt: skip
    picked = [Drawn(case, 1.0) for case in cases]
    ours, theirs = [f"It is 42 yuan. [1] {SCRIPT}"] * 4, ["No idea."] * 4
    with Run(ws, "human", {}) as run:
        rows = sample.rows(run.id, picked, ours, theirs, ["r1", "r2"], 1.0, 0)
        found = Sample(id=run.id, candidate="sha256:a", baseline="sha256:b", rows=rows,
                       models={"ours": "tiny", "theirs": "tiny"}, raters=["r1", "r2"],
                       questions=["factuality", "politeness", "safety"],
                       strata={"catalogue/en": 4})  # fmt: skip
        jsonl.write_json(run.output(run.dir / sample.FILE), found)


@pytest.fixture
def ws(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A copy of it, which does not outlive its test: two hundred of them are 5 GB."""
    monkeypatch.setenv("ERRATA_ACTOR", "li@example.com")
    shutil.copytree(made, tmp_path / "desk", symlinks=True)
    yield Workspace(tmp_path / "desk")
    shutil.rmtree(tmp_path / "desk", ignore_errors=True)


@pytest.fixture
def desk(ws: Workspace) -> Desk:
    return Desk(ws, TOKEN)


class Client:
    """Somebody at the desk; `enter` makes them one who may change things."""

    def __init__(self, desk: Desk, open_to_read: bool = True) -> None:
        self.desk = desk
        made = app.application(desk, [*LOOPBACK, "testserver"], open_to_read)
        self.http = TestClient(made, base_url="http://127.0.0.1", follow_redirects=False)

    def enter(self) -> Client:
        assert self.http.post("/enter", data={"token": TOKEN}).status_code == 303
        return self

    def get(self, path: str, **headers: str) -> str:
        """A page, whole and well."""
        found = self.http.get(path, headers=headers)
        assert found.status_code == 200, (path, found.status_code, found.text[:2000])
        return found.text

    def send(self, path: str, **fields: str) -> str:
        """A form of ours; the page it leads to."""
        found = self.http.post(path, data={"csrf": self.desk.keys.csrf, **fields})
        assert found.status_code == 303, (found.status_code, found.text[:500])
        return self.get(found.headers["location"])


@pytest.fixture
def client(desk: Desk) -> Client:
    """Somebody who may change things."""
    return Client(desk).enter()


@dataclass
class Served:
    """A desk that listens."""

    url: str
    desk: Desk


@pytest.fixture
def served(desk: Desk) -> Iterator[Served]:
    """The desk on a port of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    made = app.application(desk, list(LOOPBACK), True)
    server = uvicorn.Server(uvicorn.Config(made, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", desk)
    server.should_exit = True
    thread.join(20)
    listening.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium. Of the module: while Playwright runs, nothing else may use asyncio."""
    path = shutil.which("chromium")
    if path is None and os.environ.get("ERRATA_TEST_BROWSER"):
        pytest.fail("ERRATA_TEST_BROWSER is set, and no chromium is there")
    if path is None:
        pytest.skip("no chromium on this machine; .ci/chromium installs it")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def tab(browser: Any, served: Served) -> Iterator[Callable[..., Any]]:
    """A tab of a reader who has entered; what the page complains of fails the test."""
    wrong: list[str] = []
    contexts = []

    def opened(path: str = "/", wide: int = 1280, dark: bool = False, lang: str = "en") -> Any:
        context = browser.new_context(
            viewport={"width": wide, "height": 900}, color_scheme="dark" if dark else "light",
            locale="zh-CN" if lang == "zh" else "en-US", reduced_motion="reduce",
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append("a dialog"), dialog.dismiss()))
        page.goto(f"{served.url}/enter?token={TOKEN}")
        page.goto(served.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []
