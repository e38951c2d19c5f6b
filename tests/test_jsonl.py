"""Records survive a round trip, a bad row is located, and a failed write leaves the old file."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata import jsonl
from errata.errors import BadInput
from errata.records import CaseResult, Failure, Metric, SftExample

ROW = {"id": "f-1", "prompt": "p", "bad_answer": "b", "label": "privacy"}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def file_with(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    return path


def test_canonical_sorts_keys_and_keeps_chinese():
    assert jsonl.canonical({"b": 1, "a": ["越狱", None]}) == '{"a":["越狱",null],"b":1}'


def test_digest_is_the_hash_of_the_canonical_text():
    expected = "sha256:" + hashlib.sha256(b'{"a":1}').hexdigest()

    assert jsonl.digest({"a": 1}) == expected


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values, max_size=5))
def test_digest_does_not_depend_on_the_order_of_keys(row: dict[str, Any]):
    backwards = dict(reversed(list(row.items())))

    assert jsonl.digest(row) == jsonl.digest(backwards)


def test_nan_has_no_canonical_form():
    with pytest.raises(ValueError, match="not JSON compliant"):
        jsonl.canonical({"loss": float("nan")})


def test_a_required_none_is_written_and_an_optional_one_is_not():
    metric = Metric(name="safety.leak_rate", value=None, n=0, unit="rate", worse="higher")

    assert jsonl.plain(metric)["value"] is None
    assert "low" not in jsonl.plain(metric)


def test_an_unscored_case_reads_back_as_unscored(tmp_path: Path):
    case = CaseResult(
        prompt_id="a",
        category="privacy",
        language="zh",
        family="f",
        cluster="c",
        answer="",
        hit=None,
    )
    jsonl.write(tmp_path / "cases.jsonl", [case])

    assert jsonl.read(tmp_path / "cases.jsonl", CaseResult) == [case]


def test_an_alias_is_written_under_its_public_name(tmp_path: Path):
    row = SftExample(
        id="s", instruction="i", output="o", why="w", origin="human", made_from=["f-1"]
    )
    jsonl.write(tmp_path / "sft.jsonl", [row])

    assert '"from": ["f-1"]' in (tmp_path / "sft.jsonl").read_text()
    assert jsonl.read(tmp_path / "sft.jsonl", SftExample) == [row]


@given(
    st.lists(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values), max_size=4)
)
def test_rows_survive_a_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]):
    path = tmp_path_factory.mktemp("jsonl") / "rows.jsonl"
    jsonl.write(path, rows)

    assert [row for _, row in jsonl.rows(path)] == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', r"rows\.jsonl:2: not JSON: .*; fix or delete the line"),
        (b'{"a": NaN}\n', r"rows\.jsonl:1: not JSON: NaN is not JSON"),
        (b"[1]\n", r"rows\.jsonl:1: not an object but list"),
        (b'{"a": "\xff"}\n', r"rows\.jsonl:1: not UTF-8 \(byte 8\)"),
        (b'{"a": "\\ud800"}\n', r"rows\.jsonl:1: half a surrogate pair"),
        (b"[" * 100_000, r"rows\.jsonl:1: not JSON"),
    ],
)
def test_a_line_that_is_no_row_is_located(tmp_path: Path, content: bytes, message: str):
    with pytest.raises(BadInput, match=message):
        list(jsonl.rows(file_with(tmp_path, content)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "nope"}, r":1: label: .*\(got 'nope'\)"),
        ({"labl": "privacy"}, r":1: labl: unknown field; delete it"),
        ({"id": 7}, r":1: id: .*valid string"),
        ({"prompt": None}, r":1: a full row needs `prompt` and `bad_answer`"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], message: str):
    path = file_with(tmp_path, jsonl.canonical({**ROW, **change}).encode())

    with pytest.raises(BadInput, match=message):
        jsonl.read(path, Failure)


def test_a_missing_field_is_named(tmp_path: Path):
    row = {key: value for key, value in ROW.items() if key != "label"}

    with pytest.raises(BadInput, match=r"rows\.jsonl:1: label: missing; add it"):
        jsonl.read(file_with(tmp_path, jsonl.canonical(row).encode()), Failure)


def test_an_error_does_not_repeat_raw_text(tmp_path: Path):
    """A phone number in a field of the wrong type must not get into a log."""
    row = {**ROW, "context": "call 13800138000"}

    with pytest.raises(BadInput) as caught:
        jsonl.read(file_with(tmp_path, jsonl.canonical(row).encode()), Failure)
    assert "13800138000" not in str(caught.value)


def test_blank_lines_a_byte_order_mark_and_crlf_are_no_rows(tmp_path: Path):
    path = file_with(tmp_path, b'\xef\xbb\xbf{"a": 1}\r\n\r\n   \n{"a": 2}')

    assert list(jsonl.rows(path)) == [(1, {"a": 1}), (4, {"a": 2})]


def test_a_line_separator_inside_a_text_ends_no_row(tmp_path: Path):
    jsonl.write(tmp_path / "a.jsonl", [{"a": "x\u2028y\u0085z"}])

    assert [row for _, row in jsonl.rows(tmp_path / "a.jsonl")] == [{"a": "x\u2028y\u0085z"}]


def test_chinese_labels_are_aliases(tmp_path: Path):
    path = file_with(tmp_path, jsonl.canonical({**ROW, "label": "越狱"}).encode())

    assert jsonl.read(path, Failure)[0].label == "jailbreak"


def test_no_file_and_no_rows_are_different_messages(tmp_path: Path):
    with pytest.raises(BadInput, match="no such file"):
        jsonl.read(tmp_path / "none.jsonl", Failure)
    with pytest.raises(BadInput, match="no rows"):
        jsonl.read(file_with(tmp_path, b"\n"), Failure)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    path = tmp_path / "data.jsonl"
    jsonl.write(path, [{"a": 1}])

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        jsonl.write(path, [{"a": 2}] * 10_000)
    assert path.read_text() == '{"a": 1}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_row_that_fails_half_way_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    jsonl.write(path, [{"a": 1}])

    with pytest.raises(ValueError, match="not JSON compliant"):
        jsonl.write(path, [{"a": 2}, {"a": float("inf")}])
    assert path.read_text() == '{"a": 1}\n'


def test_digest_of_a_folder_sees_names_and_bytes(tmp_path: Path):
    (tmp_path / "a").write_text("1")
    before = jsonl.digest_file(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = jsonl.digest_file(tmp_path)
    (tmp_path / "b").write_text("2")

    assert len({before, renamed, jsonl.digest_file(tmp_path)}) == 3
