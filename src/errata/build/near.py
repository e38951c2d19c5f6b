"""Near twins: which texts are nearly the same, in time that grows with texts and not with pairs.

Likeness is Jaccard of the character 5-grams of the bare texts: characters, because Chinese has no
spaces to split at.

    sketch      Fast Similarity Sketching (Dahlgaard, Knudsen and Thorup, FOCS 2017): VALUES numbers
                a text; each equals that of another text with probability Jaccard, as in MinHash,
                but a gram is hashed about once and not VALUES times
    bands       texts that agree in all rows of a band are candidates
    likeness    of a candidate pair the sketches, then the very sets of grams are compared
    clusters    what is alike is joined, and what is alike to that: a forest

At 0.8 there are 25 bands of 5 rows, and a pair of likeness 0.8 is a candidate with probability
1 − (1 − 0.8⁵)²⁵ = 0.99995; one of 0.7 with 0.990, of 0.5 with 0.55, of 0.3 with 0.06. (The same 128
values as 8 bands of 16 rows, a rival's headline setting, find 0.20 of the pairs of 0.8.)

A band's bucket may hold thousands. Up to `SMALL` texts all pairs are looked at; above, all are
compared with a leader, those very alike to it (half way from the threshold to 1) leave, the rest
choose the next, `LEADERS` times or until they are few. A pair is lost in such a bucket only if one
of the two left with a leader that the other is not like, or if they are still among many at the
end; it then has the other bands it shares, each with leaders of its own. Leaders are chosen by
hash: neither the order of the texts nor the number of copies decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from errata.text import bare

GRAM = 5
VALUES = 128
RECALL = 0.999  # at the threshold itself; what is more alike is found more surely
SMALL = 32
LEADERS = 16
CHUNK = 1 << 16  # characters sketched at once: arrays that stay in the cache, twice as fast
SLACK = 0.16  # a sketch errs by √(0.8·0.2/128) = 0.035: less likely than 10⁻⁵ by so much
PAIRS = 4096  # whose sketches are compared at once
REMEMBERED = 1 << 18  # pairs found apart that are not compared again: 30 MiB
EMPTY = 0xFFFFFFFF

Grams = npt.NDArray[np.uint64]
Sketches = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]


class Bands(NamedTuple):
    """How the values of a sketch are cut."""

    many: int
    rows: int


@lru_cache
def bands(threshold: float) -> Bands:
    """The most rows a band (fewest false candidates) with `RECALL` at the threshold."""
    for rows in range(VALUES, 0, -1):
        count = VALUES // rows
        if 1 - (1 - threshold**rows) ** count >= RECALL:
            return Bands(count, rows)
    return Bands(VALUES, 1)


class Forest:
    """Union-find over positions; the smallest is the root."""

    def __init__(self, size: int) -> None:
        self.parent = list(range(size))

    def find(self, place: int) -> int:
        while self.parent[place] != place:
            self.parent[place] = self.parent[self.parent[place]]
            place = self.parent[place]
        return place

    def join(self, a: int, b: int) -> None:
        a, b = self.find(a), self.find(b)
        self.parent[max(a, b)] = min(a, b)

    def roots(self) -> Places:
        """(size,) the root of every position."""
        found = np.array(self.parent, np.int64)
        while ((up := found[found]) != found).any():
            found = up
        return found


@lru_cache(maxsize=4)
def _factors(seed: int) -> npt.NDArray[np.uint64]:
    """Odd multipliers; the seed decides them."""
    found = np.random.default_rng(seed).integers(0, 2**63, GRAM + 2 * VALUES, dtype=np.uint64)
    return np.asarray(found * np.uint64(2) + np.uint64(1))


def _mixed(values: Grams) -> Grams:
    """Every bit depends on every other (the finaliser of MurmurHash3)."""
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xFF51AFD7ED558CCD)
    return np.asarray(values ^ (values >> np.uint64(33)))


def grams(texts: Sequence[str], seed: int = 0) -> tuple[Grams, Places]:
    """Hashes of the 5-grams of bare texts, one after the other, and the place of each one's text.

    A text shorter than that is one gram, as in `text.shingles`; an empty one has none.
    Hash: Σ cᵢ·aᵢ mod 2⁶⁴ with random odd aᵢ, mixed.
    """
    padded = [text + "\0" * (GRAM - len(text)) if text else "" for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    if len(codes) == 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    wide = codes.astype(np.uint64) + np.uint64(1)
    factors = _factors(seed)
    size = len(wide) - GRAM + 1
    total = wide[:size] * factors[0]
    for at in range(1, GRAM):
        total += wide[at : at + size] * factors[at]
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    owner = np.repeat(np.arange(len(padded)), lengths)
    inside = owner[:size] == owner[GRAM - 1 :]
    return _mixed(total[inside]), owner[:size][inside]


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    start, room = 0, CHUNK
    for at, text in enumerate(texts):
        room -= len(text)
        if room < 0 and at > start:
            yield start, at
            start, room = at, CHUNK - len(text)
    yield start, len(texts)


def sketch(texts: Sequence[str], seed: int = 0) -> Sketches:
    """(texts, VALUES) sketches of bare texts, a chunk at a time. An empty text has no gram to be
    alike in: its values are all the largest."""
    out = np.full((len(texts), VALUES), EMPTY, np.uint32)
    for start, stop in _chunks(texts):
        found, owner = grams(texts[start:stop], seed)
        _fill(out[start:stop], found, owner, seed)
    return out


def _fill(out: Sketches, found: Grams, owner: Places, seed: int) -> None:
    """Round by round every gram falls into one bin and the least number in a bin stays; a text goes
    on until no bin of it is empty, which 500 grams have after two rounds. A number begins with its
    round, so a later one never wins. In the last VALUES rounds every gram goes into the same bin,
    each time the next: then all are full."""
    factors = _factors(seed)[GRAM:]
    flat, row = out.reshape(-1), owner * VALUES
    for turn in range(2 * VALUES):
        mixed = found * factors[turn]
        bins = (mixed >> np.uint64(57)).astype(np.int64)
        if turn >= VALUES:
            bins[:] = turn - VALUES
        bins += row
        if turn:  # a full bin keeps its number: few are looked at again
            empty = flat[bins] == EMPTY
            bins, mixed = bins[empty], mixed[empty]
        values = (mixed >> np.uint64(33)).astype(np.uint32) & np.uint32(0xFFFFFF)
        np.minimum.at(flat, bins, values | np.uint32(turn << 24))
        open_ = (out == EMPTY).any(axis=1)
        if not open_.any():
            return
        still = open_[row // VALUES]
        found, row = found[still], row[still]


def band_keys(sketches: Sketches, cut: Bands) -> Iterator[Grams]:
    """For each band a hash of its values, for all texts."""
    rng = np.random.default_rng(cut.many)
    for band in range(cut.many):
        part = sketches[:, band * cut.rows : (band + 1) * cut.rows].astype(np.uint64)
        factors = rng.integers(1, 2**63, cut.rows, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        yield _mixed((_mixed(part + np.uint64(band + 1)) * factors).sum(axis=1, dtype=np.uint64))


def _jaccard(texts: Sequence[str], pairs: Places) -> npt.NDArray[np.float64]:
    """Likeness of each pair of bare texts, from all their grams: (pairs, 2) → (pairs,)."""
    places, at = np.unique(pairs, return_inverse=True)
    found, owner = grams([texts[place] for place in places.tolist()])
    ends = np.searchsorted(owner, np.arange(len(places) + 1))
    cuts = [int(end) for end in ends]
    sets = [_set(found[a:b]) for a, b in pairwise(cuts)]
    sides: Any = at.reshape(pairs.shape).tolist()
    return np.array([_share(sets[a], sets[b]) for a, b in sides], np.float64)


def _set(found: Grams) -> Grams:
    """Sorted, each once. By text: sorting many small arrays is four times faster than one large."""
    found = np.sort(found)
    fresh = found[1:] != found[:-1]
    return found if fresh.all() else np.concatenate((found[:1], found[1:][fresh]))


def _share(a: Grams, b: Grams) -> float:
    """|a ∩ b| / |a ∪ b| of sorted sets; empty ones are like nothing."""
    both = np.concatenate((a, b))
    both.sort()
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / (len(both) - shared) if shared else 0.0


def likeness(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Jaccard of the two bare texts of each pair; of two empty ones 0."""
    out: list[float] = []
    for start in range(0, len(pairs), PAIRS):
        part = pairs[start : start + PAIRS]
        places = np.arange(2 * len(part)).reshape(-1, 2)
        out += _jaccard([text for both in part for text in both], places).tolist()
    return out


class _Likeness:
    """How alike pairs are: by sketch where that is clearly too little, else by their grams."""

    def __init__(self, texts: Sequence[str], sketches: Sketches, threshold: float) -> None:
        self.texts, self.sketches, self.threshold = texts, sketches, threshold - 1e-12
        self._apart: set[tuple[int, int]] = set()  # asked and not alike: other bands ask again

    def guess(self, pairs: Places) -> npt.NDArray[np.float64]:
        """(pairs, 2) → (pairs,): the share of equal values."""
        out = np.zeros(len(pairs))
        for start in range(0, len(pairs), PAIRS):
            a, b = pairs[start : start + PAIRS].T
            same = self.sketches[a] == self.sketches[b]
            out[start : start + PAIRS] = np.count_nonzero(same, axis=1) / VALUES
        return out

    def alike(self, pairs: Places, guess: npt.NDArray[np.float64]) -> Iterator[tuple[int, int]]:
        """The pairs that reach the threshold."""
        near = np.sort(pairs[guess >= self.threshold - SLACK], axis=1)
        asked = [pair for pair in map(tuple, near.tolist()) if pair not in self._apart]
        if len(self._apart) > REMEMBERED:
            self._apart.clear()
        letters = sum(len(self.texts[a]) for a, _ in asked)
        step = max(1, CHUNK * len(asked) // (letters + 1))
        for start in range(0, len(asked), step):
            part = asked[start : start + step]
            shares = _jaccard(self.texts, np.array(part, np.int64)).tolist()
            for pair, share in zip(part, shares, strict=True):
                if share >= self.threshold:
                    yield pair
                else:
                    self._apart.add(pair)


def _buckets(keys: Grams, roots: Places) -> Iterator[Places]:
    """Positions that share a key and are not yet of one root."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))
    joined = roots[order]
    open_ = np.minimum.reduceat(joined, starts) != np.maximum.reduceat(joined, starts)
    ends = np.append(starts[1:], len(keys))
    for start, end in zip(starts[open_].tolist(), ends[open_].tolist(), strict=True):
        yield order[start:end]


def _join_bucket(forest: Forest, likeness: _Likeness, left: Places) -> Places:
    """A large bucket: leaders in turn; see the head of this file. Gives back who is left."""
    for _ in range(LEADERS):
        if len(left) <= SMALL:
            break
        leader, left = int(left[0]), left[1:]
        pairs = np.column_stack((np.full(len(left), leader), left))
        guess, root = likeness.guess(pairs), forest.find(leader)
        fresh = np.fromiter((forest.find(place) != root for place in left.tolist()), bool)
        for one, other in likeness.alike(pairs[fresh], guess[fresh]):
            forest.join(one, other)
        left = left[guess < (1 + likeness.threshold) / 2]
    return left[:SMALL]


def join(texts: Sequence[str], threshold: float, seed: int = 0) -> Forest:
    """The forest of bare texts, each of them another, in an order that their hashes decide."""
    forest = Forest(len(texts))
    sketches = sketch(texts, seed)
    likeness = _Likeness(texts, sketches, threshold)
    for band, keys in enumerate(band_keys(sketches, bands(threshold))):
        small: list[tuple[int, int]] = []
        turn = _mixed(keys + np.uint64(band))
        for bucket in _buckets(keys, forest.roots()):
            if len(bucket) > SMALL:
                spread = _mixed(turn[bucket] + sketches[bucket].sum(axis=1, dtype=np.uint64))
                bucket = _join_bucket(forest, likeness, bucket[np.argsort(spread, kind="stable")])
            small += _unjoined(forest, bucket.tolist())
        if small:
            pairs = np.array(small, np.int64)
            for a, b in likeness.alike(pairs, likeness.guess(pairs)):
                forest.join(a, b)
    return forest


def _unjoined(forest: Forest, bucket: Sequence[int]) -> Iterable[tuple[int, int]]:
    roots = [forest.find(place) for place in bucket]
    for at, a in enumerate(bucket):
        for other in range(at):
            if roots[at] != roots[other]:
                yield a, bucket[other]


def clusters(texts: Sequence[str], threshold: float = 0.8, seed: int = 0) -> list[int]:
    """For every text the first place of its cluster. Texts that are bare equal are one cluster."""
    first: dict[str, int] = {}
    keys = [bare(text) or f"\0{text}" for text in texts]
    for place, key in enumerate(keys):
        first.setdefault(key, place)
    whole = list(first)
    forest = join([key if key[:1] != "\0" else "" for key in whole], threshold, seed)
    least: dict[int, int] = {}
    for at, key in enumerate(whole):
        root = forest.find(at)
        least[root] = min(least.get(root, first[key]), first[key])
    where: dict[Any, int] = {key: least[forest.find(at)] for at, key in enumerate(whole)}
    return [where[key] for key in keys]
