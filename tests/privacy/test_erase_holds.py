"""What is erased stays so: against git, clones, kills, raw copies, and careless words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from tests.privacy.conftest import PHONE, ROWS, everywhere, run_erase

from errata import git, jsonl
from errata.build import stage as build
from errata.errors import BadInput
from errata.intake import redact
from errata.intake import stage as intake
from errata.privacy import erase, unreached, vault
from errata.records import SftExample
from errata.store import (
    audit,
    database,
    ledger,
    past,
    repair,
    tombstone,
)
from errata.store.runs import Run
from errata.train import prepare
from errata.workspace import Workspace


def again(ws: Workspace) -> str:
    """git takes data/ and reports/ back to what they were before the erasure."""
    git.git(ws.root, "checkout", "--", "data", "reports")
    return str(next(jsonl.rows(ws.data / "failures.jsonl"))[1]["id"])


def built(ws: Workspace) -> dict[str, Any]:
    accept = build.Accept(min_rows=1, min_pairs=1, max_dup_share=1.0, max_template_share=1.0)
    config = build.Config(replay=0, lookalikes=0, retention=0, accept=accept)
    return build.main(ws, config).data


def test_what_git_brings_back_is_neither_built_from_nor_trained_on(desk: Workspace):
    run_erase(desk, subject="c-42")
    with database.reading(desk) as connection:
        stones = tombstone.buried(connection)
    gone = again(desk)
    with pytest.raises(BadInput, match="rows were erased"):
        learns(desk)
    done = built(desk)

    assert gone in done["erased"]
    made = {row["id"] for _, row in jsonl.rows(desk.data / "sft.jsonl")}
    assert not made & stones
    with database.reading(desk) as connection:
        assert tombstone.buried(connection) == stones
        assert tombstone.carried(connection, "sha256:" + "c" * 64)
    learns(desk)


def learns(ws: Workspace) -> None:
    """What every training stage does with its rows first."""
    path = ws.data / "sft.jsonl"
    with Run(ws, "sft", {}) as run:
        job: Any = SimpleNamespace(run=run, dataset=path)
        prepare.learns(job, jsonl.read(path, SftExample))


def test_a_store_made_anew_from_the_ledger_knows_who_was_erased(local: Workspace, desk: Workspace):
    run_erase(desk, subject="c-42")
    url = os.environ.pop("ERRATA_DATABASE_URL", None)  # as on a machine with a store of its own
    if url is None:
        database.connect(desk).dispose()
        for path in desk.state.glob("store.db*"):
            path.unlink()
    jsonl.write(desk.inbox / "again.jsonl", ROWS)
    intake.main(desk, intake.Config())

    assert len([*jsonl.rows(desk.data / "failures.jsonl")]) == 6
    with database.reading(desk) as connection:
        assert tombstone.carried(connection, "sha256:" + "c" * 64)


def test_rows_that_turn_up_again_do_not_refill_the_vault(desk: Workspace):
    token = redact.redact(PHONE, key=redact.workspace_key(desk)).text
    run_erase(desk, subject="c-42")
    jsonl.write(desk.inbox / "again.jsonl", ROWS)
    intake.main(desk, intake.Config())
    assert vault.read(desk, token) is None


def test_rows_erased_by_their_ids_leave_no_value_in_the_vault(desk: Workspace):
    token = redact.redact(PHONE, key=redact.workspace_key(desk)).text
    ids = [row["id"] for _, row in jsonl.rows(desk.data / "failures.jsonl")]
    run_erase(desk, args=ids[:2])
    assert vault.read(desk, token)  # a third row of theirs has it still
    run_erase(desk, args=ids[2:3])
    assert vault.read(desk, token) is None


def test_a_kill_after_the_rows_are_gone_loses_nothing_of_the_record(
    desk: Workspace, monkeypatch: pytest.MonkeyPatch
):
    """Whoever is killed behind the cleaning has said before who learnt from the rows."""

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("errata.privacy.erase.objects.drop", die)
        with pytest.raises(KeyboardInterrupt):
            run_erase(desk, subject="c-42")
    run_erase(desk, subject="c-42")
    first = ledger.events(desk, "erasure")[0]["data"]

    assert len(first["rows"]) > 3
    assert first["affected"]["candidates"] == ["sha256:" + "c" * 64]
    assert first["versions"]


def test_rules_repairs_and_uncommitted_changes_are_reached(desk: Workspace):
    (desk.configs / "sft.yaml").write_text(f"seed: 1  # {PHONE} asked for it\n")
    (desk.root / "notes.py").write_text(f"# {PHONE}\n")
    git.git(desk.root, "add", "--intent-to-add", "notes.py")
    id = next(jsonl.rows(desk.data / "failures.jsonl"))[1]["id"]
    given = repair.Config(args=[id], why=f"{PHONE} asked for it", files=["configs/sft.yaml"])
    repair.main(desk, given)
    (desk.root / "notes.py").unlink()
    assert len(everywhere(desk, PHONE)) > 3
    run_erase(desk, subject=PHONE)

    assert everywhere(desk, PHONE) == []
    with database.reading(desk) as connection:
        texts = connection.execute(sa.select(database.node.c.data)).scalars()
        assert not [text for text in texts if PHONE in text]


def test_a_file_named_for_a_person_is_not_named_in_the_ledger(desk: Workspace):
    jsonl.write(desk.inbox / "li.na@mail.cn.jsonl", [{**ROWS[4], "prompt": "另一个问题，可以吗？"}])
    intake.main(desk, intake.Config(args=["inbox/li.na@mail.cn.jsonl"]))
    assert "li.na" not in jsonl.canonical(ledger.events(desk))
    assert "li.na" not in (desk.audit / "ledger.jsonl").read_text()


@pytest.mark.parametrize("number", ["1234567", "20251216"])
def test_a_number_is_erased_and_breaks_no_record(desk: Workspace, number: str):
    with Run(desk, "build", {"seed": int(number), "note": f"for {number}"}) as run:
        jsonl.write_json(run.output("reports/a.json"), {"n": int(number), "of": f"{number}!"})
    row = {**ROWS[4], "prompt": "我的第三个问题呢？", "user_id": int(number)}
    jsonl.write(desk.inbox / "n.jsonl", [row])
    intake.main(desk, intake.Config())
    run_erase(desk, subject=number)

    record = past.get_run(desk, run.id)
    assert record["config"] == {"seed": int(number), "note": "for [erased]"}
    assert json.loads((desk.reports / "a.json").read_text()) == {
        "n": int(number),
        "of": "[erased]!",
    }
    assert all(record["id"][:3] == "202" for record in past.list_runs(desk))


def test_a_word_that_others_say_is_not_taken_for_a_person(desk: Workspace):
    with pytest.raises(BadInput, match=r"other people .* dry_run=true, then add wide=true"):
        run_erase(desk, subject="可以吗")
    looked = run_erase(desk, subject="可以吗", dry_run=True)
    assert looked["files"]["data/failures.jsonl"] == 6
    assert looked["wide"]
    assert run_erase(desk, subject="可以吗", wide=True)["rows"] > 6


def test_history_has_an_exact_command(desk: Workspace):
    """The expressions, as git filter-repo applies them, drop the rows and spare the ledger."""
    token = redact.redact(PHONE, key=redact.workspace_key(desk)).text
    vault.main(desk, vault.Config(args=[token], why="an event that names them"))
    git.commit(desk, ["audit", "keys"], "audit")
    run_erase(desk, subject="c-42")
    git.commit(desk, ["."], "without")
    done = erase.main(desk, erase.Config(subject="c-42", history=True))
    names = ("data/failures.jsonl", "data/sft.jsonl", "audit/ledger.jsonl")
    before = {name: git.git(desk.root, "show", f"HEAD~1:{name}").stdout for name in names}

    (desk.root.parent / "gone.txt").write_text(done.text)
    subprocess.run(
        [sys.executable, "-m", "git_filter_repo", "--force", "--replace-text", "../gone.txt",
         "--file-info-callback", unreached.NOT_THE_AUDIT],
        cwd=desk.root, check=True, capture_output=True,
    )  # fmt: skip

    after = {name: git.git(desk.root, "show", f"HEAD~1:{name}").stdout for name in before}
    rows = before["data/failures.jsonl"].splitlines(keepends=True)
    assert after["data/failures.jsonl"] == "".join(rows[3:])
    assert "lamp 1" in before["data/sft.jsonl"]
    assert "lamp" not in after["data/sft.jsonl"]
    assert token in before["audit/ledger.jsonl"]
    assert after["audit/ledger.jsonl"] == before["audit/ledger.jsonl"]
    assert audit.verify(desk) == []
    assert git.git(desk.root, "log", "--all", "-Slamp 1", "--format=%h").stdout == ""


def test_files_of_ones_own_are_named(desk: Workspace):
    (desk.root / "Makefile").write_text(f"call: # {PHONE}\n")
    left = {step["place"]: step["what"] for step in run_erase(desk, subject=PHONE)["left"]}
    assert "Makefile" in left["files"]


def test_what_an_erasure_has_shortened_is_known_in_a_clone(desk: Workspace):
    page = desk.reports / "posttrain" / "page.md"
    old = jsonl.digest_file(page)
    run_erase(desk, subject="c-42")
    with database.writing(desk) as connection:
        for table in (database.edge, database.node, database.event, database.run):
            connection.execute(table.delete())
    ledger.append(desk, "note")
    with database.reading(desk) as connection:
        assert tombstone.successor(connection, old) == jsonl.digest_file(page)
        (carried,) = tombstone.carried(connection, "sha256:" + "c" * 64)
    assert 1 <= carried.rows <= 3
