"""What lay there when a run began: kept, compared, and a change of the rules is an event."""

from __future__ import annotations

import os
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from errata.jsonl import digest_file
from errata.store import database, ledger, objects, tree
from errata.store.lineage import trace
from errata.store.runs import Run
from errata.store.tree import Change, File
from errata.workspace import Workspace


@pytest.fixture
def ws(store: Workspace) -> Workspace:
    """On both databases."""
    return store


NAMES = st.sampled_from(["policies/a.yaml", "configs/b.yaml", "suites/c.jsonl", "data/d.jsonl"])
TREES = st.dictionaries(NAMES, st.sampled_from("xyz"), max_size=4).map(
    lambda found: {
        name: File(tree.FOLDERS[name.split("/")[0]], name, digest, 1, 1)
        for name, digest in found.items()
    }
)


def go(ws: Workspace) -> str:
    with Run(ws, "build", {}) as run:
        pass
    return run.id


def told(ws: Workspace) -> list[dict[str, Any]]:
    """The changes of each `policy` event."""
    return [event["data"] for event in ledger.events(ws, "policy")]


def edges(ws: Workspace) -> list[tuple[str, str]]:
    table = database.edge
    query = sa.select(table.c.src, table.c.dst).where(table.c.kind == "changed into")
    with database.reading(ws) as connection:
        return [(src, dst) for src, dst in connection.execute(query)]


@given(TREES, TREES)
def test_changes_are_the_rules_that_differ_and_nothing_else(
    before: dict[str, File], now: dict[str, File]
):
    found = tree.changes(before, now)
    old, new = ({n: f.digest for n, f in t.items() if f.role == "rule"} for t in (before, now))
    assert {c.path for c in found} == {n for n in old | new if old.get(n) != new.get(n)}
    assert all((c.old, c.new) == (old.get(c.path), new.get(c.path)) for c in found)
    assert found == sorted(found, key=lambda change: change.path)
    # Taken back, each change is the other way round.
    back = tree.changes(now, before)
    assert back == [Change(path, new, old) for path, old, new in found]


def test_a_changed_rule_is_an_event_with_both_digests_and_an_edge(store: Workspace):
    rule = store.policies / "redaction.yaml"
    rule.write_text("one: 1\n")
    go(store)
    old = digest_file(rule)
    rule.write_text("one: 2\n")
    run = go(store)

    change = {"path": "policies/redaction.yaml", "old": old, "new": digest_file(rule)}
    assert told(store)[-1]["run"] == run
    assert told(store)[-1]["changes"] == [change]
    assert edges(store) == [(old, digest_file(rule))]
    assert [(how, node.id) for how, node in trace(store, old).down if how == "changed into"] == [
        ("changed into", digest_file(rule))
    ]


def test_a_rule_that_is_added_or_removed_is_an_event_without_an_edge(store: Workspace):
    go(store)
    rule = store.configs / "gate.yaml"
    rule.write_text("hard: []\n")
    digest = digest_file(rule)
    go(store)
    rule.unlink()
    go(store)

    assert [event["changes"] for event in told(store)[-2:]] == [
        [{"path": "configs/gate.yaml", "old": None, "new": digest}],
        [{"path": "configs/gate.yaml", "old": digest, "new": None}],
    ]
    assert edges(store) == []


def test_a_change_taken_back_is_an_event_and_makes_no_circle(store: Workspace):
    rule = store.policies / "redaction.yaml"
    seen = []
    for text in ("one: 1\n", "one: 2\n", "one: 1\n", "one: 3\n"):
        rule.write_text(text)
        go(store)
        seen.append(digest_file(rule))

    pairs = [(event["changes"][0]["old"], event["changes"][0]["new"]) for event in told(store)]
    assert pairs == list(zip([None, *seen], seen, strict=False))
    assert sorted(edges(store)) == sorted([(seen[0], seen[1]), (seen[0], seen[3])])


def test_data_changes_without_an_event_and_is_kept(store: Workspace):
    data = store.data / "failures.jsonl"
    data.write_text('{"a": 1}\n')
    go(store)
    first = digest_file(data)
    count = len(told(store))
    data.write_text('{"a": 2}\n')
    run = go(store)

    assert len(told(store)) == count
    assert objects.get(store, first).read_text() == '{"a": 1}\n'
    with database.reading(store) as connection:
        assert tree.of_run(connection, run)["data/failures.jsonl"].digest == digest_file(data)


def test_nothing_changed_is_no_event(store: Workspace):
    (store.policies / "a.yaml").write_text("a: 1\n")
    go(store)
    go(store)
    assert len(told(store)) == 1


def test_unchanged_files_are_not_hashed_again(store: Workspace, monkeypatch: pytest.MonkeyPatch):
    for number in range(3):
        (store.policies / f"{number}.yaml").write_text("a: 1\n")
    go(store)
    (store.policies / "1.yaml").write_text("a: 22\n")
    hashed = []
    real = objects.put
    monkeypatch.setattr(objects, "put", lambda ws, path: hashed.append(path.name) or real(ws, path))
    go(store)

    assert hashed == ["1.yaml"]


def test_a_touched_file_is_hashed_and_found_unchanged(store: Workspace):
    rule = store.policies / "a.yaml"
    rule.write_text("a: 1\n")
    go(store)
    os.utime(rule, (1, 1))
    go(store)
    assert len(told(store)) == 1


def test_a_run_that_fails_has_told_the_change_before_it_began(store: Workspace):
    (store.policies / "a.yaml").write_text("a: 1\n")
    with pytest.raises(ValueError, match="x"), Run(store, "build", {}) as run:
        raise ValueError("x")
    assert [event["run"] for event in told(store)] == [run.id]


def test_hidden_files_are_not_of_the_state(store: Workspace):
    (store.policies / ".a.yaml.swp").write_text("x")
    (store.policies / "deep").mkdir()
    (store.policies / "deep" / "a.yaml").write_text("x")
    names = {path.relative_to(store.root).as_posix() for _, path in tree.paths(store)}
    assert "policies/deep/a.yaml" in names
    assert not [name for name in names if "/." in name]
