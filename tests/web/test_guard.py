"""Who may read, who may change, and what a page may do."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from starlette.datastructures import Headers
from tests.web.conftest import TOKEN, Client

from errata.errors import BadInput
from errata.web import app, stage
from errata.web.desk import Desk
from errata.web.guard import Keys

Tag = tuple[str, dict[str, str | None]]


def tags(page: str) -> list[Tag]:
    """Every tag of a page with its attributes, as a browser would find them."""
    found: list[Tag] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Reader().feed(page)
    return found


READ = ["/", "/running", "/failures", "/review", "/review/spans", "/review/samples", "/runs",
        "/runs/new", "/runs/compare", "/verdicts", "/rollout", "/lineage", "/cost",
        "/reports"]  # fmt: skip


def test_every_address_without_a_name_in_it_is_read_here() -> None:
    assert {path for path in app.PAGES if "{" not in path} == set(READ)


@pytest.mark.parametrize("path", READ)
def test_a_page_is_read_on_loopback_and_carries_its_policy(desk: Desk, path: str) -> None:
    found = Client(desk).http.get(path)

    assert found.status_code == 200
    policy = found.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["cache-control"] == "no-store"
    for tag, told in tags(found.text):  # what the policy would not run is not there either
        assert not [name for name in told if name.startswith("on") or name == "style"], tag
        assert tag != "script" or (told["src"] or "").startswith("/static/")
        for name in ("src", "href", "action", "hx-get"):
            assert (told.get(name) or "/").startswith(("/", "#")), (tag, told)


@pytest.mark.parametrize("path", READ)
def test_elsewhere_nothing_is_read_without_the_token(desk: Desk, path: str) -> None:
    stranger = Client(desk, open_to_read=False)
    found = stranger.http.get(path)
    assert (found.status_code, found.headers["location"]) == (303, "/enter")
    assert stranger.enter().http.get(path).status_code == 200


def filled(path: str) -> str:
    return re.sub(r"\{\w+\}", "x", path)


@pytest.mark.parametrize("path", app.CHANGES)
def test_nothing_changes_without_the_cookie(desk: Desk, path: str) -> None:
    found = Client(desk).http.post(filled(path), data={"csrf": desk.keys.csrf})
    assert (found.status_code, found.headers["location"]) == (303, "/enter")


@pytest.mark.parametrize("path", app.CHANGES)
@pytest.mark.parametrize("secret", ["", "guess", "0" * 64])
def test_nothing_changes_for_a_form_of_somebody_else(client: Client, path: str, secret: str):
    found = client.http.post(filled(path), data={"csrf": secret})
    assert found.status_code == 403


@pytest.mark.parametrize("path", app.CHANGES)
def test_nothing_changes_from_another_site(client: Client, path: str) -> None:
    data = {"csrf": client.desk.keys.csrf}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        found = client.http.post(filled(path), data=data, headers={"origin": origin})
        assert found.status_code == 403, origin


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "a b"])
def test_a_foreign_name_for_this_machine_is_refused(desk: Desk, host: str) -> None:
    found = Client(desk).http.get("/", headers={"host": host})
    assert found.status_code == 421


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(desk: Desk) -> None:
    found = Client(desk).http.get(f"/enter?token={TOKEN}")
    assert found.headers["location"] == "/", "the token stays in no address"
    told = found.headers["set-cookie"].lower()
    assert "httponly" in told
    assert "samesite=strict" in told
    assert TOKEN not in told


@pytest.mark.parametrize("told", ["x", "a-token-of-the-test", "令牌", TOKEN + " "])
def test_another_token_does_not_enter(desk: Desk, told: str) -> None:
    stranger = Client(desk)
    assert stranger.http.post("/enter", data={"token": told}).status_code == 403
    assert "set-cookie" not in stranger.http.post("/enter", data={"token": told}).headers


def test_cookie_and_form_secret_differ_from_the_token_and_from_each_other() -> None:
    keys = Keys("t" * 20)
    assert len({keys.token, keys.session, keys.csrf}) == 3
    assert Keys("u" * 20).session != keys.session


def test_a_form_larger_than_any_person_writes_is_refused(client: Client) -> None:
    data = {"csrf": client.desk.keys.csrf, "said": "x" * (app.BODY + 1)}
    assert client.http.post("/review/decide", data=data).status_code == 413


def test_another_address_needs_a_token_that_somebody_chose(monkeypatch: Any) -> None:
    monkeypatch.delenv(stage.TOKEN, raising=False)
    with pytest.raises(BadInput, match=stage.TOKEN):
        stage.token(local=False)
    assert len(stage.token(local=True)) >= 32
    monkeypatch.setenv(stage.TOKEN, "short")
    with pytest.raises(BadInput, match="16 characters"):
        stage.token(local=True)
    monkeypatch.setenv(stage.TOKEN, "x" * 16)
    assert stage.token(local=False) == "x" * 16


def test_where_a_change_came_from_is_a_path_of_this_desk(client: Client) -> None:
    data = {"csrf": client.desk.keys.csrf, "severity": "odd"}
    for referer in ("http://evil.example/x", "http://127.0.0.1//evil.example", "nonsense"):
        found = client.http.post("/failures/x/triage", data=data, headers={"referer": referer})
        assert re.match(r"/(?!/)", found.headers["location"]), referer
    found = client.http.get("/language?to=zh", headers={"referer": "http://evil.example/"})
    assert found.headers["location"] == "/"


def test_a_cookie_of_another_desk_or_port_shuts_nobody_out(desk: Desk) -> None:
    """Ports share their cookies: what others set stands in the same header."""
    mine = f"{desk.keys.cookie}={desk.keys.session}"
    other = Keys("another-token-of-another-desk")
    for told in (f"{other.cookie}={other.session}; {mine}", f'a="b\\; c d;=; @; {mine}',
                 f"{mine}; x[]=1"):  # fmt: skip
        assert desk.keys.inside(Headers({"cookie": told})), told
        assert not other.inside(Headers({"cookie": mine}))


def test_who_only_reads_is_given_no_form_of_ours(desk: Desk) -> None:
    assert desk.keys.csrf not in Client(desk).get("/review")
    assert desk.keys.csrf in Client(desk).enter().get("/review")


def test_a_form_of_more_fields_than_any_page_has_is_refused(client: Client) -> None:
    assert client.http.post("/review/decide", content="a&" * 5000).status_code == 413
