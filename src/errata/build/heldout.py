"""Proof that no held-out text is in the training data, so that the suites measure and not remember.

What a case must keep secret is its *probe*: for an injection, and for a question about documents,
the documents and the question together; for every other case the user's words alone, because the
passages beside them are decoration. All texts are compared bare (folded, letters and digits only).

    equal      the row's text is the probe
    contains   the row's text has the probe inside
    overlap    a share of the probe's own 13-grams, and no fewer than 12, are in the row

A gram is a probe's *own* when no tune case has it: families share base requests and sentence
frames with tune by design, and a held-out case is given away by its own words, not by those.
Greetings and other requests of everyday length (`SHORT`) are common property and are not compared,
unless they are attacks or name a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from errata.records import ATTACKS, Case, Message
from errata.text import bare, is_chinese

GRAM = 13
OWN = 12
SHARE = 0.5
SHORT = 32  # everyday requests of a support desk end here; a Chinese character counts twice
SHORT_ATTACK = 8


class Hit(NamedTuple):
    """A row that holds a held-out case."""

    case: str
    how: str


def _grams(text: str) -> set[str]:
    return {text[i : i + GRAM] for i in range(len(text) - GRAM + 1)}


def _weight(text: str) -> int:
    return sum(2 if is_chinese(char) else 1 for char in text)


def _common(text: str, attack: bool) -> bool:
    """Too short to be anybody's own, unless it names a number (`Where is order 48213?`)."""
    if attack:
        return _weight(text) < SHORT_ATTACK
    return _weight(text) < SHORT and not re.search(r"[0-9]{4}", text)


def _words(messages: Iterable[Message], roles: Sequence[str]) -> str:
    return bare(" ".join(turn.content for turn in messages if turn.role in roles))


def probe(case: Case) -> str:
    """The text of a held-out case that no training row may have."""
    in_documents = case.category == "injection" or case.category not in ATTACKS
    return _words(case.messages, ("documents", "user") if in_documents else ("user",))


class HeldOut:
    """The held-out cases of the suites, ready to be looked for."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self.probes: dict[str, str] = {}
        self.owners: dict[str, list[str]] = {}
        self.own: dict[str, int] = {}
        cases = list(cases)
        shared: set[str] = set()
        for case in cases:
            if case.split == "tune":
                shared |= _grams(_words(case.messages, ("documents", "user")))
        for case in cases:
            if case.split == "heldout":
                self._add(case, shared)
        self._grams_of_probes: dict[str, list[str]] = {}
        for text in self.probes:
            for gram in _grams(text):
                self._grams_of_probes.setdefault(gram, []).append(text)

    def _add(self, case: Case, shared: set[str]) -> None:
        text = probe(case)
        if _common(text, case.category in ATTACKS):
            return
        self.probes.setdefault(text, case.id)
        own = _grams(text) - shared
        self.own[case.id] = len(own)
        if len(own) >= OWN:
            for gram in own:
                self.owners.setdefault(gram, []).append(case.id)

    def find(self, messages: Sequence[Message]) -> Hit | None:
        """The first held-out case that the turns before the answer hold, and how."""
        user, whole = _words(messages, ("user",)), _words(messages, ("documents", "user"))
        for text in (whole, user):
            if text in self.probes:
                return Hit(self.probes[text], "equal")
        grams = _grams(whole)
        for text in self._candidates(whole, grams):
            if text in whole:
                return Hit(self.probes[text], "contains")
        counts: dict[str, int] = {}
        for gram in grams:
            for id in self.owners.get(gram, ()):
                counts[id] = counts.get(id, 0) + 1
        worst = max(counts, key=lambda id: counts[id] / self.own[id], default=None)
        if worst and counts[worst] >= max(OWN, SHARE * self.own[worst]):
            return Hit(worst, f"overlap {counts[worst]} of {self.own[worst]} 13-grams")
        return None

    def _candidates(self, whole: str, grams: set[str]) -> Iterable[str]:
        """Probes that may lie inside: those that share a gram, and those too short to have one."""
        found = {text for gram in grams for text in self._grams_of_probes.get(gram, ())}
        found |= {text for text in self.probes if len(text) < GRAM}
        return sorted(text for text in found if len(text) <= len(whole))
