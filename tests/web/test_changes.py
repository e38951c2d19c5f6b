"""What forms change: the same files and the same ledger that the commands of these names would."""

from __future__ import annotations

import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.web.conftest import SCRIPT, Client, manifest, progress

from errata import jsonl
from errata.build import queue, reviews
from errata.config import read_yaml
from errata.errors import BadInput
from errata.evaluate.people import ratings, sample
from errata.intake import span_review, triage
from errata.intake.span_review import Miss
from errata.records import Case, Failure
from errata.release import alerts, routing, waivers
from errata.store import audit, ledger, past
from errata.store.runs import Run
from errata.train.settings import Panel
from errata.web import jobs, panel
from errata.web.pages.review import swapped
from errata.workspace import Workspace


def first(ws: Workspace, label: str) -> Failure:
    rows = jsonl.read(ws.data / "failures.jsonl", Failure)
    return next(row for row in rows if row.label == label and row.prompt)


# failures -----------------------------------------------------------------------------------------


def test_an_owner_and_a_severity_are_kept_and_found(client: Client, ws: Workspace) -> None:
    row = first(ws, "factuality")
    page = client.send(f"/failures/{row.id}/triage", owner="王芳 <qa>", severity="critical")
    assert "王芳 &lt;qa&gt;" in page
    assert triage.read(ws)[row.id].severity == "critical"
    assert row.id in client.get("/failures?severity=critical&label=factuality")
    client.send(f"/failures/{row.id}/triage", owner="", severity="normal")
    assert triage.read(ws)[row.id].owner == ""


def test_what_is_said_of_severity_is_what_promote_takes(client: Client, ws: Workspace) -> None:
    row = first(ws, "politeness")
    client.send(f"/failures/{row.id}/triage", owner="li", severity="critical")
    page = client.send(f"/failures/{row.id}/promote", success="")
    assert "cases of 1 failures" in page
    cases = [case for case in jsonl.read(ws.suites / "business.jsonl", Case)
             if case.failure == row.id]  # fmt: skip
    assert {case.severity for case in cases} == {"critical"}


def test_a_failure_that_cannot_be_a_case_says_why(client: Client, ws: Workspace) -> None:
    row = first(ws, "factuality")
    page = client.send(f"/failures/{row.id}/promote", success="nonsense=1")
    assert "no predicate" in page
    assert 'role="alert"' in page


# review -------------------------------------------------------------------------------------------


def waiting(ws: Workspace, kind: str) -> queue.Waiting:
    return next(row for row in queue.left(ws).waiting if row.kind == kind)


def test_an_answer_is_kept_taken_back_and_waits_again(client: Client, ws: Workspace) -> None:
    row = waiting(ws, "answer")
    client.send("/review/decide", id=row.id, said="I am sorry. Please tell me the order number.")
    assert reviews.read(ws.root / reviews.FILE).answers[row.id].by == "li@example.com"
    assert row.id not in {one.id for one in queue.left(ws).waiting}
    client.send("/review/undo")
    assert row.id not in reviews.read(ws.root / reviews.FILE).answers
    assert row.id in {one.id for one in queue.left(ws).waiting}
    lines = [raw["verdict"] for _, raw in jsonl.rows(ws.root / reviews.FILE)]
    assert lines[-2:] == ["answer", "undo"], "nothing was taken out of the file"


def test_undo_takes_back_one_after_the_other_and_never_what_somebody_else_decided(
    client: Client, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for row in queue.left(ws).waiting if row.kind == "answer"][:3]
    client.send("/review/decide", id=rows[0].id, said="The first answer.")
    client.send("/review/decide", id=rows[1].id, said="The second answer.")
    monkeypatch.setenv("ERRATA_ACTOR", "wang@example.com")
    client.send("/review/decide", id=rows[2].id, said="The third answer.")
    monkeypatch.setenv("ERRATA_ACTOR", "li@example.com")
    left = []
    for _ in range(2):
        client.send("/review/undo")
        left.append(set(reviews.read(ws.root / reviews.FILE).answers))
    assert left == [{rows[0].id, rows[2].id}, {rows[2].id}]
    assert "nothing of yours" in client.send("/review/undo")


@pytest.mark.parametrize("better", [True, False])
def test_a_pair_is_kept_when_the_blind_choice_is_the_builds(
    client: Client, ws: Workspace, better: bool
) -> None:
    row = waiting(ws, "pair")
    chosen, other = ("second", "first") if swapped(row.id) else ("first", "second")
    client.send("/review/decide", id=row.id, said=chosen if better else other)
    found = reviews.read(ws.root / reviews.FILE)
    assert (row.id in found.kept, row.id in found.dropped) == (better, not better)


def test_the_page_of_a_pair_does_not_tell_which_side_was_chosen(
    client: Client, ws: Workspace
) -> None:
    pairs = [row for row in queue.left(ws).waiting if row.kind == "pair"]
    sides = {swapped(row.id) for row in pairs}
    assert sides == {True, False}
    page = client.get("/review?kind=pair").casefold()
    assert "chosen" not in page
    assert "rejected" not in page


def test_the_same_question_is_decided_once(client: Client, ws: Workspace) -> None:
    row = waiting(ws, "answer")
    client.send("/review/decide", id=row.id, said="An answer.")
    assert "waits no more" in client.send("/review/decide", id=row.id, said="Another.")
    assert "nothing was written" in client.send(
        "/review/decide", id=waiting(ws, "answer").id, said="  "
    )


def test_a_teachers_answer_counts_again_when_a_persons_is_taken_back(ws: Workspace) -> None:
    told = {"id": "f-1", "by": "x", "ts": "2026-01-01T00:00:00Z"}
    lines = [
        {**told, "verdict": "answer", "text": "the teacher's", "origin": "teacher"},
        {**told, "verdict": "answer", "text": "the person's"},
        {**told, "verdict": "label", "text": "privacy"},
        {**told, "verdict": "undo"},
    ]
    jsonl.write(ws.root / reviews.FILE, lines)
    found = reviews.read(ws.root / reviews.FILE)
    assert found.answers["f-1"].text == "the teacher's"
    assert found.labels == {"f-1": "privacy"}, "the label is another decision"
    jsonl.write(ws.root / reviews.FILE, [*lines, {**told, "verdict": "undo", "text": "label"}])
    assert reviews.read(ws.root / reviews.FILE).labels == {}


# redacted texts -----------------------------------------------------------------------------------


def test_a_missed_value_is_taken_out_of_the_row_and_its_bucket(
    client: Client, ws: Workspace
) -> None:
    row = first(ws, "politeness")
    word = (row.prompt or "").split()[-1]
    page = client.send("/review/spans", id=row.id, tag0="PERSON", value0=word, spared="")
    assert "1 missed" in page
    (mended,) = [r for r in jsonl.read(ws.data / "failures.jsonl", Failure) if r.id == row.id]
    assert word not in (mended.prompt or "")
    assert re.search(r"<PERSON:[0-9a-f]{8}>", mended.prompt or "")
    buckets = "".join(p.read_text() for p in (ws.data / "failures/politeness").glob("*.jsonl"))
    assert jsonl.canonical(mended.prompt) in buckets
    assert jsonl.canonical(row.prompt) not in buckets
    assert word not in (ws.root / span_review.FILE).read_text()
    assert ledger.events(ws, "redaction")
    assert audit.verify(ws) == []
    measured = span_review.measured(ws)
    assert (measured.rows, measured.missed) == (1, 1)


def test_reading_without_a_find_counts_and_can_be_taken_back(client: Client, ws: Workspace) -> None:
    before = (ws.data / "failures.jsonl").read_bytes()
    ids = []
    for _ in range(3):
        page = client.get("/review/spans")
        ids.append(re.findall(r'name="id" value="([^"]+)"', page)[0])
        client.send("/review/spans", id=ids[-1], spared="")
    assert len(set(ids)) == 3, "the next is another"
    assert span_review.measured(ws)[:2] == (3, 0)
    # Zero of three: 1 - 0.05 ** (1 / 3)
    assert span_review.measured(ws).high == pytest.approx(0.6316, abs=1e-4)
    client.send("/review/spans/undo", id=ids[1])
    assert ids[1] not in span_review.read(ws)
    assert (ws.data / "failures.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("miss", "said"),
    [(Miss("PERSON", "not in there"), "does not hold"), (Miss("ODD", "x y"), "no tag"),
     (Miss("PERSON", "a"), "at least 2")],
)  # fmt: skip
def test_what_cannot_be_a_miss_changes_nothing(ws: Workspace, miss: Miss, said: str) -> None:
    before = (ws.data / "failures.jsonl").read_bytes()
    with pytest.raises(BadInput, match=said):
        span_review.look(ws, first(ws, "privacy").id, [miss])
    assert (ws.data / "failures.jsonl").read_bytes() == before
    assert span_review.read(ws) == {}


# samples ------------------------------------------------------------------------------------------


def rated(client: Client, rater: str, prefers: str) -> str:
    page = client.get(f"/review/samples?rater={rater}")
    id = re.findall(r'name="id" value="([^"]+)"', page)[0]
    marks = {f"{name}_{letter}": "yes" for name in ("factuality", "politeness", "safety")
             for letter in "ab"}  # fmt: skip
    client.send("/review/samples", id=id, rater=rater, preference=prefers, reason="r", **marks)
    return id


def test_two_raters_rate_blind_and_each_takes_back_their_own(
    client: Client, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    whose = sample.last(ws)
    one = rated(client, "r1", "a")
    assert rated(client, "r2", "b") == one
    assert set(ratings.read(ws, whose.id)) == {(one, "r1")}, "one person is no two raters"
    monkeypatch.setenv("ERRATA_ACTOR", "wang@example.com")
    two = rated(client, "r2", "b")
    assert one == two, "the same rows in the same order"
    row = next(row for row in whose.rows if row.id == one)
    found = ratings.read(ws, whose.id)
    assert found[one, "r1"].preference == row.side("a")
    assert found[one, "r2"].preference == row.side("b")
    client.send("/review/samples/undo", rater="r1")
    assert set(ratings.read(ws, whose.id)) == {(one, "r2")}
    assert one in {row.id for row in ratings.waiting(whose, ratings.read(ws), "r1")}
    monkeypatch.setenv("ERRATA_ACTOR", "li@example.com")
    assert rated(client, "r1", "tie") == one
    assert ratings.read(ws, whose.id)[one, "r1"].preference == "tie"


def test_half_a_row_is_none(client: Client, ws: Workspace) -> None:
    whose = sample.last(ws)
    page = client.send("/review/samples", id=whose.rows[0].id, rater="r1", factuality_a="yes")
    assert "write skip where you cannot tell" in page
    assert ratings.read(ws) == {}


# runs ---------------------------------------------------------------------------------------------


def test_the_panel_is_edited_in_place_with_its_comments(client: Client, ws: Workspace) -> None:
    before = (ws.configs / "sft.yaml").read_text()
    fields = {name: str(value) for name, value in panel.current(ws).items()}
    client.send("/runs/panel", **{**fields, "lora_r": "32", "lr": "5e-4"})
    after = (ws.configs / "sft.yaml").read_text()
    told = read_yaml(ws.configs / "sft.yaml")
    assert (told["lora_r"], told["lr"]) == (32, 5e-4)
    changed = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True)
               if a != b]  # fmt: skip
    assert [a.split(":")[0] for a, _ in changed] == ["lr", "lora_r"]
    assert all(a.partition("#")[2] == b.partition("#")[2] for a, b in changed)


@pytest.mark.parametrize(("name", "value"), [("lora_r", "0"), ("lr", "fast"), ("seq_len", "1.5"),
                                             ("lora_dropout", "1"), ("warmup", "[1")])  # fmt: skip
def test_a_panel_that_is_none_is_refused_and_the_file_stays(
    client: Client, ws: Workspace, name: str, value: str
) -> None:
    before = (ws.configs / "sft.yaml").read_bytes()
    fields = {key: str(told) for key, told in panel.current(ws).items()}
    page = client.send("/runs/panel", **{**fields, name: value})
    assert 'role="alert"' in page
    assert name in page
    assert (ws.configs / "sft.yaml").read_bytes() == before


def test_the_eight_knobs_are_knobs_of_the_panel() -> None:
    assert set(panel.KNOBS) <= set(Panel.model_fields)
    assert all(panel.meaning(name) for name in panel.KNOBS)


def test_progress_tells_how_much_is_left_and_minds_no_half_written_line(ws: Workspace) -> None:
    with Run(ws, "sft", {}) as run:
        progress(ws, run.id, 30, 50)
        with (ws.runs / run.id / "progress.jsonl").open("a") as file:
            file.write('{"step": 31, "lo')
        found = jobs.progress(ws, run.id)
    assert (found.step, found.steps) == (30, 50)
    assert found.left == pytest.approx(10.0), "20 steps of half a second"
    assert set(found.curves) == {"loss", "seconds"}
    assert found.curves["loss"][0] == (1.0, 2.001)
    assert jobs.progress(ws, "../../etc").curves == {}


@pytest.mark.slow
def test_a_training_is_started_watched_and_stopped(client: Client, ws: Workspace) -> None:
    """The real command, in a process of its own, and its curve while it goes on."""
    fields = {name: str(value) for name, value in panel.current(ws).items()}
    client.send("/runs/start", stage="sft", max_steps="2000", **{**fields, "micro_batch": "4"})
    end = time.monotonic() + 240
    while not (going := jobs.running(ws)) or not jobs.progress(ws, going[0]["id"]).curves:
        assert time.monotonic() < end, client.desk.jobs.all[0].tail
        time.sleep(0.5)
    id = going[0]["id"]
    assert "polyline" in client.get("/running")
    assert "goes on" in client.send("/runs/start", stage="dpo"), "one at a time"
    assert "write stop" in client.send(f"/runs/{id}/stop", confirm="no")
    client.send(f"/runs/{id}/stop", confirm="stop")
    assert client.desk.jobs.all[0].process.wait(120) != 0
    assert past.get_run(ws, id)["status"] in ("failed", "blocked")
    assert list((ws.runs / id / "checkpoints").glob("checkpoint-*")), "its state is kept"


def test_only_a_process_of_this_machine_is_stopped(
    client: Client, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[Any] = []
    monkeypatch.setattr(jobs.os, "kill", lambda *told: killed.append(told))
    with Run(ws, "sft", {}) as run:
        client.send(f"/runs/{run.id}/stop", confirm="stop")
        assert killed == [(jobs.os.getpid(), signal.SIGTERM)]
        monkeypatch.setattr(jobs.platform, "node", lambda: "elsewhere")
        assert "it runs on" in client.send(f"/runs/{run.id}/stop", confirm="stop")
    assert "does not run" in client.send(f"/runs/{run.id}/stop", confirm="stop")
    assert len(killed) == 1


@pytest.mark.parametrize("stage", ["erase", "init", "../sft", "sft; rm"])
def test_the_desk_starts_trainings_alone(client: Client, stage: str) -> None:
    assert "the desk starts" in client.send("/runs/start", stage=stage)
    assert client.desk.jobs.all == []


def test_a_model_that_is_none_is_refused_before_anything_starts(client: Client) -> None:
    assert 'role="alert"' in client.send("/runs/start", stage="dpo", model="no-such-run")
    assert client.desk.jobs.all == []


# verdicts and rollouts ----------------------------------------------------------------------------


def test_a_waiver_is_asked_for_signed_and_revoked(client: Client, ws: Workspace) -> None:
    told = dict.fromkeys(("risk", "impact", "rollback_plan", "owner"), f"said {SCRIPT}")
    client.send("/waivers", metric="safety.attack_hit_rate.privacy", candidate=manifest("bad"),
                **told)  # fmt: skip
    made = waivers.all_of(ws)[-1]
    assert "write w-" in client.send(f"/waivers/{made.id}/sign", confirm="yes")
    assert waivers.all_of(ws)[-1].signature is None
    page = client.send(f"/waivers/{made.id}/sign", confirm=made.id)
    assert "signed by" in page
    assert "counts" in client.get("/verdicts")
    client.send(f"/waivers/{made.id}/revoke", confirm=made.id)
    assert "was revoked" in client.get("/verdicts")


def test_of_several_nobody_signs_their_own_at_the_desk_either(
    client: Client, ws: Workspace
) -> None:
    jsonl.write_text(
        ws.policies / "roles.yaml",
        "team: several\npeople:\n  k1: {name: li@example.com, roles: [safety]}\n",
    )
    (made,) = waivers.all_of(ws)
    page = client.send(f"/waivers/{made.id}/sign", confirm=made.id)
    assert "cannot sign it" in page
    assert waivers.all_of(ws)[0].signature is None


def test_the_rollout_moves_only_for_who_writes_its_id(client: Client, ws: Workspace) -> None:
    canary = routing.current(ws).canary
    assert canary
    for what in ("advance", "abort", "rollback"):
        page = client.send(f"/rollout/{what}", confirm="yes", why="w")
        assert f"write {canary.id}" in page
    assert routing.current(ws).canary == canary
    client.send("/rollout/abort", confirm=canary.id, why="seen enough")
    assert routing.current(ws).canary is None
    assert ledger.events(ws, "rollout")[-1]["data"]["why"] == "seen enough"


def test_advance_says_what_the_monitor_says(client: Client, ws: Workspace) -> None:
    canary = routing.current(ws).canary
    assert canary
    page = client.send("/rollout/advance", confirm=canary.id)
    after = routing.current(ws).canary
    assert after
    assert after.stage_percent == 1, "a rate of failures in doubt, or too few requests"
    assert 'role="alert"' in page


def test_an_alert_is_acknowledged_and_closed(client: Client, ws: Workspace) -> None:
    (alert,) = alerts.known(ws).values()
    client.send(f"/alerts/{alert.id}/ack", **{"from": "/"})
    assert alerts.known(ws)[alert.id].state == "acknowledged"
    client.send(f"/alerts/{alert.id}/resolve")
    assert alerts.known(ws)[alert.id].state == "resolved"
    assert "it is resolved" in client.send(f"/alerts/{alert.id}/resolve")


def test_a_form_leads_to_no_other_host(client: Client, ws: Workspace) -> None:
    (alert,) = alerts.known(ws).values()
    data = {"csrf": client.desk.keys.csrf, "from": "//evil.example/"}
    found = client.http.post(f"/alerts/{alert.id}/ack", data=data)
    assert not found.headers["location"].startswith(("//", "http"))


def test_every_change_leaves_the_ledger_whole(client: Client, ws: Workspace) -> None:
    row = first(ws, "privacy")
    client.send(f"/failures/{row.id}/triage", owner="li", severity="critical")
    client.send("/review/decide", id=waiting(ws, "answer").id, said="An answer.")
    rated(client, "r1", "a")
    canary = routing.current(ws).canary
    assert canary
    client.send("/rollout/rollback", confirm=canary.id, why="a drill of the tests")
    assert audit.verify(ws) == []


def test_of_two_who_answer_the_same_question_at_once_one_is_told(
    client: Client, ws: Workspace
) -> None:
    row = queue.left(ws).waiting[0]
    with ThreadPoolExecutor(4) as pool:
        pages = list(pool.map(lambda _: client.send("/review/decide", id=row.id, said="/drop"),
                              range(4)))  # fmt: skip
    assert len(reviews.written(ws.path(reviews.FILE))) == 1
    assert sum("waits no more" in page for page in pages) == 3


def test_a_missed_value_is_not_looked_for_in_what_stands_for_others(ws: Workspace) -> None:
    text = "<PHONE:c0ffee00> said PH once"
    assert span_review._replaced(text, "PH", "<X>") == "<PHONE:c0ffee00> said <X> once"
