"""The answers we want: from failures, harmless look-alikes and replayed plain questions."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar, cast

from errata import jsonl
from errata.build.reviews import Reviews
from errata.build.rubric import Rubric, Words, pick
from errata.records import Case, Failure, Message, Origin, PreferencePair, SftExample
from errata.text import language

Row = TypeVar("Row", bound=SftExample | PreferencePair)


class Ideal(NamedTuple):
    """An answer, and where it comes from."""

    text: str
    origin: Origin


def turns(failure: Failure) -> list[Message]:
    """What the model saw before it answered badly."""
    return [*failure.context, Message(role="user", content=failure.prompt or "")]


def answer_of(row: SftExample) -> str:
    """What a row teaches to say, in either of its forms."""
    return row.messages[-1].content if row.messages else row.output or ""


def known(failure: Failure, cases: Mapping[str, Case], reviews: Reviews) -> Ideal | None:
    """The answer that somebody wrote for this failure: a person, the reference of the failure or of
    its case, a teacher."""
    reviewed = reviews.answers.get(failure.id)
    if reviewed and reviewed.origin == "human":
        return Ideal(reviewed.text, "human")
    reference = failure.meta.get("reference")
    if not reference:
        case = cases.get(str(failure.meta.get("case")))
        reference = case.reference if case else None
    if reference:
        human = failure.meta.get("origin") == "human"  # a user edited the answer
        return Ideal(str(reference), "human" if human else "reference")
    return Ideal(reviewed.text, "teacher") if reviewed else None


def ideal(
    failure: Failure,
    cases: Mapping[str, Case],
    rubric: Rubric,
    reviews: Reviews,
    taught: Container[str] = (),
) -> Ideal | None:
    """What was written for the failure, else a template that is not `taught` yet, else None."""
    if found := known(failure, cases, reviews):
        return found
    text = rubric.template(failure, taught)
    return Ideal(text, "template") if text else None


def example(
    messages: Sequence[Message],
    answer: Ideal,
    why: str,
    scenario: str,
    made_from: str,
    source: str | None = None,
    ts: str | None = None,
) -> SftExample:
    """One row in the messages form; its id is the hash of what is learnt."""
    whole = [*messages, Message(role="assistant", content=answer.text)]
    return SftExample(
        id="s-" + jsonl.short_id(whole),
        messages=whole,
        why=why,
        origin=answer.origin,
        scenario=scenario,
        source=source,
        ts=ts,
        made_from=[made_from],
    )


def from_failure(failure: Failure, answer: Ideal, rubric: Rubric) -> SftExample:
    """The answer this failure should have had."""
    why = rubric.labels[failure.label].why.speak(language(failure.prompt or ""))
    return example(
        turns(failure), answer, why, failure.label, failure.id, failure.source, failure.ts
    )


def from_case(case: Case, why: Words, scenario: str) -> SftExample:
    """A suite's question with its reference answer."""
    answer = Ideal(case.reference or "", "reference")
    return example(case.messages, answer, why.speak(case.language), scenario, case.id, "suite")


def draw(cases: Iterable[Case], count: int, seed: int) -> list[Case]:
    """`count` cases, one category and language after the other, in an order the seed decides."""
    strata: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        strata.setdefault((case.category, case.language), []).append(case)
    queues = []
    for key in sorted(strata):
        queues.append(sorted(strata[key], key=lambda case: _order(seed, case.id)))
    drawn: list[Case] = []
    while len(drawn) < count and any(queues):
        for queue in queues:
            if queue and len(drawn) < count:
                drawn.append(queue.pop())
    return drawn


def _order(seed: int, id: str) -> tuple[int, str]:
    return pick(f"{seed}|{id}", 1 << 62), id


def merged(rows: Iterable[Row]) -> tuple[list[Row], int]:
    """Equal rows become one that names all it was made from; and how many were dropped."""
    kept: dict[str, Row] = {}
    count = 0
    for row in rows:
        count += 1
        old = kept.get(row.id, row)
        both = list(dict.fromkeys([*old.made_from, *row.made_from]))
        kept[row.id] = cast("Row", old.model_copy(update={"made_from": both}))
    return list(kept.values()), count - len(kept)
