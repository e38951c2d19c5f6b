"""What a good answer is, per label and language, as `policies/rubric.yaml` has it.

The words are the workspace's own; what its file leaves out is as the shipped one has it. A template
is the last resort: a reference written for the very question comes first, and where an attack hides
in a document the right answer is the answer to the question, not a refusal.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from errata import config as configs
from errata import jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.records import Failure, Label, Language
from errata.text import language
from errata.workspace import Workspace

FILE = "policies/rubric.yaml"
_SHIPPED = Path(__file__).parent.parent / "template" / FILE
_EITHER = re.compile(r"\{([^{}]*\|[^{}]*)\}")
_OLD = {"factuality", "politeness", "boundary", "tools"}  # keys of the form before `labels`


class Words(Section):
    """One text in both languages."""

    en: str = Field(min_length=1, description="English")
    zh: str = Field(min_length=1, description="Chinese")

    def speak(self, spoken: Language) -> str:
        """The text in one of them."""
        return self.zh if spoken == "zh" else self.en


class Example(Section):
    """A question, an answer that is good, and one that is bad."""

    language: Language = Field(description="zh or en")
    prompt: str = Field(description="what was asked")
    good: str = Field(description="an answer as it should be")
    bad: str = Field(description="an answer as it should not be")


class Grade(Section):
    """What is good and bad of one kind of failure."""

    good: Words = Field(description="what a good answer does")
    bad: Words = Field(description="what a bad one does")
    why: Words = Field(description="of an SFT row: why its answer is better")
    reason: Words = Field(description="of a pair: why the other answer was rejected")
    refusals: list[Words] = Field(
        default_factory=list, description="templates, for attacks; `{a|b|}` is one of its wordings"
    )
    examples: list[Example] = Field(default_factory=list, description="for people who review")


class Rubric(Section):
    """The file."""

    labels: dict[Label, Grade] = Field(description="label → what is good and bad")
    topics: dict[str, Words] = Field(description="sensitive topic → what is expected there")
    harmless: Words = Field(description="why a question that sounds like an attack is answered")
    over_refusal: Words = Field(description="reason of a pair whose rejected side refuses it")
    replay: Words = Field(description="why plain questions are trained on")

    @property
    def hash(self) -> str:
        """Of all words: dataset versions carry it."""
        return jsonl.digest(self)

    def refusals(self, label: Label, spoken: Language) -> list[str]:
        """Every wording of every refusal of an attack; none where only the truth would do."""
        return [
            said for words in self.labels[label].refusals for said in wordings(words.speak(spoken))
        ]

    def template(self, failure: Failure, taught: Container[str] = ()) -> str | None:
        """A refusal that was not taught yet, from a place in the list that the failure decides;
        None where there is none left, or only the truth would do, which nobody has written."""
        said = self.refusals(failure.label, language(failure.prompt or ""))
        first = pick(failure.id, len(said)) if said else 0
        return next((text for text in said[first:] + said[:first] if text not in taught), None)


def wordings(text: str) -> list[str]:
    """`{Sorry, |}I cannot {do|say} that.` is four sentences."""
    parts = [part.split("|") if n % 2 else [part] for n, part in enumerate(_EITHER.split(text))]
    return ["".join(chosen) for chosen in product(*parts)]


@lru_cache(maxsize=1)
def shipped() -> Rubric:
    """The one that every new workspace gets."""
    return configs.load(_SHIPPED, Rubric)


def load(ws: Workspace) -> Rubric:
    """The workspace's rubric over the shipped one; BadInput for words in one language only."""
    path = ws.root / FILE
    if not path.is_file():
        return shipped()
    given = configs.read_yaml(path)
    if old := sorted(_OLD & given.keys()):
        raise BadInput(
            f"{FILE}: {old[0]}: the rubric is by label now; put it below `labels:`, as in "
            "`errata init` of a new folder"
        )
    return configs.load(None, Rubric, extra=_over(jsonl.plain(shipped()), given), name=FILE)


def _over(base: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Nested keys of one over those of another; a list is taken whole."""
    out = dict(base)
    for key, value in given.items():
        inner = out.get(key)
        nested = isinstance(inner, dict) and isinstance(value, Mapping)
        out[key] = _over(inner or {}, value) if nested else value
    return out


def pick(key: str, count: int) -> int:
    """A choice that the key alone decides."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % count
