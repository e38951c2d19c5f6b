"""Dataset versions: the same rows are the same version, and two say what differs."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata import cli
from errata.errors import BadInput
from errata.store import database, versions
from errata.store.runs import Run
from errata.store.versions import Change, Diff, Member
from errata.workspace import Workspace

ROWS = st.lists(
    st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3)), max_size=6
)


def member(row: str, leaf: str = "", file: str = "data/sft.jsonl", **more: str) -> Member:
    return Member(row, file, leaf or f"leaf-{row}", **{"label": "privacy", "source": "t", **more})


def build(ws: Workspace, version: str, rows: list[Member], **parents: str) -> None:
    """A version as `errata build` records one; `parents`: row → the failure it was made of."""
    with Run(ws, "build", {}) as run:
        for file in {row.file for row in rows}:
            told = [(r.row, r.leaf, r.label, r.source) for r in rows if r.file == file]
            run.members(version, file, told)
        run.links([(failure, row, "became") for row, failure in parents.items()])
        run.node(version, "version")


@given(ROWS, st.integers())
def test_an_id_is_the_rows_in_no_order(rows: list[dict[str, Any]], seed: int):
    leaves = [versions.leaf("data/sft.jsonl", row) for row in rows]
    mixed = Random(seed).sample(leaves, len(leaves))
    assert versions.root(leaves) == versions.root(mixed)
    assert versions.root([*leaves, "one more"]) != versions.root(leaves)


def test_a_row_is_another_in_another_file_with_another_field_and_twice():
    one = versions.leaf("data/sft.jsonl", {"id": "s", "output": "a"})
    others = [
        versions.leaf("data/sft.valid.jsonl", {"id": "s", "output": "a"}),
        versions.leaf("data/sft.jsonl", {"id": "s", "output": "b"}),
        versions.leaf("data/sft.jsonl", {"id": "s", "output": "a", "tags": []}),
    ]
    assert one not in others
    assert versions.leaf("data/sft.jsonl", {"output": "a", "id": "s"}) == one  # keys have no order
    assert versions.root([one]) != versions.root([one, one])
    assert versions.root([one]).startswith("v-")


def test_what_was_added_removed_and_changed(store: Workspace):
    kept, gone, fresh = member("s-1"), member("s-2"), member("s-3", label="injection")
    moved = (member("p-1", "x", source="old"), member("p-1", "y", source="new"))
    corrected = (member("s-4"), member("s-5"))
    build(store, "v-old", [kept, gone, moved[0], corrected[0]], **{"s-4": "f-1", "s-2": "f-2"})
    build(store, "v-new", [kept, fresh, moved[1], corrected[1]], **{"s-5": "f-1", "s-3": "f-3"})
    found = versions.diff(store, "v-old", "v-new")

    assert (found.added, found.removed) == ([fresh], [gone])
    assert set(found.changed) == {Change(*moved), Change(*corrected)}
    back = versions.diff(store, "v-new", "v-old")
    assert (back.added, back.removed) == ([gone], [fresh])
    assert set(back.changed) == {Change(new, old) for old, new in found.changed}


def test_equal_versions_do_not_differ(store: Workspace):
    for version in ("v-old", "v-new"):
        build(store, version, [member("s-1"), member("s-2", file="data/prefs.jsonl")])
    assert versions.diff(store, "v-old", "v-new") == Diff([], [], [])
    assert versions.diff(store, "v-old", "v-old") == Diff([], [], [])


def test_a_row_of_another_failure_or_kind_is_no_change_of_this_one():
    parents = {"s-1": frozenset({"f-1"}), "s-2": frozenset({"f-2"}), "p-1": frozenset({"f-1"})}
    for other in (member("s-2"), member("p-1"), member("s-9")):
        found = versions.compare([member("s-1")], [other], parents)
        assert found == Diff([other], [member("s-1")], [])


def test_one_row_takes_the_place_of_one():
    """Two answers of one failure, one of them corrected twice over."""
    rows = {name: member(name) for name in ("s-1", "s-2", "s-3")}
    parents = dict.fromkeys(rows, frozenset({"f-1"}))
    found = versions.compare([rows["s-1"]], [rows["s-2"], rows["s-3"]], parents)
    assert found == Diff([rows["s-3"]], [], [Change(rows["s-1"], rows["s-2"])])
    found = versions.compare([rows["s-2"], rows["s-3"]], [rows["s-1"]], parents)
    assert found == Diff([], [rows["s-3"]], [Change(rows["s-2"], rows["s-1"])])


def test_the_table_counts_by_file_label_and_source(
    store: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    build(
        store,
        "v-old",
        [member("s-1"), member("s-2", source="web"), member("p-1", "x", source="old")],
    )
    fresh = [member(f"s-{n}", label="injection") for n in (5, 6)]
    build(store, "v-new", [member("s-1"), member("p-1", "y"), *fresh])
    assert cli.main(["diff", "v-old", "v-new", "-C", str(store.root), "--json"]) == 0
    out = capsys.readouterr().out
    data = json.loads(out.splitlines()[-1])

    assert "v-old → v-new: 2 rows added, 1 removed, 1 changed" in out
    for row in (
        "injection | t | 2 | 0 | 0",
        "privacy | t | 0 | 0 | 1",
        "privacy | web | 0 | 1 | 0",
    ):
        assert f"| data/sft.jsonl | {row} |" in out
    assert [row["row"] for row in data["added"]] == ["s-5", "s-6"]
    assert [row["row"] for row in data["removed"]] == ["s-2"]
    assert [(c["old"]["leaf"], c["new"]["leaf"]) for c in data["changed"]] == [("x", "y")]

    monkeypatch.setenv("ERRATA_LANG", "zh")
    assert cli.main(["diff", "v-old", "v-new", "limit=1", "-C", str(store.root)]) == 0
    out = capsys.readouterr().out
    assert "新增 2 行，删除 1 行，修改 1 行" in out
    assert "…… 另有 1 行" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give two versions"),
        (["v-old"], "give two versions"),
        (["v-old", "v-old", "v-old"], "give two versions"),
        (["v-old", "v-olf"], "did you mean `v-old`?"),
        (["v-old", "f-00001"], "f-00001: is failure, not a dataset version"),
    ],
)
def test_bad_usage_is_exit_2_and_one_line(
    words: list[str], said: str, store: Workspace, capsys: pytest.CaptureFixture[str]
):
    build(store, "v-old", [member("s-1")])
    with Run(store, "intake", {}) as run:
        run.node("f-00001", "failure")
    capsys.readouterr()
    assert cli.main(["diff", *words, "-C", str(store.root)]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1


def test_the_beginning_of_an_id_is_enough_unless_several_have_it(store: Workspace):
    build(store, "v-1234abcd", [member("s-1")])
    build(store, "v-5678abcd", [member("s-1"), member("s-2")])
    assert [m.row for m in versions.diff(store, "v-12", "v-5678").added] == ["s-2"]
    build(store, "v-1299", [member("s-1")])
    with pytest.raises(BadInput, match="the beginning of several ids"):
        versions.diff(store, "v-12", "v-5678")


def test_a_version_of_many_rows(store: Workspace):
    """More than one statement holds."""
    old = [member(f"s-{n}") for n in range(1200)]
    new = [member(f"s-n{n}") for n in range(1200)]
    both = zip(old, new, strict=True)
    parents = {m.row: f"f-{n}" for n, pair in enumerate(both) for m in pair}
    build(store, "v-old", old, **parents)
    build(store, "v-new", new)
    found = versions.diff(store, "v-old", "v-new")

    assert (found.added, found.removed) == ([], [])
    assert len(found.changed) == 1200
    with database.reading(store) as connection:
        assert len(versions.members(connection, "v-old")) == 1200
