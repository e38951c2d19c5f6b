"""Hard negatives: what the current model says to the same questions, where a judge fails it.

A pair against last month's bad answer teaches little once the model no longer gives it. Of several
sampled answers the failed one most like the ideal is taken: it is the hardest to tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import Field

from errata.build import better, pairs, private
from errata.build.made import Answered
from errata.build.rubric import Rubric, pick
from errata.build.sft import turns
from errata.config import Section
from errata.intake.redact import load_policy
from errata.records import Case, PreferencePair
from errata.text import bare, jaccard, shingles
from errata.workspace import Workspace

TAG = "hard-negative"


class Negatives(Section):
    """Which model is asked, and how often."""

    model: str = Field(
        default="", description="run id, manifest, path or name of the current model; empty: none"
    )
    each: int = Field(default=4, ge=1, description="answers sampled to a question")
    most: int = Field(default=400, ge=0, description="questions asked")
    temperature: float = Field(default=1.0, gt=0, description="of sampling; lower: more alike")


class Sampled(NamedTuple):
    """Pairs with the place of the item each was made of, and whose answers they reject."""

    pairs: list[tuple[int, PreferencePair]]
    digest: str


def sample(
    ws: Workspace, knobs: Negatives, items: Sequence[Answered], cases: Mapping[str, Case],
    rubric: Rubric,
) -> Sampled:  # fmt: skip
    """Ask the model, judge what it says, and pair the hardest failed answer with the ideal."""
    from errata import candidates
    from errata.evaluate.answers import ask  # torch, for those who sample alone
    from errata.evaluate.generate import Decoding

    candidate = candidates.resolve(ws, knobs.model)
    candidates.verify(ws, candidate)  # a model of this workspace: failures do not leave for this
    drawn = sorted(range(len(items)), key=lambda n: pick(items[n].failure.id, 1 << 62))
    places = sorted(drawn[: knobs.most])
    prompts = [turns(items[place].failure) for place in places]
    length = int(candidate.decoding.get("max_new_tokens", 48))
    said: list[list[str]] = [[] for _ in places]
    for seed in range(knobs.each):
        decoding = Decoding(length, knobs.temperature, seed)
        for own, text in zip(said, ask(ws, candidate, prompts, decoding, "negatives"), strict=True):
            own.append(text)
    found, rules = [], load_policy(ws).rules
    every = [text for answers in said for text in answers]
    left = zip(every, private.left_in(every, rules), strict=True)
    clean = {text for text, findings in left if not findings}
    for place, heard in zip(places, said, strict=True):
        answers = [text for text in heard if text in clean]  # what a model gives away is not kept
        case = cases.get(str(items[place].failure.meta.get("case")))
        if worst := hardest(items[place], answers, case):
            found.append((place, _pair(items[place], worst, rubric)))
    return Sampled(found, candidate.digest)


def hardest(item: Answered, answers: Sequence[str], case: Case | None) -> str | None:
    """Of the answers that a judge fails where it passes the ideal, the one most like the ideal;
    None where there is none but the answer that is known already."""
    failure, ideal = item
    view = better.View(turns(failure), [failure.label, *failure.tags], case)
    known = {bare(ideal.text), bare(failure.bad_answer or "")}
    wrong = []
    for text in sorted({text for text in answers if text.strip() and bare(text) not in known}):
        ruling = better.rule(view, ideal.text, text)
        if ruling.better and not ruling.worse:
            wrong.append(text)
    own = shingles(ideal.text)
    return max(wrong, key=lambda text: (jaccard(own, shingles(text)), text), default=None)


def _pair(item: Answered, rejected: str, rubric: Rubric) -> PreferencePair:
    """As the pair of the failure is, but for the answer that lost."""
    failure = item.failure.model_copy(update={"bad_answer": rejected})
    pair = pairs.from_failure(failure, item.ideal, rubric)
    return pair.model_copy(update={"tags": [*pair.tags, TAG]})
