"""What the current model says wrongly becomes a rejected side; what nobody can judge does not."""

from __future__ import annotations

import pytest

from errata import candidates, jsonl
from errata.build import negatives, stage
from errata.build.made import Answered
from errata.build.rubric import shipped
from errata.build.sft import Ideal
from errata.errors import BadInput
from errata.records import Case, Failure, Message, Predicate, PreferencePair
from errata.store import database, lineage
from errata.workspace import Workspace

DOCUMENTS = [
    Message(role="documents", content="[1] The lamp is 42 cm tall. [2] It costs 199 yuan.")
]
CASE = Case(
    id="c1", category="catalogue", language="en", family="f", cluster="c1", split="tune",
    messages=[*DOCUMENTS, Message(role="user", content="How tall is the lamp?")],
    success=Predicate(kind="cites", value="42", cite=1), reference="It is 42 cm tall. [1]",
)  # fmt: skip


def item(bad: str = "No idea.", label: str = "factuality") -> Answered:
    told = {"id": "f-1", "prompt": "How tall is the lamp?", "bad_answer": bad, "label": label}
    failure = Failure.model_validate({**told, "context": DOCUMENTS, "meta": {"case": "c1"}})
    return Answered(failure, Ideal("It is 42 cm tall. [1]", "reference"))


def test_the_failed_answer_most_like_the_ideal_is_taken():
    said = ["It is 42 cm tall. [1]", "It is 42 cm tall. [2]", "It costs 199 yuan. [2]", "Yes."]
    assert negatives.hardest(item(), said, CASE) == "It is 42 cm tall. [2]"
    assert negatives.hardest(item(), said, None) == "It is 42 cm tall. [2]"


@pytest.mark.parametrize(
    "said",
    [
        ["It is 42 cm tall. [1]", "It  is 42 cm tall.[1]", ""],  # right, or the ideal itself
        ["It is 43 cm tall. [1]"],  # known already: it is the bad answer of the failure
        ["Gladly."],  # no judge can tell it from the ideal
    ],
)
def test_what_is_right_known_or_beyond_our_judges_is_no_negative(said: list[str]):
    case = None if said == ["Gladly."] else CASE
    assert negatives.hardest(item("It is 43 cm tall. [1]"), said, case) is None


def test_a_build_samples_the_model_and_says_whose_answers_they_are(suited: Workspace):
    """The embedded model answers short questions rudely or without a source: real faults."""
    ws = suited
    (ws.configs / "intake.yaml").write_text(
        "sources:\n  local: {purpose: [training], consent: made up for tests}\n"
    )
    rude = [
        Failure(id=f"f-{n}", prompt=f"You fool, how tall is the {name} lamp?",
                bad_answer="Read it.", label="factuality",
                context=[Message(role="documents", content=text)],
                meta={"reference": f"The {name} lamp is {40 + n} cm tall. [1]"})
        for n, name in enumerate(("amber", "jade", "cloud", "misty"))
        for text in [f"[1] The {name} lamp is {40 + n} cm tall."]
    ]  # fmt: skip
    jsonl.write(ws.data / "failures.jsonl", rude)
    config = stage.Config(
        validation=0.0, accept=stage.Accept(min_rows=1, min_pairs=1, max_template_share=1.0),
        negatives=negatives.Negatives(model="tiny", each=4, temperature=1.2),
    )  # fmt: skip
    outcome = stage.main(ws, config)
    pairs = jsonl.read(ws.data / "prefs.jsonl", PreferencePair)
    hard = [pair for pair in pairs if negatives.TAG in pair.tags]
    assert outcome.data["negatives"] == len(hard) > 0
    for pair in hard:
        assert pair.rejected not in ("Read it.", pair.chosen)
        (failure,) = pair.made_from
        assert failure in {row.id for row in rude}
    said = (candidates.resolve(ws, "tiny").digest, hard[0].id, "said")
    with database.reading(ws) as connection:
        assert said in lineage.walk(connection, hard[0].id, False)
    again = stage.main(ws, config)
    assert again.data["version"] == outcome.data["version"], "the same seeds, the same answers"


def test_failures_are_put_to_no_model_elsewhere(ws: Workspace) -> None:
    knobs = negatives.Negatives(model="endpoint:https://far.example/v1#big")
    with pytest.raises(BadInput, match="has no weights here"):
        negatives.sample(ws, knobs, [], {}, shipped())
