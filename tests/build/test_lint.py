"""Every check catches its examples and spares the others; every judge fails and spares its own."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from errata.build import lint_set
from errata.build.better import JUDGES, Judge, View, rule
from errata.build.cut import cutter, embedded
from errata.build.heldout import HeldOut
from errata.build.lint import (
    CHECKS,
    WHOLE,
    Check,
    Context,
    Example,
    Limits,
    blocking,
    limits_hash,
    run,
)
from errata.build.lint_base import case, pair
from errata.build.lint_pair import LONG
from errata.candidates import TINY
from errata.errors import BadInput
from errata.records import Message, PreferencePair
from errata.workspace import Workspace


def context(example: Example) -> Context:
    """What an example is checked with: its cases, held out or the pairs' own."""
    own = dict(zip((row.id for row in example.pairs), example.cases, strict=False))
    return Context(
        HeldOut(example.cases),
        limits=example.limits,
        cutter=embedded(example.seq_len),
        cases={id: case for id, case in own.items() if case.split == "tune"},
    )


def cases(kind: str) -> list[object]:
    return [
        pytest.param(check, example, id=f"{check.id}-{i}")
        for check in CHECKS
        for i, example in enumerate(getattr(check, kind))
    ]


@pytest.mark.parametrize(("check", "example"), cases("catches"))
def test_catches(check: Check, example: Example) -> None:
    hits = {hit.id for hit in check.find(example.pairs, context(example))}
    assert hits in ({pair.id for pair in example.pairs}, {WHOLE})


@pytest.mark.parametrize(("check", "example"), cases("spares"))
def test_spares(check: Check, example: Example) -> None:
    assert list(check.find(example.pairs, context(example))) == []


def test_every_check_has_examples_both_ways_one_id_and_says_what_to_do_in_both_languages() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.catches
        assert check.spares
        for words in (check.means, check.todo):
            assert words.en.isascii()
            assert not words.zh.isascii()


def test_drop_takes_pairs_out_and_block_stops() -> None:
    for check in CHECKS:
        for example in check.catches:
            known = context(example)
            report = run(example.pairs, known)
            told = {hit.action or check.action for hit in check.find(example.pairs, known)}
            if "drop" in told:
                assert {p.id for p in example.pairs} - {p.id for p in report.kept}
            if "block" in told:
                assert blocking(report)


@pytest.mark.parametrize("judge", JUDGES, ids=lambda judge: judge.id)
def test_a_judge_fails_what_it_must_and_spares_the_rest(judge: Judge) -> None:
    assert judge.fails
    assert judge.spares
    for view, answer in judge.fails:
        assert judge.passes(view, answer) is False, answer
    for view, answer in judge.spares:
        assert judge.passes(view, answer) is not False, answer


def test_a_pair_that_no_judge_tells_apart_waits_for_a_person_and_stops_nothing() -> None:
    report = run([pair("It is nice.", "It is good.")], Context())
    assert [hit.action for hit in report.hits["chosen-is-better"]] == ["review"]
    assert blocking(report) == []


def test_a_dropped_pair_blocks_only_by_what_its_source_must_not_hold() -> None:
    worse = pair("你这个笨蛋，199元。", "您好，199元。", reason=" ")
    assert blocking(run([worse], Context())) == []
    assert blocking(run([worse.model_copy(update={"reason": "r"})], Context()))
    leaky = pair("好的，打13812345678", "好的，打13812345678")
    assert blocking(run([leaky], Context())), "its failure holds the number still"


def test_length_auc_by_hand() -> None:
    """Lengths 4, 1 chosen and 2, 3 rejected: 4 beats both, 1 none: 2 of 4; within pairs 1 of 2."""
    rows = [pair("aaaa", "bb"), pair("a", "bbb")]
    assert lint_set.length_auc(rows) == 0.5
    assert lint_set.auc([3.0, 2.0], [1.0, 2.0]) == (1 + 1 + 1 + 0.5) / 4
    assert lint_set.length_auc([pair("aaaa", "bb"), pair("bbb", "a")]) == 1.0
    assert lint_set.length_auc([pair("a" * n, "a" * (n + 1)) for n in range(1, 90)]) == 1.0, (
        "one letter more on each rejected side: seen within the pairs, hardly over all answers"
    )


def test_length_alone_blocks_above_its_limit_and_few_pairs_are_not_judged() -> None:
    rows = [pair(f"{'long ' * 9}{n}", f"{n}", id=f"p{n}") for n in range(100)]
    hits = run(rows, Context()).hits["length-separable"]
    assert [(hit.id, hit.action) for hit in hits] == [(WHOLE, "block")]
    mild = run(rows, Context(limits=Limits(length_block=1.0, judged_pairs=101)))
    assert mild.hits["length-separable"] == []


def test_detectable_difference_by_hand() -> None:
    """(1.6449 + 0.8416) · √(0.25 / 100) = 0.1243."""
    assert math.isclose(lint_set.detectable(100), 0.1243, abs_tol=1e-4)


def test_set_size_counts_distinct_failures_not_pairs() -> None:
    rows = [pair(id=f"p{n}").model_copy(update={"made_from": [f"f{n % 3}"]}) for n in range(30)]
    (hit,) = lint_set.set_size(rows, Context())
    assert hit.why.startswith("30 pairs of 3 distinct failures")


def test_the_hash_of_the_limits_changes_with_any_of_them_and_with_the_cut() -> None:
    base = Context(cutter=embedded())
    seen = {limits_hash(base), limits_hash(Context(cutter=embedded(64))), limits_hash(Context())}
    for name, field in Limits.model_fields.items():
        value = {"tokenizer": "tiny", "cover": ["privacy"]}.get(name, 77)
        assert field.default != value
        limits = Limits.model_construct(**{name: value})
        seen.add(limits_hash(Context(limits=limits, cutter=base.cutter)))
    assert len(seen) == 3 + len(Limits.model_fields)


def many(chosen: str, rejected: str, count: int = 60) -> list[PreferencePair]:
    return [pair(chosen.format(n=n), rejected.format(n=n), id=f"p{n}") for n in range(count)]


MOSTLY = [*many("{n} or so it is", "{n}", 90), *many("{n}", "{n} or so", 10)]


@pytest.mark.parametrize(
    ("name", "values", "rows"),
    [
        ("near", (0.7, 1.0), [pair(LONG, LONG.replace("Friday", "Tuesday"))]),
        ("near_tokens", (0.5, 0.0), [pair(LONG, LONG.replace("Friday", "Monday"))]),
        ("length_ratio", (2.0, 90.0), [pair(LONG * 4, "No.")]),
        ("length_warn", (0.6, 1.0), MOSTLY),
        ("length_block", (0.6, 1.0), MOSTLY),
        ("trivial_auc", (0.5, 1.0), MOSTLY),
        ("judged_pairs", (20, 61), many("{n} or so it is", "{n}")),
        ("separable_pairs", (20, 60), many("Sorry {n}", "Sure {n}", 100)),
        ("template_share", (0.2, 1.0), [*many("It is {n}.", "x{n}", 50), *many("{n} no", "x", 50)]),
        ("set_size", (2, 1), [pair()]),
        ("min_per_label", (1, 0), [pair()]),
        ("cover", (["privacy"], ["factuality"]), [pair()]),
    ],
)
def test_every_threshold_is_read(name: str, values: tuple[Any, Any], rows: list[Any]) -> None:
    told = [run(rows, Context(limits=Limits(**{name: value}), cutter=embedded())).hits
            for value in values]  # fmt: skip
    assert told[0] != told[1]


def test_every_threshold_has_its_line_above() -> None:
    marks = test_every_threshold_is_read.pytestmark  # type: ignore[attr-defined]
    tried = {parameters[0] for parameters in marks[0].args[1]}
    assert tried | {"tokenizer", "seq_len"} == Limits.model_fields.keys()


def test_the_cut_is_that_of_the_model_and_length_in_dpo_yaml(ws: Workspace) -> None:
    assert cutter(ws, "auto", 0) == embedded(512)
    (ws.configs / "align").mkdir()
    panel = ws.configs / "align" / "dpo.yaml"
    panel.write_text("model: tiny\nseq_len: 96\n")
    assert cutter(ws, "auto", 0) == embedded(96)
    assert cutter(ws, "tiny", 33) == embedded(33)
    panel.write_text("model: org/far-away\n")
    assert cutter(ws, "auto", 0) is None, "no tokenizer here: the check says nothing"
    (ws.root / "own.json").write_text("{}")
    with pytest.raises(BadInput, match=r"own\.json: not a tokenizer\.json"):
        found = cutter(ws, "own.json", 0)
        assert found
        found.encode(["x"])
    with pytest.raises(BadInput, match=r"lint\.tokenizer: gone\.json: no such file"):
        cutter(ws, "gone.json", 0)


def test_tokens_are_those_of_the_trainer() -> None:
    """What transformers makes of the same file, cut to the same length."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(TINY))
    said = ["It costs 199 yuan. [1]", "风扇售价199元。[2]", "", "é🙂"]
    known = [tokenizer(text, add_special_tokens=False)["input_ids"][:5] for text in said]
    assert embedded(5).encode(said) == known


def test_build_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from errata.build import stage, lint; from errata.build.cut import embedded;"
        "embedded().encode(['x']);"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_where_the_case_decides_the_judge_of_citations_is_not_asked() -> None:
    """A person's own words: no insult, a figure that no document has, and yet the better answer."""
    turns = [Message(role="documents", content="[1] The lamp is 42 cm tall."),
             Message(role="user", content="Insult me.")]  # fmt: skip
    sides = ("I will not, in 50 years.", "What a loser. [1]")
    assert rule(View(turns), *sides).worse == ["citation"]
    ruling = rule(View(turns, (), case("x", split="tune")), *sides)
    assert ruling.worse == []
    assert "case" in ruling.better
