"""The desk's table of failures: it follows the files, and shows no more than the policy."""

from __future__ import annotations

import html
import json
import re

from tests.web.conftest import Client
from tests.web.test_changes import first
from tests.web.test_pages import failures

from errata import jsonl
from errata.build import reviews
from errata.intake import triage
from errata.intake.redact import POLICY_FILE
from errata.records import Failure, Review
from errata.store import database, ledger
from errata.web.desk import Desk
from errata.web.index import Asked, Index
from errata.web.pages import loop
from errata.web.table import FILE
from errata.workspace import Workspace


def test_rows_asked_for_before_the_file_was_written_anew_are_still_theirs(ws: Workspace) -> None:
    """Intake puts rows before those of a page that is being made."""
    index, rows = Index(ws), failures(ws)
    found = index.search(Asked(order="file")).rows
    jsonl.write(ws.data / "failures.jsonl", rows[::-1])
    assert [one.id for one in index.records(found)] == [row["id"] for row in found]


def test_search_finds_what_is_in_the_texts_and_filters_hold_together(
    desk: Desk, ws: Workspace
) -> None:
    rows = failures(ws)
    for word in ("lamp", "订单", "FOOL", rows[3].id):
        found = {row["id"] for row in desk.index.search(Asked(word)).rows}
        texts = {row.id: f"{row.id}\n{row.prompt}\n{row.bad_answer}".casefold() for row in rows}
        assert found == {id for id, text in texts.items() if word.casefold() in text}, word
    only = desk.index.search(Asked("", {"label": "privacy", "severity": "critical"}))
    assert {row["id"] for row in only.rows} == {r.id for r in rows if r.label == "privacy"}
    assert desk.index.search(Asked("", {"label": "privacy", "severity": "normal"})).total == 0


def test_pages_cut_the_list_without_a_gap(ws: Workspace) -> None:
    made = [Failure(id=f"f-{n:04}", prompt=f"q {n}", bad_answer="a", label="other",
                    ts=f"2026-01-{n % 28 + 1:02}T00:00:00Z") for n in range(173)]  # fmt: skip
    jsonl.write(ws.data / "failures.jsonl", made)
    index, seen = Index(ws), []
    for page in (1, 2, 3, 4):
        found = index.search(Asked(page=page, words="q"))
        assert found.total == 173
        assert [r["id"] for r in found.rows] == [
            r["id"] for r in index.search(Asked(page=page)).rows
        ]
        seen += [row["id"] for row in found.rows]
    assert sorted(seen) == [row.id for row in made]
    times = {row.id: row.ts for row in made}
    assert [times[id] for id in seen] == sorted(times.values(), reverse=True)


def test_the_table_follows_the_file_and_the_ledger(desk: Desk, ws: Workspace) -> None:
    before = desk.index.search(Asked()).total
    rows = failures(ws)
    jsonl.write(ws.data / "failures.jsonl", rows[1:])
    assert desk.index.search(Asked()).total == before - 1
    id = rows[1].id
    with database.writing(ws) as connection:
        step = {"src": id, "dst": "s-new", "kind": "became", "run_id": "r"}
        database.insert_new(connection, database.edge, [step])
        held = {"version": "v-1", "file": "f", "row": "s-new", "leaf": "l", "label": "x",
                "source": "y"}  # fmt: skip
        database.insert_new(connection, database.member, [held])
    ledger.append(ws, "note")
    assert desk.index.row(id)["state"] == "in version"


def test_a_line_that_is_no_failure_is_told_of_and_takes_no_page_along(
    client: Client, ws: Workspace
) -> None:
    rows = failures(ws)
    with (ws.data / "failures.jsonl").open("a") as file:
        file.write('{"id": 7}\n' + json.dumps({"id": "f-odd", "label": "other"}) + "\n")
    for page in ("/", "/failures"):
        assert f"data/failures.jsonl:{len(rows) + 1}: id: not str" in client.get(page), page
    odd = client.get("/failures?q=f-odd")
    assert f"data/failures.jsonl:{len(rows) + 2}" in odd
    assert "not a failure" in odd or "prompt" in odd


def test_what_the_policy_keeps_no_more_is_neither_shown_nor_found(
    desk: Desk, client: Client, ws: Workspace
) -> None:
    """Rows of a label that was kept whole before; and a row that a person gave such a label."""
    mine, other = first(ws, "privacy"), first(ws, "politeness")
    policy = ws.path(POLICY_FILE)
    policy.write_text(re.sub("(?m)^retention:.*$", "retention: {privacy: summary}",
                             policy.read_text()))  # fmt: skip
    word = str(mine.prompt)[:30]
    assert word not in html.unescape(client.get(f"/failures/{mine.id}"))
    assert desk.index.search(Asked(word)).total == 0
    assert [row["retention"] for row in desk.index.search(Asked(mine.id)).rows] == ["withheld"]
    assert mine.id not in {row["id"] for row in desk.index.drawn(10_000)}
    client.get(f"/failures/{mine.id}/prompt.txt")

    assert desk.index.row(other.id)["retention"] == "full"
    said = Review(id=other.id, verdict="label", text="privacy", by="li", ts=database.now())
    reviews.add(ws, [said])
    assert str(other.prompt)[:30] not in html.unescape(client.get(f"/failures/{other.id}"))
    reviews.add(ws, [said.model_copy(update={"verdict": "undo", "text": "label"})])
    assert desk.index.row(other.id)["retention"] == "full"
    assert desk.index.row(other.id)["label"] == "politeness"


def test_a_decision_of_a_person_does_not_read_all_failures_again(desk: Desk, ws: Workspace) -> None:
    before, one = desk.index.table, first(ws, "other")
    triage.add(ws, one.id, "wang", "critical")
    reviews.add(ws, [Review(id=one.id, verdict="label", text="factuality", by="li",
                            ts=database.now())])  # fmt: skip
    row = desk.index.row(one.id)
    assert (row["label"], row["owner"], row["severity"]) == ("factuality", "wang", "critical")
    assert desk.index.table is before
    assert dict(desk.index.values("label"))["factuality"] == 1 + sum(
        row.label == "factuality" for row in failures(ws)
    )


def test_a_build_is_stale_when_a_row_changed_though_their_number_is_the_same(
    client: Client, desk: Desk, ws: Workspace
) -> None:
    path = ws.data / "failures.jsonl"
    made = [{"stage": "build", "facts": {"version": "v"}, "outputs": [],
             "inputs": [{"path": FILE, "digest": jsonl.digest_file(path)}]}]  # fmt: skip
    assert loop.dataset(desk, made)["stale"] is False
    rows = failures(ws)
    jsonl.write(path, [rows[0].model_copy(update={"ts": "2026-05-05T00:00:00Z"}), *rows[1:]])
    assert loop.dataset(desk, made)["stale"] is True
