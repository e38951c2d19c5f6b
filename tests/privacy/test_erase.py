"""A person is gone from everywhere it is said, and what cannot be reached is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.privacy.conftest import PHONE, ROWS, everywhere, run_erase

from errata import cli, jsonl
from errata.errors import BadInput, Blocked
from errata.intake import redact
from errata.intake import stage as intake
from errata.privacy import plan, scrub, vault
from errata.privacy.scrub import Marks
from errata.store import (
    audit,
    checkout,
    database,
    ledger,
    lineage,
    objects,
    past,
    tombstone,
    versions,
)
from errata.store.runs import Run
from errata.workspace import Workspace


@pytest.mark.parametrize("subject", [PHONE, "139-0013-9000", "c-42"])
def test_nothing_of_the_person_is_left(desk: Workspace, subject: str):
    token = redact.redact(PHONE, key=redact.workspace_key(desk)).text
    ids = [row["id"] for _, row in jsonl.rows(desk.data / "failures.jsonl")][:3]
    assert len(everywhere(desk, token)) >= 5
    assert len(everywhere(desk, "lamp 1")) > 5  # training rows too, with an invented number
    done = run_erase(desk, subject=subject)

    for word in (token, PHONE, "We call you, lamp 1"):
        assert everywhere(desk, word) == [], word
    # Whose a number is that a report quotes by itself, only who names the number has said.
    assert bool(everywhere(desk, "139 0013 9000")) == (subject == "c-42")
    assert done["raw_rows"] == 3
    with database.reading(desk) as connection:
        assert set(ids) <= tombstone.buried(connection)
    left = [row for _, row in jsonl.rows(desk.data / "failures.jsonl")]
    assert len(left) == 6
    assert "erased" in (desk.reports / "posttrain" / "page.md").read_text()
    assert audit.verify(desk) == []


def test_others_keep_what_is_theirs(desk: Workspace):
    before = {row["id"] for _, row in jsonl.rows(desk.data / "failures.jsonl")}
    run_erase(desk, subject="c-3")
    after = {row["id"] for _, row in jsonl.rows(desk.data / "failures.jsonl")}

    assert len(before - after) == 1
    assert len((desk.inbox / "rows.jsonl").read_text().splitlines()) == 8
    token = redact.redact(PHONE, key=redact.workspace_key(desk)).text
    assert vault.read(desk, token) == "139 0013 9000"


def test_each_version_gets_a_successor_that_can_be_checked_out(desk: Workspace):
    old = json.loads((desk.data / "version.json").read_text())["id"]
    new = run_erase(desk, subject="c-42")["versions"][old]

    facts = json.loads((desk.data / "version.json").read_text())
    assert facts["id"] == new
    assert {"lint", "rubric"} <= facts.keys()
    with database.reading(desk) as connection:
        left = versions.members(connection, new)
    assert versions.root(member.leaf for member in left) == new
    for id in (old, new):
        outcome = checkout.main(desk, checkout.Config(args=[id]))
        assert json.loads((desk.data / "version.json").read_text())["id"] == new
        assert bool(outcome.data["erased"]) == (id == old)
    assert everywhere(desk, "lamp 1") == []
    found = versions.diff(desk, old, new)
    assert {member.row[:2] for member in found.removed} == {"s-", "p-"}
    assert not found.added
    assert not found.changed


def test_models_that_learnt_from_them_are_named(desk: Workspace):
    done = run_erase(desk, subject="c-42")

    assert done["affected"]["candidates"] == ["sha256:" + "c" * 64]
    with database.reading(desk) as connection:
        (carried,) = tombstone.carried(connection, "sha256:" + "c" * 64)
    assert carried.run == done["affected"]["runs"][0]
    assert 1 <= carried.rows <= 3
    kinds = {node.kind for node in lineage.lineage(desk, carried.run).things.values()}
    assert "erased" in kinds


def test_a_model_trained_on_the_successor_carries_nothing(desk: Workspace):
    run_erase(desk, subject="c-42")
    with Run(desk, "sft", {}) as run:
        for _, row in jsonl.rows(desk.data / "sft.jsonl"):
            run.link(row["id"], run.id, "trained")
        run.link(run.id, "sha256:" + "d" * 64, "made")
    with database.reading(desk) as connection:
        assert tombstone.carried(connection, "sha256:" + "d" * 64) == []


def test_the_event_tells_no_secret(desk: Workspace):
    run_erase(desk, subject=PHONE)
    (event,) = ledger.events(desk, "erasure")

    assert "subject" in event["data"]
    assert PHONE not in jsonl.canonical(event["data"])
    assert all(PHONE not in jsonl.canonical(record) for record in past.list_runs(desk))


def test_raw_rows_in_parquet_go_and_the_file_stays_one(desk: Workspace):
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet: pip install 'errata[scale]'")
    from pyarrow import parquet

    path = desk.inbox / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    done = run_erase(desk, subject="c-42")

    assert done["raw_rows"] == 6  # three in each file
    assert [row["user_id"] for row in parquet.read_table(path).to_pylist()] == [
        f"c-{n}" for n in range(6)
    ]


def test_what_is_erased_does_not_come_back(desk: Workspace):
    run_erase(desk, subject="c-42")
    jsonl.write(desk.inbox / "again.jsonl", ROWS)
    intake.main(desk, intake.Config())

    assert len([*jsonl.rows(desk.data / "failures.jsonl")]) == 6


def test_a_second_time_finds_nothing_and_harms_nothing(desk: Workspace):
    run_erase(desk, subject="c-42")
    before = (desk.data / "sft.jsonl").read_bytes()
    done = run_erase(desk, subject="c-42")

    assert (done["rows"], done["raw_rows"], done["versions"]) == (0, 0, {})
    assert (desk.data / "sft.jsonl").read_bytes() == before


@pytest.mark.parametrize("place", ["_write_down", "reach.clean", "vault.drop", "objects.drop"])
def test_cut_off_anywhere_the_same_command_goes_on(
    desk: Workspace, monkeypatch: pytest.MonkeyPatch, place: str
):
    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"errata.privacy.erase.{place}", die)
        with pytest.raises(KeyboardInterrupt):
            run_erase(desk, subject=PHONE)
    run_erase(desk, subject=PHONE)

    token = redact.redact(PHONE, key=redact.workspace_key(desk)).text
    for word in (token, PHONE, "We call you, lamp 1"):
        assert everywhere(desk, word) == [], word
    version = json.loads((desk.data / "version.json").read_text())["id"]
    with database.reading(desk) as connection:
        left = versions.members(connection, version)
    assert {member.row for member in left} == {
        row["id"]
        for name in ("sft", "sft.valid", "prefs", "prefs.valid")
        for _, row in jsonl.rows(desk.data / f"{name}.jsonl")
    }


def test_what_cannot_be_reached_is_said_with_a_command(desk: Workspace):
    ledger.append(desk, "export", to="http://tracker:5000", format="mlflow", runs=[])
    left = {step["place"]: step["command"] for step in run_erase(desk, subject="c-42")["left"]}

    assert "filter-repo" in left["git history"]
    assert "http://tracker:5000" in left
    assert {"runs/", "backups"} <= set(left)
    assert ("PostgreSQL" in left) == (database.connect(desk).dialect.name == "postgresql")


def test_a_dry_run_touches_nothing(desk: Workspace):
    before = jsonl.digest_file(desk.root)
    done = run_erase(desk, subject="c-42", dry_run=True)

    assert done["rows"] > 3
    assert jsonl.digest_file(desk.root) == before


def test_rows_by_their_ids(desk: Workspace):
    id = next(jsonl.rows(desk.data / "failures.jsonl"))[1]["id"]
    run_erase(desk, args=[id])

    assert everywhere(desk, "lamp 0") == []
    assert everywhere(desk, "lamp 1") != []


def test_only_privacy_may(desk: Workspace, monkeypatch: pytest.MonkeyPatch):
    team = "team: several\npeople: {k1: {name: li, roles: [model, safety, product]}}\n"
    (desk.policies / "roles.yaml").write_text(team)
    monkeypatch.setenv("ERRATA_ACTOR", "li")
    with pytest.raises(Blocked, match="privacy"):
        run_erase(desk, subject="c-42")
    with pytest.raises(Blocked, match="privacy"):
        vault.main(desk, vault.Config(args=["<PHONE:00000000>"], why="x"))
    assert len([*jsonl.rows(desk.data / "failures.jsonl")]) == 9


def test_a_value_is_revealed_with_a_reason_and_an_event(desk: Workspace):
    token = redact.redact(PHONE, key=redact.workspace_key(desk)).text
    assert vault.main(desk, vault.Config(args=[token], why="call back")).data["value"]
    assert ledger.events(desk, "reveal")[0]["data"]["why"] == "call back"
    with pytest.raises(BadInput, match="reason"):
        vault.main(desk, vault.Config(args=[token]))
    run_erase(desk, subject=PHONE)
    with pytest.raises(BadInput, match="not in the vault"):
        vault.main(desk, vault.Config(args=[token], why="call back"))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["erase"], "name one subject"),
        (["erase", "--subject", "x" * 9], "why"),
        (["erase", "--subject", "a", "why=x"], "one character"),
        (["erase", "f-nothing", "why=x"], "nothing is recorded"),
        (["erase", "f-1", "--subject", "li@example.com", "why=x"], "name one subject"),
    ],
)
def test_bad_usage_is_one_line(
    desk: Workspace, capsys: pytest.CaptureFixture[str], words: list[str], part: str
):
    assert cli.main([*words, "-C", str(desk.root)]) == 2
    assert part in capsys.readouterr().err


def test_a_short_number_is_no_word_to_look_for(ws: Workspace):
    marks = plan.plain_marks(ws, "42", [])
    assert not marks.speak("the lamp costs 42 yuan")
    assert plan.plain_marks(ws, "王小明", []).speak("我是王小明。")


def test_a_longer_number_is_another_one():
    marks = Marks(frozenset(), words=frozenset({PHONE}))
    assert marks.speak(f"call {PHONE}!")
    assert not marks.speak(f"order {PHONE}1")


@given(st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=30)), max_size=6), st.text())
def test_rows_without_the_person_stay_byte_for_byte(rows: list[dict[str, str]], word: str):
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    marks = Marks(frozenset(), words=frozenset({word} - {""}))
    clean = scrub.file("x.jsonl", content, marks)
    mine = [row for row in rows if any(marks.speak(text) for text in scrub.strings(row))]

    assert len(clean.dropped) == len(mine)
    assert [json.loads(line) for line in clean.content.splitlines()] == [
        row for row in rows if row not in mine
    ]
    assert not scrub.file("x.jsonl", clean.content, marks).changed


def test_weights_are_not_text(tmp_path: Path):
    assert not scrub.file(
        "a.bin", b"\0" + PHONE.encode(), Marks(frozenset(), words=frozenset({PHONE}))
    ).changed


def test_an_object_that_was_dropped_is_no_longer_there(desk: Workspace):
    digest = jsonl.digest_file(desk.data / "sft.jsonl")
    assert objects.there(desk, digest)
    run_erase(desk, subject="c-42")
    assert not objects.there(desk, digest)
