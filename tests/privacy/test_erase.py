"""A person is gone from everywhere it is said, and what cannot be reached is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata import cli, git, jsonl
from errata.build import stage as build
from errata.errors import BadInput, Blocked
from errata.intake import redact
from errata.intake import stage as intake
from errata.privacy import erase, scrub, vault
from errata.privacy.scrub import Marks
from errata.store import checkout, database, ledger, lineage, objects, past, tombstone, versions
from errata.store.runs import Run
from errata.workspace import Workspace

PHONE = "13900139000"
ROWS: list[dict[str, Any]] = [
    {"prompt": f"Please call 139 0013 9000 about the order of lamp {n}", "bad_answer": "No.",
     "label": "politeness", "user_id": "c-42", "meta": {"reference": f"We call you, lamp {n}."}}
    for n in range(3)
] + [
    {"prompt": f"我想退掉第 {n} 号水壶，可以吗？", "bad_answer": "不行，滚。",
     "label": "politeness", "user_id": f"c-{n}",
     "meta": {"reference": f"可以的，第 {n} 号水壶支持退货。"}}
    for n in range(6)
]  # fmt: skip
SOURCES = "sources:\n  local: {purpose: [training], consent: made up for tests}\n"
SUITE = {"id": "b-1", "category": "smalltalk", "language": "en", "family": "f", "cluster": "c",
         "split": "heldout", "messages": [{"role": "user", "content": "hello there my friend"}],
         "success": {"kind": "says", "value": "x"}, "reference": "Hello."}  # fmt: skip


@pytest.fixture
def desk(store: Workspace) -> Workspace:
    """Nine failures of seven people, taken in, built into a version, and learnt by one run."""
    (store.configs / "intake.yaml").write_text(SOURCES, encoding="utf-8")
    (store.policies / "redaction.yaml").write_text("vault: [PHONE]\n")
    jsonl.write(store.inbox / "rows.jsonl", ROWS)
    for name in ("attacks", "business"):
        jsonl.write(store.suites / f"{name}.jsonl", [{**SUITE, "id": f"{name}-1"}])
    intake.main(store, intake.Config(sources={}))
    accept = build.Accept(min_rows=1, min_pairs=1, max_dup_share=1.0, max_template_share=1.0)
    build.main(store, build.Config(replay=0, lookalikes=0, retention=0, accept=accept))
    rows = [row["id"] for _, row in jsonl.rows(store.data / "sft.jsonl")]
    with Run(store, "sft", {"model": "tiny"}) as run:
        run.input("data/sft.jsonl")
        run.links((row, run.id, "trained") for row in rows)
        run.link(run.id, "sha256:" + "c" * 64, "made")
        run.node("sha256:" + "c" * 64, "candidate")
        run.note(first_row="call 139 0013 9000: <PHONE:12345678>", sample=said(store))
        jsonl.write_text(run.output("reports/posttrain/page.md"), f"It was asked: {said(store)}\n")
    answers = store.state / "answers" / "a.jsonl"
    jsonl.write(answers, [{"prompt": "x", "answer": PHONE}])
    git.commit(store, ["data", "reports", "suites"], "data")
    return store


def said(ws: Workspace) -> str:
    """A question of theirs as it is kept."""
    return str(next(jsonl.rows(ws.data / "failures.jsonl"))[1]["prompt"])


def run_erase(ws: Workspace, **given: Any) -> dict[str, Any]:
    return erase.main(ws, erase.Config(why="request 7", **given)).data


def everywhere(ws: Workspace, word: str) -> list[str]:
    """Files below the workspace that hold a word, but for git's own."""
    found = []
    for path in ws.root.rglob("*"):
        inside = path.relative_to(ws.root).parts[:1]
        if inside != (".git",) and path.is_file() and word.encode() in path.read_bytes():
            found.append(ws.relative(path))
    return found


@pytest.mark.parametrize("subject", [PHONE, "139-0013-9000", "c-42"])
def test_nothing_of_the_person_is_left(desk: Workspace, subject: str):
    token = redact.redact(PHONE, key=redact.workspace_key(desk)).text
    ids = [row["id"] for _, row in jsonl.rows(desk.data / "failures.jsonl")][:3]
    assert len(everywhere(desk, token)) > 5
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
    assert ledger.verify(desk) == []


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
    marks = erase.plain_marks(ws, "42", [])
    assert not marks.speak("the lamp costs 42 yuan")
    assert erase.plain_marks(ws, "王小明", []).speak("我是王小明。")


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
