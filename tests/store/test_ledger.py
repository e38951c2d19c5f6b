"""The chain holds, and every kind of tampering is found and located."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from errata import cli, git
from errata.errors import BadInput
from errata.jsonl import canonical
from errata.store import audit, chain, database, keys, ledger, lines, seal
from errata.store.chain import Event
from errata.store.runs import Run
from errata.workspace import Workspace

Tamper = Callable[[list[Event]], list[Event]]


def fill(ws: Workspace, count: int = 4) -> list[str]:
    """Events, sealed one by one."""
    found = []
    for number in range(count):
        found.append(ledger.append(ws, "note", number=number, text="越狱"))
        ledger.seal(ws)
    return found


def stored(ws: Workspace) -> list[Event]:
    rows = ledger.events(ws)
    return [Event(**{**row, "data": canonical(row["data"])}) for row in rows]


def put_stored(ws: Workspace, events: Sequence[Event]) -> None:
    """What somebody with the database in their hands does."""
    with database.writing(ws) as connection:
        connection.execute(sa.delete(database.event))
        if events:
            connection.execute(database.event.insert(), [event._asdict() for event in events])


def put_filed(ws: Workspace, events: Sequence[Event]) -> None:
    lines = [chain.to_line(event) + "\n" for event in events]
    ledger.file_of(ws).write_text("".join(lines), encoding="utf-8")


def put_both(ws: Workspace, events: Sequence[Event]) -> None:
    put_stored(ws, events)
    put_filed(ws, events)


def numbered(events: Sequence[Event]) -> list[Event]:
    """With the numbers that their places have."""
    return [event._replace(seq=place) for place, event in enumerate(events, 1)]


def rehashed(events: Sequence[Event]) -> list[Event]:
    """With hashes that fit what they hold now."""
    return list(chain.chained(None, ((e.ts, e.kind, e.data) for e in events)))


def edited(event: Event) -> Event:
    return event._replace(data='{"number":99}')


def edit(events: list[Event]) -> list[Event]:
    return [edited(event) if event.seq == 3 else event for event in events]


def edit_and_hash(events: list[Event]) -> list[Event]:
    new = edited(events[2])
    return [*events[:2], new._replace(hash=chain.event_hash(*new[:5])), *events[3:]]


def delete(events: list[Event]) -> list[Event]:
    return [*events[:2], *events[3:]]


def insert(events: list[Event]) -> list[Event]:
    (forged,) = chain.chained(events[2], [(events[2].ts, "forged", "{}")])
    return numbered([*events[:3], forged, *events[3:]])


def reorder(events: list[Event]) -> list[Event]:
    return numbered([*events[:2], events[3], events[2], *events[4:]])


def cut_off(events: list[Event]) -> list[Event]:
    return events[:4]


def rewrite(events: list[Event]) -> list[Event]:
    return rehashed(edit(events))


ATTACKS: list[tuple[Tamper, str]] = [
    (edit, "event 3 (note, "),
    (edit_and_hash, "event 3 (note, "),
    (delete, "event 3 is missing: deleted before event 4 (note, "),
    (lambda e: numbered(delete(e)), "event 3 is missing: deleted before event 3 (note, "),
    (insert, "event 4 is inserted or moved: event 5 (note, "),
    (reorder, "event 3 (note, "),
    (cut_off, "events 5 to 6 are missing, which the checkpoint of "),
    (rewrite, "event 3 is not what the checkpoint of "),
]


@pytest.mark.parametrize(("tamper", "words"), ATTACKS)
def test_seven_attacks_on_store_and_file_together_are_found_and_located(
    store: Workspace, tamper: Tamper, words: str
):
    fill(store, 6)
    put_both(store, tamper(stored(store)))
    problems = audit.verify(store)

    assert f"store: {words}" in problems[0]
    assert any(problem.startswith(f"audit/ledger.jsonl: {words}") for problem in problems)


def test_the_words_say_what_was_done(store: Workspace):
    fill(store, 6)
    true = stored(store)

    assert chain.breaks(true) == []
    assert "was changed after it was written" in chain.breaks(edit(true))[0]
    assert "was rewritten, hash and all: event 4" in chain.breaks(edit_and_hash(true))[0]
    assert "was moved: it was written after" in chain.breaks(reorder(true))[0]
    assert len(chain.breaks(edit(true))) == len(chain.breaks(numbered(delete(true)))) == 1
    assert len(chain.breaks([*edit(true)[:5], edited(true[5])])) == 2


def test_an_old_copy_of_the_database_is_found_also_after_it_went_on(
    store: Workspace, capsys: pytest.CaptureFixture[str]
):
    fill(store, 3)
    copy = stored(store)
    fill(store, 3)
    put_stored(store, copy)
    assert "store: events 4 to 6 are missing, which the checkpoint of " in audit.verify(store)[0]

    for number in range(5):  # it grows past what was signed, on another branch
        ledger.append(store, "note", number=-number)
    capsys.readouterr()
    ledger.seal(store)
    assert "not sealed: the store has not the event 6" in capsys.readouterr().err
    assert any("4 is not what the checkpoint of" in p for p in audit.verify(store))


def test_without_the_key_no_checkpoint_can_be_made_to_fit(store: Workspace):
    fill(store, 6)
    put_both(store, forged := rewrite(stored(store)))
    (path,) = seal.folder(store).glob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    new = [{**line, "head": forged[line["size"] - 1].hash} for line in lines]
    path.write_text("".join(canonical(line) + "\n" for line in new))
    assert "its signature does not hold" in audit.verify(store)[0]

    path.unlink()
    assert "missing; its key has signed" in audit.verify(store)[0]


def test_a_checkpoint_by_another_key_or_taken_out_of_the_middle_is_found(
    store: Workspace, tmp_path: Path
):
    fill(store, 4)
    (path,) = seal.folder(store).glob("*.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:1], *lines[2:]]))
    assert "the checkpoint before it is missing" in audit.verify(store)[0]

    path.write_text("".join(lines))
    assert audit.verify(store) == []
    (public,) = (store.root / "keys").glob("ledger-*.pub")
    public.rename(tmp_path / "gone.pub")
    assert "which is not in keys/" in audit.verify(store)[0]


@pytest.mark.parametrize("where", ["kind", "ts", "data"])
def test_fields_cannot_be_shifted_into_each_other(store: Workspace, where: str):
    """What is hashed can be taken apart in one way only."""
    ledger.append(store, "note", a=1)
    (event,) = stored(store)
    shifted = {
        "kind": event._replace(kind='note","prev":"'),
        "ts": event._replace(ts=event.ts + '"}'),
        "data": event._replace(data='{"a":1},"kind":"note"'),
    }[where]
    assert chain.breaks([shifted]) != []


@given(st.lists(st.tuples(st.text(), st.dictionaries(st.text(), st.text())), max_size=5))
def test_lines_are_canonical_json_and_come_back(rows: list[tuple[str, dict[str, str]]]):
    told = [("2026-01-01T00:00:00Z", kind, canonical(data)) for kind, data in rows]
    for event in chain.chained(None, told):
        line = chain.to_line(event)
        assert chain.from_line(line) == event
        assert line == canonical({**event._asdict(), "data": json.loads(event.data)})
        body = {**event._asdict(), "data": json.loads(event.data)}
        del body["hash"]
        import hashlib

        assert event.hash == hashlib.sha256(canonical(body).encode()).hexdigest()


def test_a_file_rolled_back_by_git_is_completed_by_the_next_seal(store: Workspace):
    fill(store)
    put_filed(store, stored(store)[:2])
    assert "audit/ledger.jsonl: events 3 to 4 are missing" in audit.verify(store)[0]
    ledger.append(store, "note", number=4)
    ledger.seal(store)
    assert audit.verify(store) == []


def test_half_a_line_left_by_a_death_is_written_again(store: Workspace):
    fill(store)
    path = ledger.file_of(store)
    path.write_bytes(path.read_bytes()[:-40])
    ledger.seal(store)
    assert audit.verify(store) == []


def test_a_line_longer_than_the_tail_that_is_read(store: Workspace):
    ledger.append(store, "note", text="长" * 100_000)
    ledger.seal(store)
    fill(store, 1)
    assert audit.verify(store) == []
    assert len(ledger.file_of(store).read_text().splitlines()) == 2


def test_a_clone_goes_on_from_the_tracked_files(local: Workspace, tmp_path: Path):
    fill(local)
    clone = tmp_path / "clone"
    (clone / "configs").mkdir(parents=True)
    for name in ("audit", "keys"):
        shutil.copytree(local.root / name, clone / name)
    other = Workspace.find(clone)

    assert audit.verify(other) == []
    ledger.append(other, "note", number=4)
    ledger.seal(other)
    assert [row["seq"] for row in ledger.events(other)] == [1, 2, 3, 4, 5]
    assert audit.verify(other) == []
    assert len(keys.trusted(other, "ledger")) == 2  # the clone has a key of its own


def test_a_clone_does_not_go_on_from_a_forged_file(local: Workspace, tmp_path: Path):
    fill(local)
    put_filed(local, edit(stored(local)))
    clone = tmp_path / "clone"
    shutil.copytree(local.audit, clone / "audit")
    with pytest.raises(BadInput, match="event 3"):
        ledger.append(Workspace(clone), "note")


def test_a_full_disk_leaves_the_file_as_it_was(store: Workspace, monkeypatch: pytest.MonkeyPatch):
    fill(store, 2)
    before = ledger.file_of(store).read_bytes()
    ledger.append(store, "note", number=2)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lines.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            ledger.seal(store)
    assert ledger.file_of(store).read_bytes() == before
    ledger.seal(store)
    assert audit.verify(store) == []


def test_many_at_once_are_all_there_or_none(store: Workspace):
    with pytest.raises(ValueError, match="JSON"):
        ledger.extend(store, [("note", {"a": 1}), ("note", {"a": float("nan")})])
    assert ledger.events(store) == []
    assert len(ledger.extend(store, [("note", {"a": n}) for n in range(2000)])) == 2000
    assert audit.verify(store) == []


def test_writers_at_once_make_one_chain(store: Workspace):
    threads = [threading.Thread(target=fill, args=(store, 5)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ledger.events(store)) == 20
    assert audit.verify(store) == []


def test_audit_verify_exits_1_on_tampering(store: Workspace, capsys: pytest.CaptureFixture[str]):
    fill(store)
    assert cli.main(["audit", "verify", "-C", str(store.root)]) == 0
    assert "4 events, the chain holds; signed up to event 4" in capsys.readouterr().out
    put_filed(store, edit(stored(store)))
    assert cli.main(["audit", "verify", "-C", str(store.root), "--json"]) == 1
    last: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["problems"]
    assert cli.main(["audit", "burn", "-C", str(store.root)]) == 2


def commit(ws: Workspace) -> None:
    git.git(ws.root, "add", "--all", "--", "audit", "keys")
    git.git(ws.root, *git.identity(ws.root), "commit", "--quiet", "-m", "audit")


def forge_all(ws: Workspace) -> None:
    """The whole chain anew in both places, and every trace of who has signed the old one gone."""
    put_both(ws, rewrite(stored(ws)))
    shutil.rmtree(seal.folder(ws))
    shutil.rmtree(ws.root / "keys")


def test_checkpoints_and_keys_cannot_vanish_together(store: Workspace):
    fill(store, 6)
    forge_all(store)
    assert any("not what the checkpoint of" in p for p in audit.verify(store))


def test_git_is_a_witness_where_the_machines_own_key_is_gone_too(store: Workspace):
    fill(store, 6)
    commit(store)
    fill(store, 2)
    assert audit.verify(store) == []
    forge_all(store)
    shutil.rmtree(store.state / "keys")
    problems = audit.verify(store)

    assert (
        "audit/ledger.jsonl: is not what the last commit has, gone on; rewritten since" in problems
    )
    assert any(p.startswith("keys/ledger-") and "the last commit has it" in p for p in problems)


def test_a_file_that_is_no_key_is_a_problem_and_not_an_error(store: Workspace):
    fill(store, 2)
    (path,) = (store.root / "keys").glob("ledger-*.pub")
    path.write_text("no key")
    assert any("not the public key of that id" in problem for problem in audit.verify(store))


def cut(path: Path, lines: int) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))


def test_an_emptied_checkpoint_file_is_missed_and_nothing_is_signed_over_it(store: Workspace):
    """No key is needed to empty a file: what vanished with it must be missed all the same."""
    fill(store, 6)
    put_both(store, stored(store)[:2])
    (path,) = seal.folder(store).glob("*.jsonl")
    path.write_bytes(b"")
    assert any("missing; its key has signed" in p for p in audit.verify(store))

    ledger.append(store, "note", number=-1)
    ledger.seal(store)
    assert path.read_bytes() == b""
    assert any("events 4 to 6 are missing" in p for p in audit.verify(store))


def test_git_misses_what_was_cut_off_everywhere_at_once(store: Workspace):
    fill(store, 6)
    commit(store)
    put_both(store, stored(store)[:3])
    (path,) = seal.folder(store).glob("*.jsonl")
    cut(path, 3)
    shutil.rmtree(store.state / "keys")
    problems = audit.verify(store)

    for name in ("audit/ledger.jsonl", f"audit/checkpoints/{path.name}"):
        assert f"{name}: is not what the last commit has, gone on; cut off since" in problems


def test_a_copy_that_was_cut_is_completed_by_the_next_command(store: Workspace):
    fill(store, 4)
    commit(store)
    cut(ledger.file_of(store), 2)
    assert "audit/ledger.jsonl: events 3 to 4 are missing" in audit.verify(store)[0]
    ledger.seal(store)
    assert audit.verify(store) == []
    assert len(ledger.file_of(store).read_bytes().splitlines()) == 4


def test_a_store_whose_events_are_all_gone_is_no_fresh_clone(store: Workspace):
    with Run(store, "build", {}):
        pass
    fill(store, 3)
    with database.writing(store) as connection:
        connection.execute(database.event.delete())
    count = len(ledger.file_of(store).read_bytes().splitlines())
    assert f"store: events 1 to {count} are missing, which audit/ledger.jsonl has" in audit.verify(
        store
    )


def test_what_git_moves_is_no_tampering_where_the_store_has_it_all(store: Workspace):
    """`git checkout`, `git reset`: audit/ is as the commit has it, and no event is lost."""
    fill(store, 3)
    commit(store)
    fill(store, 3)
    commit(store)
    git.git(store.root, "reset", "--quiet", "--hard", "HEAD~1")
    problems = audit.verify(store)
    assert problems == []
    ledger.seal(store)
    assert audit.verify(store) == []


def test_a_forged_memory_is_not_believed(store: Workspace):
    fill(store, 3)
    memory = store.state / "keys" / "ledger.seen"
    told = json.loads(memory.read_text())
    memory.write_text(json.dumps({**told, "size": 1_000_000}))
    assert audit.verify(store) == []
    fill(store, 1)
    assert json.loads(memory.read_text())["size"] == 4


def test_a_store_that_nothing_has_signed_any_more(store: Workspace):
    for _ in range(2):
        with Run(store, "build", {}):
            pass
    put_both(store, rewrite(stored(store)))
    shutil.rmtree(seal.folder(store))
    shutil.rmtree(store.root / "keys")
    for path in (store.state / "keys").glob("ledger.*"):
        path.unlink()
    assert any("none is left" in problem for problem in audit.verify(store))
