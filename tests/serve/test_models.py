"""What is served follows the releases; what is asked for by hand needs a token; nothing is served
under another's name."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from errata import candidates, jsonl
from errata.errors import BadInput
from errata.records import Candidate, Release
from errata.release import routing
from errata.serve.names import served
from errata.serve.sockets import listen
from errata.serve.stage import Config, main, prepared
from errata.workspace import Workspace

SECRET = "a-token-of-twenty-chars"


@pytest.fixture
def made(
    ws: Workspace, tiny_models: Callable[[str], str], two_adapters: list[Path]
) -> list[Candidate]:
    """The base and two adapters as candidates, each with a manifest in its run."""
    path = tiny_models("llama")
    found = [candidates.make(ws, path, adapter) for adapter in (None, *two_adapters)]
    for number, candidate in enumerate(found):
        jsonl.write_json(ws.runs / f"run-{number}" / "candidate.json", candidate)
    return found


def release(ws: Workspace, number: int, candidate: Candidate) -> Release:
    """Begin to roll it out; the verdict is not what is tested here."""
    found = Release(
        id=f"r{number}", candidate_digest=candidate.digest,
        candidate_path=f"runs/run-{number}/candidate.json", verdict_id=f"v{number}",
        stage_percent=1, state="rolling", salt="s", ts="2026-01-01",
    )  # fmt: skip
    routing.record(ws, "start", release=found, stages=[1, 100])
    return found


def names(live: Any) -> set[str]:
    return set(live.service.models.known)


def ask(live: Any, name: str) -> tuple[int, str]:
    body = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 12}
    reply = live.post(body)
    told = reply.json()
    if reply.status_code != 200:
        return reply.status_code, told["error"]["code"]
    return 200, told["choices"][0]["message"]["content"]


def test_a_name_is_made_of_the_weights_and_of_nothing_else(made: list[Candidate], ws: Workspace):
    base, one, two = map(served, made)
    other = candidates.make(
        ws, str(ws.path(made[1].base)), ws.path(str(made[1].adapter)), system_prompt="x"
    )

    assert len({base, one, two}) == 3
    assert base == "b-" + made[0].base_digest.removeprefix("sha256:")[:16]
    assert one == "a-" + str(made[1].adapter_digest).removeprefix("sha256:")[:16]
    assert served(other) == one
    assert other.digest != made[1].digest


def test_adapters_come_and_go_with_the_releases(
    ws: Workspace, start: Callable[..., Any], made: list[Candidate]
):
    live = start(model=["runs/run-0/candidate.json"])
    base, one, two = map(served, made)
    assert names(live) == {base}
    assert ask(live, one) == (404, "model_not_found")

    release(ws, 1, made[1])
    live.until(lambda: names(live) == {base, one})
    routing.record(ws, "advance", id="r1", percent=100)
    release(ws, 2, made[2])
    live.until(lambda: names(live) == {base, one, two})
    routing.record(ws, "advance", id="r2", percent=100)  # the one before stays: a rollback's aim
    live.until(lambda: routing.current(ws).releases["r1"].state == "superseded")
    said = {ask(live, name) for name in (base, one, two)}
    assert len(said) == 3
    assert {status for status, _ in said} == {200}

    routing.record(ws, "rollback", id="r2", to="r1")
    live.until(lambda: names(live) == {base, one})
    assert ask(live, two) == (404, "model_not_found")
    assert ask(live, one) in said
    parents = {one["id"]: one["parent"] for one in live.service.models.listed()}
    assert parents == {base: None, one: base}


def test_without_a_model_the_base_is_that_of_what_serves(
    ws: Workspace, start: Callable[..., Any], made: list[Candidate]
):
    release(ws, 1, made[1])
    live = start()

    assert names(live) == {served(made[0]), served(made[1])}


def test_a_release_that_is_not_what_passed_is_not_served_and_told_once(
    ws: Workspace, start: Callable[..., Any], made: list[Candidate],
    capfd: pytest.CaptureFixture[str],
):  # fmt: skip
    changed = made[2].model_copy(update={"adapter": made[1].adapter})
    fields = changed.model_dump(exclude={"digest"})
    jsonl.write_json(ws.runs / "run-2" / "candidate.json",
                     Candidate(**fields, digest=candidates.digest_of(fields)))  # fmt: skip
    live = start(model=["run-0"])
    release(ws, 1, made[1].model_copy(update={"digest": "sha256:other"}))
    release(ws, 2, made[2])
    live.until(lambda: len(live.service.models._told) == 2)
    before = len(live.service.models._told)

    assert names(live) == {served(made[0])}
    assert ask(live, served(made[0]))[0] == 200
    told = capfd.readouterr().err
    assert "r1 is not served" in told
    assert "is not the candidate that passed" in told
    assert "adapter differs from the manifest's" in told
    assert before == len(told.strip().splitlines())


def test_a_store_that_cannot_be_read_changes_nothing(
    ws: Workspace, start: Callable[..., Any], made: list[Candidate], monkeypatch: pytest.MonkeyPatch
):
    release(ws, 1, made[1])
    live = start()

    def away(_: Workspace) -> routing.Routing:
        raise OSError("the database is away")

    monkeypatch.setattr(routing, "current", away)
    live.until(lambda: any("is away" in line for line in live.service.models._told))
    assert names(live) == {served(made[0]), served(made[1])}
    assert ask(live, served(made[1]))[0] == 200


def test_the_admin_port_loads_and_unloads_by_hand(
    ws: Workspace, start: Callable[..., Any], made: list[Candidate]
):
    live = start(SECRET, model=["run-0"])
    one, two = served(made[1]), served(made[2])
    release(ws, 2, made[2])
    live.until(lambda: two in names(live))
    with httpx.Client(base_url=live.admin, headers={"Authorization": f"Bearer {SECRET}"}) as admin:
        loaded = admin.post("/admin/models", json={"model": "run-1"})
        assert (loaded.status_code, loaded.json()["id"]) == (201, one)
        assert admin.post("/admin/models", json={"model": "run-1"}).status_code == 201
        assert ask(live, one)[0] == 200
        listed = {m["id"]: m["routed"] for m in admin.get("/admin/models").json()["data"]}
        assert listed == {served(made[0]): False, one: False, two: True}
        assert admin.delete(f"/admin/models/{two}").json()["error"]["code"] == "in_use"
        assert admin.delete(f"/admin/models/{live.base}").status_code == 409
        assert admin.delete(f"/admin/models/{one}").json() == {"id": one, "deleted": True}
        assert ask(live, one) == (404, "model_not_found")
        assert admin.delete(f"/admin/models/{one}").status_code == 404
        for model, why in (("tiny", "another base"), ("run-9", "no such path"),
                           ("endpoint:http://x/v1#m", "asked elsewhere")):  # fmt: skip
            refused = admin.post("/admin/models", json={"model": model})
            assert refused.status_code == 400
            assert why in refused.json()["error"]["message"]
        assert admin.post("/admin/models", content=b"{").status_code == 400
        assert admin.post("/admin/models", content=b" " * 20_000).status_code == 413


@pytest.mark.parametrize("given", [None, "Bearer", f"Bearer {SECRET}x", f"Basic {SECRET}"])
def test_nothing_of_the_admin_port_is_reached_without_the_token(
    start: Callable[..., Any], made: list[Candidate], given: str | None
):
    live = start(SECRET, model=["run-0"])
    headers = {} if given is None else {"Authorization": given}
    for method, path in (("GET", "/admin/models"), ("POST", "/admin/models"), ("GET", "/other")):
        reply = httpx.request(method, live.admin + path, headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert httpx.get(live.admin + "/v1/models").status_code == 401
    assert httpx.get(live.url.removesuffix("/v1") + "/admin/models").status_code == 404


@pytest.mark.parametrize(("token", "told"), [(None, "is not set"), ("short", "5 characters")])
def test_an_admin_port_without_a_token_that_holds_is_refused(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, token: str | None, told: str
):
    monkeypatch.delenv("ERRATA_ADMIN_TOKEN", raising=False)
    if token:
        monkeypatch.setenv("ERRATA_ADMIN_TOKEN", token)
    with pytest.raises(BadInput, match=told):
        main(ws, Config(port=0, admin_port=8001))


def test_what_cannot_be_served_is_one_line(ws: Workspace, made: list[Candidate]):
    with pytest.raises(BadInput, match="another base"):
        prepared(ws, Config(model=["run-0", "tiny"]))
    with pytest.raises(BadInput, match="no such path"):
        prepared(ws, Config(model=["nothing"]))
    taken = listen("127.0.0.1", 0)
    with pytest.raises(BadInput, match="choose another with port="):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(BadInput, match="admin_port="):
        listen("nowhere.invalid", 0, "admin_port")
    taken.close()


def test_an_adapter_that_says_another_base_is_refused(
    ws: Workspace, made: list[Candidate], tmp_path: Path, start: Callable[..., Any]
):
    """Same shapes, other weights: only its configuration can tell."""
    import shutil

    folder = tmp_path / "adapter"
    shutil.copytree(ws.path(str(made[1].adapter)), folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(candidates.TINY)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    jsonl.write_json(ws.runs / "run-3" / "candidate.json",
                     candidates.make(ws, str(ws.path(made[0].base)), folder))  # fmt: skip
    live = start(model=["run-0"])

    with pytest.raises(BadInput, match="made on another base"):
        live.service.models.named("run-3")


def test_every_knob_is_in_the_template():
    import errata
    from errata.config import load, read_yaml

    path = Path(errata.__file__).parent / "template" / "configs" / "serve.yaml"
    assert load(path, Config) == Config()
    assert set(read_yaml(path)) == set(Config.model_fields) - {"as_json"}
    for line in path.read_text().splitlines()[1:]:
        assert "#" in line


def test_a_piece_of_a_stream_does_not_wait_for_the_clients_delayed_ack():
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_command_says_where_it_listens_and_ends_on_a_signal(ws: Workspace):
    words = [sys.executable, "-m", "errata", "serve", "-C", str(ws.root), "--port", "0", "--json"]
    environment = {**os.environ, "ERRATA_LANG": "en"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        ready = json.loads(process.stdout.readline())
        models = httpx.get(f"{ready['url']}/models").json()["data"]
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)

    assert [model["id"] for model in models] == ready["models"]
    assert process.returncode == 0
    assert json.loads(out.splitlines()[-1]) == {"url": ready["url"], "answered": 0}
