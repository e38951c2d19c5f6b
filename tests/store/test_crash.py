"""Processes die at any point: what was reported done is there, and nothing is half there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from errata import jsonl
from errata.store import audit, ledger, lines, past, seal
from errata.store.runs import Run
from errata.workspace import Workspace


@pytest.mark.slow
def test_kill_9_at_random_points_loses_nothing_that_was_reported(
    store: Workspace, crash: ModuleType
):
    found = crash.killed(store, 30, seed=4)

    assert found["problems"] == []
    assert found["kills"] == 30
    assert found["reported"] >= 20
    assert found["ends"]["died"] >= 2


def test_the_check_sees_what_is_missing(store: Workspace, crash: ModuleType):
    """Of a run that is whole, one thing after the other is taken away."""
    (store.inbox / "raw.jsonl").write_text('{"a": 1}\n')
    id = crash.writer.one(store, "w", 0)
    assert crash.problems(store, [id]) == []
    assert crash.problems(store, [id, "gone"]) == ["gone: reported done and gone"]

    report = store.reports / f"{id}.json"
    report.write_text("{}")
    assert "has other bytes" in crash.problems(store, [id])[0]
    report.unlink()
    assert "No such file" in crash.problems(store, [id])[0]
    jsonl.write_json(store.runs / id / "run.json", {"status": "running"})
    assert "run.json is not what the store has" in crash.problems(store, [id])[0]


def dead(ws: Workspace, words: str) -> str:
    """A run whose process is gone at the point where `words` put `os._exit`; its id."""
    code = (
        "import os, sys; from pathlib import Path; from errata import jsonl\n"
        "from errata.store import ledger, runs; from errata.workspace import Workspace\n"
        f"{words}\n"
        "with runs.Run(Workspace.find(Path(sys.argv[1])), 'build', {}): pass"
    )
    path = os.pathsep.join(filter(None, sys.path))
    env = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code, str(ws.root)], check=False, env=env)
    (folder,) = ws.runs.iterdir()
    return folder.name


def test_a_run_that_dies_when_all_is_kept_is_done_in_both_places(store: Workspace):
    id = dead(store, "ledger.seal = lambda ws: os._exit(9)")
    record = past.get_run(store, id)

    assert record["status"] == "done"
    assert jsonl.canonical(record) == jsonl.canonical(_told(store, id))
    assert audit.verify(store) == []


def test_a_run_that_dies_before_it_is_kept_is_died_in_both_places(store: Workspace):
    id = dead(store, "ledger.add = lambda *_: os._exit(9)")
    record = past.get_run(store, id)

    assert record["status"] == _told(store, id)["status"] == "died"
    assert [event["data"]["status"] for event in ledger.events(store, "run")] == ["died"]


def _told(ws: Workspace, id: str) -> dict[str, object]:
    return dict(json.loads((ws.runs / id / "run.json").read_text()))


def test_a_run_that_ended_stays_as_it_said(store: Workspace):
    """Whoever looked while it ran, and then found its process gone, does not overwrite that."""
    with Run(store, "build", {}) as run:
        pass

    assert not past.end(store, run.id, "died")
    assert past.get_run(store, run.id)["status"] == "done"
    assert len(ledger.events(store, "run")) == 1


@pytest.mark.parametrize("cut", [1, 40])
def test_half_a_line_of_either_file_is_no_line_and_is_written_again(store: Workspace, cut: int):
    ledger.append(store, "note", n=0)
    ledger.seal(store)
    (points,) = seal.folder(store).glob("*.jsonl")
    for path in (ledger.file_of(store), points):
        before = path.read_bytes()
        ledger.append(store, "note", n=1)
        ledger.seal(store)
        path.write_bytes(path.read_bytes()[:-cut])
        assert lines.read(path) == before.splitlines()
        ledger.append(store, "note", n=2)
        ledger.seal(store)
        assert audit.verify(store) == []


def test_a_machine_that_dies_at_its_first_checkpoint_has_not_signed(
    store: Workspace, monkeypatch: pytest.MonkeyPatch
):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    ledger.append(store, "note", n=0)
    with monkeypatch.context() as patch:
        patch.setattr(seal.keys, "sign", die)
        with pytest.raises(KeyboardInterrupt):
            ledger.seal(store)
    assert audit.verify(store) == []

    ledger.seal(store)
    (points,) = seal.folder(store).glob("*.jsonl")
    points.unlink()
    assert "missing; its key has signed" in audit.verify(store)[0]


def test_drafts_are_not_committed():
    ignored = Path(past.__file__).parents[1] / "template" / "dot-gitignore"
    assert ".*.tmp" in ignored.read_text().splitlines()
