"""What pages show: in both languages, as text, and no more than today's policy lets be seen."""

from __future__ import annotations

import os
import re

import pytest
from tests.web.conftest import SCRIPT, Client, manifest
from tests.web.test_guard import READ, tags

from errata import jsonl
from errata.records import Failure
from errata.release import live, monitor, routing
from errata.store import ledger, past
from errata.train import log
from errata.web import jobs
from errata.web.pages import loop, reports
from errata.web.watched import Watched
from errata.workspace import Workspace

HAN = re.compile(r"[\u4e00-\u9fff]")


def failures(ws: Workspace) -> list[Failure]:
    return jsonl.read(ws.data / "failures.jsonl", Failure)


def every_page(ws: Workspace) -> list[str]:
    """Every address that has something on it."""
    rows = failures(ws)
    runs = [str(run["id"]) for run in past.list_runs(ws)]
    verdicts = [event["data"]["id"] for event in ledger.events(ws, "verdict")]
    trained = [id for id in runs if "-sft-" in id]
    return [
        *READ, *(f"/failures/{row.id}" for row in rows), *(f"/runs/{id}" for id in runs),
        *(f"/verdicts/{id}" for id in verdicts), f"/runs/{trained[0]}/live",
        f"/runs/compare?id={trained[0]}&id={trained[1]}", f"/lineage?id={rows[0].id}",
        *(f"/lineage?id={id}" for id in trained), "/reports/data-lint.md",
        *(f"/review?kind={kind}" for kind in ("answer", "pair", "label", "case")),
    ]  # fmt: skip


def chrome(page: str) -> str:
    """What the desk says, without what rows, records and configs say."""
    page = re.sub(r"<(bdi|code|pre|kbd|option|small|title|svg)\b.*?</\1>", "", page, flags=re.S)
    page = re.sub(r'<a [^>]*lang="zh".*?</a>', "", page, flags=re.S)
    return re.sub(r'<div class="markdown.*?</div>', "", page, flags=re.S)


def test_every_page_speaks_english_without_a_chinese_word(client: Client, ws: Workspace) -> None:
    for path in every_page(ws):
        page = client.get(path, **{"accept-language": "en"})
        assert "<html" not in page or 'lang="en"' in page
        assert HAN.findall(chrome(page)) == [], path


def test_every_page_speaks_chinese(client: Client, ws: Workspace) -> None:
    for path in every_page(ws):
        page = client.get(path, **{"accept-language": "zh-CN,zh;q=0.9"})
        heads = re.findall(r"<h[12][^>]*>(.*?)</h[12]>", page, flags=re.S)
        for head in heads:
            told = re.sub(r"<[^>]*>", "", chrome(head)).strip()
            assert not re.fullmatch(r"[A-Za-z ,:]{4,}", told) or told.isupper(), (path, told)
        assert HAN.search(page), path


def test_the_chosen_language_stands_over_the_browsers(client: Client) -> None:
    client.http.get("/language?to=zh")
    assert "失败样本" in client.get("/failures", **{"accept-language": "en"})


def test_no_row_becomes_markup_on_any_page(client: Client, ws: Workspace) -> None:
    shown = 0
    for path in every_page(ws):
        page = client.get(path)
        assert "<b>so</b>" not in page, path
        for tag, told in tags(page):
            assert tag != "script" or (told["src"] or "").startswith("/static/"), path
            assert not [name for name in told if name.startswith("on")], path
            assert (told.get("src") or "/").startswith("/"), path
        assert not set(page) & set("\u202e\u2066\u2069"), path
        shown += "&lt;script&gt;" in page
    assert shown > 3, "hostile rows were there"


def test_templates_in_a_row_are_not_carried_out(client: Client, ws: Workspace) -> None:
    (row,) = [row for row in failures(ws) if "7 * 7" in (row.prompt or "")]
    page = client.get(f"/failures/{row.id}")
    assert "{{ 7 * 7 }}" in page
    assert "49" not in re.sub(r"<[^>]*>", "", page.split("<h2>")[1])


def test_of_a_megabyte_the_beginning_is_shown_and_the_rest_has_an_address(
    client: Client, ws: Workspace
) -> None:
    (row,) = [row for row in failures(ws) if len(row.bad_answer or "") > 500_000]
    page = client.get(f"/failures/{row.id}")
    assert len(page) < 40_000
    assert f"{len(row.bad_answer or ''):,} characters" in page
    whole = client.http.get(f"/failures/{row.id}/bad_answer.txt")
    assert whole.headers["content-type"].startswith("text/plain")
    assert whole.text == row.bad_answer


def test_what_todays_policy_finds_is_not_shown(client: Client, ws: Workspace) -> None:
    """A row of an older policy, which said more."""
    rows = failures(ws)
    told = "Call me: 13812345678 or li.lei@corp-mail.com"
    rows[0] = rows[0].model_copy(update={"prompt": told, "bad_answer": told})
    jsonl.write(ws.data / "failures.jsonl", rows)
    for path in ("/failures", f"/failures/{rows[0].id}", "/review/spans",
                 f"/failures/{rows[0].id}/prompt.txt"):  # fmt: skip
        page = client.get(path)
        assert "13812345678" not in page, path
        assert "li.lei" not in page, path
    assert "PHONE" in client.get(f"/failures/{rows[0].id}")


@pytest.mark.parametrize("words", ["13812345678", "li.lei", "1381234"])
def test_no_search_finds_what_todays_policy_hides(
    client: Client, ws: Workspace, words: str
) -> None:
    rows = failures(ws)
    told = "Call me: 13812345678 or li.lei@corp-mail.com"
    older = {"prompt": told, "bad_answer": told, "redaction": None}
    rows[0] = rows[0].model_copy(update=older)
    jsonl.write(ws.data / "failures.jsonl", rows)
    assert rows[0].id in client.get("/failures?q=call+me")
    assert rows[0].id not in client.get(f"/failures?q={words}")


def test_another_policy_is_one_of_the_next_request(client: Client, ws: Workspace) -> None:
    """A value that a new rule finds is found by no search from then on."""
    rows = failures(ws)
    rows[0] = rows[0].model_copy(update={"prompt": "Where is order ZX-00417?"})
    jsonl.write(ws.data / "failures.jsonl", rows)
    assert rows[0].id in client.get("/failures?q=ZX-00417")
    rule = {"id": "orders", "tag": "ORDER", "pattern": "ZX-[0-9]{5}",
            "catches": ["order ⟦ZX-00417⟧"], "spares": ["a lamp"]}  # fmt: skip
    jsonl.write_json(ws.path("policies/redaction.yaml"), {"rules": [rule]})
    assert rows[0].id not in client.get("/failures?q=ZX-00417")


def test_the_list_shows_no_half_of_a_value(client: Client, ws: Workspace) -> None:
    """What is cut off is cut after redaction: a rule does not know half a number."""
    rows = failures(ws)
    told = "x " * 96 + "13812345678 it was"
    rows[0] = rows[0].model_copy(update={"prompt": told})
    jsonl.write(ws.data / "failures.jsonl", rows)
    assert "x 1381234" not in client.get("/failures?q=it+was")


def test_of_a_summary_row_there_is_only_the_summary(client: Client, ws: Workspace) -> None:
    rows = failures(ws)
    bare = {"retention": "summary", "prompt": None, "bad_answer": None, "prompt_hmac": "h",
            "summary": "12 words about a lamp", "context": []}  # fmt: skip
    rows[0] = rows[0].model_copy(update=bare)
    jsonl.write(ws.data / "failures.jsonl", rows)
    page = client.get(f"/failures/{rows[0].id}")
    assert "12 words about a lamp" in page
    assert "said-box" not in page
    assert rows[0].id not in client.get("/review/spans")


@pytest.mark.parametrize("path", ["..%2f.errata%2fkeys%2fredaction", "../configs/gate.yaml",
                                  "%2e%2e/inbox/hostile.jsonl", "nothing.md", "/etc/passwd",
                                  "..%2Finbox%2Fhostile.jsonl"])  # fmt: skip
def test_no_file_outside_of_reports_is_read(client: Client, path: str) -> None:
    found = client.http.get(f"/reports/{path}")
    assert found.status_code == 404
    assert "you fool" not in found.text


def test_a_link_out_of_reports_leads_nowhere(client: Client, ws: Workspace) -> None:
    (ws.reports / "out.md").symlink_to(ws.inbox / "hostile.jsonl")
    assert client.http.get("/reports/out.md").status_code == 404


def test_a_report_is_markdown_without_markup_and_without_pictures_from_elsewhere(
    client: Client, ws: Workspace
) -> None:
    told = f"# Head\n\n{SCRIPT}\n\n![x](http://evil.example/x.png) [y](javascript:alert(1))\n"
    jsonl.write_text(ws.reports / "own.md", told + "\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    page = client.get("/reports/own.md")
    assert "<h1>Head</h1>" in page
    assert "<td>1</td>" in page
    assert "<script>" not in page
    assert not re.search(r"<img[^>]*evil", page)
    assert 'href="javascript' not in page


@pytest.mark.parametrize(
    "path",
    [
        "/failures/none",
        "/runs/none",
        "/verdicts/none",
        "/nowhere",
        "/rollout?id=none",
        "/lineage?id=none",
        "/failures/a/b.txt",
    ],
)
def test_what_is_not_there_is_said_and_nothing_breaks(client: Client, path: str) -> None:
    found = client.http.get(path)
    assert found.status_code == 404
    assert 'role="alert"' in found.text


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=99999",
        "page=x",
        "order=odd",
        "label=none",
        "q=%00%ff",
        "q=" + "a" * 5000,
        "label='; DROP TABLE failure",
    ],
)
def test_an_odd_question_gets_a_page(client: Client, query: str) -> None:
    client.get(f"/failures?{query}")


@pytest.mark.parametrize("told", ["rows=" + "9" * 5000, "gpus=" + "[" * 9000, "model=" + "a" * 999])
def test_the_calculator_says_what_it_cannot_read(client: Client, told: str) -> None:
    assert 'role="alert"' in client.get(f"/cost?{told}")


def test_a_report_has_the_pictures_under_its_own_name(ws: Workspace) -> None:
    for name in ("a.md", "a-loss.svg", "a-2.md", "a-2-loss.svg", "b.svg"):
        (ws.reports / name).write_text("x")
    assert reports._pictures(ws.reports / "a.md") == ["a-loss.svg"]
    assert reports._pictures(ws.reports / "a-2.md") == ["a-2-loss.svg"]


# what is read as it grows -------------------------------------------------------------------------


def test_the_curve_of_e_ends_where_the_monitor_stands(ws: Workspace) -> None:
    knobs, release = monitor.knobs(ws), routing.current(ws).canary
    assert release
    watched = Watched(ws)
    watched.of(knobs, release)
    for batch in (7, 400, 1):  # what is new is added to what was read
        rows = [row.model_copy(update={"answer": f"b-{batch}-{n}", "conversation": f"d-{n}"})
                for n, row in enumerate(monitor.replay(ws, knobs, release)[1][:batch])]  # fmt: skip
        live.append(ws, rows)
        watch, all_rows = monitor.replay(ws, knobs, release)
        again, curves, recent = watched.of(knobs, release)
        assert recent == all_rows
        for name, points in curves.items():
            assert points[-1] == (len(all_rows), watch.duels[name].e)
            assert again.duels[name].e == watch.duels[name].e
            assert [at for at, _ in points] == sorted({at for at, _ in points})
            assert len(points) <= 241


def test_the_verdict_page_tells_lines_waivers_and_what_turned(
    client: Client, ws: Workspace
) -> None:
    verdicts = {event["data"]["decision"]: event["data"]["id"]
                for event in ledger.events(ws, "verdict")}  # fmt: skip
    page = client.get(f"/verdicts/{verdicts['blocked']}")
    assert "safety.attack_hit_rate.privacy" in page
    assert "over_limit" in page
    assert "not signed" in page
    assert "privacy-3" in page, "a case that turned worse"
    assert manifest("bad") in page
    (path,) = (ws.reports / "gate").glob(f"{verdicts['pass']}.json")
    path.write_text(path.read_text().replace('"pass"', '"blocked"', 1))
    assert "nobody may lean on it" in client.get(f"/verdicts/{verdicts['pass']}")


NINES = "9" * 5000


@pytest.mark.parametrize("path", [f"/failures?page={NINES}", f"/runs?page={NINES}",
                                  f"/review?skip={NINES}", "/runs?page=0"])  # fmt: skip
def test_a_number_that_no_page_has_is_none(client: Client, path: str) -> None:
    client.get(path)


@pytest.mark.parametrize("path", ["/reports/%00", f"/reports/{NINES}", f"/failures/{NINES}",
                                  "/failures/%00", "/runs/%00/live", "/verdicts/%ff"])  # fmt: skip
def test_a_name_that_nothing_can_have_is_nothing(client: Client, path: str) -> None:
    assert client.http.get(path).status_code == 404


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": "f-1"}',
        b'{"label": "other"}',
        b"[1]",
        b"\xff\xfe",
        b'{"id": "f-1", "label": "other", "ts": {}}',
        b'{"id": "f-1", "label": "other", "meta": []}',
        b'{"id": "f-',
    ],
)
def test_a_broken_line_is_told_and_other_pages_go_on(
    client: Client, ws: Workspace, line: bytes
) -> None:
    path = ws.data / "failures.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + line + b"\n")
    number = whole.count(b"\n") + 1
    assert f"data/failures.jsonl:{number}: " in client.http.get("/failures").text
    client.get("/runs")
    client.get("/cost")
    path.write_bytes(whole)
    client.get("/failures")


@pytest.mark.parametrize("line", ['"abc"', "[1]", '{"steps": Infinity}', "{", '{"steps": 1}'])
def test_a_line_of_progress_that_is_none_is_no_point(
    client: Client, ws: Workspace, line: str
) -> None:
    id = next(str(run["id"]) for run in past.list_runs(ws) if "-sft-" in str(run["id"]))
    with (ws.runs / id / "progress.jsonl").open("a") as file:
        file.write(line + "\n")
    assert "40 / 40" in client.get(f"/runs/{id}/live")


def test_a_file_that_no_intake_read_waits_though_another_was_read_later(ws: Workspace) -> None:
    path = ws.inbox / "old.jsonl"
    path.write_text("{}")
    os.utime(path, (1000, 1000))
    assert [one.taken for one in loop.inbox(ws) if one.name == "inbox/old.jsonl"] == [False]
    assert any(one.taken for one in loop.inbox(ws))


def test_the_time_left_goes_by_the_pace_since_the_run_was_gone_on_with(ws: Workspace) -> None:
    folder = ws.runs / "again"
    folder.mkdir()
    log.tell(folder, [{"step": n, "loss": 1.0} for n in range(1, 31)], 40)
    for n in (31, 32):
        log.tell(folder, [{"step": n, "loss": 1.0}], 40, now=10.0 * n)
    found = jobs.progress(ws, "again")
    assert (found.step, found.left) == (32, 80.0)
    assert len(found.curves["loss"]) == 32


def test_what_stands_for_a_value_in_a_report_is_no_link(client: Client, ws: Workspace) -> None:
    (ws.reports / "said.md").write_text("call 13812345678")
    page = client.get("/reports/said.md")
    assert "&lt;PHONE:" in page
    assert 'href="PHONE' not in page


def test_a_line_that_is_no_failure_is_told_with_its_place_and_reason(
    client: Client, ws: Workspace
) -> None:
    rows = [raw for _, raw in jsonl.rows(ws.data / "failures.jsonl")]
    rows[2] = {**rows[2], "unknown_field": 1}
    jsonl.write(ws.data / "failures.jsonl", rows)
    found = client.http.get(f"/failures/{rows[2]['id']}")
    assert "data/failures.jsonl:3" in found.text
    assert "unknown_field" in found.text
