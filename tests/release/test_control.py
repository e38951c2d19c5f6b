"""Live rows in the store, and the loop that acts on them: one of many acts, on both databases."""

from __future__ import annotations

import threading
import time
from importlib.resources import files
from typing import Any

import pytest
from tests.release.conftest import World
from tests.store.conftest import store

from errata.errors import BadInput
from errata.release import alerts, control, live, monitor, rollback, rollout, routing, windows
from errata.release.decide import Accept, Hard
from errata.release.live import Arm, Live
from errata.store import database, ledger
from errata.workspace import Workspace

__all__ = ["store"]
CONFIG = monitor.Config(min_exposure={1: 5}, accept=Accept(hard={"failure": Hard()}, soft={}))
PATH = "runs/20251216-101500-dpo-good/candidate.json"


def row(release: str, arm: Arm = "canary", failed: bool = False, **more: Any) -> Live:
    return Live(**{"stage": 1, "ts": time.time(), **more}, arm=arm, release=release, digest="d",
                failed=failed)  # fmt: skip


@pytest.fixture
def release(world: World, run_gate: Any) -> str:
    world.publish("base")
    world.publish("good")
    assert run_gate("good").code == 0
    return rollout.start(world.ws, PATH).id


def fine(release: str, canary: int = 5) -> list[Live]:
    return [row(release)] * canary + [row(release, "stable")] * (canary * 99)


def test_rows_come_back_as_they_were_written_and_after_which_one_asks(store: Workspace):
    rows = [row("r1", flags={"refusal": None}, sizes={"ms": 1.5}, language="zh"), row("r2")]
    live.append(store, rows)
    live.append(store, [row("r1", "stable", answer="chatcmpl-1", conversation="c")])
    first, second = live.read(store, "r1")
    assert first.row == rows[0]
    assert live.read(store, "r1", first.seq) == [second]
    assert live.answered(store, "chatcmpl-1") == second.row == live.begun(store, "c")
    assert live.answered(store, "") is None


def test_feedback_on_an_answer_is_not_taken_for_the_answer(store: Workspace):
    live.append(store, [row("r1", answer="chatcmpl-1")])
    live.append(
        store, [row("r1", answer="chatcmpl-1", kind="feedback", flags={"thumbs_down": True})]
    )
    found = live.answered(store, "chatcmpl-1")
    assert found
    assert found.kind == "answer"


def test_a_window_is_written_once_however_often_it_is_tried(store: Workspace):
    """A server that keeps the rows and dies before it says so; meanwhile more have come."""
    rows = [row("r1", window="g-1", answer=f"chatcmpl-{i}") for i in range(5)]
    live.append(store, rows[:3])
    live.append(store, rows)
    assert [seen.row for seen in live.read(store, "r1")] == rows
    assert live.pace(store, time.time()) == 5
    assert live.pace(store, time.time() + 90_000) == 0


def test_a_stage_is_sized_beforehand_by_todays_traffic():
    """100 of 5,000 requests a day at 1 % are two days; 10,000 requests in all."""
    told = rollout.sizes([1, 5, 25, 100], monitor.Config(), 5000)
    assert "| 1 % | 100 | 10000 | 48.0 |" in told
    assert "| 25 % | 600 | 2400 | 11.5 |" in told
    assert "| 1 % | 100 | 10000 | – |" in rollout.sizes([1, 100], monitor.Config(), 0)


def test_old_rows_go_but_for_those_of_what_serves(store: Workspace):
    live.append(store, [row(name, ts=ts) for name, ts in (("old", 1), ("serves", 1), ("new", 9))])
    assert live.prune(store, 5, ["serves"]) == 1
    assert [len(live.read(store, name)) for name in ("old", "serves", "new")] == [0, 1, 1]


def test_a_store_of_an_older_errata_gets_the_table(store: Workspace):
    with database.writing(store) as connection:
        database.live.drop(connection)
    database._engine.cache_clear()
    live.append(store, [row("r1")])
    assert len(live.read(store, "r1")) == 1


def test_it_holds_advances_and_rolls_back(world: World, release: str):
    loop = control.Control(world.ws, CONFIG)
    assert (loop.tick() or control.Step("", 0, "advance", "", 0)).action == "hold"
    live.append(world.ws, fine(release))
    step = loop.tick()
    assert step
    assert (step.action, step.percent, step.reached) == ("advance", 1, 5)
    live.append(world.ws, [row(release, stage=5, hard="leak")])
    step = loop.tick()
    assert step
    assert (step.action, step.reached) == ("rollback", 0)
    assert routing.current(world.ws).canary is None
    assert [alert.metric for alert in alerts.standing(world.ws, release)] == ["leak"]
    evidence = ledger.events(world.ws, "rollout")[-1]["data"]["evidence"]
    assert (evidence["metric"], evidence["never"]) == ("leak", {"leak": 1})
    assert evidence["failure"]["canary"] == [0, 6]
    assert loop.tick() is None, "nothing is rolling or serving any more"


def test_of_many_that_see_the_same_one_acts(world: World, release: str):
    live.append(world.ws, fine(release))
    start, steps = threading.Barrier(4), list[control.Step | None]()

    def one() -> None:
        loop = control.Control(world.ws, CONFIG)
        start.wait()
        steps.append(loop.tick())

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    actions = [event["data"]["action"] for event in ledger.events(world.ws, "rollout")]
    assert actions == ["start", "advance"]
    assert routing.current(world.ws).canary.stage_percent == 5  # type: ignore[union-attr]
    assert len(steps) == 4


def test_a_rollback_wins_over_an_advance_of_the_same_moment(
    world: World, release: str, monkeypatch: pytest.MonkeyPatch
):
    """The routing moves between its look and its word: it looks again."""
    before = routing.current(world.ws)
    rollout.advance(world.ws, "meanwhile")
    looks = iter([before])
    current = routing.current
    monkeypatch.setattr(routing, "current", lambda ws: next(looks, None) or current(ws))
    rollback.roll_back(world.ws, "bad", only=release)
    assert current(world.ws).canary is None
    with pytest.raises(BadInput, match="rolled_back already"):
        rollback.roll_back(world.ws, "bad", only=release)


def test_what_serves_is_watched_too(world: World, release: str):
    for _ in range(3):
        rollout.advance(world.ws, "test")
    live.append(world.ws, [row(release, "stable", stage=100)] * 50)
    loop = control.Control(world.ws, CONFIG)
    assert (step := loop.tick())
    assert step.action == "hold"
    live.append(world.ws, [row(release, "stable", stage=100, hard="forbidden_call")])
    assert (step := loop.tick())
    assert step.action == "rollback"
    assert routing.current(world.ws).stable is None
    assert monitor.main(world.ws, monitor.Config()).data["serving"] is None


def test_a_rollout_that_cannot_move_says_so(
    world: World, release: str, monkeypatch: pytest.MonkeyPatch
):
    live.append(world.ws, fine(release))
    monkeypatch.setattr("errata.candidates.weights_digest", lambda _: "sha256:swapped")
    step = control.Control(world.ws, CONFIG).tick()
    assert step
    assert (step.action, step.reached) == ("hold", 1)
    (alert,) = alerts.standing(world.ws, release)
    assert alert.metric == "stuck"
    assert "weights differ" in alert.why


def test_an_edit_of_the_rules_counts_from_the_next_look(world: World, release: str):
    path = world.ws.configs / "monitor.yaml"
    path.write_text("accept: {never: {leak: 5}}")
    loop = control.Control(world.ws)
    live.append(world.ws, [row(release, hard="leak")] * 2)
    assert (step := loop.tick())
    assert step.action == "hold"
    path.write_text("accept: {never: {leak: 1}}")
    assert (step := loop.tick())
    assert step.action == "rollback"


def test_at_100_percent_one_rollback_is_by_itself_and_the_next_is_a_persons(
    world: World, release: str
):
    """Else one who brings a leak about walks everybody down to the base."""
    first = routing.current(world.ws).releases[release]
    second = first.model_copy(update={"id": "r2-x"})
    for one in (first, second):
        if one is second:
            routing.record(world.ws, "start", release=one, stages=[1, 100])
        routing.record(world.ws, "advance", id=one.id, percent=100, why="test")
    loop, leak = control.Control(world.ws, CONFIG), {"stage": 100, "hard": "leak"}
    live.append(world.ws, [row(second.id, "stable", **leak)])
    assert (step := loop.tick())
    assert step.action == "rollback"
    live.append(world.ws, [row(first.id, "stable", **leak)])
    assert (step := loop.tick())
    assert step.action == "hold"
    assert routing.current(world.ws).stable.id == first.id  # type: ignore[union-attr]
    assert "stuck" in {alert.metric for alert in alerts.standing(world.ws, first.id)}
    rollback.roll_back(world.ws, "by hand")
    assert routing.current(world.ws).stable is None


def test_what_is_read_once_is_not_read_again_and_comes_to_the_same(world: World, release: str):
    loop, rows = control.Control(world.ws, CONFIG), fine(release, 2)
    for part in (rows[:50], rows[50:120], rows[120:]):
        live.append(world.ws, part)
        loop.look()
    whole, read = monitor.replay(world.ws, CONFIG, routing.current(world.ws).releases[release])
    assert loop.watch
    assert len(read) == whole.rows == loop.watch.rows == len(rows)
    assert loop.watch.decide(1) == whole.decide(1)


def test_an_alert_is_raised_once_seen_and_closed(
    world: World, release: str, capsys: pytest.CaptureFixture[str]
):
    alert = alerts.raised(world.ws, release, "refusal", "refusal turned worse")
    assert alert
    assert alerts.raised(world.ws, release, "refusal", "again") is None
    assert (world.ws.root / alert.runbook).name in capsys.readouterr().err
    assert alerts.acknowledged(world.ws, release) == set()
    monitor.main(world.ws, monitor.Config(args=["ack", alert.id]))
    assert alerts.acknowledged(world.ws, release) == {"refusal"}
    monitor.main(world.ws, monitor.Config(args=["resolve", alert.id]))
    assert alerts.standing(world.ws, release) == []
    with pytest.raises(BadInput, match="resolved"):
        alerts.change(world.ws, alert.id, "acknowledged")
    with pytest.raises(BadInput, match="no such alert"):
        alerts.change(world.ws, "a-none", "resolved")
    assert alerts.raised(world.ws, release, "refusal", "after it was resolved")


@pytest.mark.parametrize("name", sorted({*alerts.RUNBOOKS.values(), "README"}))
def test_every_runbook_that_an_alert_names_is_laid_down(name: str):
    assert (files("errata") / "template" / "docs" / "runbooks" / f"{name}.md").is_file()


def test_an_alert_reaches_its_webhook_and_a_dead_one_stops_nothing(
    world: World, release: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import http.server
    import json

    told: list[dict[str, Any]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/secret")
        alerts.raised(world.ws, release, "p95", "p95 is 900, limit 500", "HOOK")
        server.shutdown()
    alerts.raised(world.ws, release, "cost", "cost is 2, limit 1", "HOOK")
    assert [(data["metric"], data["state"]) for data in told] == [("p95", "open")]
    assert "secret" not in capsys.readouterr().err


def test_drift_is_zero_of_the_same_and_large_of_another_population():
    assert windows.psi({"a": 50, "b": 50}, {"a": 50, "b": 50}) == 0
    assert windows.psi({"a": 500, "b": 500}, {"a": 900, "b": 100}) > 0.25
    assert windows.psi({"a": 500}, {"b": 500}) > 1
    assert windows.psi({}, {"a": 3}) == 0
    short = [row("r", sizes={"chars": 30}, language="en")] * windows.FEW
    long = [row("r", sizes={"chars": 3000}, language="zh")] * windows.FEW
    found = windows.drift(short, long)
    assert found.keys() == {"length", "language"}, "nothing failed: no label mix"
    assert min(found.values()) > 1
    assert windows.drift(short, long[:-1]) == {}, "too few to tell"


def test_drifted_questions_alert_and_stop_nothing(world: World, release: str):
    for _ in range(3):
        rollout.advance(world.ws, "test")
    then = time.time() - 7200
    calm = {"stage": 100, "sizes": {"chars": 30, "ms": 5}}
    live.append(world.ws, [row(release, "stable", ts=then, language="en", **calm)] * 300)
    live.append(world.ws, [row(release, "stable", language="zh", **calm)] * 300)
    outcome = monitor.main(world.ws, monitor.Config())
    assert outcome.code == 0
    assert outcome.data["window"]["drift.language"] > 1
    assert [alert["metric"] for alert in outcome.data["alerts"]] == ["drift.language"]


def test_the_control_loop_looks_at_the_window_by_itself(
    world: World, release: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(control, "WINDOWS", 0.0)
    slow = {"sizes": {"ms": 900.0, "tokens_out": 1}}
    live.append(world.ws, [row(release, **slow)] * 3)
    config = CONFIG.model_copy(update={"limits": monitor.Limits(p95_ms=500)})
    step = control.Control(world.ws, config).tick()
    assert step
    assert step.action == "hold"
    assert [alert.metric for alert in alerts.standing(world.ws, release)] == ["p95"]
