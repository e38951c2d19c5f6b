"""The chain holds, and every kind of tampering is found and located."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from errata import cli
from errata.errors import BadInput
from errata.store import database, ledger
from errata.workspace import Workspace


def fill(ws: Workspace, count: int = 4) -> list[str]:
    return [ledger.append(ws, "note", number=i, text="越狱") for i in range(count)]


def lines_of(ws: Workspace) -> list[str]:
    return ledger.file_of(ws).read_text(encoding="utf-8").splitlines()


def put_lines(ws: Workspace, lines: list[str]) -> None:
    ledger.file_of(ws).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_each_event_names_the_hash_of_the_one_before(ws: Workspace):
    hashes = fill(ws)
    rows = ledger.events(ws)

    assert [row["hash"] for row in rows] == hashes
    assert [row["prev"] for row in rows] == ["0" * 64, *hashes[:-1]]
    assert [json.loads(line) for line in lines_of(ws)] == rows
    assert ledger.verify(ws) == []


def _edit(lines: list[str]) -> list[str]:
    return [lines[0], lines[1].replace('"number":1', '"number":9'), *lines[2:]]


def _rehashed(lines: list[str]) -> list[str]:
    """A forger who changes an event and every hash after it."""
    rows = [json.loads(line) for line in lines]
    rows[1]["data"]["number"] = 9
    for before, row in zip([None, *rows], rows, strict=False):
        row["prev"] = before["hash"] if before else ledger.ZERO
        row["hash"] = ledger.event_hash(*(row[k] for k in ("seq", "ts", "kind", "data", "prev")))
    return [json.dumps(row, ensure_ascii=False) for row in rows]


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (_edit, "event 2 (note, "),
        (lambda lines: [lines[0], *lines[2:]], "event 3 (note, "),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "event 2 (note, "),
        (lambda lines: lines[:-1], "events 4 to 4 are missing"),
        (lambda lines: [*lines, "{not json"], "audit/ledger.jsonl:5: not an event"),
        (_rehashed, "event 2: the store and audit/ledger.jsonl disagree"),
    ],
)
def test_tampering_with_the_file_is_located(
    ws: Workspace, tamper: Callable[[list[str]], list[str]], message: str
):
    fill(ws)
    put_lines(ws, tamper(lines_of(ws)))
    problems = ledger.verify(ws)

    assert len(problems) >= 1
    assert message in problems[0]


def test_tampering_with_the_store_is_located(ws: Workspace):
    fill(ws)
    with database.writing(ws) as connection:
        connection.execute(
            sa.update(database.event).where(database.event.c.seq == 3).values(data='{"number":0}')
        )

    assert "store: event 3 (note, " in ledger.verify(ws)[0]
    assert "was changed after it was written" in ledger.verify(ws)[0]


def test_a_file_rolled_back_by_git_is_reported_then_completed(ws: Workspace):
    fill(ws)
    put_lines(ws, lines_of(ws)[:2])

    assert "events 3 to 4 are missing" in ledger.verify(ws)[0]
    ledger.append(ws, "note", number=4)
    assert ledger.verify(ws) == []
    assert len(lines_of(ws)) == 5


def test_a_clone_goes_on_from_the_tracked_file(ws: Workspace, tmp_path: Path):
    fill(ws)
    clone = tmp_path / "clone"
    (clone / "configs").mkdir(parents=True)
    (clone / "audit").mkdir()
    (clone / "audit" / "ledger.jsonl").write_bytes(ledger.file_of(ws).read_bytes())
    other = Workspace.find(clone)

    assert ledger.verify(other) == []
    ledger.append(other, "note", number=4)
    assert [row["seq"] for row in ledger.events(other)] == [1, 2, 3, 4, 5]
    assert ledger.verify(other) == []


def test_a_clone_does_not_go_on_from_a_forged_file(ws: Workspace, tmp_path: Path):
    fill(ws)
    clone = tmp_path / "clone"
    (clone / "audit").mkdir(parents=True)
    (clone / "audit" / "ledger.jsonl").write_text("\n".join(_edit(lines_of(ws))))
    with pytest.raises(BadInput, match="event 2"):
        ledger.append(Workspace(clone), "note")


def test_a_full_disk_leaves_neither_copy_with_the_event(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
):
    fill(ws, 2)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ledger.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            ledger.append(ws, "note", number=2)
    assert len(lines_of(ws)) == len(ledger.events(ws)) == 2
    assert ledger.verify(ws) == []


def test_writers_at_once_make_one_chain(ws: Workspace):
    threads = [threading.Thread(target=fill, args=(ws, 5)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ledger.events(ws)) == 20
    assert ledger.verify(ws) == []


def test_audit_verify_exits_1_on_tampering(ws: Workspace, capsys: pytest.CaptureFixture[str]):
    fill(ws)
    assert cli.main(["audit", "verify", "-C", str(ws.root)]) == 0
    assert "4 events, the chain holds" in capsys.readouterr().out
    put_lines(ws, _edit(lines_of(ws)))
    assert cli.main(["audit", "verify", "-C", str(ws.root), "--json"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last)["problems"]
    assert cli.main(["audit", "burn", "-C", str(ws.root)]) == 2
