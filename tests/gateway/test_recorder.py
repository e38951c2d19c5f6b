"""What is written down after an answer, where something is full, old or away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import httpx
import pytest
from tests.gateway.conftest import Running, until

from errata.gateway import recorder
from errata.gateway.inflight import InFlight
from errata.workspace import Workspace

Gate = Callable[..., Running]


def test_a_full_queue_drops_and_counts_and_blocks_nobody(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
):
    running = gate()
    monkeypatch.setattr(recorder, "QUEUE", 0)
    assert running.ask().status_code == 200
    # The client has its answer before that is put away.
    until(lambda: 'errata_dropped_total{kind="answer"} 1' in running.gateway.meters.text({}))
    assert running.ask().status_code == 200


def test_while_the_store_is_away_rows_are_kept_up_to_a_bound(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
):
    running = gate(keep_rows=3)
    away = "postgresql+psycopg://nobody@127.0.0.1:9/none"
    monkeypatch.setenv("ERRATA_DATABASE_URL", away)
    for _ in range(5):
        running.ask()
    until(lambda: 'kind="row"} 2' in running.gateway.meters.text({}))
    monkeypatch.delenv("ERRATA_DATABASE_URL")

    assert len(running.rows(3)) == 3
    assert len({row.window for row in running.rows(3)}) == 1, "written together: one window"


def test_logs_that_are_older_than_they_may_be_are_deleted(gate: Gate, ws: Workspace):
    folder = ws.path(".errata/log")
    folder.mkdir(parents=True)
    for name, days in (("old", 9), ("young", 2)):
        (folder / f"{name}.jsonl").write_text("{}\n")
        stamp = time.time() - days * 86400
        os.utime(folder / f"{name}.jsonl", (stamp, stamp))
    gate(log_share=1.0, log_days=7).ask()
    until(lambda: not (folder / "old.jsonl").exists())

    assert (folder / "young.jsonl").exists()


def test_a_rejected_rating_leaves_no_trace(gate: Gate):
    running = gate()
    answer = running.ask().json()["id"]
    for body in ({"id": answer}, {"id": answer, "rating": "great"}, {"id": 7, "rating": "up"},
                 {"id": answer, "rating": "up", "edited": ["x"]}, {"rating": "up"}):  # fmt: skip
        told = httpx.post(f"{running.url}/feedback", json=body)
        assert told.status_code == 400
        assert told.json()["error"]["code"] == "invalid_request"
    running.ask()
    assert [row.kind for row in running.rows(2)] == ["answer", "answer"]


class Fake:
    """An answer under way, as far as the registry knows one."""

    def __init__(self, release: str, last: float) -> None:
        self.release, self.last, self.cut, self.work = release, last, False, None


def test_the_seconds_of_a_rollback_are_those_to_the_last_piece_of_that_release():
    told: list[tuple[str, float]] = []
    known = InFlight("drain", lambda *found: told.append(found))
    one, two, other = Fake("bad", 104.0), Fake("bad", 107.5), Fake("good", 120.0)
    for answer in (one, two, other):
        known.enter(answer)
    known.leave(one)
    known.rolled_back("bad", 105.0)
    assert told == []
    known.leave(other)
    known.leave(two)
    assert told == [("bad", 2.5)]
    known.rolled_back("idle", 105.0)
    assert told[1] == ("idle", 0.0), "nothing was under way, and no clock that jumps makes it less"
