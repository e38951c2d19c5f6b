"""The experiment log tells every training run and what became of it, from the store alone."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from errata import git, jsonl
from errata.errors import Blocked
from errata.evaluate import stage
from errata.metrics import rate
from errata.records import MetricsFile, Release
from errata.release import routing
from errata.store import audit, database, experiments, ledger, past
from errata.store.runs import Run
from errata.workspace import Workspace


@pytest.fixture
def ws(store: Workspace) -> Workspace:
    """On both databases."""
    return store


DIGEST = "sha256:" + "c" * 64
DIES = (
    "import os, sys; from pathlib import Path; from errata.workspace import Workspace;"
    "from errata.store.runs import Run\n"
    "ws = Workspace.find(Path(sys.argv[1]))\n"
    "with Run(ws, 'dpo', {'dataset': 'data/sft.jsonl', 'model': 'tiny'}) as run: os._exit(9)"
)


def text(ws: Workspace, name: str = experiments.LOG) -> str:
    return (ws.reports / "posttrain" / name).read_text(encoding="utf-8")


def lines(ws: Workspace) -> list[list[str]]:
    """The log's cells, a list a run."""
    rows = [line for line in text(ws).splitlines() if re.match(r"\| \d{8}-", line)]
    return [[cell.strip() for cell in row.split(" | ")] for row in rows]


def build(ws: Workspace, version: str, row: str = "s") -> None:
    with Run(ws, "build", {}) as run:
        jsonl.write(run.output("data/sft.jsonl"), [{"id": row}])
        run.note(version=version)


def train(ws: Workspace, stage: str = "sft", error: Exception | None = None, **facts: Any) -> str:
    """A training run as the frame records one; its id."""
    run = Run(ws, stage, {"model": "tiny", "dataset": "data/sft.jsonl", "hub_token": "hf_1"})
    with contextlib.suppress(ValueError, Blocked), run:
        run.input("data/sft.jsonl", "dataset")
        if error:
            raise error
        run.note(candidate_digest=DIGEST, steps=7, metrics={"loss": 0.25, "odd": 3.0}, **facts)
    return run.id


def measure(ws: Workspace, name: str, hits: list[bool | None], split: Any = "heldout") -> str:
    """What `errata evaluate` leaves: the metrics file, and what the run notes of it."""
    with Run(ws, name.split(".")[0], {}) as run:
        room = run.stage
        found = rate(name, hits, [str(i) for i in range(len(hits))])
        file = MetricsFile(run_id=run.id, candidate_digest=DIGEST, suite_digest=DIGEST,
                           metrics=[found], cases=f"reports/{room}/{run.id}.cases.jsonl",
                           split=split)  # fmt: skip
        stage.publish(ws, run, file, [], room, room)
    return run.id


def judge(ws: Workspace, decision: str) -> str:
    with Run(ws, "gate", {}) as run:
        told = {"decision": decision, "candidate_digest": DIGEST, "baseline_digest": "sha256:b"}
        ledger.append(ws, "verdict", id=run.id, **told)
    return run.id


def test_a_run_that_failed_was_blocked_or_died_stays_in_the_log_with_its_reason(store: Workspace):
    build(store, "v-1")
    train(store)
    failed = train(store, error=ValueError("the user said: my card is number 4111"))
    blocked = train(store, error=Blocked("loss 3 is above 2; see https://me:pw@host/x"))
    subprocess.run([sys.executable, "-c", DIES, str(store.root)], check=False, env={**os.environ})
    died = past.mark_died(store)[0]
    found = {line[0].strip("| "): line[1:3] for line in lines(store)}

    assert found[failed] == ["failed / 失败", f"ValueError: runs/{failed}/run.json"]
    assert found[blocked][0] == "blocked / 被阻断"
    assert found[blocked][1].startswith("loss 3 is above 2; see https://(hidden)@host/x")
    assert found[died][0] == "died / 意外中止"
    assert "gone before it ended / 进程在结束前已消失" in found[died][1]
    build(store, "v-2", "t")
    train(store)
    assert {failed, blocked, died} < {line[0].strip("| ") for line in lines(store)}
    everything = "".join(p.read_text() for p in (store.reports / "posttrain").iterdir())
    assert "number 4111" not in everything  # an id of a run may end so
    assert "hf_1" not in everything
    assert "pw@" not in everything


def test_a_run_that_did_not_end_well_has_a_page_with_what_it_was_given(store: Workspace):
    build(store, "v-1")
    failed = train(store, error=Blocked("no"))
    page = text(store, f"{failed}.md")
    digest = jsonl.digest_file(store.data / "sft.jsonl")

    assert f"| data/sft.jsonl | dataset | 1 | {digest} |" in page
    assert "| dataset version / 数据版本 | v-1 |" in page
    assert "| model | tiny |" in page
    assert "| hub\\_token | (hidden) |" in page
    assert f"| git | {git.head(store.root)} |" in page
    assert "| why / 原因 | no |" in page
    assert re.search(r"\| policy / 策略: redaction \| sha256:[0-9a-f]{64} \|", page)

    subprocess.run([sys.executable, "-c", DIES, str(store.root)], check=False, env={**os.environ})
    died = past.mark_died(store)[0]  # it recorded no input: what lay there when it began
    page = text(store, f"{died}.md")
    assert f"| data/sft.jsonl |  | – | {digest} |" in page
    assert "| dataset version / 数据版本 | v-1 |" in page


def test_newest_first_with_the_version_each_was_trained_on(store: Workspace):
    build(store, "v-1")
    first = train(store)
    build(store, "v-2", "t")
    second = train(store, "rm")
    build(store, "v-1")  # back to the first
    third = train(store, "ppo")

    assert [line[0].strip("| ") for line in lines(store)] == [third, second, first]
    assert [line[4].split()[1] for line in lines(store)] == ["v-1", "v-2", "v-1"]
    assert lines(store)[0][5:7] == ["7", "loss=0.25"]


def test_what_was_measured_and_judged_of_a_run_shows_once_it_is_there(store: Workspace):
    build(store, "v-1")
    run = train(store, pages=["> a note", "## Curves"])
    assert lines(store)[0][7:] == ["–", "–", "– |"]
    measure(store, "safety.attack_hit_rate", [True] * 5 + [False] * 5)
    measure(store, "evaluate.accuracy", [True] * 3 + [False])
    newest = measure(store, "evaluate.accuracy", [False] * 3 + [True])
    dev = measure(store, "evaluate.accuracy", [True] * 4, split="dev")
    gate = judge(store, "blocked")

    line = lines(store)[0]
    assert line[7] == "accuracy 25.0 %, attack\\_hit\\_rate 50.0 %"
    assert line[8] == f"blocked / 被阻断 ({gate.replace('_', chr(92) + '_')})"
    page = text(store, f"{run}.md")
    assert page.index(f"{dev}: done / 完成, dev") < page.index(f"{newest}: done / 完成, heldout")
    assert "| evaluate.accuracy | 25.0 % | 1.3 % – 75.1 % | 4 |".replace("_", "\\_") in page
    assert f"| {gate} | blocked / 被阻断 | sha256:b |" in page
    assert "\n\n> a note\n\n## Curves\n\n" in page  # what training told of itself, as it told it


def test_a_release_shows_with_its_state_and_a_rollback_too(store: Workspace):
    build(store, "v-1")
    train(store)
    other = train(store, "dpo", weights="w")
    release = Release(id="r1-a", candidate_digest=DIGEST, candidate_path="x", verdict_id="g",
                      stage_percent=1, state="rolling", salt="s", ts=database.now())  # fmt: skip
    now = routing.current(store)
    routing.promote(store, now, "start", release=release, stages=[1, 100])
    assert lines(store)[0][9] == "r1-a rolling / 灰度中 1 % |"
    routing.promote(store, routing.current(store), "advance", id="r1-a", percent=100, why="w")
    assert lines(store)[0][9] == "r1-a serving / 线上 100 % |"
    assert "| r1-a | serving / 线上 | 100 % | g |" in text(store, f"{other}.md")


def test_what_is_deleted_or_taken_back_by_git_comes_back_the_same(
    store: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    build(store, "v-1")
    failed = train(store, error=Blocked("no"))
    git.commit(store, ["data", "reports"], "one")
    train(store, pages=["## Curves"])
    folder = store.reports / "posttrain"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    git.git(store.root, "checkout", "--", "reports/")
    for name in (experiments.LOG, f"{failed}.md"):
        (folder / name).unlink(missing_ok=True)
    monkeypatch.setenv("ERRATA_LANG", "zh")  # the same bytes, whoever renders
    build(store, "v-1")

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert "rolled back" not in capsys.readouterr().err  # it is nobody's output
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    build(store, "v-1")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps


def test_a_clone_keeps_the_lines_of_runs_that_only_its_ledger_knows(
    local: Workspace, tmp_path: Path
):
    build(local, "v-1")
    old = train(local, error=Blocked("no"))
    subprocess.run([sys.executable, "-c", DIES, str(local.root)], check=False, env={**os.environ})
    died = past.mark_died(local)[0]
    ledger.seal(local)
    git.commit(local, ["data", "reports", "audit", "keys"], "one")
    git.git(tmp_path, "clone", "--quiet", str(local.root), "clone")
    clone = Workspace(tmp_path / "clone")
    page = text(clone, f"{old}.md")
    new = train(clone)

    found = {line[0].strip("| "): line for line in lines(clone)}
    assert list(found) == [new, died, old]
    assert found[old][1] == "blocked / 被阻断"
    assert found[old][4].startswith("data/sft.jsonl (")
    assert text(clone, f"{old}.md") == page


def test_a_workspace_that_never_trained_has_no_log(store: Workspace):
    build(store, "v-1")
    assert not (store.reports / "posttrain").exists()


def test_a_slow_renderer_does_not_write_over_what_ended_meanwhile(
    store: Workspace, monkeypatch: pytest.MonkeyPatch
):
    build(store, "v-1")
    first, read = train(store), experiments.read
    has_read = threading.Event()

    def slow(connection: Any) -> Any:
        found = read(connection)
        if not has_read.is_set():
            has_read.set()
            time.sleep(1)
        return found

    monkeypatch.setattr(experiments, "read", slow)
    one = threading.Thread(target=experiments.render, args=(store,))
    one.start()
    has_read.wait()
    second = train(store)
    one.join()

    assert [line[0].strip("| ") for line in lines(store)] == [second, first]


def test_hostile_words_stay_in_their_cell(store: Workspace):
    build(store, "v-1")
    train(store, error=Blocked("a | b\n# title <script>"))
    assert len(lines(store)) == 1
    assert "<script>" not in text(store)
    assert "\n# title" not in text(store)


def test_an_event_that_was_changed_by_hand_breaks_no_command(store: Workspace):
    train(store)
    with database.writing(store) as connection:
        for data in ("{}", "[]", "no json"):
            connection.execute(database.event.update().values(data=data))
    for _ in range(2):
        train(store)
    assert len(lines(store)) >= 3
    assert audit.verify(store) != []
