"""Recall over encodings and their pairs, false alarms over clean texts, milliseconds a text."""

from __future__ import annotations

import time
from collections import defaultdict
from functools import cache
from random import Random
from typing import Any

from errata import leak
from errata.safety.leak.twin import twin
from errata.stats import clopper_pearson
from safetywork import texts
from safetywork.encoders import ENCODERS

Run = dict[str, Any]
SEED = 20250817
EACH = 3  # secrets of each kind
PAIR = 1  # texts for each pair of encodings
CLEAN = 4_000
PAIRS = "pairs"


@cache
def _secrets() -> tuple[tuple[str, str], ...]:
    return tuple(texts.secrets(Random(SEED), EACH))


def planted() -> list[tuple[str, str, int, str]]:
    """(outer, inner or "", index of the secret, text): every encoding, and PAIR of every pair."""
    random, rows = Random(SEED + 1), []
    for name, encode in ENCODERS.items():
        for at, (_, secret) in enumerate(_secrets()):
            if said := encode(secret):
                rows.append((name, "", at, texts.carried(random, said)))
    for inner, first in ENCODERS.items():
        for outer, second in ENCODERS.items():
            told = [(at, second(said)) for at, (_, secret) in enumerate(_secrets())
                    if (said := first(secret))]  # fmt: skip
            could = [(at, said) for at, said in told if said]
            if "plain" in (inner, outer) or inner == outer:
                continue
            for at, said in random.sample(could, min(PAIR, len(could))):
                rows.append((outer, inner, at, texts.carried(random, said)))
    return rows


def recall(_: int) -> list[Run]:
    """Found with the right place: the span lies in the carrier and holds what was planted."""
    secrets = [secret for _, secret in _secrets()]
    wall, cpu = time.perf_counter(), time.process_time()
    cells: dict[str, list[bool]] = defaultdict(list)
    missed = []
    for outer, inner, at, text in planted():
        found = [one for one in leak.find(secrets, text) if one.secret == at]
        cells[outer if not inner else PAIRS].append(bool(found))
        if inner:
            cells[f"{outer} of …"].append(bool(found))
            cells[f"… of {inner}"].append(bool(found))
        if not found:
            missed.append(f"{outer} of {inner or 'plain'}: {secrets[at]}")
    alone = [hit for name in ENCODERS for hit in cells[name]]
    shares = {name: round(sum(hits) / len(hits), 4) for name, hits in cells.items()}
    both = [sum(alone) / len(alone), shares[PAIRS]]
    return [{
        "value": round(min(both), 4), "alone": round(both[0], 4), "in pairs": both[1],
        "texts": len(alone) + len(cells[PAIRS]), "encodings": len(ENCODERS),
        "by encoding": {name: shares[name] for name in ENCODERS},
        "pairs below 1": {n: s for n, s in shares.items() if n not in ENCODERS and s < 1},
        "slips": missed[:40],
        "wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu,
    }]  # fmt: skip


def clean() -> list[tuple[str, str]]:
    """(kind, text): nothing of a secret in any; a quarter holds twins, written in every way."""
    random, rows = Random(SEED + 2), []
    kinds, ways = [*texts.CLEAN.items()], [*ENCODERS.values()]
    for number in range(CLEAN):
        if number % 4:
            kind, make = kinds[number % len(kinds)]
            rows.append((kind, make(random)))
        else:
            other = twin(random.choice(_secrets())[1], random)
            said = random.choice(ways)(other) or other
            rows.append(("twins", texts.carried(random, said)))
    return rows


def false_alarms(_: int) -> list[Run]:
    """The one-sided 95 % upper bound of the share of clean texts with any leak."""
    secrets = [secret for _, secret in _secrets()]
    wall, cpu = time.perf_counter(), time.process_time()
    hits: dict[str, int] = defaultdict(int)
    wrong = []
    for kind, text in clean():
        hits[kind] += 0
        for one in leak.find(secrets, text)[:1]:
            hits[kind] += 1
            wrong.append(
                f"{kind}: {secrets[one.secret]} as {one.encoding}, {text[one.start : one.end]!r}"
            )
    count = sum(hits.values())
    return [{
        "value": clopper_pearson(count, CLEAN, level=0.9).high, "false": count, "texts": CLEAN,
        "secrets": len(secrets), "by kind": dict(hits), "wrongs": wrong[:20],
        "wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu,
    }]  # fmt: skip


def _texts(size: int) -> dict[str, str]:
    random = Random(SEED + 3)
    prose = {name: texts.prose(random, code, size // each + 9)
             for name, code, each in (("English", "en", 40), ("Chinese", "zh", 12))}  # fmt: skip
    return {
        **prose,
        "hashes": "\n".join(texts.CLEAN["hashes"](random) for _ in range(size // 290 + 1)),
        "base64": ENCODERS["base64"](prose["English"]) or "",
        "escapes": ENCODERS["url"](prose["English"]) or "",
    }


def _milliseconds(size: int, repeats: int) -> list[Run]:
    """Prose of either language as it is; everything else, and a secret within, is told beside."""
    secrets = [secret for _, secret in texts.secrets(Random(SEED), 5)][:50]
    secrets[0] = _secrets()[0][1]
    held = f" {ENCODERS['base64'](secrets[0])} "
    leak.find(secrets, "warm")
    runs = []
    for _ in range(repeats):
        wall, cpu, by_kind = time.perf_counter(), time.process_time(), {}
        for kind, text in _texts(size).items():
            padded = text[: size // 2] + held + text[size // 2 : size]
            for name, read in ((kind, text[:size]), (f"{kind} around a secret", padded)):
                times = max(1, 3000 // size)
                before = time.process_time()
                found = [leak.find(secrets, read) for _ in range(times)]
                by_kind[name] = round(1000 * (time.process_time() - before) / times, 2)
                if bool(found[0]) != (read is padded):
                    raise RuntimeError(f"{name}: {found[0]}")
        runs.append({
            "value": max(by_kind["English"], by_kind["Chinese"]), "by kind": by_kind,
            "wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu,
        })  # fmt: skip
    return runs


def short(repeats: int) -> list[Run]:
    """An answer of 300 characters."""
    return _milliseconds(300, repeats)


def long(repeats: int) -> list[Run]:
    """100,000 characters."""
    return _milliseconds(100_000, repeats)
