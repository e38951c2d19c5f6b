"""Does a model turn into a template? How varied its answers are, and what changed since a baseline.

A model trained on preferences may please its pairs and answer everybody with one sentence. These
numbers are taken in each label, voice and language, because a mean hides it:

    distinct-1, -2     different words (pairs of words) among all, in pieces of `PIECE` tokens
                       (Li et al. 2016). The number falls with length alone (Liu et al. 2022), so
                       a text is cut into pieces of one length and the mean is taken over them
    self-similarity    mean Jaccard likeness of 3-grams of characters over pairs of answers
    template share     answers with the commonest skeleton: numbers, quoted names and what is
                       taken over from the question masked, near twins joined (build/skeleton.py)
    openings           entropy, in bits, of the first two words or four Chinese characters
    length             mean and deviation, in tokens

A token is a word or one Chinese character. Tool calls are a form, not a style: they are left out.

Intervals: each number is taken again on `HALVES` random halves of the clusters; their deviation
estimates the standard error (delete-half jackknife, Shao and Wu 1989). The bootstrap draws a
cluster twice, and what is there twice looks like a repetition. Of a difference both sides are taken
on the same halves: a model that equals its baseline differs by exactly 0, with no spread.
The commonest template is chosen by the data, so its share is high by a little in small cells.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from errata.build import near
from errata.build.skeleton import ALIKE, skeleton
from errata.records import Language
from errata.safety.said import CITATION, called
from errata.text import is_chinese, shingles

PIECE = 100
HALVES = 32
SAMPLE = 80  # answers of a cell that are compared in pairs: 3,160 pairs
LEAST = 8  # answers below which a cell says nothing
Z = 1.6449  # one-sided 95 %
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


class Said(NamedTuple):
    """An answer, and the cells it belongs to. `cluster`: the base request."""

    text: str
    question: str
    label: str
    persona: str
    language: Language
    cluster: str


class Reading(NamedTuple):
    """A number with its one-sided 95 % bounds; None where there are too few answers."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Answer(NamedTuple):
    """What is measured of one answer, worked out once."""

    tokens: list[str]
    opening: str
    template: int
    grams: frozenset[str]


class Cell(NamedTuple):
    """One label, voice or language: which answers, and every measure, alone and as a difference."""

    kind: str  # all, label, persona
    name: str
    language: Language | None
    n: int
    ours: dict[str, Reading]
    change: dict[str, Reading]  # ours minus the baseline's; empty without one


class Repeated(NamedTuple):
    """A template, how many answers have it on either side, and one of them."""

    language: Language
    ours: int
    theirs: int | None
    example: str


class Style(NamedTuple):
    """What is reported."""

    cells: list[Cell]
    repeated: list[Repeated]
    flags: list[bool]  # of each answer: whether it has the commonest template of its language
    kept: list[Said]


def tokens(text: str) -> list[str]:
    """Words in small letters, each Chinese character by itself; citations left out."""
    plain = CITATION.sub(" ", unicodedata.normalize("NFKC", text)).casefold()
    apart = "".join(f" {char} " if is_chinese(char) else char for char in plain)
    return _TOKEN.findall(apart)


def opening(text: str) -> str:
    """The first two words, or four Chinese characters."""
    first = tokens(text)
    return " ".join(first[:4] if first and is_chinese(first[0][0]) else first[:2])


def masked(answer: str, question: str) -> str:
    """The skeleton: what the answer takes over from its question is content, not wording."""
    asked = unicodedata.normalize("NFKC", question).casefold()
    words = set(re.findall(r"[a-z]{2,}", asked)) - {"the", "is", "of", "in", "to", "for", "you"}
    plain = unicodedata.normalize("NFKC", answer).casefold()
    plain = re.sub(r"[a-z]{2,}", lambda m: "#" if m[0] in words else m[0], plain)
    out, at = [], 0
    while at < len(plain):
        end = at
        while end < len(plain) and is_chinese(plain[end]) and plain[at : end + 1] in asked:
            end += 1
        out.append("#" if end - at >= 2 else plain[at : max(end, at + 1)])
        at = max(end, at + 1)
    return re.sub(r"#(?:\s*#)+", "#", skeleton("".join(out)))


def templates(texts: Sequence[str], questions: Sequence[str]) -> list[int]:
    """The template of each text: near twins once masked, and what is one skeleton unmasked (one
    sentence said to two questions loses other words to each)."""
    masks = [masked(text, question) for text, question in zip(texts, questions, strict=False)]
    forest = near.Forest(len(texts))
    first: dict[str, int] = {}
    for place, (text, twin) in enumerate(zip(texts, near.clusters(masks, ALIKE), strict=True)):
        forest.join(place, twin)
        forest.join(place, first.setdefault(skeleton(text), place))
    return [int(root) for root in forest.roots()]


def prepared(said: Sequence[Said], masks: Sequence[int]) -> list[Answer]:
    """Every answer with its template's number."""
    return [Answer(tokens(s.text), opening(s.text), mask, shingles(s.text, 3))
            for s, mask in zip(said, masks, strict=True)]  # fmt: skip


def distinct(answers: Sequence[Answer], size: int) -> float | None:
    """Different n-grams among all, mean over pieces of `PIECE` tokens; None under one piece."""
    shares: list[float] = []
    grams: list[tuple[str, ...]] = []
    count = 0
    for answer in answers:
        own = answer.tokens[: PIECE - count]
        grams += zip(*(own[at:] for at in range(size)), strict=False)
        count += len(own)
        if count == PIECE:
            shares.append(len(set(grams)) / len(grams) if grams else 0.0)
            grams, count = [], 0
    return fmean(shares) if shares else None


def similarity(answers: Sequence[Answer]) -> float | None:
    """Mean Jaccard of all pairs of the first `SAMPLE` answers."""
    sets = [answer.grams for answer in answers[:SAMPLE]]
    shares = [
        len(a & b) / union if (union := len(a | b)) else 1.0
        for place, a in enumerate(sets)
        for b in sets[:place]
    ]
    return fmean(shares) if shares else None


def template_share(answers: Sequence[Answer]) -> float | None:
    """Of the commonest template."""
    if not answers:
        return None
    return max(Counter(answer.template for answer in answers).values()) / len(answers)


def openings(answers: Sequence[Answer]) -> float | None:
    """Entropy of how answers begin, in bits."""
    if not answers:
        return None
    shares = [count / len(answers) for count in Counter(a.opening for a in answers).values()]
    return abs(sum(share * math.log2(share) for share in shares))


def _mean(answers: Sequence[Answer]) -> float | None:
    return fmean(len(a.tokens) for a in answers) if answers else None


def _spread(answers: Sequence[Answer]) -> float | None:
    return pstdev(len(a.tokens) for a in answers) if answers else None


MEASURES: dict[str, Callable[[Sequence[Answer]], float | None]] = {
    "distinct_1": lambda answers: distinct(answers, 1),
    "distinct_2": lambda answers: distinct(answers, 2),
    "self_similarity": similarity,
    "template_share": template_share,
    "openings": openings,
    "length": _mean,
    "spread": _spread,
}


def _samples(clusters: Sequence[str]) -> list[list[int]]:
    """The places of all answers in a fixed disorder, then those of each random half of clusters."""
    rng = Random(0)
    names = sorted(set(clusters))
    places = list(range(len(clusters)))
    rng.shuffle(places)
    out = [places]
    for _ in range(HALVES if len(names) > 3 else 0):
        half = set(rng.sample(names, len(names) // 2))
        mine = [place for place in places if clusters[place] in half]
        rng.shuffle(mine)
        out.append(mine)
    return out


def _reading(values: Sequence[float | None]) -> Reading:
    """The first is the value; the deviation of the others, those of halves, is its error."""
    value, rest = values[0], [v for v in values[1:] if v is not None]
    if value is None or len(rest) < HALVES / 2:
        return Reading(value)
    error = Z * math.sqrt(fmean((v - fmean(rest)) ** 2 for v in rest))
    return Reading(value, value - error, value + error)


def measured(
    clusters: Sequence[str], ours: Sequence[Answer], theirs: Sequence[Answer] | None = None
) -> tuple[dict[str, Reading], dict[str, Reading]]:
    """Every measure of our answers, and of its difference to theirs (to the same questions)."""
    samples = _samples(clusters)
    own, change = {}, {}
    for name, measure in MEASURES.items():
        mine = [measure([ours[place] for place in sample]) for sample in samples]
        own[name] = _reading(mine)
        if theirs is not None:
            base = [measure([theirs[place] for place in sample]) for sample in samples]
            change[name] = _reading([None if None in (a, b) else a - b  # type: ignore[operator]
                                     for a, b in zip(mine, base, strict=True)])  # fmt: skip
    return own, change


def style(said: Sequence[Said], baseline: Sequence[str] | None = None) -> Style:
    """Everything, over prose: an answer that is a call, on either side, is left out.

    `baseline`: the other model's answers to the same questions, in the same order."""
    other = list(baseline) if baseline is not None else [""] * len(said)
    both = [(mine, text) for mine, text in zip(said, other, strict=True)
            if not called(mine.text) and not called(text)]  # fmt: skip
    kept, base = [mine for mine, _ in both], [text for _, text in both]
    texts = [mine.text for mine in kept] + (base if baseline is not None else [])
    numbers = templates(texts, [mine.question for mine in kept] * 2)
    ours = prepared(kept, numbers[: len(kept)])
    theirs = None
    if baseline is not None:
        there = [mine._replace(text=text) for mine, text in both]
        theirs = prepared(there, numbers[len(kept) :])
    flags, repeated = _commonest(kept, ours, theirs)
    return Style(_cells(kept, ours, theirs), repeated, flags, kept)


def _cells(
    kept: Sequence[Said], ours: Sequence[Answer], theirs: Sequence[Answer] | None
) -> list[Cell]:
    """All, then each label, then each voice; by language."""
    groups: dict[tuple[str, str, Language | None], list[int]] = {}
    for place, mine in enumerate(kept):
        groups.setdefault(("all", "", None), []).append(place)
        groups.setdefault(("all", "", mine.language), []).append(place)
        groups.setdefault(("label", mine.label, mine.language), []).append(place)
        if mine.persona:
            groups.setdefault(("persona", mine.persona, mine.language), []).append(place)
    out = []
    for key in sorted(groups, key=lambda key: (key[0], key[1], key[2] or "")):
        places = groups[key]
        if len(places) >= LEAST:
            own, change = measured([kept[p].cluster for p in places], [ours[p] for p in places],
                                   [theirs[p] for p in places] if theirs else None)  # fmt: skip
            out.append(Cell(*key, len(places), own, change))
    return out


def _commonest(
    kept: Sequence[Said], ours: Sequence[Answer], theirs: Sequence[Answer] | None, most: int = 3
) -> tuple[list[bool], list[Repeated]]:
    """Which answers have the commonest template of their language; the commonest as examples."""
    flags, out = [False] * len(kept), []
    languages: Sequence[Any] = sorted({mine.language for mine in kept})
    for tongue in languages:
        places = [place for place, mine in enumerate(kept) if mine.language == tongue]
        counts = Counter(ours[place].template for place in places)
        there = Counter(theirs[place].template for place in places) if theirs else None
        for rank, (name, count) in enumerate(counts.most_common(most)):
            having = [place for place in places if ours[place].template == name]
            out.append(Repeated(tongue, count, there[name] if there is not None else None,
                                kept[having[0]].text))  # fmt: skip
            for place in having if rank == 0 else ():
                flags[place] = True
    return flags, out
