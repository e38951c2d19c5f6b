"""`errata trace` in each of its forms, and where the walk stops."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from errata import cli, jsonl
from errata.errors import BadInput
from errata.store import lineage, trace
from errata.store.lineage import Lineage, Node
from errata.store.runs import Run
from errata.workspace import Workspace

Ids = dict[str, str]
TEXT = r'"(?:[^"\\]|\\.)*"'  # a quoted string of DOT
LINE = re.compile(
    rf"  {TEXT} (?:\[shape=\w+, label={TEXT}(?:, penwidth=3)?\]|-> {TEXT} \[label={TEXT}\]);"
)


def below(ws: Workspace, id: str) -> set[str]:
    return {end for src, dst, _ in lineage.lineage(ws, id).down for end in (src, dst)} - {id}


def above(ws: Workspace, id: str) -> set[str]:
    return {end for src, dst, _ in lineage.lineage(ws, id).up for end in (src, dst)} - {id}


@pytest.fixture
def made(store: Workspace) -> Ids:
    """Two failures, two rows in one version and one file; one is learnt, gated and released."""
    ids = {}
    with Run(store, "build", {}) as run:
        for n in "12":
            run.node(f"f-0{n}", "failure", label="privacy")
            run.node(f"s-0{n}", "sft")
            run.link(f"f-0{n}", f"s-0{n}", "became")
        jsonl.write(run.output("data/sft.jsonl"), [{"id": "s-01"}, {"id": "s-02"}])
        rows = [(f"s-0{n}", f"leaf-{n}", "privacy", "t") for n in "12"]
        run.members("v-0001", "data/sft.jsonl", rows)
        run.link("v-0001", "data/sft.jsonl", "is")
        run.node("v-0001", "version")
        ids["build"] = run.id
    with Run(store, "sft", {}) as run:
        run.input("data/sft.jsonl", "dataset")
        run.link("s-01", run.id, "trained")
        run.link(run.id, "c-01", "made")
        run.node("c-01", "candidate")
        ids["sft"] = run.id
    with Run(store, "rollout", {}) as run:
        run.link("c-01", "r-01", "released as")
        run.node("r-01", "release", state="serving", ts="2026-01-01T00:00:00Z")
        run.node("r-02", "release", state="rolling", ts="2026-01-02T00:00:00Z")
        ids["rollout"] = run.id
    return ids


def out(ws: Workspace, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert cli.main(["trace", *words, "-C", str(ws.root)]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


# where the walk stops ----------------------------------------------------------------------------


def test_a_row_is_in_a_version_whose_other_rows_it_did_not_become(store: Workspace, made: Ids):
    assert {"s-01", "v-0001", "c-01", "r-01"} <= below(store, "f-01")
    assert {"s-02", "f-02"}.isdisjoint(below(store, "f-01"))
    assert {"s-02", "v-0001"} <= below(store, "f-02")
    assert {"c-01", "r-01", made["sft"]}.isdisjoint(below(store, "f-02"))  # in the file, not learnt


def test_a_file_is_a_version_whose_rows_the_reader_did_not_all_learn(store: Workspace, made: Ids):
    assert {"s-01", "f-01", "v-0001"} <= above(store, "r-01")
    assert {"s-02", "f-02"}.isdisjoint(above(store, "r-01"))


def test_a_version_asked_for_itself_is_walked_both_ways(store: Workspace, made: Ids):
    assert {"s-01", "s-02", "f-01", "f-02"} <= above(store, "v-0001")
    assert made["sft"] in below(store, "v-0001")


def test_a_failure_found_in_a_release_did_not_come_of_what_taught_it(store: Workspace, made: Ids):
    with Run(store, "intake", {}) as run:
        run.link("r-01", "f-99", "failed in")
        run.node("f-99", "failure")
        run.link("f-99", "s-99", "became")
    assert above(store, "f-99") == {"r-01"}
    assert "f-99" in below(store, "r-01")
    assert {"f-99", "s-99"} & below(store, "f-01") == {"f-99"}  # named, and no more


@pytest.mark.parametrize("stage", ["evaluate", "safety", "bench", "gate", "compare"])
def test_what_a_run_measured_by_did_not_make_what_it_measured(
    stage: str, store: Workspace, made: Ids
):
    with Run(store, "safety", {}) as other:
        other.link("c-other", other.id, "safety")
        jsonl.write_json(other.output("reports/safety/other.json"), {"of": "another"})
    with Run(store, stage, {}) as run:
        run.input("reports/safety/other.json")
        run.link("c-01", run.id, stage)
        jsonl.write_json(run.output(f"reports/{stage}/x.json"), {"of": stage})
    file = jsonl.digest_file(store.reports / "safety" / "other.json")
    written = jsonl.digest_file(store.reports / stage / "x.json")

    assert {"c-01", file} <= above(store, run.id)
    assert {"c-other", other.id}.isdisjoint(above(store, run.id))
    assert run.id in below(store, "c-other")
    assert written not in below(store, "c-other")
    assert written in below(store, "c-01")


def test_what_another_stage_reads_is_walked_through(store: Workspace, made: Ids):
    with Run(store, "export", {}) as run:
        run.input("data/sft.jsonl")
        jsonl.write_json(run.output("reports/x.json"), {"of": "x"})
    assert {made["build"]} <= above(store, run.id)
    assert {run.id, jsonl.digest_file(store.reports / "x.json")} <= below(store, made["build"])


# forms -------------------------------------------------------------------------------------------


def test_json_has_each_node_and_step_once(
    store: Workspace, made: Ids, capsys: pytest.CaptureFixture[str]
):
    one = json.loads(out(store, capsys, "f-01", "format=json"))
    assert one["root"] == "f-01"
    ids = [node["id"] for node in one["nodes"]]
    assert ids == sorted(set(ids))
    steps = [(step["from"], step["to"], step["how"]) for step in one["steps"]]
    assert steps == sorted(set(steps))
    assert {end for step in steps for end in step[:2]} <= set(ids)
    assert ("f-01", "s-01", "became") in steps

    whole = json.loads(out(store, capsys, "format=json"))
    assert whole["root"] is None
    found = {(step["from"], step["to"], step["how"]) for step in whole["steps"]}
    assert set(steps) < found
    assert {"f-02", made["rollout"]} <= {node["id"] for node in whole["nodes"]}


def test_dot_is_a_graph_of_the_same_nodes(
    store: Workspace, made: Ids, capsys: pytest.CaptureFixture[str]
):
    lines = out(store, capsys, "f-01", "format=dot").splitlines()
    assert lines[0] == "digraph lineage {"
    assert lines[-1] == "}"
    assert all(LINE.fullmatch(line) for line in lines[3:-1])
    assert '  "f-01" [shape=note, label="failure\\nf-01", penwidth=3];' in lines
    assert '  "f-01" -> "s-01" [label="became"];' in lines


@given(st.lists(st.text(min_size=1), min_size=2, max_size=4, unique=True), st.text(), st.text())
def test_dot_stays_a_graph_whatever_an_id_a_kind_and_a_path_hold(
    ids: list[str], kind: str, path: str
):
    things = {id: Node(id, kind, {"path": path}) for id in ids}
    found = Lineage(ids[0], [], [(ids[0], ids[1], kind)], things)
    lines = trace.dot(found).split("\n")
    assert len(lines) == 3 + len(ids) + 1 + 1
    assert all(LINE.fullmatch(line) for line in lines[3:-1])
    names = [re.match(rf"  ({TEXT}) \[", line)[1] for line in lines[3 : 3 + len(ids)]]  # type: ignore[index]
    assert len(set(names)) == len(ids)


@pytest.mark.parametrize(
    "id", ['a"b', "a\\", "a\nb", "越狱 %s_%", "'; DROP TABLE run; --", "\U0010ffff" * 4]
)
def test_a_hostile_id_is_recorded_found_and_drawn(
    id: str, store: Workspace, capsys: pytest.CaptureFixture[str]
):
    with Run(store, "build", {}) as run:
        run.link(id, "s-01", "became")
    assert below(store, id) == {"s-01"}
    lines = out(store, capsys, "s-01", "format=dot").splitlines()
    assert all(LINE.fullmatch(line) for line in lines[3:-1])
    assert id in above(store, "s-01")


def test_led_to_and_came_from_are_ids_of_one_kind_a_line_each(
    store: Workspace, made: Ids, capsys: pytest.CaptureFixture[str]
):
    assert out(store, capsys, "f-01", "led_to=release") == "r-01\n"
    assert out(store, capsys, "r-01", "came_from=failure") == "f-01\n"
    assert out(store, capsys, "f-02", "led_to=release") == ""
    assert out(store, capsys, "f-01", "led_to=failure") == ""  # not itself
    assert out(store, capsys, "v-0001", "came_from=failure") == "f-01\nf-02\n"
    assert "no kind `failuer`; did you mean `failure`?" in out(
        store, capsys, "r-01", "came_from=failuer", code=2
    )


def test_serving_and_canary_are_the_releases_in_these_states(
    store: Workspace, made: Ids, capsys: pytest.CaptureFixture[str]
):
    assert out(store, capsys, "serving", "came_from=failure") == "f-01\n"
    assert "release r-02" in out(store, capsys, "canary").splitlines()[0]
    with Run(store, "rollout", {}) as run:
        for name in ("r-01", "r-02"):
            run.node(name, "release", state="rolled_back", ts="2026-01-03T00:00:00Z")
    for name, state in (("serving", "serving"), ("canary", "rolling")):
        said = out(store, capsys, name, code=2)
        assert f"no release is {state}; see `errata rollout status`" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["f-0"], "the beginning of several ids"),
        (["f-001"], "did you mean `f-01`?"),
        (["nothing-like-it"], "nothing is recorded under this id; see `errata runs`"),
        ([""], "nothing is recorded under this id"),
        (["\U0010ffff" * 4], "nothing is recorded under this id"),
        (["abc\ud7ff"], "nothing is recorded under this id"),
        (["abcd\udcff"], "surrogate"),  # bytes that are no UTF-8, as a shell passes them on
        ([], "give one id"),
        (["a", "b"], "give one id"),
        (["f-01", "format=svg"], "format"),
    ],
)
def test_an_unknown_id_is_exit_2_and_one_line_with_a_hint(
    words: list[str], said: str, store: Workspace, made: Ids, capsys: pytest.CaptureFixture[str]
):
    if words == ["f-0"]:
        words = ["v-00"]
        with Run(store, "build", {}) as run:
            run.node("v-0002", "version")
    line = out(store, capsys, *words, code=2)
    assert said in line
    assert line.count("\n") == 1


def test_the_beginning_of_an_id_is_enough_and_means_itself(store: Workspace, made: Ids):
    with Run(store, "build", {}) as run:
        run.node("a%b_1234", "failure")
        run.node("axbx1234", "failure")
    assert lineage.trace(store, "a%b_").id == "a%b_1234"
    with pytest.raises(BadInput, match="nothing is recorded"):
        lineage.trace(store, "a%b%")
    assert lineage.trace(store, made["sft"][:-2]).id == made["sft"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(max_size=6))
def test_any_text_is_an_id_or_bad_input(local: Workspace, id: str):
    with pytest.raises(BadInput):
        lineage.trace(local, id)


def test_a_chinese_reader_reads_chinese(
    store: Workspace, made: Ids, capsys: pytest.CaptureFixture[str], monkeypatch: Any
):
    monkeypatch.setenv("ERRATA_LANG", "zh")
    assert "合计：来源" in out(store, capsys, "f-01")
    assert 'label="失败样本\\nf-01"' in out(store, capsys, "f-01", "format=dot")
