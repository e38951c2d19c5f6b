"""Failures and suites → rows of all three kinds: near twins once, in the declared mix, equal ones
merged. Which failure stands for which is kept, for `errata trace`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from errata.build import near, pairs, sft, split
from errata.build.invent import lifelike_all
from errata.build.reviews import Reviews
from errata.build.rubric import Rubric, pick, shipped
from errata.build.sample import Line, Mix, draw
from errata.intake.labeller import ABSTAINED
from errata.records import Case, Failure, PreferencePair, SftExample
from errata.text import user_text


class Knobs(Protocol):
    """What `make` reads of the config."""

    @property
    def seed(self) -> int: ...
    @property
    def near_failures(self) -> float: ...
    @property
    def sample(self) -> int: ...
    @property
    def mix(self) -> Mix: ...
    @property
    def replay(self) -> int: ...
    @property
    def retention(self) -> int: ...
    @property
    def lookalikes(self) -> int: ...
    @property
    def verbatim(self) -> int: ...
    @property
    def templates(self) -> float: ...
    @property
    def pairs_each(self) -> int: ...


class Answered(NamedTuple):
    """A failure and the answer it should have had."""

    failure: Failure
    ideal: sft.Ideal


class Twin(NamedTuple):
    """A failure that was left out, and the one like it that stands for it."""

    dropped: str
    kept: str


@dataclass
class Made:
    """Everything on its way to the files."""

    sft: list[SftExample] = field(default_factory=list)
    pairs: list[PreferencePair] = field(default_factory=list)
    items: list[split.Item] = field(default_factory=list)
    needs_human: list[Failure] = field(default_factory=list)
    retention: list[SftExample] = field(default_factory=list)
    cases: dict[str, Case] = field(default_factory=dict)  # pair → the case it was made of
    twins: list[Twin] = field(default_factory=list)
    mix: list[Line] = field(default_factory=list)
    unsampled: int = 0
    summaries: int = 0
    dropped: int = 0
    answered: list[Answered] = field(default_factory=list)  # what rows were made of
    verbatim: int = 0  # rows left out: their answer was taught already, word by word
    capped: int = 0  # failures whose template would have been one too many
    repeated: int = 0  # pairs left out: their question has enough of them
    undecided: int = 0  # failures without a label that anybody is sure of
    rejected: int = 0  # failures and pairs that a person took out
    taught: dict[str, set[str]] = field(default_factory=dict)  # answer → ids of rows that teach it

    @property
    def dup_share(self) -> float:
        """Share of rows that were equal to another one, or would be made of a twin."""
        left_out = self.dropped + 2 * len(self.twins)  # a failure makes a row and a pair
        total = len(self.sft) + len(self.pairs) + left_out
        return left_out / total if total else 0.0

    def add(
        self, row: SftExample | None, pair: PreferencePair | None, case: Case | None, text: str
    ) -> None:
        """A row and its pair, which the split keeps on one side."""
        cluster = case.cluster if case else None
        if row:
            self.sft.append(row)
            self.items.append(split.Item(row.id, cluster, text))
        if pair:
            self.pairs.append(pair)
            self.items.append(split.Item(pair.id, cluster, text))
            if case:
                self.cases[pair.id] = case

    def extend(self, other: Made) -> None:
        """The rows of another behind these."""
        self.sft += other.sft
        self.pairs += other.pairs
        self.items += other.items
        self.retention += other.retention
        self.cases |= other.cases

    def teaches_anew(self, row: SftExample, most: int) -> bool:
        """Whether fewer than `most` other rows have this very answer (0: any number may)."""
        ids = self.taught.setdefault(sft.answer_of(row), set())
        if most and row.id not in ids and len(ids) >= most:
            return False
        ids.add(row.id)
        return True


def make(
    failures: Sequence[Failure],
    cases: Sequence[Case],
    config: Knobs,
    rubric: Rubric | None = None,
    reviews: Reviews | None = None,
) -> Made:
    """Rows of all three kinds, equal ones merged."""
    by_id, rubric, reviews = {c.id: c for c in cases}, rubric or shipped(), reviews or Reviews()
    made = Made(summaries=sum(failure.retention == "summary" for failure in failures))
    answered = _answered(made, failures, by_id, rubric, reviews)
    made.twins = twins(answered, config.near_failures, config.seed)
    left_out = {twin.dropped for twin in made.twins}
    kept = [item for item in answered if item.failure.id not in left_out]
    drawn = draw([item.failure for item in kept], config.mix, config.sample, config.seed)
    made.mix, made.unsampled = drawn.lines, len(kept) - len(drawn.places)
    made.answered = [alive(kept[place]) for place in drawn.places]
    suites = Made()
    _from_suites(suites, cases, config, rubric)
    _from_failures(made, len(suites.sft), by_id, config, rubric)
    made.extend(suites)
    made.sft, sft_dropped = sft.merged(made.sft)
    made.pairs, pairs_dropped = sft.merged(made.pairs)
    made.dropped = sft_dropped + pairs_dropped
    _without(made, reviews.dropped)
    return made


def _without(made: Made, dropped: frozenset[str]) -> None:
    """Take out the pairs that people dropped; an answer of a teacher goes with its pair."""
    out = [pair for pair in made.pairs if pair.id in dropped]
    doubted = {id for pair in out if pair.origin == "teacher" for id in pair.made_from}
    made.rejected += len(out)
    made.pairs = [pair for pair in made.pairs if pair.id not in dropped]
    made.sft = [row for row in made.sft
                if row.origin != "teacher" or doubted.isdisjoint(row.made_from)]  # fmt: skip


def _answered(
    made: Made,
    failures: Sequence[Failure],
    cases: Mapping[str, Case],
    rubric: Rubric,
    reviews: Reviews,
) -> list[Answered]:
    """The failures whose answer is known. A template is given to one of them only."""
    answered, used = [], set[str]()
    for failure in failures:
        if failure.retention == "summary":
            continue
        if failure.id in reviews.dropped:
            made.rejected += 1
        elif failure.meta.get("label_by") == ABSTAINED and failure.id not in reviews.labels:
            made.undecided += 1
        elif answer := sft.ideal(failure, cases, rubric, reviews, used):
            used.add(answer.text)
            answered.append(Answered(failure, answer))
        else:
            made.needs_human.append(failure)
    return answered


def _from_failures(
    made: Made, suites: int, cases: Mapping[str, Case], config: Knobs, rubric: Rubric
) -> None:
    """A row and a pair of each, templates up to their share of all rows, `suites` of them."""
    templates = [item for item in made.answered if item.ideal.origin == "template"]
    others = suites + len(made.answered) - len(templates)
    room = _most_templates(config.templates, others)
    over = {item.failure.id for item in sorted(templates, key=_drawn_by)[room:]}
    made.capped = len(over)
    made.needs_human += [item.failure for item in templates if item.failure.id in over]
    made.answered = [item for item in made.answered if item.failure.id not in over]
    lost = dict[str, set[str]]()  # question and its answer → pairs that have them
    for failure, answer in made.answered:
        case = cases.get(str(failure.meta.get("case")))
        row = sft.from_failure(failure, answer, rubric)
        pair = pairs.from_failure(failure, answer, rubric)
        # A reference is the one right answer; what people, templates, teachers wrote is a wording.
        fresh = answer.origin == "reference" or made.teaches_anew(row, config.verbatim)
        made.verbatim += not fresh
        told = lost.setdefault(str((pair.prompt, pair.chosen)), set())
        room = not config.pairs_each or len(told) < config.pairs_each or pair.id in told
        if room:
            told.add(pair.id)
        made.repeated += not room
        made.add(row if fresh else None, pair if room else None, case, failure.prompt or "")


def _most_templates(share: float, others: int) -> int:
    """So many templates that they are this share of all rows; 20 at least."""
    return max(20, int(share / (1 - share) * others)) if share < 1 else sys.maxsize


def _drawn_by(item: Answered) -> int:
    return pick(item.failure.id, 1 << 62)


def alive(item: Answered) -> Answered:
    """A failure and its ideal with invented values where redaction left pseudonyms: else the model
    would learn to answer pseudonyms."""
    failure, ideal = item
    said = [failure.prompt or "", failure.bad_answer or "", ideal.text]
    turns = [turn.content for turn in failure.context]
    filled = lifelike_all([*said, *turns], failure.id)
    if filled == [*said, *turns]:
        return item
    context = [turn.model_copy(update={"content": text})
               for turn, text in zip(failure.context, filled[3:], strict=True)]  # fmt: skip
    told = {"prompt": filled[0], "bad_answer": filled[1], "context": context}
    return Answered(failure.model_copy(update=told), ideal._replace(text=filled[2]))


def twins(answered: Sequence[Answered], threshold: float, seed: int) -> list[Twin]:
    """Failures of one label whose question, bad answer and ideal together are nearly those of
    another; the earliest stays. Equal ones are no twins: their rows are merged and name both."""
    texts = [_whole(item) for item in answered]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, root in enumerate(near.clusters(texts, threshold, seed)):
        groups.setdefault((root, answered[place].failure.label), []).append(place)
    found = []
    for places in groups.values():
        first = min(places, key=lambda place: _age(answered[place].failure))
        found += [
            Twin(answered[place].failure.id, answered[first].failure.id)
            for place in places
            if texts[place] != texts[first]
        ]
    return sorted(found)


def _whole(item: Answered) -> str:
    turns = [turn.content for turn in sft.turns(item.failure)]
    return "\n".join([*turns, item.failure.bad_answer or "", item.ideal.text])


def _age(failure: Failure) -> tuple[bool, str, str]:
    return failure.ts is None, failure.ts or "", failure.id


def _kept_out(drawn: int, config: Knobs) -> int:
    """How many plain questions stay out of training; of too few for both, up to a quarter: with
    none left the training stage would have nothing to see forgetting on."""
    return min(config.retention, max(drawn - config.replay, drawn // 4))


def _from_suites(made: Made, cases: Sequence[Case], config: Knobs, rubric: Rubric) -> None:
    """Plain tune questions as rows, harmless look-alikes as rows and pairs."""
    tune = [case for case in cases if case.split == "tune" and case.reference]
    plain = [case for case in tune if case.category in ("catalogue", "tool", "smalltalk")]
    drawn = sft.draw(plain, config.replay + config.retention, config.seed)
    replayed = len(drawn) - _kept_out(len(drawn), config)
    for place, case in enumerate(drawn):
        row = sft.from_case(case, rubric.replay, f"replay:{case.category}")
        if place >= replayed:
            made.retention.append(row)
        else:
            made.add(row, None, case, user_text(case.messages))
    refusals = pairs.taught_refusals(cases)
    alike = [case for case in tune if case.category == "lookalike"]
    for case in sft.draw(alike, config.lookalikes, config.seed):
        row = sft.from_case(case, rubric.harmless, "counterfactual")
        pair = pairs.counterfactual(case, refusals, rubric)
        made.add(row, pair, case, user_text(case.messages))
