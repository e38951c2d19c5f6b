"""From the failure to the repair to what holds it, and to nothing that does not."""

from __future__ import annotations

import pytest

from errata import cli, git, jsonl
from errata.errors import BadInput
from errata.store import ledger, lineage, repair
from errata.store.runs import Run
from errata.workspace import Workspace

RULE = "policies/redaction.yaml"


@pytest.fixture
def desk(store: Workspace) -> Workspace:
    """A failure, and a rule that a first run obeyed."""
    (store.root / RULE).write_text("off: [card]\n")
    git.commit(store, ["policies"], "rules")
    with Run(store, "intake", {}) as run:
        run.node("f-1", "failure", label="privacy")
        run.link(run.id, "f-1", "took in")
    return store


def mend(ws: Workspace, text: str, **given: object) -> str:
    (ws.root / RULE).write_text(text)
    config = repair.Config(args=["f-1"], why="cards were let through", **given)  # type: ignore[arg-type]
    return str(repair.main(ws, config).data["repair"])


def train(ws: Workspace, name: str) -> str:
    with Run(ws, "sft", {}) as run:
        jsonl.write_json(run.output(run.dir / "candidate.json"), {"name": name})
        run.link(run.id, f"candidate-{name}", "made")
        run.link(f"candidate-{name}", f"release-{name}", "released as")
        run.node(f"release-{name}", "release")
    return run.id


def below(ws: Workspace, id: str) -> set[str]:
    return {dst for _, dst, _ in lineage.lineage(ws, id).down}


def above(ws: Workspace, id: str) -> set[str]:
    return {src for src, _, _ in lineage.lineage(ws, id).up}


def test_a_failure_leads_over_its_repair_to_the_release_that_holds_it(desk: Workspace):
    old = train(desk, "old")
    name = mend(desk, "off: []\n")
    new = train(desk, "new")

    assert {name, new, "release-new"} <= below(desk, "f-1")
    assert not {old, "release-old"} & below(desk, "f-1")
    assert {name, "f-1"} <= above(desk, "release-new")
    assert name not in above(desk, "release-old")


def test_the_repair_is_held_by_later_forms_of_the_rule_until_it_is_taken_back(desk: Workspace):
    name = mend(desk, "off: []\n")
    (desk.root / RULE).write_text("off: []\non: []\n")
    later = train(desk, "later")
    (desk.root / RULE).write_text("off: [card]\n")
    undone = train(desk, "undone")

    assert later in below(desk, name)
    assert undone not in below(desk, name)


def test_rules_nobody_changed_are_not_told(desk: Workspace):
    run = train(desk, "one")
    assert {how for _, _, how in lineage.lineage(desk, run).up} == set()


def test_it_is_an_event_with_its_files(desk: Workspace):
    name = mend(desk, "off: []\n", kind="policy")
    (event,) = ledger.events(desk, "repair")

    assert (event["data"]["id"], event["data"]["of"]) == (name, ["f-1"])
    assert event["data"]["files"] == {RULE: jsonl.digest_file(desk.root / RULE)}
    changes = [c for e in ledger.events(desk, "policy") for c in e["data"]["changes"]]
    assert changes[-1]["path"] == RULE
    assert changes[-1]["old"] != changes[-1]["new"] == event["data"]["files"][RULE]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["f-1"], "say why"),
        (["f-9", "why=x"], "nothing is recorded"),
        (["why=x"], "name the failures"),
        (["f-1", "why=x"], "nothing differs"),
        (["f-1", "why=x", "files=[reports/x.md]"], "no file below"),
        (["f-1", "why=x", "files=[policies/none.yaml]"], "no file below"),
    ],
)
def test_what_is_no_repair_is_refused(
    desk: Workspace, capsys: pytest.CaptureFixture[str], words: list[str], part: str
):
    assert cli.main(["repair", *words, "-C", str(desk.root)]) == 2
    assert part in capsys.readouterr().err


def test_a_run_is_no_failure(desk: Workspace, capsys: pytest.CaptureFixture[str]):
    run = train(desk, "one")
    (desk.root / RULE).write_text("off: []\n")
    assert cli.main(["repair", run, "why=x", "-C", str(desk.root)]) == 2
    assert "is a run, not a failure" in capsys.readouterr().err


def test_a_file_that_is_as_it_was_mends_nothing(desk: Workspace):
    train(desk, "old")
    with pytest.raises(BadInput, match="is as it was when f-1 was taken in; change it first"):
        mend(desk, "off: [card]\n", files=[RULE])
    assert "repaired by" not in {how for _, _, how in lineage.lineage(desk, "f-1").down}


def test_by_itself_it_takes_rules_and_data_only_when_that_is_what_was_mended(desk: Workspace):
    (desk.data / "sft.jsonl").write_text("{}\n")
    (desk.root / RULE).write_text("off: []\n")
    given = repair.Config(args=["f-1"], why="w", kind="rule")
    assert list(repair.main(desk, given).data["files"]) == [RULE]
    given = repair.Config(args=["f-1"], why="w", kind="data")
    assert list(repair.main(desk, given).data["files"]) == ["data/sft.jsonl"]
