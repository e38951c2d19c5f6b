"""Which answers people are asked about: a stratified sample, dealt to raters, blinded.

A stratum is a category in a language. Each gives at least `least` cases (all, where it has fewer),
the rest in proportion to its size; within it every case has the same chance. A sampled case stands
for N / n of its stratum, which is its weight, so that the estimate is unbiased however unevenly the
strata were drawn. A fixed share of the rows goes to every rater: what they agree in is measured
there. Which side of a row is whose answer is drawn row by row, and is kept in the run's folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal, NamedTuple

from errata import jsonl
from errata.errors import BadInput
from errata.records import Case, Language, Message, Record, Split
from errata.store import past
from errata.text import user_text
from errata.workspace import Workspace

FILE = "sample.json"  # in the folder of the run that drew it
Side = Literal["ours", "theirs"]
SIDES: tuple[Side, ...] = ("ours", "theirs")


class Row(Record):
    """One row of a sample. `a` says whose answer stands first; without a baseline there is one."""

    id: str
    case: str
    category: str
    language: Language
    cluster: str
    split: Split
    messages: list[Message]
    reference: str | None = None
    weight: float
    ours: str
    theirs: str | None = None
    a: Side
    raters: list[str]

    @property
    def stratum(self) -> str:
        return f"{self.category}/{self.language}"

    @property
    def question(self) -> str:
        return user_text(self.messages)

    def side(self, letter: str) -> Side:
        """Whose answer `a` or `b` is."""
        if self.theirs is None or letter == "a":
            return self.a
        return "theirs" if self.a == "ours" else "ours"

    def answer(self, side: Side) -> str:
        return self.ours if side == "ours" else (self.theirs or "")


class Sample(Record):
    """What was drawn, of whom; `strata` has the size of each in the suites."""

    id: str
    candidate: str
    baseline: str | None = None
    models: dict[str, str]  # whose answers → its base, by which a judge's licence knows a family
    questions: list[str]
    raters: list[str]
    strata: dict[str, int]
    rows: list[Row]


class Drawn(NamedTuple):
    """A case and how many it stands for."""

    case: Case
    weight: float


def allotted(sizes: Mapping[str, int], n: int, least: int) -> dict[str, int]:
    """How many of each stratum: `least` first, the rest in proportion to what is left in it (by the
    largest remainder). BadInput where n is too small for that."""
    floor = {name: min(least, size) for name, size in sizes.items()}
    if sum(floor.values()) > n:
        raise BadInput(
            f"human: n={n} is too few for {len(sizes)} strata (category × language) of at least "
            f"{least} each; n={sum(floor.values())} or more, or least= fewer"
        )
    room = {name: size - floor[name] for name, size in sizes.items()}
    rest, whole = min(n - sum(floor.values()), sum(room.values())), sum(room.values())
    exact = {name: rest * left / whole if whole else 0.0 for name, left in room.items()}
    out = {name: floor[name] + math.floor(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (math.floor(exact[name]) - exact[name], name))
    for name in by_remainder[: rest - sum(math.floor(share) for share in exact.values())]:
        out[name] += 1
    return out


def drawn(cases: Sequence[Case], n: int, least: int, seed: int) -> list[Drawn]:
    """A stratified sample of the cases, in an order that tells nothing."""
    strata: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.id):
        strata.setdefault(f"{case.category}/{case.language}", []).append(case)
    take = allotted({name: len(own) for name, own in strata.items()}, n, least)
    out = [
        Drawn(case, len(own) / take[name])
        for name, own in sorted(strata.items())
        if take[name]
        for case in Random(f"{seed}/{name}").sample(own, take[name])
    ]
    Random(f"{seed}/order").shuffle(out)
    return out


def dealt(count: int, raters: Sequence[str], overlap: float) -> list[list[str]]:
    """Who rates each of `count` rows: the first `overlap` share all, the others one each in turn.

    The rows are in random order, so that those which all rate are a random part of them."""
    shared = math.ceil(overlap * count) if len(raters) > 1 else 0
    turns = len(raters)
    return [list(raters) if at < shared else [raters[at % turns]] for at in range(count)]


def rows(
    run: str, picked: Sequence[Drawn], ours: Sequence[str], theirs: Sequence[str] | None,
    raters: Sequence[str], overlap: float, seed: int,
) -> list[Row]:  # fmt: skip
    """The rows of a sample; their ids tell neither case nor side."""
    order, whose = Random(f"{seed}/{run}/sides"), dealt(len(picked), raters, overlap)
    out = []
    for at, (case, weight) in enumerate(picked):
        first: Side = order.choice(SIDES) if theirs is not None else "ours"
        out.append(
            Row(
                id=jsonl.short_id([run, case.id], 10), case=case.id, category=case.category,
                language=case.language, cluster=case.cluster, split=case.split,
                messages=case.messages, reference=case.reference, weight=weight, ours=ours[at],
                theirs=None if theirs is None else theirs[at], a=first, raters=whose[at],
            )
        )  # fmt: skip
    return out


def samples(ws: Workspace) -> list[Sample]:
    """All that were drawn in this workspace, the newest last."""
    found = sorted(ws.runs.glob(f"*/{FILE}"))
    return [jsonl.read_json(path, Sample) for path in found]


def last(ws: Workspace) -> Sample:
    """The newest; BadInput where none was drawn."""
    past.mark_died(ws)
    found = samples(ws)
    if not found:
        raise BadInput("human: no sample yet; `errata human model=RUN sheet=inbox/human.csv` draws")
    return found[-1]
