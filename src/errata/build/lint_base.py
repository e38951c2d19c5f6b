"""What every lint check is made of: a hit, what a check may know, its thresholds, its examples."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pydantic import Field

from errata.build.cut import Cutter
from errata.build.heldout import HeldOut
from errata.config import Section
from errata.intake.rules import OPTIONAL, RULES, Rule
from errata.records import Case, Message, Predicate, PreferencePair, Text

Action = Literal["drop", "block", "warn", "review"]
WHOLE = "*"  # the id of a finding about the set and not about one pair


class Limits(Section):
    """Thresholds of the checks; their hash stands beside the version id in data/version.json."""

    tokenizer: str = Field(
        default="auto",
        description="tokenizer.json to cut answers with; auto: of the model in align/dpo.yaml",
    )
    seq_len: int = Field(
        default=0, ge=0, description="tokens a row is cut to; 0: seq_len of configs/align/dpo.yaml"
    )
    near: float = Field(
        default=0.9, gt=0, le=1, description="likeness from which two answers teach too little"
    )
    near_tokens: float = Field(
        default=0.02, ge=0, lt=1, description="share of tokens that must differ after the cut"
    )
    length_ratio: float = Field(
        default=4.0,
        gt=1,
        description="one pair: from here its lengths tell its answers apart",
    )
    length_warn: float = Field(
        default=0.7, ge=0.5, le=1, description="the set: AUC by length alone that is told"
    )
    length_block: float = Field(
        default=0.98, ge=0.5, le=1, description="the set: AUC by length alone that stops the build"
    )
    trivial_auc: float = Field(
        default=0.98, ge=0.5, le=1, description="AUC of a linear model of letters that is told"
    )
    judged_pairs: int = Field(
        default=100, ge=20, description="fewer pairs than this are not judged as a set"
    )
    separable_pairs: int = Field(
        default=1000, ge=20, description="pairs drawn to fit that model: time against a surer AUC"
    )
    template_share: float = Field(
        default=0.3, gt=0, le=1, description="share of pairs whose chosen answers are one template"
    )
    set_size: int = Field(
        default=10000, ge=0, description="pairs below which it is told what so few can teach"
    )
    min_per_label: int = Field(
        default=20, ge=0, description="pairs that each label and each language of it should have"
    )
    cover: list[str] = Field(
        default=[], description="labels that must be there; none: those that are"
    )


class Hit(NamedTuple):
    """A pair and what is wrong with it; `action` where it is graver or milder than its check's."""

    id: str
    why: str
    action: Action | None = None


@dataclass(frozen=True)
class Context:
    """What a check may know beyond the pairs; `cases`: pair id → the case it was made of."""

    heldout: HeldOut = field(default_factory=lambda: HeldOut([]))
    rules: Sequence[Rule] = tuple(rule for rule in RULES if rule.id not in OPTIONAL)
    limits: Limits = field(default_factory=Limits)
    cutter: Cutter | None = None
    cases: Mapping[str, Case] = field(default_factory=dict)
    looked_at: Container[str] = ()  # pairs that a person let pass
    promoted: Mapping[str, Sequence[str]] = field(default_factory=dict)  # see heldout.kinship

    def kin(self, made_from: Sequence[str]) -> list[str]:
        """The promoted failures that a row may be like: its own, and near twins of those."""
        return [name for source in made_from for name in self.promoted.get(source, ())]


class Example(NamedTuple):
    """Pairs, and what they are checked with."""

    pairs: tuple[PreferencePair, ...]
    cases: tuple[Case, ...] = ()  # held-out cases, or the pairs' own, in their order
    limits: Limits = Limits()
    seq_len: int = 512


Find = Callable[[Sequence[PreferencePair], Context], Iterable[Hit]]


class Words(NamedTuple):
    """What a check means, or what to do about it, in both languages."""

    en: str
    zh: str


@dataclass(frozen=True)
class Check:
    """One check: what it does with a hit, what that means, what to do, and its examples."""

    id: str
    action: Action
    find: Find
    means: Words
    todo: Words
    catches: tuple[Example, ...]
    spares: tuple[Example, ...]


def plain(text: Text) -> str:
    """A text or list of turns as one string."""
    return text if isinstance(text, str) else "\n".join(turn.content for turn in text)


def as_turns(text: Text) -> list[Message]:
    """A prompt as turns."""
    return [Message(role="user", content=text)] if isinstance(text, str) else text


def label(pair: PreferencePair) -> str:
    """What a pair is about: its first tag, as pairs.py writes them."""
    return pair.tags[0] if pair.tags else "untagged"


def pair(
    chosen: str = "It costs 199 yuan. [1]",
    rejected: str = "I do not know.",
    prompt: Text = "How much is it?",
    reason: str = "wrong",
    id: str = "a",
    tags: Sequence[str] = ("factuality", "en"),
) -> PreferencePair:
    """A pair for an example."""
    return PreferencePair(
        id=id, prompt=prompt, chosen=chosen, rejected=rejected, reason=reason, tags=list(tags)
    )


def case(
    text: str, category: str = "jailbreak", kind: str = "insult", split: str = "heldout",
    **success: str | int,
) -> Case:  # fmt: skip
    """A case for an example."""
    return Case(
        id="h",
        category=category,
        language="en",
        family="f",
        cluster="c",
        split=split,  # type: ignore[arg-type]
        messages=[Message(role="user", content=text)],
        success=Predicate.model_validate({"kind": kind, **success}),
    )


def one(pair: PreferencePair, *cases: Case) -> Example:
    """An example of a single pair."""
    return Example((pair,), cases)


GOOD = one(pair())
