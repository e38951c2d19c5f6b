"""People: an unbiased sample, blinded sheets taken in whole or not at all, what labels feed."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from errata import cli, jsonl
from errata.errors import BadInput, NoDecision
from errata.evaluate.mtbench import votes
from errata.evaluate.people import feed, page, ratings, sample, stage
from errata.evaluate.people.sample import Sample
from errata.records import Case, Message, MetricsFile, Predicate
from errata.safety import licence
from errata.store import ledger
from errata.workspace import Workspace

GOOD, BAD = "It costs 42 yuan[1]. Thank you.", "=cmd|' /C calc'!A0 you fool"
COLUMNS = ["factuality", "politeness", "safety", "refusal"]


def cases(split: str = "heldout", sizes: tuple[int, ...] = (40, 20, 10, 6)) -> list[Case]:
    """Four strata of uneven sizes."""
    cells = [("catalogue", "en"), ("catalogue", "zh"), ("privacy", "en"), ("privacy", "zh")]
    return [
        Case(
            id=f"{category}-{language}-{n}", category=category, language=language,  # type: ignore[arg-type]
            family="f", cluster=f"{category}/{language}/{n}", split=split,  # type: ignore[arg-type]
            messages=[Message(role="documents", content=f"[1] Thing {n} costs 42 yuan."),
                      Message(role="user", content=f"{category} {language}: what of thing {n}?")],
            success=Predicate(kind="polite"),
        )
        for (category, language), size in zip(cells, sizes, strict=True)
        for n in range(size)
    ]  # fmt: skip


@pytest.fixture
def knobs(ws: Workspace) -> dict[str, Any]:
    """A sample of thirty: our model is good in English, bad in Chinese; the other the reverse."""
    jsonl.write(ws.suites / "business.jsonl", [*cases(), *cases("tune")])
    for name, zh in (("ours", BAD), ("theirs", GOOD)):
        en = GOOD if zh == BAD else BAD
        code = f"    return {zh!r} if ' zh:' in messages[-1]['content'] else {en!r}\n"
        (ws.root / f"{name}.py").write_text("def reply(messages):\n" + code)
    return {
        "suites": ["suites/business.jsonl"], "model": "python:ours.py:reply",
        "baseline": "python:theirs.py:reply", "n": 30, "least": 3, "overlap": 0.7,
        "sheet": "inbox/human.csv",
    }  # fmt: skip


def draw(ws: Workspace, knobs: dict[str, Any], **more: Any) -> Sample:
    stage.main(ws, stage.Config(**{**knobs, **more}))
    return sample.last(ws)


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def save(path: Path, rows: list[dict[str, str]]) -> str:
    out = io.StringIO()
    table = csv.DictWriter(out, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    path.write_text(out.getvalue(), encoding="utf-8")
    return str(path)


def truth(row: dict[str, str]) -> dict[str, str]:
    """What a careful person says: of answers, who never sees whose they are."""
    good = {letter: "42" in row[f"answer_{letter}"] for letter in "ab"}
    marks = {f"{name}_{letter}": "yes" if good[letter] else "no"
             for letter in "ab" for name in COLUMNS[:3]}  # fmt: skip
    marks |= {f"refusal_{letter}": "no" for letter in "ab"}
    better = "a" if good["a"] > good["b"] else "b" if good["b"] > good["a"] else "tie"
    return {**row, **marks, "preference": better.upper(), "reason": "made up" if "no" in
            (marks["factuality_a"], marks["factuality_b"]) else ""}  # fmt: skip


def fill(ws: Workspace, how: Callable[[dict[str, str]], dict[str, str]] = truth) -> list[str]:
    paths = sorted((ws.root / "inbox").glob("human-r*.csv"))
    return [save(path, [how(row) for row in read(path)]) for path in paths]


def taken(ws: Workspace, paths: list[str], **more: Any) -> tuple[int, MetricsFile, str]:
    code = 0
    try:
        stage.main(ws, stage.Config(args=paths, **more))
    except NoDecision:
        code = 4
    path = max((ws.reports / "human").glob("*.json"), key=lambda p: p.stat().st_mtime_ns)
    return code, jsonl.read_json(path, MetricsFile), path.with_suffix(".md").read_text()


def values(file: MetricsFile) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in file.metrics}


def test_each_stratum_gives_its_least_and_the_rest_by_size() -> None:
    """Floors of 3 take 12 of 30; the other 18 go 37 : 17 : 7 : 3 of 64: 10.4, 4.8, 2.0, 0.8."""
    sizes = {"a": 40, "b": 20, "c": 10, "d": 6}
    assert sample.allotted(sizes, 30, 3) == {"a": 13, "b": 8, "c": 5, "d": 4}
    assert sample.allotted(sizes, 500, 3) == sizes
    with pytest.raises(BadInput, match="n=12 or more"):
        sample.allotted(sizes, 11, 3)


def test_weights_add_up_to_all_cases_and_the_draw_is_the_same_again() -> None:
    found = sample.drawn(cases(), 30, 3, seed=1)
    assert sum(weight for _, weight in found) == pytest.approx(76)
    assert found == sample.drawn(cases()[::-1], 30, 3, seed=1)
    assert found != sample.drawn(cases(), 30, 3, seed=2)
    assert len({case.id for case, _ in found}) == 30


def test_the_estimate_is_unbiased_however_unevenly_the_strata_are_drawn() -> None:
    """Half of the large strata are good, none of the small: 30 of 76. Equal n per stratum."""
    good = {case.id for case in cases() if case.category == "catalogue" and int(case.id[-1]) % 2}
    share, means = len(good) / 76, []
    for seed in range(300):
        found = sample.drawn(cases(), 16, 4, seed)
        means.append(sum(weight * (case.id in good) for case, weight in found) / 76)
    plain = [
        sum(case.id in good for case, _ in sample.drawn(cases(), 16, 4, s)) / 16 for s in range(300)
    ]
    assert sum(means) / 300 == pytest.approx(share, abs=0.025)
    assert abs(sum(plain) / 300 - share) > 0.08  # unweighted it would be off


def test_overlap_goes_to_all_and_the_rest_to_one_each() -> None:
    dealt = sample.dealt(20, ["r1", "r2", "r3"], 0.3)
    assert [len(row) for row in dealt] == [3] * 6 + [1] * 14
    assert max(Counter(name for row in dealt for name in row).values()) <= 11
    assert sample.dealt(5, ["r1"], 1.0) == [["r1"]] * 5


def test_a_sheet_tells_no_side_and_no_formula_is_carried_out(ws, knobs) -> None:
    drawn = draw(ws, knobs)
    firsts = Counter(row.a for row in drawn.rows)
    assert min(firsts["ours"], firsts["theirs"]) >= 6
    text = "".join(path.read_text() for path in (ws.root / "inbox").glob("human-r*.csv"))
    for word in ("ours", "theirs", drawn.candidate, "python:", drawn.rows[0].case):
        assert word not in text
    rows = read(ws.root / "inbox/human-r1.csv")
    assert len(rows) in (25, 26)
    assert any(row["answer_a"].startswith("'=cmd") for row in rows)
    key = {row.id: row for row in drawn.rows}
    for row in rows:
        assert row["answer_a"].removeprefix("'") == key[row["id"]].answer(key[row["id"]].a)


def test_filled_sheets_become_weighted_rates_an_alpha_and_a_win_rate(ws, knobs) -> None:
    """English is 50 of 76 cases, and ours is good and wins there alone."""
    draw(ws, knobs)
    code, file, told = taken(ws, fill(ws))
    assert code == 0
    share = pytest.approx(50 / 76)
    assert values(file) == {
        "human.factuality": share, "human.politeness": share, "human.safety": share,
        "human.win_rate": share,
    }  # fmt: skip
    safety = next(metric for metric in file.metrics if metric.name == "human.safety")
    assert safety.low is not None
    assert safety.low < 50 / 76 < (safety.high or 0)
    cells = {(cell.kind, cell.language): cell.value for cell in safety.slices}
    assert cells == {("catalogue", "en"): 1, ("catalogue", "zh"): 0,
                     ("privacy", "en"): 1, ("privacy", "zh"): 0}  # fmt: skip
    assert "1.000" in told
    assert "| r1 |" in told


def test_raters_who_guess_are_no_decision(ws, knobs) -> None:
    rng = Random(3)
    draw(ws, knobs)

    def guess(row: dict[str, str]) -> dict[str, str]:
        marks = {
            f"{name}_{letter}": rng.choice(["yes", "no"]) for letter in "ab" for name in COLUMNS
        }
        return {**row, **marks, "preference": rng.choice(["A", "B", "tie"]), "reason": ""}

    code, file, told = taken(ws, fill(ws, guess))
    assert code == 4
    assert set(values(file).values()) == {None}
    assert "raters agree too little: alpha" in told


def test_one_sheet_of_two_is_kept_and_is_no_decision_yet(ws, knobs) -> None:
    draw(ws, knobs)
    first, second = fill(ws)
    code, file, told = taken(ws, [first])
    assert (code, set(values(file).values())) == (4, {None})
    assert "0 answers have two raters" in told
    assert taken(ws, [second])[0] == 0
    lines = len((ws.root / ratings.FILE).read_text().splitlines())
    assert taken(ws, [first, second])[0] == 0
    assert len((ws.root / ratings.FILE).read_text().splitlines()) == lines


@pytest.mark.parametrize(
    ("column", "cell", "why"),
    [
        ("id", "nobody", "no row of a sample"), ("rater", "r9", "was not given this row"),
        ("safety_a", "maybe", "`maybe` is none of yes, no, skip"),
        ("safety_b", "", "empty; write skip"),
        ("preference", "both", "none of a, b, tie, skip"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named_and_nothing_is_taken(ws, knobs, column, cell, why) -> None:
    draw(ws, knobs)
    paths = fill(ws)
    rows = read(Path(paths[0]))
    rows[3][column] = cell
    save(Path(paths[0]), rows)
    with pytest.raises(BadInput, match=why) as found:
        stage.main(ws, stage.Config(args=paths))
    assert f"{paths[0]}:" in str(found.value)
    assert not (ws.root / ratings.FILE).exists()


def test_a_row_that_a_rater_filled_in_twice_is_named(ws, knobs) -> None:
    """Which of the two words counts is not for the order of the lines to say."""
    draw(ws, knobs)
    paths = fill(ws)
    rows = read(Path(paths[0]))
    save(Path(paths[0]), [*rows, {**rows[0], "safety_a": "skip"}])
    with pytest.raises(BadInput, match="stands here twice"):
        stage.main(ws, stage.Config(args=paths))
    assert not (ws.root / ratings.FILE).exists()


def test_skips_count_as_nobody_and_too_many_are_no_decision(ws, knobs) -> None:
    draw(ws, knobs)
    _, file, told = taken(
        ws, fill(ws, lambda row: {**truth(row), "safety_a": "跳过", "safety_b": "s"})
    )
    assert values(file)["human.safety"] is None
    assert values(file)["human.factuality"] == pytest.approx(50 / 76)
    assert "rated rows stand for 0%" in told


def test_what_is_kept_is_redacted_and_says_who(ws, knobs, monkeypatch) -> None:
    monkeypatch.setenv("ERRATA_ACTOR", "li@example.com")
    draw(ws, knobs)
    taken(ws, fill(ws, lambda row: {**truth(row), "reason": "call 13812345678 about it"}))
    text = (ws.root / ratings.FILE).read_text()
    assert "13812345678" not in text
    assert json.loads(text.splitlines()[0])["by"] == "li@example.com"
    assert list(ledger.events(ws, "sent")) == []


def test_the_terminal_asks_in_the_same_words(ws, knobs, monkeypatch, capsys) -> None:
    drawn = draw(ws, knobs, raters=["ann"], n=12, overlap=0.0)
    said = "maybe\n" + "yes\n" * 8 + "A\nwell\n" + "\n" + "/quit\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(said))
    with pytest.raises(NoDecision, match="ann 11"):
        stage.main(ws, stage.Config(rater="ann"))
    assert "none of yes, no, skip" in capsys.readouterr().out
    kept = next(iter(ratings.read(ws).values()))
    row = drawn.rows[0]
    assert (kept.id, kept.reason, kept.preference) == (row.id, "well", row.a)
    assert cli.main(["human", "-C", str(ws.root)]) == 0
    assert "| ann | 12 | 1 | 11 |" in capsys.readouterr().out


def test_held_out_answers_feed_nothing_and_tune_ones_come_back_through_intake(ws, knobs) -> None:
    draw(ws, knobs)
    _, _, told = taken(ws, fill(ws), write_back="inbox/back.jsonl")
    assert not (ws.root / "inbox/back.jsonl").exists()
    assert "of held-out cases stay here" in told

    draw(ws, knobs, split="tune")
    taken(ws, fill(ws), write_back="inbox/back.jsonl")
    rows = [row for _, row in jsonl.rows(ws.root / "inbox/back.jsonl")]
    assert len(rows) == 30
    for row in rows:  # in every row one answer was rejected, and the other is preferred to it
        assert row["feedback"]["preferred"] == GOOD
        assert row["messages"][-1]["content"] == BAD
        assert row["label"] in ("privacy", "other")
    assert cli.main(["intake", "-C", str(ws.root), "inbox/back.jsonl"]) == 0
    failures = [row for _, row in jsonl.rows(ws.data / "failures.jsonl")]
    assert {row["source"] for row in failures} == {"human"}
    assert all(row["meta"]["reference"] == GOOD for row in failures)


def test_labels_measure_judges(ws, knobs, capsys) -> None:
    drawn = draw(ws, knobs)
    taken(ws, fill(ws, lambda row: {**truth(row), "refusal_a": "partly"}))
    for kind in ("judge", "votes"):
        words = ["human", "-C", str(ws.root), f"export={kind}", f"{kind}.jsonl"]
        assert cli.main(words) == 0
    rows = licence.read(ws.root / "judge.jsonl")
    assert len(rows) == 2 * len(drawn.rows)
    assert Counter(row.label for row in rows) == {"partial_refusal": 30, "compliance": 30}
    labels = votes.read(ws.root / "votes.jsonl")
    assert Counter(label.winner for label in labels) == Counter(
        "a" if row.language == "en" else "b" for row in drawn.rows
    )


def test_where_raters_differ_nothing_is_fed(ws, knobs) -> None:
    drawn = draw(ws, knobs, split="tune", overlap=1.0)
    other = {"yes": "no", "no": "yes", "partly": "no"}

    def contrary(row: dict[str, str]) -> dict[str, str]:
        told = truth(row)
        if row["rater"] == "r1":
            return told
        marks = [f"{name}_{letter}" for letter in "ab" for name in COLUMNS]
        swap = {"A": "B", "B": "A"}.get(told["preference"], "A")
        return {**told, **{name: other[told[name]] for name in marks}, "preference": swap}

    taken(ws, fill(ws, contrary), write_back="inbox/back.jsonl")
    assert feed.inbox(drawn, ratings.read(ws)).rows == []
    assert feed.judge(drawn, ratings.read(ws)) == []


def test_rows_that_nobody_could_judge_do_not_shrink_their_stratum(ws, knobs) -> None:
    drawn = draw(ws, knobs)
    ids = [row.id for row in drawn.rows if row.language == "en"]
    rated = {row.id: float(row.language == "en") for row in drawn.rows if row.id not in ids[1:8]}
    assert page.rate("human.safety", drawn, rated).value == pytest.approx(50 / 76)


def test_raters_are_names_or_how_many() -> None:
    assert stage.Config(raters=3).raters == ["r1", "r2", "r3"]  # type: ignore[arg-type]
    for wrong in (["a", "a"], ["a b"], []):
        with pytest.raises(ValueError, match="one name or more"):
            stage.Config(raters=wrong)
    with pytest.raises(ValueError, match="known: factuality"):
        stage.Config(questions=["charm"])


def test_without_a_sample_the_queue_says_how_to_draw_one(ws) -> None:
    with pytest.raises(BadInput, match="sheet="):
        stage.main(ws, stage.Config())
