"""What a source was not declared for its rows are not used for; raw rows do not live for ever."""

from __future__ import annotations

import datetime
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.store.conftest import store

from errata import cli, jsonl
from errata.errors import BadInput
from errata.intake import consent, inbox, stage
from errata.store import ledger
from errata.workspace import Workspace

__all__ = ["store"]


@pytest.fixture
def ws(store: Workspace) -> Workspace:
    """On both databases."""
    return store


GIVEN = """
sources:
  local: {purpose: [training], consent: our own}
  online: {purpose: [evaluation], consent: terms of 2025}
  canary: {purpose: [training, evaluation], consent: terms of 2025}
"""


@pytest.mark.parametrize(
    ("source", "purpose", "may"),
    [
        (None, "training", True),
        ("local", "training", True),
        ("online", "training", False),
        ("online", "evaluation", True),
        ("canary:r2-1a2b", "training", True),
        ("forum", "evaluation", False),
    ],
)
def test_a_source_is_used_for_what_it_was_declared_for(
    ws: Workspace, source: str | None, purpose: consent.Purpose, may: bool
):
    (ws.configs / "intake.yaml").write_text(GIVEN)
    assert consent.may(consent.declared(ws), source, purpose) is may


def test_without_a_declaration_nothing_trains(ws: Workspace):
    assert not consent.may(consent.declared(ws), None, "training")


@pytest.mark.parametrize("text", ["{purpose: [fun], consent: x}", "{purpose: [training]}",
                                  "{purpose: [training], consent: ''}"])  # fmt: skip
def test_a_declaration_that_says_too_little_is_refused(ws: Workspace, text: str):
    (ws.configs / "intake.yaml").write_text(f"sources:\n  online: {text}\n")
    with pytest.raises(BadInput, match=r"configs/intake.yaml: sources.online"):
        consent.declared(ws)


def test_build_leaves_them_out_and_says_which_line_to_add(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["init", str(tmp_path / "desk")]) == 0
    root = tmp_path / "desk"
    row = {"prompt": "Is the lamp in stock today?", "bad_answer": "Go away.", "label": "politeness",
           "source": "forum", "meta": {"reference": "Yes, it is."}}  # fmt: skip
    jsonl.write(root / "inbox" / "forum.jsonl", [row])
    assert cli.main(["intake", "-C", str(root)]) == 0
    assert "Will not train: forum (1)" in capsys.readouterr().out
    assert cli.main(["build", "-C", str(root)]) == 0
    assert "`forum: {purpose: [training], consent: WHY}`" in capsys.readouterr().out
    assert "Is the lamp in stock" not in (root / "data" / "sft.jsonl").read_text()

    config = root / "configs" / "intake.yaml"
    config.write_text(config.read_text() + "  forum: {purpose: [training], consent: asked them}\n")
    assert cli.main(["build", "-C", str(root)]) == 0
    assert (
        "Is the lamp in stock"
        in (root / "data" / "sft.jsonl").read_text()
        + (root / "data" / "sft.valid.jsonl").read_text()
    )


DAY = datetime.date(2026, 1, 1)


def name(line: bytes) -> str:
    return line.decode()


def later(days: int) -> datetime.date:
    return DAY + datetime.timedelta(days=days)


def test_a_row_leaves_so_many_days_after_it_was_first_seen(ws: Workspace):
    path = ws.inbox / "a.jsonl"
    path.write_text('{"a":1}\n')
    assert inbox.sweep(ws, ws.inbox, 30, name, DAY) == 0
    path.write_text('{"a":1}\n{"a":2}\n')  # the file has grown: it is as new as its last row
    assert inbox.sweep(ws, ws.inbox, 30, name, later(20)) == 0
    assert inbox.sweep(ws, ws.inbox, 30, name, later(29)) == 0
    assert inbox.sweep(ws, ws.inbox, 30, name, later(30)) == 1
    assert path.read_text() == '{"a":2}\n'
    assert inbox.sweep(ws, ws.inbox, 30, name, later(50)) == 1
    assert not path.exists()
    with closing(sqlite3.connect(ws.state / inbox.REGISTER)) as register:
        assert register.execute("SELECT count(*) FROM seen").fetchone() == (0,)


def test_rows_that_are_no_rows_have_the_same_time(ws: Workspace):
    (ws.inbox / "broken.txt").write_text("call 13900139000\n")
    inbox.sweep(ws, ws.inbox, 1, name, DAY)
    assert inbox.sweep(ws, ws.inbox, 1, name, later(1)) == 1
    assert inbox.files(ws.inbox) == []


def test_intake_sweeps_and_the_ledger_has_it(ws: Workspace):
    row = {"prompt": "a b c", "bad_answer": "no", "label": "other"}
    jsonl.write(ws.inbox / "a.jsonl", [row])
    stage.main(ws, stage.Config(inbox_days=0))

    assert inbox.files(ws.inbox) == []
    assert ledger.events(ws, "expiry")[0]["data"]["rows"] == 1
    assert len([*jsonl.rows(ws.data / "failures.jsonl")]) == 1


def test_the_register_tells_no_text(ws: Workspace):
    jsonl.write(ws.inbox / "a.jsonl", [{"prompt": "a b c", "bad_answer": "n", "label": "other"}])
    stage.main(ws, stage.Config())
    assert b"a b c" not in (ws.state / inbox.REGISTER).read_bytes()
    (ws.state / inbox.REGISTER).write_text("no database")
    with pytest.raises(BadInput, match="restore it, or delete it"):
        stage.main(ws, stage.Config())


@pytest.mark.parametrize("source", ["from li@corp.cn", "forum: night", "yes", "a # b", "论坛"])
def test_the_advice_can_be_copied_into_the_file(ws: Workspace, source: str):
    row = {"prompt": "a b c", "bad_answer": "n", "label": "other", "source": source}
    jsonl.write(ws.inbox / "a.jsonl", [row])
    text = stage.main(ws, stage.Config()).text
    line = text[text.index("add `") + 5 : text.index("` below")]
    (ws.configs / "intake.yaml").write_text(f"sources:\n  {line}\n", encoding="utf-8")
    (kept,) = jsonl.rows(ws.data / "failures.jsonl")
    assert consent.may(consent.declared(ws), kept[1]["source"], "training")
