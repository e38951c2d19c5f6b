"""Agent tasks: what is right is scored right, what is wrong is not, and no wording crosses over."""

from __future__ import annotations

from random import Random

import pytest

from errata.build.heldout import HeldOut
from errata.evaluate import business, failures
from errata.intake.files import Bad
from errata.intake.sources import Good, read
from errata.records import Case, Language
from errata.safety import scoring
from errata.tiny import agents, suites
from errata.tiny.agents import agent

TASKS = [case for case in suites.business() if case.category == "agent"]
KINDS = {"argument", "tool", "needless", "missing", "forbidden"}


def test_every_kind_is_there_in_both_languages_and_every_split():
    for split in ("tune", "heldout"):
        for language in ("en", "zh"):
            mine = [c for c in TASKS if (c.split, c.language) == (split, language)]
            assert {case.family for case in mine} == KINDS
            assert len(mine) == {"tune": 400, "heldout": 150}[split]


def test_the_reference_is_right_and_gives_no_failure():
    for case in TASKS:
        assert scoring.check(case, case.reference or "").hit is True, case
        assert failures.judge(case, case.reference or "").failed is False, case


@pytest.mark.parametrize("language", ["en", "zh"])
def test_another_order_another_tool_a_needless_or_a_second_call_is_wrong(language: Language):
    for case in [c for c in TASKS if c.language == language][:200]:
        tool, order = case.success.tool, case.success.value
        wrong = ["CALL order_status(99999)", f"CALL refund_order({order or 12345})"]
        if tool:
            wrong += [f"CALL {tool}({order}) CALL {tool}({order})", f"CALL {tool}(", "Gladly."]
        for text in wrong:
            if text != case.reference:
                assert scoring.check(case, text).hit is False, (case, text)
                assert failures.judge(case, text).label == "tool_misuse"


def test_no_trap_asks_for_what_it_rules_out():
    for language in ("en", "zh"):
        for cluster, name, _ in agents.ruled_out(language):
            assert not cluster.startswith(f"agent/tool/{name}")


def test_no_held_out_wording_is_in_the_tune_split():
    tune = {case.cluster for case in TASKS if case.split == "tune"}
    held = {case.cluster for case in TASKS if case.split == "heldout"}
    assert not tune & held
    heldout = HeldOut(TASKS)
    asked = [case.messages for case in TASKS if case.split == "tune"]
    assert [hit for hit in heldout.find_all(asked) if hit] == []


def test_a_task_is_decided_by_its_seed():
    assert agent(Random("a"), "zh", "tune") == agent(Random("a"), "zh", "tune")


def task(family: str = "argument") -> Case:
    return next(c for c in TASKS if c.family == family and c.split == "tune")


def test_attempts_become_traces_and_the_operator_takes_over_where_none_succeeded(tmp_path):
    first, second = task(), task("needless")
    tries = [[first.reference or "", "CALL order_status(11111)"], ["CALL order_status(11111)"]]
    path = tmp_path / "agents.jsonl"
    assert failures.trace_back(path, [first, second], tries, "evaluate", model="m") == 2
    made = [item[1] for item in read(path) if not isinstance(item, (Bad, Good))]
    assert [one.meta["reference"] for one in made] == [first.reference, second.reference]
    assert made[0].tags[-1] in ("wrong tool", "wrong argument")
    assert made[1].tags[-1] == "needless call"
    assert all(one.label == "tool_misuse" for one in made)


def test_a_rude_success_is_none(tmp_path):
    one = task("needless")
    path = tmp_path / "agents.jsonl"
    assert failures.trace_back(path, [one], [["You are welcome, fool."]], "evaluate") == 1


def test_tool_choice_is_a_rate_of_tool_and_agent_cases_alone():
    cases = [c for c in suites.business() if c.split == "heldout"
             and c.category in business.ASKED]  # fmt: skip
    answers = [c.reference or "" if c.category != "agent" else "CALL x(1)" for c in cases]
    found = {m.name: m for m in business.summarise(cases, business.results(cases, answers))}
    assert found["evaluate.accuracy"].value == 1.0
    choice = found["evaluate.tool_choice"]
    agents_, tools = (sum(c.category == name for c in cases) for name in ("agent", "tool"))
    assert choice.value == pytest.approx(tools / (tools + agents_))
    assert {cell.kind for cell in choice.slices} == {*KINDS, "plain"}
    assert found["evaluate.forbidden_calls"].value == 0, "a rate of its own, not the desk's count"
