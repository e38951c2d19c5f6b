"""Bytes are kept under their digest, here and in a shared place, and others are never served."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from errata.errors import BadInput, ErrataError
from errata.jsonl import digest_file
from errata.store import objects
from errata.store.runs import Run
from errata.workspace import Workspace

Damage = Callable[[str], None]  # of a digest's copy in the shared place


@pytest.fixture
def kept(local: Workspace) -> tuple[Workspace, str]:
    """A workspace with one object."""
    (local.data / "a.txt").write_bytes("越狱\r\n\0".encode())
    return local, objects.put(local, "data/a.txt")


@pytest.fixture
def other(tmp_path: Path) -> Workspace:
    """A second workspace, with nothing in it."""
    (tmp_path / "other" / "configs").mkdir(parents=True)
    return Workspace(tmp_path / "other")


@pytest.fixture(params=["file", "memory"])
def shared(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Damage]:
    """ERRATA_OBJECTS_URL names a place; what damages a copy in it."""
    import fsspec

    place = tmp_path / "team" if request.param == "file" else f"/{uuid.uuid4().hex}"
    monkeypatch.setenv("ERRATA_OBJECTS_URL", f"{request.param}://{place}")
    fs = fsspec.filesystem(request.param)

    def damage(digest: str) -> None:
        name = digest.removeprefix("sha256:")
        fs.pipe_file(f"{place}/{name[:2]}/{name[2:]}", b"other bytes")

    yield damage
    if fs.exists(str(place)):
        fs.rm(str(place), recursive=True)


def place(ws: Workspace, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return ws.state / "objects" / name[:2] / name[2:]


def test_what_is_put_comes_back_byte_for_byte_and_is_kept_once(kept: tuple[Workspace, str]):
    ws, digest = kept
    (ws.data / "b.txt").write_bytes((ws.data / "a.txt").read_bytes())

    assert digest == digest_file(ws.data / "a.txt")
    assert objects.put(ws, ws.data / "b.txt") == digest
    assert objects.get(ws, digest).read_bytes() == (ws.data / "a.txt").read_bytes()
    assert [p for p in (ws.state / "objects").rglob("*") if p.is_file()] == [place(ws, digest)]


def test_a_copy_outlives_its_file_and_is_gone_when_dropped(kept: tuple[Workspace, str]):
    ws, digest = kept
    (ws.data / "a.txt").write_text("changed in place")

    assert digest_file(objects.get(ws, digest)) == digest
    assert objects.drop(ws, digest)
    with pytest.raises(BadInput, match="never kept, or was erased"):
        objects.get(ws, digest)
    assert not objects.drop(ws, digest)


def test_a_missing_object_is_named_with_where_it_was_looked_for(local: Workspace):
    digest = "sha256:" + "0" * 64
    with pytest.raises(BadInput, match=f"^{digest}: not in .errata/objects; it was never kept"):
        objects.get(local, digest)


def test_a_damaged_object_is_never_served_and_both_hashes_are_named(kept: tuple[Workspace, str]):
    ws, digest = kept
    place(ws, digest).write_bytes(b"other bytes")
    found = digest_file(place(ws, digest))[:19]
    with pytest.raises(BadInput) as caught:
        objects.get(ws, digest)

    said = str(caught.value)
    assert said.startswith(f"{digest}: its copy .errata/objects/")
    assert f"is damaged (it is {found}…)" in said
    assert "restore it from a backup, or delete it" in said


def test_a_damaged_object_is_mended_when_its_bytes_are_put_again(kept: tuple[Workspace, str]):
    ws, digest = kept
    for damaged in (b"", b"other bytes"):
        place(ws, digest).write_bytes(damaged)
        assert objects.put(ws, "data/a.txt") == digest
        assert digest_file(objects.get(ws, digest)) == digest


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha256:" + "A" * 64, "sha256:../../../etc/passwd", "0" * 63 + "/"]
)
def test_what_is_no_digest_names_no_file(local: Workspace, digest: str):
    for ask in (objects.get, objects.drop):
        with pytest.raises(BadInput, match="is not a digest"):
            ask(local, digest)


# the shared place --------------------------------------------------------------------------------


def test_two_workspaces_share_a_place(
    shared: Damage, kept: tuple[Workspace, str], other: Workspace
):
    _, digest = kept
    assert not place(other, digest).exists()
    assert objects.get(other, digest).read_bytes() == "越狱\r\n\0".encode()
    assert place(other, digest).is_file()  # the next time it is read here


def test_a_run_s_data_reaches_the_other_workspace(
    shared: Damage, local: Workspace, other: Workspace
):
    (local.data / "rows.jsonl").write_text('{"a": 1}\n')
    with Run(local, "build", {}) as run:
        run.input("data/rows.jsonl")
    assert objects.get(other, digest_file(local.data / "rows.jsonl")).read_text() == '{"a": 1}\n'


def test_a_damaged_copy_in_the_shared_place_is_never_served(
    shared: Damage, kept: tuple[Workspace, str], other: Workspace
):
    _, digest = kept
    shared(digest)
    with pytest.raises(BadInput, match=f"{digest}: its copy in ERRATA_OBJECTS_URL is damaged"):
        objects.get(other, digest)

    assert not place(other, digest).exists()


def test_a_damaged_copy_here_is_mended_from_the_shared_place(
    shared: Damage, kept: tuple[Workspace, str]
):
    ws, digest = kept
    place(ws, digest).write_bytes(b"other bytes")
    assert digest_file(objects.get(ws, digest)) == digest


def test_a_damaged_copy_in_the_shared_place_is_mended_when_its_bytes_are_put_again(
    shared: Damage, kept: tuple[Workspace, str], other: Workspace
):
    ws, digest = kept
    shared(digest)
    objects.put(ws, "data/a.txt")
    assert digest_file(objects.get(other, digest)) == digest


def test_a_drop_reaches_the_shared_place(
    shared: Damage, kept: tuple[Workspace, str], other: Workspace
):
    ws, digest = kept
    assert objects.drop(other, digest)  # there is none here, but there
    place(ws, digest).unlink()
    with pytest.raises(BadInput, match="nor in ERRATA_OBJECTS_URL; it was never kept"):
        objects.get(ws, digest)


def test_nothing_half_written_lies_in_the_shared_place(
    kept: tuple[Workspace, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ws, digest = kept
    monkeypatch.setenv("ERRATA_OBJECTS_URL", f"file://{tmp_path}/team")
    objects.put(ws, "data/a.txt")
    files = [p for p in (tmp_path / "team").rglob("*") if p.is_file()]
    assert [p.name for p in files] == [digest[9:]]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nosuch://bucket/x", "ERRATA_OBJECTS_URL: Protocol not known: nosuch"),
        ("nosuch://me:pw@bucket/x", "ERRATA_OBJECTS_URL: "),
        ("s3://bucket/x", "ERRATA_OBJECTS_URL: "),
    ],
)
def test_a_place_that_cannot_be_opened_is_one_line_without_its_password(
    url: str, words: str, kept: tuple[Workspace, str], monkeypatch: pytest.MonkeyPatch
):
    ws, _ = kept
    monkeypatch.setenv("ERRATA_OBJECTS_URL", url)
    with pytest.raises(ErrataError, match=re.escape(words)) as caught:
        objects.put(ws, "data/a.txt")
    assert "pw" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_place_that_cannot_be_written_to_is_one_line(
    kept: tuple[Workspace, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ws, _ = kept
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ERRATA_OBJECTS_URL", f"file://{tmp_path}/file/team")
    with pytest.raises(ErrataError, match=r"^ERRATA_OBJECTS_URL: .*; check it, then run again"):
        objects.put(ws, "data/a.txt")
