"""What an answer claims, and whether the documents hold it.

    unsupported(text, passages, …)     the claims (claims.py) that no passage holds
    cited_wrongly(text, passages, …)   the sentences whose own citations do not hold what they say

A number alone is not enough: "the jade kettle costs 42 yuan" is not borne out by a passage on
an amber lamp for 42 yuan. What a sentence takes over from the question (its subject) must be in the
passage that holds its numbers, two thirds of it at least; nothing else is known of names.

What this cannot see: a claim in words alone ("it is waterproof"), a negation ("not 42"), a sum
that the passages allow. On the labelled set of tests/evaluate/test_grounding.py it finds all
invented claims but those in words, and calls no right answer invented; that set is small and
made by hand, of the kind of text that a support desk writes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

from errata.evaluate.claims import CITED, Claim, bare, claims
from errata.text import is_chinese

SUBJECT = 2 / 3  # of what a sentence takes from the question must be in the passage that bears it
_SENTENCE = re.compile(r".*?(?:[!?。！？；;\n]+|\.(?![0-9A-Za-z])|$)(?:\s*\[\d+\])*\s*", re.DOTALL)
_SMALL = (
    "a an the of in on at to for and or is are was be has have does do did it its this that how "
    "what which when where who much many long i you my your me please can could would there with"
)
_FUNCTION = frozenset(_SMALL.split())
_FUNCTION_ZH = frozenset("的是了吗呢多少几有在和与要请问我您你什么怎哪这那个到能可以？，。")


@lru_cache(maxsize=8)
def passages(documents: str) -> dict[str, str]:
    """Number → passage. The number stands before its passage (`[1] It costs 5.`) or behind it
    (`It costs 5 [1].`): behind, where something is said before the first number."""
    parts = CITED.split(documents)  # text, number, text, number, text
    texts = parts[0::2] if parts[0].strip() else parts[2::2]
    return dict(zip(parts[1::2], texts, strict=False))


@lru_cache(maxsize=4096)
def _held(passage: str) -> tuple[list[Claim], str]:
    return claims(passage), bare(passage).casefold()


def holds(passage: str, claim: Claim) -> bool:
    """Whether a passage has the claim. A number without a unit, on either side, is one of any."""
    there, text = _held(passage)
    if claim.kind == "number":
        same = [c.unit for c in there if c.kind == "number" and c.value == claim.value]
        return any(unit == claim.unit or not unit or not claim.unit for unit in same)
    if claim.kind == "date":
        own = claim.value.split("-", 1)
        dates = [c.value.split("-", 1) for c in there if c.kind == "date"]
        return any(d[1] == own[1] and (d[0] == own[0] or not own[0]) for d in dates)
    if claim.kind == "colour":
        return any(c.kind == "colour" and c.value == claim.value for c in there)
    return claim.value in text


def sentences(text: str) -> list[str]:
    """A text in sentences, each with the citations that stand behind its stop."""
    folded = unicodedata.normalize("NFKC", text)
    return [part[0] for part in _SENTENCE.finditer(folded) if part[0].strip()]


def subject(sentence: str, question: str) -> frozenset[str]:
    """What a sentence takes over from the question: words, and pairs of Chinese characters."""
    return _content(sentence) & _content(question)


def _content(text: str) -> frozenset[str]:
    plain = bare(text).casefold()
    words = {w for w in re.findall(r"[a-z]{2,}", plain) if w not in _FUNCTION}
    pairs = {plain[i : i + 2] for i in range(len(plain) - 1)
             if all(is_chinese(c) and c not in _FUNCTION_ZH for c in plain[i : i + 2])}  # fmt: skip
    return frozenset(words | pairs)


def _about(passage: str, wanted: frozenset[str]) -> bool:
    """Whether a passage speaks of the sentence's subject."""
    text = _held(passage)[1]
    return sum(word in text for word in wanted) >= SUBJECT * len(wanted) - 1e-9


def unsupported(text: str, documents: Sequence[str], question: str = "") -> list[Claim]:
    """The claims of an answer that no passage holds (offsets: within their sentence).

    What the question says may be said again, but not with a citation: it says who bears it out."""
    out: list[Claim] = []
    for sentence in sentences(text):
        about = subject(sentence, question)
        sources = [passage for passage in documents if _about(passage, about)]
        if question and not CITED.search(sentence):
            sources.append(question)
        out += [c for c in claims(sentence) if not any(holds(p, c) for p in sources)]
    return out


def cited_wrongly(text: str, numbered: Mapping[str, str], question: str = "") -> list[str]:
    """The sentences that cite a passage which is not there, or one that does not hold their claims.

    Several citations bear a sentence out together; each must hold a part of it."""
    out = []
    for sentence in sentences(text):
        cited = CITED.findall(sentence)
        if not cited:
            continue
        there = [numbered[number] for number in cited if number in numbered]
        said = claims(sentence)
        about = subject(sentence, question)
        bearing = [p for p in there if _about(p, about)]
        borne = all(any(holds(p, c) for p in bearing) for c in said)
        idle = len(there) > 1 and not all(any(holds(p, c) for c in said) for p in there)
        if len(there) < len(cited) or not bearing or not borne or idle:
            out.append(sentence.strip())
    return out
