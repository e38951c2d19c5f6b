"""One failure is followed to the model it changed, and a model back to the failures behind it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import errata
from errata import cli, jsonl, language
from errata.errors import BadInput
from errata.store.lineage import Node, trace
from errata.store.runs import Run
from errata.store.trace import render
from errata.workspace import Workspace


@pytest.fixture
def ws(store: Workspace) -> Workspace:
    """On both databases."""
    return store


def ids(branches: list[tuple[str, Node]], down: bool) -> set[str]:
    return {n.id for _, n in branches} | {
        id for _, n in branches for id in ids(n.down if down else n.up, down)
    }


@pytest.fixture
def journey(ws: Workspace) -> dict[str, str]:
    """Two failures; one becomes an SFT row, the other a pair; one run trains on each file."""
    jsonl.write(ws.inbox / "raw.jsonl", [{"a": 1}])
    found = {}
    with Run(ws, "intake", {}) as run:
        run.input("inbox/raw.jsonl")
        run.links([(run.id, f, "took in") for f in ("f-1", "f-2")])
        jsonl.write(run.output("data/failures.jsonl"), [{"id": "f-1"}, {"id": "f-2"}])
        run.links([("inbox/raw.jsonl", f, "became") for f in ("f-1", "f-2")])
        run.node("f-1", "failure", label="privacy")
        found["intake"] = run.id
    with Run(ws, "build", {}) as run:
        run.input("data/failures.jsonl")
        jsonl.write(run.output("data/sft.jsonl"), [{"id": "s-1"}])
        jsonl.write(run.output("data/prefs.jsonl"), [{"id": "p-1"}])
        run.links([("f-1", "s-1", "became"), ("f-2", "p-1", "became")])
        run.links([("s-1", "data/sft.jsonl", "in"), ("p-1", "data/prefs.jsonl", "in")])
        found["build"] = run.id
    for stage, data in (("sft", "data/sft.jsonl"), ("dpo", "data/prefs.jsonl")):
        with Run(ws, stage, {}) as run:
            run.input(data)
            jsonl.write_json(run.output(run.dir / "candidate.json"), {"run": run.id})
            run.link("candidate-" + stage, "release-" + stage, "released")
            run.link(f"runs/{run.id}/candidate.json", "candidate-" + stage, "is")
            found[stage] = run.id
    return found


def test_a_failure_leads_to_the_model_it_changed_and_to_no_other(
    ws: Workspace, journey: dict[str, str]
):
    below = ids([("", trace(ws, "f-1"))], True)

    assert {"s-1", journey["sft"], "candidate-sft", "release-sft"} <= below
    assert not {journey["dpo"], "candidate-dpo", "p-1", "f-2"} & below


def test_a_release_comes_from_its_failures_and_from_no_other(
    ws: Workspace, journey: dict[str, str]
):
    above = ids([("", trace(ws, "release-sft"))], False)

    assert {"f-1", "s-1", journey["build"], journey["intake"]} <= above
    assert not {"p-1", journey["dpo"], "release-dpo"} & above


def test_up_and_down_agree(ws: Workspace, journey: dict[str, str]):
    """b comes from a exactly when a leads to b."""
    names = ["f-1", "s-1", "p-1", journey["sft"], journey["dpo"], "release-sft", "release-dpo"]
    for a in names:
        for b in names:
            if a != b:
                down = b in ids(trace(ws, a).down, True)
                assert (a in ids(trace(ws, b).up, False)) == down, (a, b)


def test_a_run_that_read_the_same_bytes_before_they_were_written_is_no_descendant(ws: Workspace):
    jsonl.write(ws.data / "x.jsonl", [{"a": 1}])
    with Run(ws, "evaluate", {}) as early:
        early.input("data/x.jsonl")
    with Run(ws, "build", {}) as build:
        jsonl.write(build.output("data/x.jsonl"), [{"a": 1}])

    assert early.id not in ids(trace(ws, build.id).down, True)
    assert build.id not in ids(trace(ws, early.id).up, False)


def test_a_circle_ends(ws: Workspace):
    with Run(ws, "x", {}) as run:
        run.links([("a", "b", "to"), ("b", "a", "to")])

    assert "a" in render(trace(ws, "a"))


def test_many_branches_are_counted_not_drawn(ws: Workspace):
    with Run(ws, "x", {}) as run:
        run.links([("root", f"leaf-{i:04}", "made") for i in range(1500)])
    tree = trace(ws, "root")

    assert len(tree.down) == 1500
    assert "… and 1488 more (made: item)" in render(tree, limit=12)


def test_what_a_node_is_follows_the_newest_run(ws: Workspace):
    for state in ("rolling", "serving"):
        with Run(ws, "rollout", {}) as run:
            run.node("release-1", "release", state=state)

    assert trace(ws, "release-1").data == {"state": "serving"}


def test_an_unknown_id_gets_a_hint_and_a_beginning_is_enough(
    ws: Workspace, journey: dict[str, str]
):
    with pytest.raises(BadInput, match="nothing is recorded under this id"):
        trace(ws, "zzz")
    with pytest.raises(BadInput, match="did you mean `f-1`"):
        trace(ws, "ff-1")
    assert trace(ws, "candidate-s").id == "candidate-sft"


def test_trace_on_the_command_line_and_from_python(
    ws: Workspace,
    journey: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    assert cli.main(["trace", "f-1", "-C", str(ws.root), "--json"]) == 0
    out = capsys.readouterr().out
    assert "failure f-1  label=privacy" in out
    assert json.loads(out.splitlines()[-1])["down"]
    monkeypatch.chdir(ws.root)
    assert errata.trace("f-1").kind == "failure"
    assert errata.trace("f-1", Path(ws.root)).id == "f-1"


def test_a_chinese_reader_gets_chinese_words_for_every_kind_and_step(
    ws: Workspace, journey: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ERRATA_LANG", "zh")
    text = render(trace(ws, "f-1"))

    for line in (
        "失败样本 f-1  label=privacy",
        "来源:",
        "↰ 收录: 运行 ",
        "↳ 转为: ",
        "status=完成",
    ):
        assert line in text
    assert "无记录" in render(trace(ws, "release-sft"))
    words = [line.strip().split(": ")[0].strip("↳↰ ") for line in text.splitlines()[1:]]
    assert not [word for word in words if word.isascii() and word != "released"]


def test_every_word_that_a_stage_records_has_a_translation():
    """Kinds and steps as the sources write them; a new one needs its line in language.py."""
    source = Path(errata.__file__).parent
    code = "\n".join(path.read_text(encoding="utf-8") for path in source.rglob("*.py"))
    code = re.sub(r'"""[\s\S]*?"""', "", code)
    steps = re.findall(r'\.links?\(\(?[^()]*, "([a-z ]+)"', code)
    kinds = re.findall(r"""\.nodes?\(\s*[\[(]*[^()\[\]]*?, "([a-z]+)\"""", code)

    assert {"took in", "became", "judged by"} <= set(steps)
    assert {"failure", "candidate", "version"} <= set(kinds)
    assert set(steps + kinds) <= set(language._WORDS)
