"""Near twins: ours against datasketch, the same texts, the same 25 bands of 5 rows, one process.

Both get raw texts and give clusters: bare text, character 5-grams, sketch, bands, exact Jaccard of
the candidates, union-find. datasketch is measured as shipped (`MinHash.bulk`, SHA-1) and in its
fastest form (crc32 instead), and that one counts. Recall and precision are of pairs, against all
pairs by a sparse product.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from random import Random

import numpy as np
from scipy.sparse import csr_matrix

from datawork.clock import Run, clock
from errata.build import near
from errata.text import bare, jaccard, shingles

TEXTS, LETTERS, THRESHOLD, SEED = 5_000, 528, 0.8, 7
PERMUTATIONS = 128
Pairs = set[tuple[int, int]]


@cache
def texts(count: int = TEXTS, seed: int = SEED) -> tuple[str, ...]:
    """Half Chinese, half English; three in ten have one to three near twins, with 1 to 14 letters
    changed, so that many lie at the threshold (11 changed letters are a likeness of 0.8)."""
    rng = Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9)))
             for _ in range(4_000)]  # fmt: skip
    signs = [chr(0x4E00 + n) for n in range(2_500)]
    out: list[str] = []
    while len(out) < count:
        if rng.random() < 0.5:
            base = "".join(rng.choices(signs, k=LETTERS))
        else:
            base = " ".join(rng.choices(words, k=LETTERS // 5))[: LETTERS * 6 // 5]
        out.append(base)
        for _ in range(rng.randint(1, 3) if rng.random() < 0.3 else 0):
            twin = list(base)
            for _ in range(rng.randint(1, 14)):
                twin[rng.randrange(len(twin))] = rng.choice("xyz")
            out.append("".join(twin))
    return tuple(out[:count])


@cache
def truth(count: int = TEXTS, seed: int = SEED) -> frozenset[tuple[int, int]]:
    """All pairs with Jaccard ≥ THRESHOLD: shared grams of all pairs by a sparse product."""
    sets = [shingles(text) for text in texts(count, seed)]
    ids: dict[str, int] = {}
    columns = [ids.setdefault(gram, len(ids)) for grams in sets for gram in grams]
    sizes = np.array([len(grams) for grams in sets])
    ends = np.concatenate(([0], np.cumsum(sizes)))
    matrix = csr_matrix((np.ones(len(columns), np.int32), columns, ends), (len(sets), len(ids)))
    shared = (matrix @ matrix.T).tocoo()
    union = sizes[shared.row] + sizes[shared.col] - shared.data
    alike = (shared.data >= THRESHOLD * union - 1e-9) & (shared.row < shared.col)
    found = zip(shared.row[alike].tolist(), shared.col[alike].tolist(), strict=True)
    return frozenset(found)


def ours(count: int = TEXTS) -> list[int]:
    """Text → cluster, by the product."""
    return near.clusters(texts(count), THRESHOLD)


def _crc(data: bytes) -> int:
    return zlib.crc32(data)


def as_shipped(count: int = TEXTS) -> list[int]:
    """`datasketch` with the hash that it takes by default."""
    from datasketch.hashfunc import sha1_hash32

    return datasketch(count, sha1_hash32)


def datasketch(count: int = TEXTS, hash_: Callable[[bytes], int] = _crc) -> list[int]:
    """Text → cluster, by datasketch's MinHash and LSH with the same bands."""
    from datasketch import MinHash, MinHashLSH

    many, rows = near.bands(THRESHOLD)
    sets = [shingles(text) for text in texts(count)]
    grams = ([gram.encode() for gram in found] for found in sets)
    sketches = MinHash.bulk(grams, num_perm=PERMUTATIONS, hashfunc=hash_)
    lsh = MinHashLSH(num_perm=PERMUTATIONS, params=(many, rows))
    forest = near.Forest(len(sets))
    for place, sketch in enumerate(sketches):
        for other in lsh.query(sketch):
            if forest.find(other) != forest.find(place) and (
                jaccard(sets[other], sets[place]) >= THRESHOLD
            ):
                forest.join(other, place)
        lsh.insert(place, sketch)
    return [forest.find(place) for place in range(len(sets))]


WAYS = {"ours": ours, "datasketch": datasketch, "as shipped": as_shipped}


def told(found: list[int]) -> dict[str, float]:
    """Recall: of all true pairs, those in one cluster. Precision: of all texts, those whose cluster
    the true pairs join too."""
    pairs = truth(len(found))
    forest = near.Forest(len(found))
    for a, b in pairs:
        forest.join(a, b)
    right = sum(forest.find(a) == forest.find(b) for a, b in enumerate(found))
    kept = sum(found[a] == found[b] for a, b in pairs)
    return {"recall": round(kept / len(pairs), 5), "precision": round(right / len(found), 5),
            "pairs": len(pairs)}  # fmt: skip


def _run(way: str, count: int) -> Run:
    size = sum(len(bare(text)) for text in texts(count))
    with clock() as run:
        found = WAYS[way](count)
    rate = count / run["cpu_seconds"]
    grams = round(size / count - near.GRAM + 1)
    return {**run, **told(found), "value": round(rate), "texts": count, "grams_a_text": grams}


def measured(way: str, repeats: int, count: int = TEXTS) -> list[Run]:
    """Texts a CPU-second of one side, with its recall."""
    texts(count)
    truth(count)
    return [_run(way, count) for _ in range(repeats)]


def versus(repeats: int, count: int = TEXTS) -> list[Run]:
    """How many times datasketch's throughput (CPU-seconds), the sides in turn in one process."""
    texts(count)
    truth(count)
    _run("ours", 200)  # imports and first calls are nobody's work
    _run("datasketch", 200)
    runs = []
    for turn in range(repeats):
        order = [*WAYS][:: 1 - turn % 2 * 2]
        sides = {way: _run(way, count) for way in order}
        a, b = sides["ours"], sides["datasketch"]
        runs.append({
            "value": round(b["cpu_seconds"] / a["cpu_seconds"], 2),
            "wall_seconds": a["wall_seconds"], "cpu_seconds": a["cpu_seconds"],
            "recall": a["recall"], "precision": a["precision"], **sides,
            "value_as_shipped": round(sides["as shipped"]["cpu_seconds"] / a["cpu_seconds"], 2),
        })  # fmt: skip
    return runs


def recall(repeats: int, count: int = TEXTS) -> list[Run]:
    """Recall of ours at the threshold and above, against brute force."""
    return [{**run, "value": run["recall"]} for run in measured("ours", repeats, count)]


if __name__ == "__main__":
    for result in versus(5):
        print({key: value for key, value in result.items() if not isinstance(value, dict)})
