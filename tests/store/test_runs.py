"""A run records what it opened, ends with a status, and is found dead when its process is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from errata import cli, git, jsonl
from errata.config import Section
from errata.errors import BadInput, Blocked, ErrataError, NoDecision
from errata.intake.redact import load_policy
from errata.store import audit, database, ledger, objects, past, people, rolled_back, status, tree
from errata.store.past import get_run, last_run, list_runs
from errata.store.runs import Run
from errata.store.setting import hidden
from errata.workspace import Workspace


@pytest.fixture
def ws(store: Workspace) -> Workspace:
    """On both databases."""
    return store


class Config(Section):
    seed: int = 3
    hf_token: str = "hf_abc"
    teacher: str = "https://me:pw@host/v1"
    budget_tokens: int = 5


def build(ws: Workspace, rows: list[dict[str, Any]]) -> Run:
    with Run(ws, "build", Config()) as run:
        jsonl.write(run.output("data/sft.jsonl"), rows)
    return run


def test_a_run_records_inputs_outputs_config_and_facts(ws: Workspace):
    jsonl.write(ws.inbox / "a.jsonl", [{"x": 1}, {"x": 2}])
    with Run(ws, "intake", Config()) as run:
        run.input("inbox/a.jsonl", "raw")
        jsonl.write(run.output("data/failures.jsonl"), [{"id": "f"}])
        run.note(rows=1, loss=float("nan"))
    record = json.loads((run.dir / "run.json").read_text())

    assert record == get_run(ws, run.id)
    assert record["status"] == "done"
    assert record["seed"] == 3
    assert record["git_commit"] == git.head(ws.root)
    assert record["inputs"] == [
        {
            "path": "inbox/a.jsonl",
            "digest": jsonl.digest_file(ws.inbox / "a.jsonl"),
            "name": "raw",
            "rows": 2,
        }
    ]
    assert record["outputs"][0]["digest"] == jsonl.digest_file(ws.data / "failures.jsonl")
    assert record["facts"] == {"rows": 1, "loss": None}
    assert record["env"]["errata"]


def test_a_run_records_who_ran_it_and_under_which_rules(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ERRATA_ACTOR", "li@example.com")
    (ws.policies / "redaction.yaml").write_text("off: [bank-card]\n")
    (ws.root / "sft.py").write_text("a = 1\n")
    git.commit(ws, ["sft.py", "policies"], "more")
    (ws.root / "sft.py").write_text("a = 2\n")
    (ws.data / "x.jsonl").write_text("{}\n")
    with Run(ws, "sft", Config()) as run:
        pass
    record = get_run(ws, run.id)

    assert (record["actor"], record["roles"]) == ("li@example.com", list(people.ROLES))
    assert record["policies"] == {"filter": None, "rubric": None, "redaction": load_policy(ws).hash}
    diff = objects.get(ws, record["git_diff"]).read_text()
    assert "-a = 1" in diff
    assert "+a = 2" in diff
    with database.reading(ws) as connection:
        found = tree.of_run(connection, run.id)
    assert {path: file.role for path, file in found.items()} == {
        "policies/redaction.yaml": "rule",
        "data/x.jsonl": "data",
    }


def test_a_death_is_an_event(ws: Workspace):
    with Run(ws, "sft", Config()) as run:
        pass
    with database.writing(ws) as connection:
        gone = {"status": "running", "pid": 1, "born": 1.0}
        connection.execute(database.run.update().values(**gone))
    list_runs(ws)
    event = ledger.events(ws, "run")[-1]["data"]
    assert (event["id"], event["status"]) == (run.id, "died")


def test_credentials_are_not_written_down(ws: Workspace):
    with Run(ws, "sft", Config()) as run:
        pass
    text = (run.dir / "run.json").read_text()

    assert "hf_abc" not in text
    assert "pw@" not in text
    assert json.loads(text)["config"]["budget_tokens"] == 5


@pytest.mark.parametrize("who", ["me:pw", "me:p@pw", "tok-pw", "me:pw%2F"])
def test_a_password_in_a_url_is_hidden_wherever_it_stands(who: str):
    assert hidden(f"see https://{who}@host/v1 and x://{who}@h") == (
        "see https://(hidden)@host/v1 and x://(hidden)@h"
    )
    assert hidden("mail me@host, or https://host/me@x") == "mail me@host, or https://host/me@x"


def test_ids_have_the_form_of_the_contract_and_do_not_collide(ws: Workspace):
    ids = set()
    for _ in range(5):
        with Run(ws, "sft", Config()) as run:
            ids.add(run.id)

    assert len(ids) == 5
    assert all(__import__("re").fullmatch(r"\d{8}-\d{6}-sft-[0-9a-f]{4}", id) for id in ids)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), "failed"),
        (Blocked("x"), "blocked"),
        (NoDecision("x"), "no_decision"),
        (KeyboardInterrupt(), "failed"),
    ],
)
def test_an_exception_ends_a_run_with_its_status(ws: Workspace, error: BaseException, status: str):
    with pytest.raises(type(error)), Run(ws, "gate", Config()) as run:
        raise error

    assert get_run(ws, run.id)["status"] == status
    assert get_run(ws, run.id)["facts"]["error"].startswith(type(error).__name__)


def test_a_failed_run_leaves_no_lineage(ws: Workspace):
    with pytest.raises(ValueError, match="boom"), Run(ws, "build", Config()) as run:
        run.link("a", "b", "became")
        raise ValueError("boom")
    with database.reading(ws) as connection:
        assert connection.execute(sa.select(database.edge)).all() == []


def test_a_missing_input_says_what_makes_it(ws: Workspace):
    message = "data/sft.jsonl: no such file; run `errata build` first"
    with pytest.raises(BadInput, match=message), Run(ws, "sft", Config()) as run:
        run.input("data/sft.jsonl")


def test_a_run_whose_process_is_gone_is_marked_died(ws: Workspace):
    code = (
        "import os, sys; from pathlib import Path; from errata.workspace import Workspace;"
        "from errata.store.runs import Run\n"
        "ws = Workspace.find(Path(sys.argv[1]))\n"
        "with Run(ws, 'sft', {}) as run:\n"
        "    ws.cache.mkdir(parents=True, exist_ok=True)\n"
        "    (ws.cache / f'{run.id}.db').write_text('scratch')\n"
        "    os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(ws.root)], check=False, env={**os.environ})
    found = list_runs(ws)

    assert [record["status"] for record in found] == ["died"]
    assert list(ws.cache.glob("*.db")) == []
    assert json.loads((ws.runs / found[0]["id"] / "run.json").read_text())["status"] == "died"


def test_a_run_that_goes_on_is_not_marked_died(ws: Workspace):
    with Run(ws, "sft", Config()):
        assert [record["status"] for record in list_runs(ws)] == ["running"]


def test_a_full_disk_at_the_end_fails_the_run_and_the_error_gets_out(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), Run(ws, "build", Config()) as run:
        jsonl.write(run.output("data/sft.jsonl"), [{"a": 1}])
        monkeypatch.setattr(objects, "put", full)

    assert get_run(ws, run.id)["status"] == "failed"


def test_runs_are_found_by_a_unique_beginning(ws: Workspace):
    one, two = build(ws, [{"a": 1}]), build(ws, [{"a": 2}])

    assert get_run(ws, one.id)["id"] == one.id
    with pytest.raises(BadInput, match="fits 2 runs"):
        get_run(ws, one.id[:8])
    with pytest.raises(BadInput, match="no such run"):
        get_run(ws, "nope")
    newest = last_run(ws, "build")
    assert newest is not None
    assert newest["id"] == two.id


def test_data_of_every_run_can_be_brought_back(ws: Workspace):
    first = build(ws, [{"a": 1}])
    build(ws, [{"a": 2}])
    digest = get_run(ws, first.id)["outputs"][0]["digest"]

    assert objects.get(ws, digest).read_text() == '{"a": 1}\n'
    with pytest.raises(BadInput, match="not a digest"):
        objects.get(ws, "sha256:../../etc")
    with pytest.raises(BadInput, match="not in"):
        objects.get(ws, "sha256:" + "0" * 64)


def test_every_run_is_in_the_ledger(ws: Workspace):
    run = build(ws, [{"a": 1}])

    assert [e["data"]["id"] for e in ledger.events(ws, "run")] == [run.id]
    assert audit.verify(ws) == []


def test_a_store_that_cannot_be_opened_is_one_line(ws: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ERRATA_DATABASE_URL", f"sqlite:///{ws.root}/no/such/folder/x.db")
    with pytest.raises(ErrataError, match="store: unable to open database file"):
        list_runs(ws)


# what git takes back ----------------------------------------------------------------------------


def stderr_of_a_run(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with Run(ws, "evaluate", Config()):
        pass
    return capsys.readouterr().err


def test_the_next_command_notices_the_chapters_rollback_once(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
):
    build(ws, [{"a": 1}])
    git.commit(ws, ["data", "reports"], "gate passed: x")
    build(ws, [{"a": 2}])
    git.git(ws.root, "checkout", "--", "data/", "reports/")

    said = stderr_of_a_run(ws, capsys)
    assert "git rolled back 1 file(s) since the last run: data/sft.jsonl" in said
    assert said.count("\n") == 1
    assert stderr_of_a_run(ws, capsys) == ""


def test_an_edit_by_hand_is_no_rollback(ws: Workspace, capsys: pytest.CaptureFixture[str]):
    build(ws, [{"a": 1}])
    git.commit(ws, ["data", "reports"], "x")
    (ws.data / "sft.jsonl").write_text('{"a": 3}\n')

    assert stderr_of_a_run(ws, capsys) == ""


def test_without_a_commit_nothing_can_have_been_rolled_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "configs").mkdir()
    fresh = Workspace(tmp_path)
    for repository in (False, True):
        if repository:
            git.git(tmp_path, "init", "--quiet", ".")
        with Run(fresh, "build", Config()) as run:
            jsonl.write(run.output("data/sft.jsonl"), [{"id": "s"}])
            jsonl.write(run.output("data/failures/privacy/x.jsonl"), [{"id": "f"}])
        (fresh.data / "sft.jsonl").write_text("edited by hand\n")
        with database.reading(fresh) as connection:
            drift = rolled_back.look(fresh, connection)

        assert drift == ([], ["data/sft.jsonl"], [])
    assert "rolled back" not in capsys.readouterr().err


def test_a_touched_file_with_the_same_bytes_is_unchanged(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
):
    build(ws, [{"a": 1}])
    git.commit(ws, ["data", "reports"], "x")
    os.utime(ws.data / "sft.jsonl", (1, 1))

    assert stderr_of_a_run(ws, capsys) == ""


# git --------------------------------------------------------------------------------------------


def test_a_commit_takes_the_named_folders_and_nothing_else(ws: Workspace):
    (ws.data / "a").write_text("1")
    (ws.configs / "b").write_text("2")
    git.git(ws.root, "add", "configs")
    commit = git.commit(ws, ["data", "reports"], "gate passed: run-1")

    assert commit == git.head(ws.root)
    assert git.git(ws.root, "show", "--name-only", "--format=%s").stdout.split() == [
        "gate", "passed:", "run-1", "data/a",
    ]  # fmt: skip
    assert git.git(ws.root, "diff", "--cached", "--name-only").stdout.strip() == "configs/b"
    assert git.commit(ws, ["data", "reports"], "again") == commit


def test_a_deleted_file_is_committed_as_deleted(ws: Workspace):
    (ws.data / "a").write_text("1")
    git.commit(ws, ["data"], "one")
    (ws.data / "a").unlink()
    git.commit(ws, ["data"], "two")

    assert "data/a" not in git.git(ws.root, "ls-files").stdout


def test_a_commit_works_without_an_identity_and_inside_a_hook(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    (ws.data / "a").write_text("1")
    git.commit(ws, ["data"], "one")

    assert git.git(ws.root, "log", "-1", "--format=%an").stdout.strip() == "errata"


def test_the_diff_of_configs_can_be_applied(ws: Workspace):
    (ws.configs / "sft.yaml").write_text("lr: 1\n")
    git.commit(ws, ["configs"], "one")
    (ws.configs / "sft.yaml").write_text("lr: 2\n")
    diff = git.diff_text(ws.root, ["configs"])
    git.git(ws.root, "checkout", "--", "configs")
    (ws.root / "x.diff").write_text(diff)
    git.git(ws.root, "apply", "x.diff")

    assert (ws.configs / "sft.yaml").read_text() == "lr: 2\n"


def test_a_run_of_a_container_that_is_gone_is_known_by_its_silence(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(past, "BEAT", 0.01)
    with Run(ws, "sft", {}) as run:
        with database.writing(ws) as connection:
            table = database.run.update().values(host="another")
            connection.execute(table)
        sign = run.dir / past.ALIVE
        os.utime(sign, (1, 1))
        assert wait_until(lambda: time.time() - sign.stat().st_mtime < 60)
        assert past.mark_died(ws) == []
    assert not sign.exists()

    with database.writing(ws) as connection:
        connection.execute(database.run.update().values(status="running"))
    os.utime(run.dir, (1, 1))
    assert past.mark_died(ws) == [run.id]
    with database.writing(ws) as connection:
        connection.execute(database.run.update().values(status="running"))
    run.dir.rename(ws.root / "elsewhere")  # another machine's, of which nothing is known here
    assert past.mark_died(ws) == []


def wait_until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_every_command_that_looks_marks_who_died(ws: Workspace):
    with Run(ws, "build", {}) as run:
        pass
    for words in (["runs"], ["trace", run.id], ["audit", "verify"], ["status"]):
        with database.writing(ws) as connection:
            connection.execute(database.run.update().values(status="running", pid=2**22 + 1))
        assert cli.main([*words, "-C", str(ws.root)]) == 0
        assert past.get_run(ws, run.id)["status"] == "died"
    assert audit.verify(ws) == []


def test_a_mistyped_stage_or_run_gets_a_hint(ws: Workspace, capsys: pytest.CaptureFixture[str]):
    with Run(ws, "build", {}) as run:
        pass
    assert cli.main(["runs", "stage=biuld", "-C", str(ws.root)]) == 2
    assert "did you mean `build`" in capsys.readouterr().err
    wrong = run.id[:-1] + ("0" if run.id[-1] != "0" else "1")
    assert cli.main(["trace", wrong, "-C", str(ws.root)]) == 2
    assert f"did you mean `{run.id}`" in capsys.readouterr().err


def test_a_gate_that_passed_settles_what_stands_before_it():
    """What it is held against may have been blocked: the model in service fails attacks."""

    def run(at: int, status: str = "done") -> dict[str, Any]:
        return {"id": f"run-{at}", "status": status, "started": f"2026-01-01T00:0{at}:00Z"}

    line = ("intake", "build", "sft", "dpo", "evaluate", "safety", "bench", "gate")
    last = {stage: run(at) for at, stage in enumerate(line)} | {"safety": run(6, "blocked")}
    drift = rolled_back.Drift(edited=[], missing=[], rolled_back=[])
    assert status.next_action(last, drift) == "errata rollout start"
    assert status.next_action({**last, "rollout": run(8)}, drift) == "errata monitor"
    older = {**last, "rollout": {**run(0), "started": "2025"}}
    assert status.next_action(older, drift) == "errata rollout start"
    blocked = {**last, "gate": run(7, "blocked")}
    assert status.next_action(blocked, drift) == "errata safety --model run-3"
    assert status.next_action({**last, "safety": run(8, "blocked")}, drift).startswith("errata saf")
