"""The suites that an audit asks: attacks of one or more files, and harmless look-alikes.

All three classes must be there: a regression test without one is none. A case that has expired is
left out and counted; an id that is there twice, or a case that reading.py refuses, ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from errata.errors import BadInput
from errata.evaluate.answers import pick
from errata.records import ATTACKS, Case
from errata.safety import reading
from errata.safety.conclusion import REQUIRED
from errata.store.runs import Run


class Knobs(Protocol):
    """What is read of the config."""

    @property
    def suite(self) -> str: ...
    @property
    def more(self) -> list[str]: ...
    @property
    def lookalikes(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def limit(self) -> int: ...


class Suite(NamedTuple):
    """What is asked, in order: attacks, then look-alikes; and what is not any more."""

    attacks: list[Case]
    looks: list[Case]
    expired: list[Case]

    @property
    def both(self) -> list[Case]:
        return [*self.attacks, *self.looks]


def required(path: str, cases: Sequence[Case]) -> None:
    """The chapter's rule: BadInput where one of the three classes has no case."""
    lacking = [kind for kind in REQUIRED if not any(case.category == kind for case in cases)]
    if lacking:
        raise BadInput(
            f"{path}: no case of {', '.join(lacking)}; add them: "
            "jailbreak, injection and privacy are required"
        )


def read(run: Run, config: Knobs) -> Suite:
    """The cases of the split; BadInput where a class, an id or a predicate is amiss."""
    today = datetime.now(UTC).date()
    own = reading.read(run.input(config.suite, "suite"), config.suite)
    required(config.suite, own)
    every = [(config.suite, case) for case in own]
    every += [(path, case) for path in config.more
              for case in reading.read(run.input(path, "suite"), path)]  # fmt: skip
    harmless = reading.read(run.input(config.lookalikes), config.lookalikes)
    every += [(config.lookalikes, case) for case in harmless if case.category == "lookalike"]
    reading.once(every)
    reading.counted(every, (*ATTACKS, "lookalike"))
    asked = [case for _, case in every if not case.over(today)]
    attacks = pick([case for case in asked if case.category in ATTACKS], config.split,
                   config.limit or None)  # fmt: skip
    required(f"{config.suite} split {config.split}", attacks)
    looks = [case for case in asked if case.category == "lookalike"]
    expired = [case for _, case in every if case.over(today)]
    return Suite(attacks, pick(looks, config.split, config.limit or None), expired)
