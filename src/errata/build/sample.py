"""Which failures a version is built from: a stratified sample, in the mix that the config declares.

Strata are label × language × source. A row's turn is its rank within its stratum divided by the
stratum's size, so that any first part of the order has every stratum in its share; ranks are drawn
by seed and id. A row is taken when no value it has is full. A value that has too few rows gives all
it has and nobody takes its place: the report says what was asked and what came.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

from pydantic import Field

from errata.config import Section, hint
from errata.errors import BadInput
from errata.records import Failure, Label, Language
from errata.text import language

REST = "*"
Quota = dict[str, int | float]


class Mix(Section):
    """What a version may be made of. 0.3 is a share of the sample, 300 a cap."""

    label: Quota = Field(default={}, description="label → share (0–1) or cap (rows); `*`: the rest")
    tag: Quota = Field(default={}, description="tag or reason code → share or cap")
    language: Quota = Field(default={}, description="zh, en → share or cap")
    source: Quota = Field(default={}, description="source → share or cap")
    month: Quota = Field(default={}, description="month such as 2026-11, or unknown → share or cap")

    def declared(self) -> dict[str, Quota]:
        """The dimensions that say something."""
        return {name: quota for name in DIMENSIONS if (quota := getattr(self, name))}


DIMENSIONS = ("label", "tag", "language", "source", "month")
_KNOWN = {"label": get_args(Label), "language": get_args(Language)}


class Line(NamedTuple):
    """A line of the report: what was asked of a value, and what came."""

    dimension: str
    value: str
    asked: str
    rows: int | None
    there: int
    got: int


class Drawn(NamedTuple):
    """Places of the rows taken, in the order of the input, and the report."""

    places: list[int]
    lines: list[Line]


def check(mix: Mix, where: str) -> None:
    """Refuses shares above 1 in all, and labels and languages that there are not."""
    for name, quota in mix.declared().items():
        for value, asked in quota.items():
            known = _KNOWN.get(name)
            if known and value not in (*known, REST):
                raise BadInput(f"{where}: mix.{name}: no `{value}`{hint(value, list(known))}")
            if asked < 0 or (isinstance(asked, float) and asked > 1):
                raise BadInput(f"{where}: mix.{name}.{value}: {asked}: a share lies in 0–1, a cap "
                               "is a whole number of rows")  # fmt: skip
        total = sum(asked for asked in quota.values() if isinstance(asked, float))
        if total > 1 + 1e-9:
            raise BadInput(f"{where}: mix.{name}: shares add up to {total:g}; make it 1 or less")


def values(failure: Failure, declared: Mapping[str, Quota]) -> dict[str, str]:
    """Dimension → the value of a failure that counts there; of its tags the first declared one."""
    spoken = language(failure.prompt or "")
    own: dict[str, list[str]] = {
        "label": [failure.label],
        "tag": failure.tags,
        "language": [spoken],
        "source": [failure.source or "unknown"],
        "month": [(failure.ts or "unknown")[:7]],
    }
    return {
        name: next((value for value in own[name] if value in quota), REST)
        for name, quota in declared.items()
    }


def draw(failures: Sequence[Failure], mix: Mix, size: int, seed: int) -> Drawn:
    """Which failures are built from. Size 0: as many as the mix allows, without a mix all."""
    declared = mix.declared()
    kinds = [values(failure, declared) for failure in failures]
    there = Counter(key for kind in kinds for key in _keys(kind, declared))
    size = min(size or len(failures), len(failures), _largest(declared, there, len(failures)))
    limits = {
        (name, value): _rows(asked, size)
        for name, quota in declared.items()
        for value, asked in _with_rest(quota).items()
    }
    got: Counter[tuple[str, str]] = Counter()
    places: list[int] = []
    for place in _order(failures, seed):
        keys = _keys(kinds[place], declared)
        if len(places) < size and all(got[key] < limits.get(key, size) for key in keys):
            places.append(place)
            got.update(keys)
    lines = [
        Line(name, value, _told(asked), limits[name, value], there[name, value], got[name, value])
        for name, quota in declared.items()
        for value, asked in _with_rest(quota).items()
        if value in quota or there[name, value]
    ]
    return Drawn(sorted(places), lines)


def _keys(kind: Mapping[str, str], declared: Mapping[str, Quota]) -> list[tuple[str, str]]:
    """What a row counts for; one whose value has only a cap is among the rest of the shares too."""
    own = list(kind.items())
    return own + [
        (name, REST)
        for name, value in own
        if value != REST and not isinstance(declared[name][value], float)
    ]


def _with_rest(quota: Quota) -> Quota:
    """Where shares are declared, what they leave is the share of all other values."""
    shares = [asked for asked in quota.values() if isinstance(asked, float)]
    if not shares or REST in quota:
        return quota
    return {**quota, REST: round(1 - sum(shares), 9)}


def _largest(declared: Mapping[str, Quota], there: Mapping[tuple[str, str], int], all_: int) -> int:
    """The largest sample in which every share can be had; values that have no row do not count."""
    sizes = [
        there.get((name, value), 0) / asked
        for name, quota in declared.items()
        for value, asked in quota.items()
        if isinstance(asked, float) and asked > 0 and there.get((name, value), 0)
    ]
    return int(min([all_, *sizes]) + 1e-9)


def _rows(asked: float, size: int) -> int:
    return round(asked * size) if isinstance(asked, float) else asked


def _told(asked: float) -> str:
    return f"{asked:.0%}" if isinstance(asked, float) else f"≤ {asked}"


def _order(failures: Sequence[Failure], seed: int) -> list[int]:
    """Places by turn, see the head of this file."""
    strata: dict[tuple[Any, ...], list[tuple[str, int]]] = {}
    for place, failure in enumerate(failures):
        key = (failure.label, language(failure.prompt or ""), failure.source or "")
        draw = hashlib.sha256(f"{seed}|{failure.id}".encode()).hexdigest()
        strata.setdefault(key, []).append((draw, place))
    turns = []
    for rows in strata.values():
        for rank, (draw, place) in enumerate(sorted(rows)):
            turns.append(((rank + 0.5) / len(rows), draw, place))
    return [place for *_, place in sorted(turns)]
