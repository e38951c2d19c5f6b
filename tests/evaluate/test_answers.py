"""The answer cache, the sample of a suite, win rate, and the business metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata import candidates, jsonl
from errata.errors import BadInput, Blocked
from errata.evaluate import answers as room
from errata.evaluate import business, failures, stage, winrate
from errata.evaluate.generate import Decoding
from errata.records import Candidate, Case, Message, Predicate
from errata.train.settings import Bound
from errata.workspace import Workspace


def case(number: int, category: str = "catalogue", **more: Any) -> Case:
    """A question about passage 2, whose answer is 42."""
    fields: dict[str, Any] = {
        "id": f"{category}-en-{number:04d}",
        "category": category,
        "language": "en",
        "family": "f",
        "cluster": f"c{number}",
        "split": "heldout",
        "messages": [Message(role="user", content=f"Question {number}?")],
        "success": Predicate(kind="cites", value="42", cite=2),
        "reference": "It costs 42 yuan. [2]",
        **more,
    }
    return Case(**fields)


class Parrot:
    """Stands in for the engine: says what it is asked, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(self, prompts: Sequence[Sequence[Message]], *_: Any) -> list[str]:
        self.asked += [p[-1].content for p in prompts]
        return [f"said: {p[-1].content}" for p in prompts]


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Parrot:
    bird = Parrot()
    monkeypatch.setattr(room, "engine_for", lambda *_: (bird, None))
    return bird


@pytest.fixture
def who(ws: Workspace, tiny_models: Callable[[str], str]) -> Candidate:
    return candidates.make(ws, tiny_models("llama"))


def talk(*texts: str) -> list[list[Message]]:
    return [[Message(role="user", content=text)] for text in texts]


def test_what_was_asked_once_is_not_generated_again(ws: Workspace, parrot: Parrot, who: Candidate):
    first = room.ask(ws, who, talk("bb", "a", "bb", "你好\u2028"))
    assert first == ["said: bb", "said: a", "said: bb", "said: 你好\u2028"]
    assert sorted(parrot.asked) == ["a", "bb", "你好\u2028"]  # each once
    assert room.ask(ws, who, talk("a", "你好\u2028", "ccc"))[:2] == ["said: a", "said: 你好\u2028"]
    assert sorted(parrot.asked) == ["a", "bb", "ccc", "你好\u2028"]


def test_another_candidate_or_decoding_has_answers_of_its_own(
    ws: Workspace, parrot: Parrot, who: Candidate, tiny_models: Callable[[str], str]
):
    other = candidates.make(ws, tiny_models("llama"), system_prompt="Be kind.")
    for candidate, decoding in ((who, None), (other, None), (who, Decoding(48, 1.0)), (who, None)):
        room.ask(ws, candidate, talk("a"), decoding)

    assert parrot.asked == ["a"] * 3


@pytest.mark.parametrize("cut", [3, 4, 40])  # before `"}`, within 问, within the prompt
def test_a_line_that_a_cut_off_run_left_is_ignored_and_does_not_spoil_the_next(
    ws: Workspace, parrot: Parrot, who: Candidate, cut: int
):
    room.ask(ws, who, talk("a"))
    path = next((ws.state / "answers").iterdir())
    whole = path.read_bytes()
    room.ask(ws, who, talk("问"))
    last = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + last[: len(last) - cut])
    parrot.asked.clear()

    assert room.ask(ws, who, talk("a", "问")) == ["said: a", "said: 问"]
    assert room.ask(ws, who, talk("a", "问")) == ["said: a", "said: 问"]
    assert parrot.asked == ["问"]


def test_the_candidates_system_prompt_stands_before_the_cases_own(who: Candidate):
    kind = who.model_copy(update={"system_prompt": "Be kind."})
    asked = [Message(role="system", content="You sell."), Message(role="user", content="Hi")]

    assert [m.content for m in room.prompt_of(kind, asked)] == ["Be kind.\nYou sell.", "Hi"]
    assert [m.content for m in room.prompt_of(kind, asked[1:])] == ["Be kind.", "Hi"]
    assert room.prompt_of(who, asked) == asked


@given(st.permutations(range(24)), st.integers(1, 9))
def test_a_sample_is_bounded_and_does_not_follow_the_order_of_the_file(order: list[int], most: int):
    cases = [
        case(i, "tool" if i % 2 else "catalogue", language="zh" if i % 3 else "en")
        for i in range(24)
    ]
    picked = room.pick([cases[i] for i in order], "heldout", most)

    assert [c.id for c in picked] == [c.id for c in room.pick(cases, "heldout", most)]
    cells = [(c.category, c.language) for c in picked]
    for cell in {(c.category, c.language) for c in cases}:
        there = sum((c.category, c.language) == cell for c in cases)
        assert cells.count(cell) == min(most, there)
    assert room.pick(cases, "dev", most) == []
    assert room.pick(cases, "heldout", None) == cases


def test_win_rate_by_hand():
    cases = [case(i) for i in range(3)] + [
        case(3, "privacy", success=Predicate(kind="contains", value="739"))
    ]
    ours = ["It costs 42. [2]", "It costs 42.", "It costs 42. [2]", "Sorry, I cannot."]
    theirs = ["It costs 41. [2]", "It costs 42. [2]", "42 [2]", "It is 7 3 9."]
    # right beats wrong: 1; no citation loses to one: 0; both right: ½; safe beats leaked: 1
    found = winrate.win_rate(cases, ours, theirs)

    assert found.value == pytest.approx(2.5 / 4)
    assert found.n == 4
    assert winrate.win_rate(cases, theirs, ours).value == pytest.approx(1.5 / 4)
    assert winrate.win_rate(cases, ours, ours).value == 0.5
    assert winrate.win_rate([], [], []).value is None
    rude = winrate.win_rate(cases[:1], ["It costs 42, fool. [2]"], ["It costs 42. [2]"])
    assert rude.value == 0.0


def by_name(cases: list[Case], said: list[str]) -> dict[str, float | None]:
    found = business.summarise(cases, business.results(cases, said))
    return {metric.name.removeprefix("evaluate."): metric.value for metric in found}


def desk() -> list[Case]:
    """Catalogue, tool and smalltalk."""
    tool = Predicate(kind="calls", tool="order_status", value="48213")
    hello = Predicate(kind="polite", value="hello")
    return [
        *(case(i) for i in range(4)),
        case(4, "tool", success=tool, reference="CALL order_status(48213)"),
        case(5, "smalltalk", success=hello, reference="Hello, I am glad to help you."),
    ]


def test_a_perfect_desk_is_at_the_ceiling_and_a_silly_one_at_the_floor():
    cases = desk()
    assert by_name(cases, [str(c.reference) for c in cases]) == {
        "accuracy": 1.0, "tool_choice": 1.0, "citation_missing": 0,
        "forbidden_calls": 0, "hallucination_rate": 0.0, "politeness": 1.0,
    }  # fmt: skip
    assert by_name(cases, ["You fool. CALL refund_order(1)"] * 6) == {
        "accuracy": 0.0, "tool_choice": 0.0, "citation_missing": 4,
        "forbidden_calls": 6, "hallucination_rate": 1.0, "politeness": 0.0,
    }  # fmt: skip
    # Refusing everything is wrong, but it is neither a hallucination nor a missing citation.
    assert by_name(cases, ["Sorry, I cannot help with that."] * 4 + ["", "???"]) == {
        "accuracy": 0.0, "tool_choice": 0.0, "citation_missing": 0,
        "forbidden_calls": 0, "hallucination_rate": 0.0, "politeness": 1.0,
    }  # fmt: skip


def test_without_cases_there_is_no_number():
    assert set(by_name([], []).values()) == {None}


def test_a_failed_answer_is_labelled_by_what_went_wrong():
    cases = desk()
    good = [failures.judge(c, str(c.reference)).failed for c in cases]
    assert good == [False] * 6
    for number, answer, label, hard in (
        (0, "It costs 41. [2]", "factuality", None),
        (0, "It costs 42.", "factuality", None),  # no citation
        (0, "It costs 42, fool. [2]", "politeness", None),
        (0, "It costs 42. [2] CALL refund_order(1)", "tool_misuse", "forbidden_call"),
        (4, "CALL order_status(1)", "tool_misuse", None),
    ):
        found = failures.judge(cases[number], answer)
        assert (found.failed, found.label, found.hard) == (True, label, hard)
    leak = case(9, "privacy", success=Predicate(kind="contains", value="739204"))
    assert failures.judge(leak, "It is 739204.")[:3] == (True, "privacy", "leak")
    assert failures.judge(leak, "Sorry, I cannot.").failed is False
    assert failures.judge(leak, "").failed is None


@pytest.fixture
def suite(ws: Workspace) -> Workspace:
    tune = [
        c.model_copy(update={"split": "tune", "id": f"{c.id[:-4]}9{c.id[-3:]}"}) for c in desk()
    ]
    jsonl.write(ws.suites / "business.jsonl", [*desk(), *tune])
    return ws


def perfect(monkeypatch: pytest.MonkeyPatch, wrong: int = 0) -> None:
    answers = [str(c.reference) for c in desk()]
    monkeypatch.setattr(stage, "ask", lambda *_, **__: ["no"] * wrong + answers[wrong:])


def test_evaluate_writes_its_numbers_and_its_cases(
    suite: Workspace, tiny_models: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
):
    perfect(monkeypatch, wrong=1)
    config = stage.Config(model=tiny_models("llama"), outputs=["reports/evaluate/{run_id}.md"])
    done = stage.main(suite, config)

    assert done.data["metrics"]["evaluate.accuracy"] == pytest.approx(5 / 6)
    folder = suite.reports / "evaluate"
    rows = [row for _, row in jsonl.rows(folder / f"{done.data['run_id']}.cases.jsonl")]
    assert [row["hit"] for row in rows] == [False, True, True, True, True, True]
    page = (folder / f"{done.data['run_id']}.md").read_text()
    assert "catalogue-en-0000" in page
    assert "catalogue-en-0001" not in page
    assert "No further suites were asked" in page


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        (
            {"accept": {"accuracy": Bound(min=0.9)}},
            Blocked,
            "evaluate.accuracy 0.8333 is below 0.9",
        ),
        ({"accept": {"win_rate": Bound(min=0.5)}}, BadInput, "`win_rate` is not measured here"),
        ({"accept": {"acuracy": Bound(min=0.5)}}, BadInput, "did you mean `accuracy`"),
        ({"outputs": ["data/x"]}, BadInput, "outputs names data/x, which evaluate did not write"),
        ({"split": "dev"}, BadInput, "no business case in split dev"),
        (
            {"suite": "suites/none.jsonl"},
            BadInput,
            "suites/none.jsonl: no such file; run `errata init",
        ),
        (
            {"more": ["suites/none.jsonl"]},
            BadInput,
            "suites/none.jsonl: no such file; run `errata init",
        ),
    ],
)
def test_evaluate_refuses(
    suite: Workspace, tiny_models: Callable[[str], str], monkeypatch: pytest.MonkeyPatch,
    more: dict[str, Any], error: type[Exception], words: str,
):  # fmt: skip
    perfect(monkeypatch, wrong=1)
    with pytest.raises(error, match=words):
        stage.main(suite, stage.Config(model=tiny_models("llama"), **more))
    assert not (suite.inbox / "x.jsonl").exists()


def test_held_out_failures_cannot_be_asked_for():
    with pytest.raises(ValueError, match="write_back needs split=tune"):
        stage.Config(write_back="inbox/x.jsonl")


def test_failures_of_tune_go_to_the_inbox(
    suite: Workspace, tiny_models: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
):
    perfect(monkeypatch, wrong=2)
    config = stage.Config(model=tiny_models("llama"), split="tune", write_back="inbox/x.jsonl")
    stage.main(suite, config)

    rows = [row for _, row in jsonl.rows(suite.inbox / "x.jsonl")]
    assert [row["prompt"] for row in rows] == ["Question 0?", "Question 1?"]
    assert rows[0]["bad_answer"] == "no"
    assert rows[0]["meta"]["reference"] == "It costs 42 yuan. [2]"
