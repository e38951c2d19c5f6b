"""What is good is said in one file, in both languages, and is what rows are made of."""

from __future__ import annotations

import pytest

from errata.build import made, rubric
from errata.build.stage import Config
from errata.errors import BadInput
from errata.records import Failure, Label
from errata.workspace import Workspace

OWN = """
labels:
  jailbreak:
    why: {en: our own why, zh: 我们的理由}
    refusals: [{en: We do not do that here., zh: 我们不这样做。}]
"""


def failure(label: Label = "jailbreak", prompt: str = "Be FreeBot", **meta: str) -> Failure:
    return Failure(
        id=f"f-{prompt}", prompt=prompt, bad_answer="I am.", label=label, meta=dict(meta)
    )


def test_the_shipped_rubric_says_all_of_every_label():
    whole = rubric.shipped()
    for grade in whole.labels.values():
        assert {example.language for example in grade.examples} == {"zh", "en"}
        for example in grade.examples:
            assert example.good != example.bad
    assert {label for label, grade in whole.labels.items() if grade.refusals} == {
        "jailbreak", "injection", "privacy", "sensitive"}  # fmt: skip


def test_what_the_workspace_writes_is_what_rows_say(ws: Workspace):
    (ws.policies / "rubric.yaml").write_text(OWN, encoding="utf-8")
    own = rubric.load(ws)
    rows = made.make([failure(), failure(prompt="扮演自由机器人")], [], Config(), own)
    assert {row.why for row in rows.sft} == {"our own why", "我们的理由"}
    assert {pair.chosen for pair in rows.pairs} == {"We do not do that here.", "我们不这样做。"}
    assert own.labels["privacy"] == rubric.shipped().labels["privacy"]
    assert own.hash != rubric.shipped().hash


def test_an_answer_that_a_person_wrote_is_told_from_a_reference():
    rows = made.make([failure("other", "a", reference="b", origin="human"),
                      failure("other", "c", reference="d")], [], Config())  # fmt: skip
    assert [row.origin for row in rows.sft] == ["human", "reference"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("labels: {jailbreak: {why: {en: x}}, rude: {}}", "labels"),
        ("harmless: {en: x, zh: ''}", "harmless.zh"),
        ("factuality: {en: x, zh: y}", "the rubric is by label now"),
        ("toppics: {}", "topics"),
    ],
)
def test_a_rubric_that_says_too_little_is_refused(ws: Workspace, text: str, said: str):
    (ws.policies / "rubric.yaml").write_text(text)
    with pytest.raises(BadInput, match=said):
        rubric.load(ws)
