"""The sets that redaction is measured on hold what they say, and the report is fit to be shown."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

pytest.importorskip("faker")
BENCH = str(Path(__file__).parents[2] / "bench")


@pytest.fixture(scope="module")
def dataset() -> Iterator[SimpleNamespace]:
    """The modules of bench/dataset."""
    sys.path.insert(0, BENCH)
    names = ("values", "frames", "near", "prose", "quality", "report", "bulk")
    yield SimpleNamespace(**{name: importlib.import_module(f"dataset.{name}") for name in names})
    sys.path.remove(BENCH)


def test_a_row_holds_its_value_once_and_the_same_seed_makes_the_same_rows(
    dataset: SimpleNamespace,
) -> None:
    made = dataset.quality.rows(Random(1), 5)
    assert [row for row in made if row.text.count(row.value) != 1] == []
    assert made == dataset.quality.rows(Random(1), 5)
    assert {row.language for row in made} == {"en", "zh"}


def test_the_near_miss_of_a_card_or_an_id_is_one(dataset: SimpleNamespace) -> None:
    random = Random(2)
    for _ in range(50):
        wrong = dataset.near.wrong_card(random)
        assert dataset.values.luhn_digit(wrong[:-1]) != wrong[-1]
    # The example of GB 11643, in which X is right.
    assert dataset.values.luhn_digit("7992739871") == "3"


def test_passwords_are_told_in_forty_sentences_of_each_language(dataset: SimpleNamespace) -> None:
    for told in (dataset.prose.EN, dataset.prose.ZH):
        assert len(set(told)) >= 40
        assert all(frame.count("{}") == 1 for frame in told)


def test_a_value_counts_as_left_however_it_is_grouped(dataset: SimpleNamespace) -> None:
    left = dataset.quality.left
    assert left("4111 1111 1111 1111", "paid 4111111111111111 today")
    assert left("a@b.io", "to a@b.io")
    assert not left("4111 1111 1111 1111", "paid <CARD:7f3a12c4> today")


def test_a_missed_bar_is_told_and_the_page_names_no_place(dataset: SimpleNamespace) -> None:
    report = dataset.report
    claim = report.Claim("a", "a claim", lambda _: [], "x", least=2)
    run = {"value": 1.0, "wall_seconds": 1.0, "cpu_seconds": 1.0, "by type": {"CARD": 1.0}}
    missed, holds = report.judge(claim, [run]), report.judge(claim, [{**run, "value": 2.0}])
    assert (missed["verdict"], holds["verdict"]) == ("MISSED", "holds")
    none = report.judge(report.Claim("b", "b", lambda _: [], "x", most=0), [{**run, "value": 1}])
    assert none["verdict"] == "MISSED"
    page = report.page("T", report.machine(), [missed])
    assert "CARD 1.0" in page
    assert "/" + "home" not in page


def test_rows_in_bulk_are_all_different_and_memory_is_told_for_ten_gigabytes(
    dataset: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = dataset.bulk.write(tmp_path / "a.jsonl", 1)
    rows = (tmp_path / "a.jsonl").read_bytes().splitlines()
    assert len(rows) == count
    assert len({*rows}) == count - rows.count(b"{broken") + 1
    peaks = {100: 150.0, 200: 160.0}

    def intake(mib: int) -> dict[str, float]:
        return {"MiB": mib, "peak": peaks[mib], "MB": 1, "MB/s": 1, "wall": 1, "cpu": 1}

    monkeypatch.setattr(dataset.bulk, "intake", intake)
    monkeypatch.setattr(dataset.bulk, "SIZES", [200, 100])
    (run,) = dataset.bulk.memory(1)
    assert run["value"] == pytest.approx(160 + (dataset.bulk.WHOLE - 200) / 10)
