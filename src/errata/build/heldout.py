"""Proof that no held-out text is in the training data, so that the suites measure and not remember.

What a case must keep secret is its *probe*: for an injection, and for a question about documents,
the documents and the question together; for every other case the user's words alone, because the
passages beside them are decoration. All texts are compared bare (folded, letters and digits only).
Cases of dev are held out too: training stops by them. Answers, tools' words and a system prompt are
looked at as well, but for `near` and for probes of less than 13 letters.

    equal      the row's text is the probe
    contains   the row's text has the probe inside
    overlap    a share of the probe's own 13-grams, and no fewer than 12, are in the row
    near       half of the probe's own 5-grams are in the row, and Jaccard of all 5-grams is ≥ 0.5:
               a Chinese probe of 20 characters has 8 13-grams, of which a changed word leaves two
               or none; two words changed in the middle of one so short are not seen here either

Near twins are looked for by an index of the probes' own 5-grams, which finds them all: own grams
are rare by definition, so that there is nothing which a sketch would save.

A gram is a probe's *own* when no tune case has it: families share base requests and sentence
frames with tune by design, and a held-out case is given away by its own words, not by those.
Greetings and other requests of everyday length (`SHORT`) are common property and are not compared,
unless they are attacks or name a number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from errata.build import near
from errata.records import ATTACKS, Case, Failure, Message
from errata.text import bare, is_chinese
from errata.workspace import Workspace

FOREIGN = "suites/foreign.jsonl"  # what `errata suite import` brings; it need not be there

GRAM = 13
OWN = 12
SHARE = 0.5
NEAR = 0.5  # a probe with a word changed has more, another request in its frame has less
NEAR_OWN = 8  # own 5-grams: a single word of four letters that tune lacks has as many
SHORT = 32  # everyday requests of a support desk end here; a Chinese character counts twice
SHORT_ATTACK = 8
ASKED = ("documents", "user")


class Hit(NamedTuple):
    """A row that holds a held-out case."""

    case: str
    how: str


def _grams(text: str, size: int = GRAM) -> set[str]:
    return {text[i : i + size] for i in range(len(text) - size + 1)}


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
    return _words(case.messages, ASKED if in_documents else ("user",))


def more(ws: Workspace, names: Sequence[str]) -> list[Path]:
    """Suites that no row may hold anything of, beside those that rows are made from."""
    return [ws.path(name) for name in names if name != FOREIGN or ws.path(name).is_file()]


def kinship(failures: Sequence[Failure], cases: Iterable[Case]) -> dict[str, list[str]]:
    """Failure → the promoted failures that ask nearly the same, itself among them.

    Their rows may train though a case that was promoted from one of them is held out: it asks in
    other words, and measures whether the lesson carries over. {} where none was promoted."""
    promoted = {case.failure for case in cases if case.failure}
    asked = [failure for failure in failures if failure.prompt] if promoted else []
    groups: dict[int, list[str]] = {}
    roots = near.clusters([failure.prompt or "" for failure in asked], NEAR) if asked else []
    for failure, root in zip(asked, roots, strict=True):
        if failure.id in promoted:
            groups.setdefault(root, []).append(failure.id)
    pairs = zip(asked, roots, strict=True)
    return {failure.id: groups[root] for failure, root in pairs if root in groups}


class HeldOut:
    """The held-out cases of the suites, ready to be looked for."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self.probes: dict[str, str] = {}
        self.failures: dict[str, str] = {}  # probe → the failure that it was promoted from
        cases = list(cases)
        tune = [_words(case.messages, ASKED) for case in cases if case.split == "tune"]
        self.long, self.short = _Index(tune, GRAM, OWN), _Index(tune, near.GRAM, NEAR_OWN)
        for case in cases:
            text = probe(case)
            if case.split != "tune" and not _common(text, case.category in ATTACKS):
                self.probes.setdefault(text, case.id)
                if case.failure:
                    self.failures[text] = case.failure
        for text in self.probes:
            self.long.add(text)
            self.short.add(text)
        self.count = len(self.probes)
        self._tiny = {text for text in self.probes if len(text) < GRAM}

    def find(self, messages: Sequence[Message]) -> Hit | None:
        """The first held-out case that the turns hold, and how."""
        return self.find_all([messages])[0]

    def find_all(
        self, rows: Iterable[Sequence[Message]], made_from: Iterable[Sequence[str]] | None = None
    ) -> list[Hit | None]:
        """`find` for many rows; the same prompt is looked at once. `made_from`: the failures of
        each row: a case that was promoted from one of them is no hit, its other rows are."""
        known: dict[tuple[str, str | None, frozenset[str]], Hit | None] = {}
        out = []
        for row, sources in zip(rows, made_from or repeat(()), strict=False):
            kin = self._kin(sources)
            said = [(bare(turn.content), None, kin) for turn in row if turn.role not in ASKED]
            keys = [(_words(row, ASKED), _words(row, ("user",)), kin), *said]
            for key in keys:
                if key not in known:
                    known[key] = self._find(*key)
            out.append(next((hit for key in keys if (hit := known[key])), None))
        return out

    def _kin(self, sources: Sequence[str]) -> frozenset[str]:
        """Probes that were promoted from these failures."""
        if not self.failures or not sources:
            return frozenset()
        return frozenset(text for text, failure in self.failures.items() if failure in sources)

    def _find(self, whole: str, user: str | None, kin: frozenset[str]) -> Hit | None:
        """`user`: the user's part of it; None: nobody asks here. An answer has a few letters of a
        probe, or is near it, by chance: `CALL delete_order(28970)` and `call delete_order for…`."""
        for text in (whole, user or whole):
            if text in self.probes and text not in kin:
                return Hit(self.probes[text], "equal")
        grams = _grams(whole)
        tiny = self._tiny if user is not None else set[str]()
        for text in sorted((tiny | self.long.holders(grams)) - kin):
            if len(text) <= len(whole) and text in whole:
                return Hit(self.probes[text], "contains")
        counts = self.long.counts(grams, kin)
        if counts:
            worst = max(counts.items(), key=self.long.share)
            of = self.long.own[worst[0]]
            if worst[1] >= max(OWN, SHARE * of):
                return Hit(self.probes[worst[0]], f"overlap {worst[1]} of {of} 13-grams")
        if user is None:
            return None
        grams = _grams(whole, near.GRAM)
        counts = self.short.counts(grams, kin)
        if not counts:
            return None
        hit = self._near(grams, counts)
        if hit or user == whole:
            return hit
        grams = _grams(user, near.GRAM)
        return self._near(grams, self.short.counts(grams, kin))

    def _near(self, grams: set[str], counts: dict[str, int]) -> Hit | None:
        for twin, shared in sorted(counts.items(), key=self.short.share, reverse=True):
            if shared < NEAR * self.short.own[twin]:
                return None
            theirs = _grams(twin, near.GRAM)
            whole = len(grams & theirs) / len(grams | theirs)
            if whole >= NEAR:
                return Hit(self.probes[twin], f"near: {whole:.0%} of their 5-grams are shared")
        return None


class _Index:
    """Probes by their grams of one size, and which of those no tune case has."""

    def __init__(self, tune: Iterable[str], size: int, least: int) -> None:
        self.size, self.least = size, least
        self.shared = {gram for text in tune for gram in _grams(text, size)}
        self.own: dict[str, int] = {}
        self._all: dict[str, list[str]] = {}
        self._own: dict[str, list[str]] = {}
        self._grams: set[str] = set()  # the keys once more: two sets meet at the speed of C
        self._own_grams: set[str] = set()

    def add(self, text: str) -> None:
        grams = _grams(text, self.size)
        own = grams - self.shared
        self.own[text] = len(own)
        for gram in grams:
            self._all.setdefault(gram, []).append(text)
        for gram in own if len(own) >= self.least else ():
            self._own.setdefault(gram, []).append(text)
        self._grams |= grams
        if len(own) >= self.least:
            self._own_grams |= own

    def holders(self, grams: set[str]) -> set[str]:
        """Probes that share a gram."""
        return {text for gram in grams & self._grams for text in self._all[gram]}

    def counts(self, grams: set[str], kin: frozenset[str]) -> dict[str, int]:
        """Probe → how many of its own grams are here, but for `kin`."""
        found = grams & self._own_grams
        told = (text for gram in found for text in self._own[gram] if text not in kin)
        return Counter(told) if found else {}

    def share(self, item: tuple[str, int]) -> tuple[float, str]:
        """What part of a probe's own grams that is; by text where it is the same."""
        return item[1] / self.own[item[0]], item[0]
