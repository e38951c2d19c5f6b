"""The pure parts of the benches: the table of duels, their arithmetic, their rows, the report."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "bench"
BENCHES = ("training", "train", "gpu", "storage", "store")


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str], ModuleType]]:
    """Modules of bench/, which is a folder of scripts and not a package."""
    sys.path.insert(0, str(BENCH))
    yield importlib.import_module
    sys.path.remove(str(BENCH))
    for name in [n for n in sys.modules if n.split(".")[0] in BENCHES]:
        del sys.modules[name]


def run(cpu: float, peak: float, *losses: float) -> dict[str, object]:
    return {"cpu_seconds": cpu, "wall_seconds": cpu, "peak_gib": peak, "imports_gib": 0.5,
            "process_cpu_seconds": cpu + 5, "losses": list(losses)}  # fmt: skip


def test_table_has_every_bar_of_the_issue(load: Callable[[str], ModuleType]) -> None:
    duels = {duel.name: duel for duel in load("train").DUELS}
    bars = {name: (duel.faster, duel.memory) for name, duel in duels.items()}
    assert bars["dpo"] == (3.5, 0.40)
    assert bars["dpo-precomputed"][0] == 3.0
    assert bars["dpo-bf16"][0] == 3.0
    assert bars["dpo-bf16-fp32"][0] == 4.5
    assert bars["dpo-answers"][0] == 2.0
    assert bars["sft-small"][0] == 3.0
    assert bars["sft"] == (2.5, 0.65)
    assert bars["ppo"] == bars["ppo-61m"] == (3.0, 0.40)
    assert bars["rm"][0] == 1.7
    assert duels["ppo-kl"].kl_within == 0.25
    assert duels["logps"].agree == duels["curve"].agree == 1e-3
    assert duels["curve"].steps == 50


def test_unequal_settings_are_labelled_and_there_is_one_such_duel(
    load: Callable[[str], ModuleType],
) -> None:
    unequal = [d for d in load("train").DUELS if d.dtype[0] != d.dtype[1]]
    assert [d.name for d in unequal] == ["dpo-bf16-fp32"]
    assert "UNEQUAL" in unequal[0].title


def test_models_of_the_table_are_as_large_as_it_says(load: Callable[[str], ModuleType]) -> None:
    def parameters(name: str) -> int:
        hidden, layers, heads, kv, inner, vocabulary = load("training.work").MODELS[name]
        attention = 2 * hidden * hidden + 2 * hidden * hidden * kv // heads
        return vocabulary * hidden + layers * (attention + 3 * hidden * inner)

    assert parameters("61m") >= 60_000_000
    assert load("training.work").MODELS["61m"][-1] >= 32_000
    assert 1_800_000 <= parameters("2m") <= 2_200_000


def test_medians_not_means_decide(load: Callable[[str], ModuleType]) -> None:
    """One slow run of ours, or one of TRL's, changes nothing."""
    duel = replace(load("train").DUELS[0], memory=0.4)
    ours = [run(10, 1.0), run(10, 1.0), run(1000, 9.0)]
    theirs = [run(40, 4.0), run(40, 4.0), run(1, 0.1)]
    found = load("training.duel").verdict(duel, ours, theirs)
    assert found["faster"] == pytest.approx(4.0)
    assert found["memory"] == pytest.approx(0.25)
    assert found["memory_above_imports"] == pytest.approx(0.5 / 3.5)
    assert found["missed"] == []


def test_a_missed_bar_is_named_and_a_reached_one_is_not(load: Callable[[str], ModuleType]) -> None:
    duel = load("train").DUELS[0]
    slow = load("training.duel").verdict(duel, [run(10, 1.0)], [run(34.9, 4.0)])["missed"]
    assert len(slow) == 1
    assert "3.5" in slow[0]
    assert load("training.duel").verdict(duel, [run(10, 1.6)], [run(35, 4.0)])["missed"] == []
    heavy = load("training.duel").verdict(duel, [run(10, 1.7)], [run(35, 4.0)])["missed"]
    assert len(heavy) == 1
    assert "memory" in heavy[0]


def test_memory_above_imports_is_judged_where_the_duel_says_so(
    load: Callable[[str], ModuleType],
) -> None:
    ppo = next(d for d in load("train").DUELS if d.name == "ppo")
    found = load("training.duel").verdict(ppo, [run(1, 0.7)], [run(4, 1.1)])
    assert found["memory"] > 0.4
    assert found["missed"] == []


def test_curves_must_be_whole_to_agree(load: Callable[[str], ModuleType]) -> None:
    """A curve that is missing or too short is a miss, never an agreement."""
    duel = load("training.duel")
    assert duel.gap([0.5, 0.25], [0.5, 0.125]) == 0.125
    assert duel.gap([], []) is None
    assert duel.gap([0.5], [0.5, 0.5]) is None
    curve = next(d for d in load("train").DUELS if d.name == "curve")
    for ours, missed in ((run(1, 1, 0.5, 0.4), 0), (run(1, 1, 0.5, 0.4021), 1), (run(1, 1), 1)):
        found = duel.verdict(curve, [ours], [run(1, 1, 0.5, 0.4001)])
        assert len(found["missed"]) == missed


def test_kl_is_held_to_its_target_from_both_sides(load: Callable[[str], ModuleType]) -> None:
    ppo = next(d for d in load("train").DUELS if d.name == "ppo-kl")
    target = ppo.ours["target_kl"]
    for share, missed in ((0.74, 1), (0.76, 0), (1.24, 0), (1.26, 1)):
        found = load("training.duel").verdict(ppo, [{**run(1, 1), "kl": share * target}], [])
        assert len(found["missed"]) == missed, share


def test_packed_rows_fill_512_and_35_percent_is_learnt(load: Callable[[str], ModuleType]) -> None:
    rows = load("training.work").packed(32, 32_768)
    learnt = [len(row["output"].split()) + 1 for row in rows]
    whole = [len(row["instruction"].split()) + n for row, n in zip(rows, learnt, strict=True)]
    assert len(set(whole)) == len(whole)  # else best-fit-decreasing may pair others
    assert whole[::2] == sorted(whole[::2], reverse=True)
    assert {a + b for a, b in zip(whole[::2], whole[1::2], strict=True)} == {512}
    assert sum(learnt) / sum(whole) == pytest.approx(0.35, abs=0.005)


@pytest.mark.parametrize("kind", ["prompt-heavy", "answer-heavy"])
def test_pairs_have_the_lengths_of_the_table(load: Callable[[str], ModuleType], kind: str) -> None:
    work = load("training.work")
    prompt, answer = work.PAIRS[kind]
    for row in work.pairs(kind, 50, 1_000):
        assert prompt[0] <= len(row["prompt"].split()) <= prompt[1]
        for side in ("chosen", "rejected"):
            assert answer[0] <= len(row[side].split()) <= answer[1]
    assert work.pairs(kind, 5, 1_000) == work.pairs(kind, 5, 1_000)


def test_chat_path_and_plain_path_give_the_same_ids(load: Callable[[str], ModuleType]) -> None:
    """And the check itself can fail: a template that forgets the end token is caught."""
    work = load("training.work")
    tokenizer = work.make_tokenizer(600)
    rows = work.pairs("answer-heavy", 3, 600) + work.packed(4, 600)
    work.check_ids(tokenizer, rows)
    text = work.words(Random(0), 7, 600)
    assert len(tokenizer(text)["input_ids"]) == 7
    tokenizer.chat_template = work.TEMPLATE.replace("eos_token if", "'' if")
    with pytest.raises(AssertionError):
        work.check_ids(tokenizer, rows)


def test_both_sides_are_told_the_same(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    sides = load("training.sides")
    names = {"lr": "lr", "seed": "seed", "max_steps": "steps", "micro_batch": "batch",
             "seq_len": "seq_len", "dtype": "dtype", "model": "model"}  # fmt: skip
    for duel in load("train").DUELS:
        if duel.dtype[0] != duel.dtype[1] or duel.alone or duel.compare == "logps":
            continue
        ours = sides.knobs(duel, tmp_path, tmp_path / "rows.jsonl")
        theirs = sides.settings(duel, tmp_path / "rows.jsonl", tmp_path, 1)
        for mine, its in names.items():
            assert ours[mine] == theirs[its], (duel.name, mine)


def test_a_side_that_fails_is_a_miss_and_shows_no_path(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    arena, sides = load("training.arena"), load("training.sides")

    def fail(*_: object) -> None:
        raise sides.SideFailed(f"exit 1: no such file {BENCH}/x")

    monkeypatch.setattr(arena, "fight", fail)
    found = arena.result(load("train").DUELS[0], 1, 1, judged=True)
    assert found["verdict"] == "MISSED"
    assert str(BENCH) not in found["missed"][0]


def test_report_has_verdicts_both_curves_and_no_machine_path(
    load: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    arena, report, duels = load("training.arena"), load("training.report"), load("train").DUELS
    results = []
    for duel, cpu in ((duels[0], 10.0), (duels[1], 30.0)):
        ours, theirs = [run(cpu, 1.0, 0.6931, 0.6929)], [run(40, 4.0, 0.6931, 0.6928)]
        found = load("training.duel").verdict(duel, ours, theirs)
        missed = found.pop("missed")
        results.append({
            "duel": load("training.duel").plain(duel), "found": found, "missed": missed,
            "ours": arena.medians(ours), "trl": arena.medians(theirs),
            "runs": {"ours": ours, "trl": theirs}, "verdict": "MISSED" if missed else "holds",
        })  # fmt: skip
    stamp = report.machine(2)
    report.write(tmp_path, "train", "Title", stamp, results)
    text = (tmp_path / "train.md").read_text(encoding="utf-8")
    assert "4.00 (≥ 3.50)" in text
    assert "MISSED: 1.33 times faster; the bar is 3" in text
    assert text.count("losses, ours: 0.69310 0.69290") == 2
    assert {"cpu", "cores", "memory", "os", "python", "torch", "date"} <= set(stamp)
    assert not re.search(r"/(home|work|root|tmp)/", text)
    kept = json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))
    assert [r["verdict"] for r in kept["results"]] == ["holds", "MISSED"]


def test_gpu_table_is_the_cpu_table_grown(load: Callable[[str], ModuleType]) -> None:
    names = {duel.name for duel in load("train").DUELS}
    for duel in load("gpu").DUELS_ON_GPU:
        assert duel.name in names
        assert duel.clock == "wall_seconds"
        assert duel.dtype == ("bfloat16", "bfloat16")


# the store --------------------------------------------------------------------------------------


def test_claims_have_every_bar_of_the_issue(load: Callable[[str], ModuleType]) -> None:
    claims = {claim.name: claim for claim in load("store").CLAIMS}
    measures = load("storage.measures")
    assert {name: claim.bar for name, claim in claims.items()} == {
        "trace": "≤ 5", "trace-lasting": "≤ 5", "append-batched": "≥ 10,000", "append": "≥ 2,000",
        "append-floor": "≥ 2,000", "verify": "≥ 100,000", "version": "≤ 5", "writers": "≤ 0",
        "kills": "≤ 0",
    }  # fmt: skip
    assert claims["append-floor"].judged == ()  # what the database allows: told beside the bar
    assert measures.VERSIONS * measures.ROWS == 1_000_000
    assert measures.STORES * measures.KILLS == 200
    assert (measures.WRITERS, measures.EVENTS) == (8, 10_000)
    for name in ("trace", "append-batched", "verify", "version", "writers", "kills"):
        assert claims[name].judged == load("storage.claim").BOTH


def test_medians_are_judged_and_of_problems_the_worst(load: Callable[[str], ModuleType]) -> None:
    claims = {claim.name: claim for claim in load("store").CLAIMS}
    judge = load("storage.claim").judge

    def told(name: str, *values: float, kind: str = "SQLite") -> str:
        runs = [{"value": value, "wall_seconds": 1, "cpu_seconds": 1} for value in values]
        return str(judge(claims[name], kind, runs)["verdict"])

    assert told("trace", 4.9, 4.9, 90) == "holds"
    assert told("trace", 5.1, 5.1, 1) == "MISSED"
    assert told("append", 2_000, 1_999, 2_500) == "holds"
    assert told("append", 1_999, 1_999, 2_500) == "MISSED"
    assert told("append", 1, 1, 1, kind="PostgreSQL") == "reported"
    assert told("kills", 0, 0, 0) == "holds"
    assert told("kills", 0, 1, 0) == "MISSED"


def test_a_desk_has_the_rows_it_says(load: Callable[[str], ModuleType]) -> None:
    desk = load("storage.desk")
    first, second = desk.rows_of(0, 1000), desk.rows_of(1, 1000)
    assert len(set(first)) == len(set(second)) == 1000
    assert set(range(100)) <= set(first) & set(second)
    assert len(set(second) - set(first)) == 180
