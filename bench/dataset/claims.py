"""What is measured of redaction, each as a function of the number of repeats."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from dataset import quality, speed
from dataset.values import SEED
from errata.intake.redact import Policy, apply, redact_many

Run = dict[str, Any]
Measure = Callable[[int], list[Run]]
STRUCTURED = ("MOBILE", "CN_ID", "CARD", "EMAIL", "PLATE")
CHECKSUM = ("CN_ID", "CARD", "IBAN", "ORG_ID")


def timed(measure: Callable[[], Run]) -> Measure:
    """Once, whatever the repeats: a seeded set gives the same every time."""

    def runs(_: int) -> list[Run]:
        wall, cpu = time.perf_counter(), time.process_time()
        found = measure()
        spent = {
            "wall_seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
        }
        return [{**spent, **found}]

    return runs


def english(repeats: int) -> list[Run]:
    return [_duel(speed.english(Random(SEED), 24_000), 20, repeats)]


def chinese(repeats: int) -> list[Run]:
    return [_duel(speed.chinese(Random(SEED), 24_000), 40, repeats)]


@cache
def _peer() -> speed.Answer:
    return speed.presidio()


def _duel(made: list[quality.Row], share: int, repeats: int) -> Run:
    wall, cpu = time.perf_counter(), time.process_time()
    found = speed.against(made, _peer(), share, repeats)
    return {**found, "wall_seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu}  # fmt: skip


def chats(repeats: int) -> list[Run]:
    return speed.chat_logs(speed.chats(Random(SEED), 40_000), repeats)


@cache
def _found() -> tuple[dict[tuple[str, str], float], list[quality.Row]]:
    return quality.recall(quality.rows(Random(SEED), 1500))


def _told(kinds: tuple[str, ...] | None) -> dict[str, float]:
    shares = {
        f"{kind} {language}": round(share, 4) for (kind, language), share in _found()[0].items()
    }
    return {name: share for name, share in sorted(shares.items())
            if kinds is None or name.split()[0] in kinds}  # fmt: skip


def recall() -> Run:
    """The least share of values fully gone, of the five Chinese kinds."""
    of = {name: share for name, share in _told(STRUCTURED).items() if name.endswith("zh")}
    return {"value": min(of.values()), "by type": of, "all types": _told(None)}


def leaks() -> Run:
    """Values of checksum types that can still be read in full."""
    missed = [row for row in _found()[1] if row.kind in CHECKSUM]
    return {
        "value": len(missed),
        "by type": _told(CHECKSUM),
        "problems": [r.text for r in missed[:5]],
    }


def precision() -> Run:
    """The least precision of any tag, over values and near misses."""
    random = Random(SEED + 1)
    made = [*quality.rows(random, 400), *quality.passwords(random, 4)]
    shares, wrong = quality.precision(made, quality.near_misses(random, 12_000))
    of = {tag: round(share, 4) for tag, share in shares.items()}
    return {"value": min(of.values()), "by tag": of, "problems": wrong[:10]}


def passwords() -> Run:
    """The lesser share of prose passwords fully gone, of the two languages."""
    shares, missed = quality.recall(quality.passwords(Random(SEED + 2), 25))
    of = {language: round(share, 4) for (_, language), share in shares.items()}
    return {"value": min(of.values()), "by language": of, "problems": [r.text for r in missed[:5]]}


def identical() -> Run:
    """Spans that differ between a process with google-re2 and one that cannot import it."""
    code = ("import sys; sys.path[:0] = {!r}; {}; from dataset import claims; "
            "print(claims.spans())")  # fmt: skip
    outs = [
        subprocess.run([sys.executable, "-c", code.format(sys.path, how)], capture_output=True,
                       check=True, text=True).stdout.splitlines()
        for how in ("import re2", "sys.modules['re2'] = None")
    ]  # fmt: skip
    different = sum(a != b for a, b in zip(*outs, strict=True))
    return {"value": different, "texts": len(outs[0])}


def spans() -> str:
    """The findings of a thousand texts, a line each."""
    random = Random(SEED + 3)
    texts = [row.text for row in (*quality.rows(random, 40), *quality.passwords(random, 2))]
    done = redact_many([*texts, *quality.near_misses(random, 400)], Policy().rules, quality.KEY)
    return "\n".join(str([tuple(found) for found in one.findings]) for one in done)


def idempotent() -> Run:
    """Of 100,000 texts glued together from values, halves, keywords and any Unicode: those that a
    second pass changes, that a batch redacts otherwise, or whose offsets do not hold."""
    random, rules = Random(SEED + 4), Policy(on=["password-digits"]).rules
    made = quality.rows(random, 30)
    wrong: list[str] = []
    for _ in range(100):
        texts = [_glued(random, made) for _ in range(1000)]
        once = redact_many(texts, rules, quality.KEY)
        twice = redact_many([one.text for one in once], rules, quality.KEY)
        wrong += [ascii(text) for text, one, two in zip(texts, once, twice, strict=True)
                  if two.findings or two.text != one.text or not _rebuilt(text, one)]  # fmt: skip
        few = range(0, 1000, 100)
        wrong += [ascii(texts[n]) for n in few if apply(texts[n], rules, quality.KEY) != once[n]]
    return {"value": len(wrong), "texts": 100_000, "problems": wrong[:5]}


_GLUE = (
    *("密码是", "password ", "=", ": ", "<", "@", "-", " ", "\u200b", "，", "+86", "\x00", "\x1e"),
    *("<PHONE:7f3a12c4>", "我叫", "先生", "token=", "订单"),
)


def _glued(random: Random, made: list[quality.Row]) -> str:
    parts = []
    for _ in range(random.randint(1, 7)):
        kind = random.randrange(6)
        value = random.choice(made).value
        if kind == 0:
            parts.append("".join(chr(random.choice((random.randrange(32, 0x3000),
                                                    random.randrange(0x4E00, 0xD800),
                                                    random.randrange(0xE000, 0x20000))))
                                 for _ in range(random.randint(1, 4))))  # fmt: skip
        elif kind == 1:
            parts.append(random.choice(made).text[: random.randint(1, 30)])
        elif kind == 2:
            parts.append(value[random.randrange(len(value)) :])
        elif kind == 3:
            parts.append(random.choice(_GLUE))
        else:
            parts.append(value)
    return "".join(parts)


def _rebuilt(text: str, done: Any) -> bool:
    out, at = "", 0
    rest = done.text
    for found in done.findings:
        before = text[at : found.start]
        if not rest.startswith(f"{before}<{found.tag}:"):
            return False
        token = rest[len(before) : len(before) + len(found.tag) + 11]
        out += before + token
        rest, at = rest[len(before) + len(token) :], found.end
    return out + text[at:] == done.text and bool(done.text.encode("utf-8", "strict") or not text)
