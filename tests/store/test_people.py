"""Every event says who acted in which roles; what only some may do is refused to the others."""

from __future__ import annotations

import pytest

from errata import cli
from errata.errors import BadInput, Blocked
from errata.store import ledger, people
from errata.workspace import Workspace


@pytest.fixture
def ws(store: Workspace) -> Workspace:
    """On both databases."""
    return store


TEAM = """
team: several
people:
  k1: {name: li@example.com, roles: [model]}
  k2: {name: wang@example.com, roles: [safety, privacy]}
  k3: {name: li@example.com, roles: [product]}
"""


@pytest.fixture
def team(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (ws.root / people.FILE).write_text(TEAM)
    monkeypatch.setenv("ERRATA_ACTOR", "li@example.com")
    return ws


def test_one_person_holds_every_role(ws: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ERRATA_ACTOR", "zhao@example.com")
    for right in people.RIGHTS:
        assert people.entitled(ws, right).name == "zhao@example.com"


def test_the_actor_is_gits_user_where_nobody_says_otherwise(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
):
    from errata import git

    monkeypatch.delenv("ERRATA_ACTOR", raising=False)
    git.git(ws.root, "config", "user.email", "sun@example.com")
    ledger.append(ws, "note")

    assert ledger.events(ws)[0]["data"]["actor"] == "sun@example.com"


def test_every_event_names_actor_and_roles(team: Workspace):
    ledger.append(team, "note")
    ledger.append(team, "rollout", right="promote")
    first, second = (event["data"] for event in ledger.events(team))

    assert first == {"actor": "li@example.com", "roles": ["model", "product"]}
    assert second["roles"] == ["model", "product"]


@pytest.mark.parametrize(
    ("name", "right", "held"),
    [
        ("li@example.com", "promote", ("model", "product")),
        ("li@example.com", "sign", ("product",)),
        ("wang@example.com", "sign", ("safety",)),
        ("wang@example.com", "erase", ("privacy",)),
        ("wang@example.com", "reveal", ("privacy",)),
        ("wang@example.com", "promote", None),
        ("li@example.com", "erase", None),
        ("stranger@example.com", "reveal", None),
    ],
)
def test_a_right_is_held_by_its_roles_alone(
    team: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    right: people.Right,
    held: tuple[str, ...] | None,
):
    monkeypatch.setenv("ERRATA_ACTOR", name)
    if held:
        assert people.entitled(team, right).roles == held
        return
    with pytest.raises(Blocked, match=f"to {right} is a right of"):
        ledger.append(team, "act", right=right)
    assert ledger.events(team) == []


def test_rights_can_be_given_to_other_roles(team: Workspace):
    (team.root / people.FILE).write_text(TEAM + "rights: {erase: [model]}\n")
    assert people.entitled(team, "erase").roles == ("model",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("team: several\n", "no `people`"),
        ("team: pair\n", "team"),
        ("people: {k1: {name: a, roles: [boss]}}\n", "boss"),
        ("rights: {fly: [model]}\n", "fly"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(ws: Workspace, text: str, words: str):
    (ws.root / people.FILE).write_text(text)
    with pytest.raises(BadInput, match=words):
        people.actor(ws)


def test_a_rollout_is_not_started_by_who_may_not(
    team: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ERRATA_ACTOR", "wang@example.com")
    assert cli.main(["rollout", "start", "-C", str(team.root)]) == 3
    assert "to promote is a right of model or product" in capsys.readouterr().err
