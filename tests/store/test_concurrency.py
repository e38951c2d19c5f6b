"""Processes that write at once: every event is there once, and a reader sees one state."""

from __future__ import annotations

import threading
from types import ModuleType

import sqlalchemy as sa

from errata.store import audit, database, ledger
from errata.workspace import Workspace


def test_processes_that_write_at_once_lose_nothing(store: Workspace, crash: ModuleType):
    found = crash.written(store, 4, 1000)

    assert (found["failed"], found["lost"], found["twice"]) == (0, 0, 0)
    assert found["problems"] == []
    assert len(ledger.events(store)) == 1001


def test_a_ledger_that_grows_while_it_is_verified_holds(store: Workspace):
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            ledger.append(store, "note", n=1)
            ledger.seal(store)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert [problem for _ in range(40) for problem in audit.verify(store)] == []
    finally:
        stop.set()
        writer.join()


def test_a_reader_sees_one_state_in_all_that_it_asks(store: Workspace):
    count = sa.select(sa.func.count()).select_from(database.event)
    ledger.append(store, "note", n=0)
    with database.reading(store) as connection:
        assert connection.execute(count).scalar() == 1
        ledger.append(store, "note", n=1)
        assert connection.execute(count).scalar() == 1


def test_rows_that_two_write_in_opposite_order_block_nobody(store: Workspace):
    """On a server each would wait for the other's rows: a deadlock, and one of the runs is lost."""
    both, failed = threading.Barrier(2), list[BaseException]()

    def write(step: int) -> None:
        try:
            for turn in range(5):
                both.wait()
                with database.writing(store) as connection:
                    for number in range(60)[::step]:
                        row = {"id": f"n-{turn}-{number}", "kind": "k", "data": "{}"}
                        database.insert_new(connection, database.node, [row])
        except BaseException as error:
            failed.append(error)
            both.abort()

    threads = [threading.Thread(target=write, args=(step,)) for step in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
