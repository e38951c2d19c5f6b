"""The desk in Debian's Chromium: every page in both languages, wide and narrow, light and dark; all
that reviewers do, with the keyboard alone; what hostile rows try; what axe finds.

ERRATA_SCREENSHOTS=docs/img makes the pictures of docs/desk.md."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import until
from tests.web.conftest import progress
from tests.web.test_changes import first, waiting

from errata import jsonl
from errata.build import queue, reviews
from errata.evaluate.people import ratings, sample
from errata.intake import span_review, triage
from errata.intake.labeller import ABSTAINED
from errata.records import Failure
from errata.release import routing
from errata.store import ledger, past
from errata.store.runs import Run
from errata.web.pages.review import swapped
from errata.workspace import Workspace

Tab = Callable[..., Any]


def stations(ws: Workspace) -> dict[str, str]:
    """A name for each kind of page → its address."""
    blocked = next(event["data"]["id"] for event in ledger.events(ws, "verdict")
                   if event["data"]["decision"] == "blocked")  # fmt: skip
    trained = [str(run["id"]) for run in past.list_runs(ws, "sft")]
    failure = first(ws, "privacy").id
    return {
        "loop": "/", "failures": "/failures", "failure": f"/failures/{failure}",
        "review": "/review?kind=pair", "answer": "/review?kind=answer", "spans": "/review/spans",
        "samples": "/review/samples", "runs": "/runs", "run": f"/runs/{trained[0]}",
        "compare": f"/runs/compare?id={trained[0]}&id={trained[1]}", "new": "/runs/new",
        "verdicts": "/verdicts", "verdict": f"/verdicts/{blocked}", "rollout": "/rollout",
        "lineage": f"/lineage?id={trained[0]}", "cost": "/cost", "reports": "/reports",
        "report": "/reports/data-lint.md", "enter": "/enter",
    }  # fmt: skip


NAMES = ("loop", "failures", "failure", "review", "answer", "spans", "samples", "runs", "run",
         "compare", "new", "verdicts", "verdict", "rollout", "lineage", "cost", "reports",
         "report", "enter")  # fmt: skip


FORMS = ((1280, False, "en"), (390, True, "zh"), (1280, True, "zh"), (390, False, "en"))


@pytest.fixture(scope="module")
def axe() -> str:
    """The checker's script, as its package ships it."""
    found = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is missing")
    return (Path(found.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Any, axe: str) -> list[str]:
    """What axe finds against WCAG 2.2 AA: names, labels, roles, contrast, order of headings."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{one['id']}: {node['html'][:160]} {node['failureSummary'][-200:]}"
            for one in found["violations"] for node in one["nodes"]]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_whole_in_every_form(tab: Tab, ws: Workspace, axe: str, name: str) -> None:
    path = stations(ws)[name]
    for wide, dark, lang in FORMS:
        page = tab(path, wide, dark, lang)
        assert page.title() != "owned"
        assert page.evaluate("document.documentElement.lang") == ("en" if lang == "en" else "zh-CN")
        over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert over <= 0, f"{name} at {wide} is {over} pixels too wide"
        assert violations(page, axe) == []
        _picture(page, name, wide, lang)


def _picture(page: Any, name: str, wide: int, lang: str) -> None:
    folder = os.environ.get("ERRATA_SCREENSHOTS")
    if folder and wide == 1280 and lang == "en" and name in ("loop", "verdict", "rollout"):
        page.screenshot(path=Path(folder) / f"desk-{name}.png")


def test_hostile_rows_run_nothing_and_turn_nothing(tab: Tab, ws: Workspace) -> None:
    for row in jsonl.read(ws.data / "failures.jsonl", Failure)[-6:]:
        page = tab(f"/failures/{row.id}")
        assert page.title().startswith(row.id)
        assert page.locator("main script, main img, main iframe").count() == 0
    page = tab("/failures?q=script")
    page.wait_for_timeout(200)
    assert page.title() != "owned"
    assert "<script>" in page.locator("td.text").first.inner_text(), "it is there, as text"


# with the keyboard alone --------------------------------------------------------------------------


@pytest.fixture(params=["en", "zh"])
def reviewer(tab: Tab, request: pytest.FixtureRequest) -> Tab:
    """A tab in each of the languages."""
    return partial(tab, lang=request.param)


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_every_page_is_two_keys_away(tab: Tab) -> None:
    page = tab("/")
    for number, path in enumerate(("/", "/failures", "/review", "/runs", "/verdicts", "/rollout",
                                   "/lineage", "/cost", "/reports"), 1):  # fmt: skip
        press(page, "g")
        with page.expect_navigation():
            press(page, str(number))
        assert re.sub(r"^\w+://[^/]+|\?.*", "", page.url) == path


def test_keys_are_told_and_the_list_is_walked(tab: Tab) -> None:
    page = tab("/failures")
    press(page, "?")
    assert page.locator("#keys").is_visible()
    press(page, "Escape")
    assert not page.locator("#keys").is_visible()
    press(page, "j", "j")
    second = page.locator("a.row").nth(1)
    assert second.evaluate("node => node === document.activeElement")
    press(page, "k", "Enter")
    page.wait_for_url("**/failures/f-*")


def test_the_first_tab_stop_skips_to_the_content(tab: Tab) -> None:
    page = tab("/runs")
    press(page, "Tab")
    assert page.locator(".skip").evaluate("node => node === document.activeElement")
    press(page, "Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_search_narrows_while_one_types_and_can_be_linked_to(tab: Tab, ws: Workspace) -> None:
    page = tab("/failures")
    before = page.locator("a.row").count()
    press(page, "/")
    page.keyboard.type("lamp 48213 nothing like it", delay=5)
    page.wait_for_selector("text=nothing fits")
    page.locator("#q").fill("")
    page.locator("#q").press("Enter")
    rows = "document.querySelectorAll('a.row').length"
    until(lambda: page.evaluate(rows) == before)
    page.select_option("select[name=label]", "privacy")
    page.wait_for_url("**label=privacy**")
    privacy = [row for row in jsonl.read(ws.data / "failures.jsonl", Failure)
               if row.label == "privacy"]  # fmt: skip
    until(lambda: page.evaluate(rows) == len(privacy))


def test_a_pair_is_judged_and_taken_back_with_keys(reviewer: Tab, ws: Workspace) -> None:
    row = waiting(ws, "pair")
    page = reviewer("/review?kind=pair")
    with page.expect_navigation():
        press(page, "2" if swapped(row.id) else "1")
    assert row.id in reviews.read(ws.root / reviews.FILE).kept
    with page.expect_navigation():
        press(page, "u")
    assert row.id not in reviews.read(ws.root / reviews.FILE).kept


def test_an_answer_is_written_with_keys_and_digits_in_it_decide_nothing(
    reviewer: Tab, ws: Workspace
) -> None:
    row = waiting(ws, "answer")
    page = reviewer("/review?kind=answer")
    press(page, "e")
    page.keyboard.type("Order 12 is on its way: 2 days, surely.")
    with page.expect_navigation():
        press(page, "Control+Enter")
    assert reviews.read(ws.root / reviews.FILE).answers[row.id].text.startswith("Order 12 is")
    assert len(queue.left(ws).waiting) >= 1


def test_what_was_typed_stands_there_again_beside_a_refusal(reviewer: Tab, ws: Workspace) -> None:
    page = reviewer("/runs/new")
    field = page.locator(".panel input").first
    name = str(field.get_attribute("name"))
    field.fill("as I like it")
    with page.expect_navigation():
        page.locator("button[formaction='/runs/panel']").click()
    assert page.locator("main > .note.bad").count() == 1
    assert page.locator(f".panel input[name='{name}']").input_value() == "as I like it"
    page.reload()
    assert page.locator(f".panel input[name='{name}']").input_value() != "as I like it"


def test_later_shows_another_and_decides_nothing(reviewer: Tab, ws: Workspace) -> None:
    page = reviewer("/review?kind=answer")
    shown = page.locator("[data-review] code").first.inner_text()
    with page.expect_navigation():
        press(page, "s")
    assert page.locator("[data-review] code").first.inner_text() != shown
    assert not (ws.root / reviews.FILE).is_file()


def test_a_label_is_given_with_a_digit_and_taken_back(reviewer: Tab, ws: Workspace) -> None:
    rows = jsonl.read(ws.data / "failures.jsonl", Failure)
    doubted = rows[0].model_copy(update={"meta": {**rows[0].meta, "label_by": ABSTAINED}})
    jsonl.write(ws.data / "failures.jsonl", [doubted, *rows[1:]])
    page = reviewer("/review?kind=label")
    with page.expect_navigation():
        press(page, "3")
    assert reviews.read(ws.root / reviews.FILE).labels == {doubted.id: "privacy"}
    with page.expect_navigation():
        press(page, "u")
    assert reviews.read(ws.root / reviews.FILE).labels == {}


@pytest.mark.parametrize(("key", "verdict"), [("1", "keep"), ("2", "drop")])
def test_a_case_of_a_blocked_gate_is_looked_at_with_a_digit(
    reviewer: Tab, ws: Workspace, key: str, verdict: str
) -> None:
    gate = past.last_run(ws, "gate")
    assert gate
    case = queue.Waiting(id="case-en-1", kind="case", label="privacy", question="q", said="s")
    jsonl.write(ws.runs / str(gate["id"]) / queue.QUEUE, [case])
    page = reviewer("/review?kind=case")
    with page.expect_navigation():
        press(page, key)
    (found,) = reviews.written(ws.root / reviews.FILE)
    assert (found.id, found.verdict) == (case.id, verdict)


# Selects the first characters of the text, as a person does with the mouse.
SELECT = """() => {
  const node = document.querySelector('[data-text] .said').firstChild;
  const range = document.createRange();
  range.setStart(node, 0);
  range.setEnd(node, Math.min(6, node.textContent.length));
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  return String(range);
}"""


def test_a_missed_value_is_marked_in_the_text(reviewer: Tab, ws: Workspace) -> None:
    page = reviewer("/review/spans")
    id = page.locator("input[name=id]").first.input_value()
    word = page.evaluate(SELECT)
    page.select_option("#tag", "PERSON")
    page.evaluate("document.activeElement.blur()")
    press(page, "m")
    assert word.strip() in page.locator("#misses li").first.inner_text()
    with page.expect_navigation():
        press(page, "1")
    found = span_review.read(ws)[id]
    assert [tag for tag, _ in found.missed] == ["PERSON"]
    rows = {row.id: row for row in jsonl.read(ws.data / "failures.jsonl", Failure)}
    texts = f"{rows[id].context}{rows[id].prompt}{rows[id].bad_answer}"
    assert found.missed[0][1] in texts
    with page.expect_navigation():
        press(page, "u")
    assert id not in span_review.read(ws), "it waits to be read again"


def test_a_mark_made_by_mistake_is_taken_off(reviewer: Tab, ws: Workspace) -> None:
    page = reviewer("/review/spans")
    id = page.locator("input[name=id]").first.input_value()
    page.locator("#value").fill("no such value")
    page.locator("#mark").click()
    with page.expect_navigation():
        page.locator("button[data-key='1']").click()
    assert page.locator("main > .note.bad").count() == 1, "it is in none of the texts"
    assert "no such value" in page.locator("#misses li").first.inner_text()
    page.locator("#misses button.off").click()
    with page.expect_navigation():
        page.locator("button[data-key='1']").click()
    assert span_review.read(ws)[id].missed == []


def test_a_failure_gets_an_owner(reviewer: Tab, ws: Workspace) -> None:
    id = first(ws, "privacy").id
    page = reviewer(f"/failures/{id}")
    page.locator("input[name=owner]").fill("王芳")
    page.locator("select[name=severity]").select_option("normal")
    with page.expect_navigation():
        page.locator("form[action$='/triage'] button").click()
    assert (triage.read(ws)[id].owner, triage.read(ws)[id].severity) == ("王芳", "normal")


def test_a_sample_is_rated_with_digits(reviewer: Tab, ws: Workspace) -> None:
    whose = sample.last(ws)
    page = reviewer("/review/samples?rater=r2")
    for _ in range(2 * len(whose.questions)):
        press(page, "1")
    press(page, "3")  # a tie
    with page.expect_navigation():
        press(page, "Control+Enter")
    (found,) = ratings.read(ws, whose.id).values()
    assert (found.rater, found.preference) == ("r2", "tie")
    assert {mark for marks in found.marks.values() for mark in marks.values()} == {"yes"}
    with page.expect_navigation():
        press(page, "u")
    assert ratings.read(ws, whose.id) == {}


# what moves ---------------------------------------------------------------------------------------


def test_a_curve_grows_while_a_run_goes_on(tab: Tab, ws: Workspace) -> None:
    with Run(ws, "sft", {}) as run:
        progress(ws, run.id, 5, 50)
        page = tab("/")
        page.wait_for_selector("#running polyline")
        points = "document.querySelector('#running polyline').points.numberOfItems"
        assert page.evaluate(points) == 5
        progress(ws, run.id, 25, 50)
        until(lambda: page.evaluate(points) == 25)
        assert page.locator("#running progress").get_attribute("value") == "25"


def test_a_canary_is_aborted_by_writing_its_id(reviewer: Tab, ws: Workspace) -> None:
    canary = routing.current(ws).canary
    assert canary
    page = reviewer("/rollout")
    form = page.locator("form[action='/rollout/abort']")
    form.locator("input[name=confirm]").fill("no")
    with page.expect_navigation():
        form.locator("button").click()
    assert page.locator("[role=alert]").is_visible()
    assert routing.current(ws).canary
    form = page.locator("form[action='/rollout/abort']")
    form.locator("input[name=confirm]").fill(canary.id)
    with page.expect_navigation():
        form.locator("button").click()
    assert routing.current(ws).canary is None


def test_without_scripts_a_pair_can_still_be_judged(
    browser: Any, served: Any, ws: Workspace
) -> None:
    from tests.web.conftest import TOKEN

    context = browser.new_context(java_script_enabled=False, locale="en-US")
    page = context.new_page()
    page.goto(f"{served.url}/enter?token={TOKEN}")
    page.goto(f"{served.url}/review?kind=pair")
    with page.expect_navigation():
        page.locator("button[value='first']").click()
    found = reviews.read(ws.root / reviews.FILE)
    assert len(found.kept | found.dropped) == 1
    context.close()
