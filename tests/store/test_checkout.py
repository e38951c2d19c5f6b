"""An earlier state comes back byte for byte, and nothing is lost on the way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from errata import cli, jsonl
from errata.errors import BadInput
from errata.store import checkout, database, objects, status, tree, versions
from errata.store.runs import Run
from errata.workspace import Workspace


def make_version(ws: Workspace, *ids: str) -> str:
    """A dataset version of one file, as a build writes it."""
    with Run(ws, "build", {}) as run:
        rows = [{"id": id} for id in ids]
        leaves = [versions.leaf("data/sft.jsonl", row) for row in rows]
        name = versions.root(leaves)
        jsonl.write(run.output("data/sft.jsonl", "data"), rows)
        jsonl.write_json(run.output("data/version.json", "version"), {"id": name})
        told = [(id, leaf, "l", "s") for id, leaf in zip(ids, leaves, strict=True)]
        run.members(name, "data/sft.jsonl", told)
        run.link(name, "data/sft.jsonl", "is")
        run.node(name, "version")
    return name


def state(ws: Workspace) -> dict[str, str]:
    return {ws.relative(path): jsonl.digest_file(path) for _, path in tree.paths(ws)}


def bring(ws: Workspace, id: str, **given: bool) -> dict[str, object]:
    return checkout.main(ws, checkout.Config(args=[id], **given)).data


def test_a_version_comes_back_exactly(store: Workspace):
    (store.configs / "sft.yaml").write_text("lr: 1e-4\n")
    (store.policies / "redaction.yaml").write_text("off: []\n")
    first = make_version(store, "s-1", "s-2")
    before = state(store)

    (store.configs / "sft.yaml").write_text("lr: 2e-4\n")
    (store.configs / "new.yaml").write_text("a: 1\n")
    (store.policies / "redaction.yaml").unlink()
    second = make_version(store, "s-2", "s-3")
    (store.data / "extra.jsonl").write_text("{}\n")
    after = state(store)
    assert first != second

    bring(store, first)
    assert state(store) == before
    done = bring(store, second)
    assert state(store) == {k: v for k, v in after.items() if k != "data/extra.jsonl"}
    assert done["files"] == 4  # the policy is gone, the config is there


def test_a_run_comes_back_as_it_began_and_the_checkout_can_be_taken_back(store: Workspace):
    make_version(store, "s-1")
    (store.configs / "sft.yaml").write_text("lr: 1e-4\n")
    before = state(store)
    with Run(store, "sft", {}) as run:
        pass
    (store.configs / "sft.yaml").write_text("lr: 3e-4\n")  # not committed, and in no run yet
    (store.data / "sft.jsonl").write_text("{}\n")
    edited = state(store)

    done = bring(store, run.id)
    assert state(store) == before
    bring(store, str(done["run_id"]))
    assert state(store) == edited


def test_suites_stay_unless_they_are_asked_for(store: Workspace):
    (store.suites / "a.jsonl").write_text("{}\n")
    with Run(store, "sft", {}) as run:
        pass
    (store.suites / "a.jsonl").write_text('{"a":1}\n')
    bring(store, run.id)
    assert (store.suites / "a.jsonl").read_text() == '{"a":1}\n'
    bring(store, run.id, suites=True)
    assert (store.suites / "a.jsonl").read_text() == "{}\n"


def test_a_damaged_or_missing_copy_stops_it_before_anything_is_touched(store: Workspace):
    (store.configs / "a.yaml").write_text("a: 1\n")
    version = make_version(store, "s-1")
    digest = jsonl.digest_file(store.configs / "a.yaml")
    (store.configs / "a.yaml").write_text("a: 2\n")
    make_version(store, "s-2")
    before = state(store)

    copy = objects.get(store, digest)
    copy.write_text("a: 9\n")
    with pytest.raises(BadInput, match=r"is damaged.*nothing was changed"):
        bring(store, version)
    objects.drop(store, digest)
    with pytest.raises(BadInput, match=r"configs/a.yaml: .*nothing was changed"):
        bring(store, version)
    assert state(store) == before


def test_status_does_not_take_it_for_an_edit(store: Workspace):
    first = make_version(store, "s-1")
    make_version(store, "s-2")
    bring(store, first)
    drift = status.main(store, status.Config()).data["drift"]
    assert drift == {"rolled_back": [], "edited": [], "missing": []}


def test_hidden_files_and_empty_folders_are_left_alone(store: Workspace):
    with Run(store, "sft", {}) as run:
        pass
    (store.data / ".gitkeep").touch()
    bring(store, run.id)
    assert (store.data / ".gitkeep").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [([], "give one dataset version or run"), (["v-0000"], "nothing is recorded"),
     (["f-1"], "neither a dataset version nor a run")],
)  # fmt: skip
def test_what_is_no_state_is_refused(
    store: Workspace, capsys: pytest.CaptureFixture[str], words: list[str], part: str
):
    with database.writing(store) as connection:
        row = {"id": "f-1", "kind": "failure", "data": "{}"}
        connection.execute(database.node.insert(), [row])
    assert cli.main(["checkout", *words, "-C", str(store.root)]) == 2
    assert part in capsys.readouterr().err


def test_who_may_do_what_is_no_part_of_an_earlier_state(store: Workspace):
    roles = store.policies / "roles.yaml"
    roles.write_text("team: solo\n")
    version = make_version(store, "s-1")
    roles.write_text("team: several\npeople: {k1: {name: li, roles: [model]}}\n")
    now = roles.read_text()
    bring(store, version)
    assert roles.read_text() == now


def test_nothing_is_written_through_a_link_that_leads_out(store: Workspace, tmp_path: Path):
    (store.data / "deep").mkdir()
    (store.data / "deep" / "a.jsonl").write_text("{}\n")
    version = make_version(store, "s-1")
    shutil.rmtree(store.data / "deep")
    (tmp_path / "out").mkdir()
    (store.data / "deep").symlink_to(tmp_path / "out")
    with pytest.raises(BadInput, match="leads out of the workspace"):
        bring(store, version)
    assert list((tmp_path / "out").iterdir()) == []
