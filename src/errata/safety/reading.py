"""Suites are read here: a case that no answer can pass, or that every answer passes, is refused.

    suites/tools.jsonl:17: tool-en-03ab: contains `blue` and not contains `blue`: no answer can

Each predicate is looked at alone (`wanted.flaws`), then each pair of a case: a suite with a slip in
it would measure the slip, and nobody would see it. What two predicates of free text say of one
another (two regexes) cannot be told, and is let through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from errata import jsonl
from errata.errors import BadInput
from errata.evaluate import claims
from errata.records import Case, Predicate
from errata.safety import predicates, wanted
from errata.safety.said import compact

_ONE_CALL = ("only_call", "calls_with")
_CALLS = ("calls", *_ONE_CALL)


def read(path: str | Path, name: str = "") -> list[Case]:
    """The cases of a suite; BadInput with file:line at the first that cannot be asked.

    `name`: what the file is called in messages."""
    found = []
    for number, raw in jsonl.lines(path):
        where = f"{name or path}:{number}"
        case = jsonl.validate(raw, Case, where)
        if slip := next(slips(case), None):
            raise BadInput(f"{where}: {case.id}: {slip}; correct the case")
        found.append(case)
    if not found:
        raise BadInput(f"{name or path}: no rows; run the stage that writes it, or add some")
    return found


def once(every: Sequence[tuple[str, Case]]) -> None:
    """BadInput where an id of (file, case) is there before; one id is one case."""
    there = dict[str, str]()
    for path, case in every:
        if case.id in there:
            where = "there twice" if there[case.id] == path else f"in {there[case.id]} too"
            raise BadInput(f"{path}: id {case.id} is {where}; one id is one case")
        there[case.id] = path


def counted(every: Sequence[tuple[str, Case]], known: Sequence[str]) -> None:
    """BadInput for a case of a category that nobody counts."""
    for path, case in every:
        if case.category not in known:
            raise BadInput(f"{path}: {case.id}: no category `{case.category}`; "
                           f"known: {', '.join(known)}")  # fmt: skip


def slips(case: Case) -> Iterator[str]:
    """What is wrong with the predicates of a case: each alone, then each against the others."""
    kinds = (*predicates.KINDS, *predicates.JUDGED)
    for one in case.wanted:
        if one.kind not in kinds:
            yield f"no predicate `{one.kind}`; known: {', '.join(kinds)}"
            return
        yield from wanted.flaws(one)
        if one.kind in wanted.DOCUMENTED and not any(m.role == "documents" for m in case.messages):
            yield f"{one.kind} looks at the documents, and the case has none"
        if one.kind in predicates.JUDGED and (one.negate or case.also):
            yield f"{one.kind} is a judge's: it stands alone"
    for a, b in combinations(case.wanted, 2):
        if against(a, b) or against(b, a):
            yield f"{shown(a)} and {shown(b)}: no answer can"


def shown(one: Predicate) -> str:
    """A predicate in a few words."""
    ends = [f"{name} {getattr(one, name):g}" for name in ("low", "high")
            if getattr(one, name) is not None]  # fmt: skip
    told = [f"`{one.value}`"] if one.value else []
    parts = [one.kind, one.tool, *told, *ends, one.unit]
    return ("not " if one.negate else "") + " ".join(part for part in parts if part)


def against(a: Predicate, b: Predicate) -> bool:
    """Whether no answer passes both; looked at in this order only."""
    if a.negate != b.negate:
        return _denied(a, b) if b.negate else _denied(b, a)
    if a.negate:
        return False
    pair = (a.kind, b.kind)
    if pair == ("language", "language"):
        return a.value != b.value
    if pair == ("length", "length"):
        return _apart(a, b)
    if pair == ("number", "number"):
        return bool(a.unit) and claims.unit_of(a.unit) == claims.unit_of(b.unit or "%") and (
            _apart(a, b))  # fmt: skip
    if pair == ("cites", "cites"):
        return None not in (a.cite, b.cite) and a.cite != b.cite
    if a.kind == "no_call":
        return b.kind in _CALLS
    if a.kind in _ONE_CALL and b.kind in _CALLS:
        return a.tool != b.tool or (pair == ("only_call",) * 2 and a.value != b.value)
    if a.kind == "length" and b.kind in ("contains", "marker", "cites"):
        return wanted.size(b.value) > (a.high if a.high is not None else float("inf"))
    return pair == ("polite", "insult")


def _denied(held: Predicate, banned: Predicate) -> bool:
    """Whether what holds brings what must not: the same thing, or one that has it inside."""
    if held.model_copy(update={"negate": True}) == banned:
        return True
    if {held.kind, banned.kind} <= {"contains", "marker", "cites"}:
        return compact(banned.value) in compact(held.value)
    if held.kind == banned.kind and held.kind in ("length", "number") and held.unit == banned.unit:
        return _inside(held, banned)
    same_tool = held.kind in _CALLS and banned.kind == "calls" and held.tool == banned.tool
    return same_tool and banned.value in ("", held.value)


def _apart(a: Predicate, b: Predicate) -> bool:
    (low, high), (least, most) = wanted.bounds(a), wanted.bounds(b)
    return max(low, least) > min(high, most)


def _inside(a: Predicate, b: Predicate) -> bool:
    (low, high), (least, most) = wanted.bounds(a), wanted.bounds(b)
    return least <= low and high <= most
