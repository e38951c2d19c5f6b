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
from errata.build.queue import QUEUE, Waiting
from errata.intake import triage
from errata.intake.redact import POLICY_FILE
from errata.records import Failure, PreferencePair, Review
from errata.store import database, ledger, past
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


def policy(ws: Workspace, kept: str) -> None:
    path = ws.path(POLICY_FILE)
    path.write_text(re.sub("(?m)^retention:.*$", f"retention: {kept}", path.read_text()))


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


def test_what_the_policy_keeps_no_more_is_neither_shown_nor_found(
    desk: Desk, client: Client, ws: Workspace
) -> None:
    """Rows of a label that was kept whole before; and a row that a person gave such a label."""
    mine, other = first(ws, "privacy"), first(ws, "politeness")
    policy(ws, "{privacy: summary}")
    word = str(mine.prompt)[:30]
    assert word not in html.unescape(client.get(f"/failures/{mine.id}"))
    assert desk.index.search(Asked(word)).total == 0
    assert [row["retention"] for row in desk.index.search(Asked(mine.id)).rows] == ["withheld"]
    assert mine.id not in {row["id"] for row in desk.index.drawn(10_000)}
    assert client.get(f"/failures/{mine.id}/prompt.txt") == ""

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


def test_what_was_made_of_a_withheld_row_waits_for_nobody(client: Client, ws: Workspace) -> None:
    """A person gives a row a label of which no text is kept; a pair of it was in the queue."""
    build = past.last_run(ws, "build")
    assert build
    pair = next(row for row in jsonl.read(ws.data / "prefs.jsonl", PreferencePair) if row.made_from)
    path, mine = ws.runs / str(build["id"]) / QUEUE, pair.made_from[0]
    waits = Waiting(id=pair.id, kind="pair", label="other", question="a question that shows",
                    said="s", proposal="p")  # fmt: skip
    case = waits.model_copy(update={"id": "privacy-en-1", "kind": "case", "label": "privacy",
                                    "question": "a case of a suite"})  # fmt: skip
    jsonl.write(path, [waits, case])
    assert "a question that shows" in client.get("/review?kind=pair")
    policy(ws, "{privacy: summary}")
    assert "a case of a suite" in client.get("/review?kind=case")
    reviews.add(ws, [Review(id=mine, verdict="label", text="privacy", by="li",
                            ts=database.now())])  # fmt: skip
    assert "a question that shows" not in client.get("/review?kind=pair")


def test_nothing_is_made_of_a_withheld_row(client: Client, ws: Workspace) -> None:
    one, suite = first(ws, "privacy"), (ws.suites / "attacks.jsonl").read_bytes()
    rows = (ws.data / "failures.jsonl").read_bytes()
    policy(ws, "{privacy: summary}")
    assert "keeps no text of privacy" in client.send(f"/failures/{one.id}/promote", id=one.id)
    word = str(one.prompt).split()[0]
    told = client.send("/review/spans", id=one.id, tag0="PERSON", value0=word, spared="")
    assert "its texts are not shown" in told
    assert (ws.suites / "attacks.jsonl").read_bytes() == suite
    assert (ws.data / "failures.jsonl").read_bytes() == rows


def test_an_alias_of_a_label_a_second_row_and_a_mark_of_byte_order(
    desk: Desk, client: Client, ws: Workspace
) -> None:
    one, path = first(ws, "privacy"), ws.data / "failures.jsonl"
    rows = [row for _, row in jsonl.rows(path)]
    for row in rows:
        row["label"] = "\u9690\u79c1" if row["id"] == one.id else row["label"]
    lines = [json.dumps(row, ensure_ascii=False) for row in [*rows, rows[1]]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    assert (desk.index.row(one.id)["label"], desk.index.row(one.id)["severity"]) == (
        "privacy", "critical")  # fmt: skip
    assert f"{rows[1]['id']} is there twice" in client.get("/failures")
    assert rows[0]["id"] in client.get(f"/failures/{rows[0]['id']}")
    policy(ws, "{privacy: summary}")
    assert desk.index.search(Asked(str(one.prompt)[:30])).total == 0
    assert str(one.prompt)[:30] not in html.unescape(client.get(f"/failures/{one.id}"))


def test_a_broken_file_of_decisions_closes_the_page_and_says_which_line(
    client: Client, ws: Workspace
) -> None:
    """What people decided may hide a text, so nothing is shown without it."""
    before = ws.path(reviews.FILE).read_bytes() if ws.path(reviews.FILE).is_file() else b""
    ws.path(reviews.FILE).write_bytes(before + b'{"id": "f-1", "verd')
    found = client.http.get("/failures")
    assert (found.status_code, "reviews.jsonl:" in found.text) == (503, True)
    ws.path(reviews.FILE).write_bytes(before)
    (ws.path(triage.FILE)).write_bytes(b"")
    client.get("/failures")
