"""Reports are well-formed whatever a model answered, and say no data where there is none."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata import metrics, report
from errata.records import CaseResult, MetricsFile

anything = st.text(max_size=60)


def case(answer: str = "ok", hit: bool | None = True, why: str = "secret emitted") -> CaseResult:
    return CaseResult(
        prompt_id="a-1", category="privacy", language="zh", family="role", cluster="c1",
        answer=answer, hit=hit, why=why,
    )  # fmt: skip


def file_of(hits: list[bool | None]) -> MetricsFile:
    clusters = [str(i) for i in range(len(hits))]
    rate = metrics.rate("leak_rate", hits, clusters, [("privacy", "zh")] * len(hits))
    return MetricsFile(run_id="r-1", candidate_digest="sha256:c", suite_digest="s", metrics=[rate])


def test_a_table_by_hand():
    assert report.markdown_table(["a", "b"], [[1, None]]) == (
        "| a | b |\n|---|---|\n| 1 | no data / 无数据 |\n"
    )


@given(st.lists(st.lists(anything, min_size=2, max_size=2), max_size=4))
def test_no_text_breaks_out_of_its_cell(rows: list[list[str]]):
    lines = report.markdown_table(["a", "b"], rows).split("\n")

    assert len(lines) == len(rows) + 3
    for line in lines[:-1]:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3


def test_markup_in_an_answer_stays_text():
    shown = report.markdown_table(["a"], [["<script>x</script> `y` [z](w)"]])

    assert "<script>" not in shown
    assert "[z]" not in shown


def test_numbers_for_people():
    assert report.shown(None, "rate") == "no data / 无数据"
    assert report.shown(0.0, "rate") == "0.0 %"
    assert report.shown(3.0, "count") == "3"
    assert report.shown(12.3456, "ms") == "12.35 ms"


def test_markdown_shows_value_bounds_n_and_slices():
    shown = report.render_metrics_md(file_of([True, False, None, False]), "Safety")

    assert "| safety.leak\\_rate | 33.3 % | 1.7 % – 86.5 % | 3 | 1 |" in shown
    assert "privacy zh" in shown
    assert "隐私泄露率" in shown


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@given(anything, anything)
def test_html_is_balanced_whatever_was_answered(answer: str, why: str):
    checker = _Checker()
    checker.feed(report.render_html(file_of([True]), [case(answer, why=why)], "t"))

    assert checker.open == []


def test_cases_are_shown_up_to_a_limit_and_the_rest_is_counted():
    shown = report.failures_md([case(), case(hit=None), case()], limit=2)

    assert shown.count("role") == 2
    assert "unscored / 未判定: secret emitted" in shown
    assert "… 1 more" in shown
    assert report.failures_md([]) == "none / 无\n"


def test_html_escapes_answers():
    page = report.render_html(file_of([True]), [case("<img src=x onerror=alert(1)>")], "t")

    assert "<img" not in page
    assert "hits / 命中: 1 / 1" in page


@given(anything, anything)
def test_junit_is_xml_whatever_was_answered(answer: str, why: str):
    cases = [case(answer, why=why), case(answer, None, why), case(hit=False)]
    tree = ET.fromstring(report.render_junit(file_of([True]), cases, {}).encode())
    suite = tree.find("testsuite[@name='privacy']")

    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")


@pytest.mark.parametrize(
    ("hits", "outcome"), [([False] * 40, None), ([False] * 10, "failure"), ([], "error")]
)
def test_junit_judges_a_limit_on_the_bad_end(hits: list[bool | None], outcome: str | None):
    """0 of 40: at most 7.2 %, under 15 %. 0 of 10: up to 25.9 %, over. No cases: an error."""
    text = report.render_junit(file_of(hits), [], {"safety.leak_rate": 0.15})
    found = ET.fromstring(text.encode()).find(".//testcase[@name='safety.leak_rate']")

    assert found is not None
    assert [child.tag for child in found] == ([outcome] if outcome else ["system-out"])


def test_a_metric_where_lower_is_worse_is_judged_on_its_lower_end():
    accuracy = metrics.rate("accuracy", [True] * 9 + [False], [str(i) for i in range(10)])

    assert accuracy.value == 0.9
    assert report.over_limit(accuracy, 0.85) is True
    assert report.over_limit(accuracy, 0.55) is False


def test_sarif_has_a_result_per_hit_at_its_line():
    text = report.render_sarif(
        file_of([True]), [case(), case(hit=False), case(hit=None)], places={"a-1": 7}
    )
    run = json.loads(text)["runs"][0]

    assert [result["ruleId"] for result in run["results"]] == ["privacy"]
    region = run["results"][0]["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 7}
    assert run["tool"]["driver"]["rules"][0]["id"] == "privacy"


def test_curves_are_panels_of_an_svg_and_the_same_ones_twice(tmp_path: Path):
    loss = {"loss": [(0, 3.0), (1, float("nan")), (2, 1.0)], "eval_loss": [(2, 1.5)]}
    panels = {"loss, nats": loss, "每步秒数": {"seconds": [(0, 0.2), (2, 0.3)]}, "empty": {"x": []}}
    first = report.curves(tmp_path / "a" / "one.svg", panels, "<run> & 1").read_bytes()
    second = report.curves(tmp_path / "two.svg", panels, "<run> & 1").read_bytes()

    words = [node.text for node in ET.fromstring(first).iter("{http://www.w3.org/2000/svg}text")]
    assert {"loss, nats", "每步秒数", "eval_loss", "<run> & 1", "step"} <= set(words)
    assert "empty" not in words
    assert first == second
    assert b"nan" not in first.lower()


def test_curves_without_a_point_are_a_picture_all_the_same(tmp_path: Path):
    text = report.curves(tmp_path / "one.svg", {"loss": {"loss": []}}, "run").read_text()

    assert "run" in text
