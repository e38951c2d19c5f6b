"""Lint of 50,000 bilingual pairs: seconds on one core, everything that `errata build` asks of them.

Pairs are generated: no two are equal, documents, questions and answers vary in words and figures,
one in a hundred has a fault that some check must find. Held-out cases are those of the embedded
suites.
"""

from __future__ import annotations

import os
import resource
from functools import cache
from random import Random

from datawork.clock import Run, clock
from errata.build import lint
from errata.build.cut import embedded
from errata.build.heldout import HeldOut
from errata.records import Message, PreferencePair
from errata.tiny import suites

PAIRS = 50_000
NOUNS = ["lamp", "kettle", "radio", "tent", "fan", "chair", "desk", "clock", "heater", "scale"]
NAMES = ["台灯", "水壶", "收音机", "帐篷", "风扇", "椅子", "书桌", "闹钟", "暖风机", "电子秤"]
KINDS = ("factuality", "politeness", "tool_misuse", "privacy", "jailbreak")


def _english(rng: Random, words: list[str]) -> tuple[str, str, str, str]:
    def some(low: int, high: int) -> str:
        return " ".join(rng.choices(words, k=rng.randint(low, high)))

    item, price = f"{rng.choice(words)} {rng.choice(NOUNS)}", rng.randrange(10, 9_000)
    documents = f"[1] The {item} costs {price} yuan. {some(10, 40)}. [2] {some(10, 40)}."
    question = f"Could you tell me {some(2, 8)} how much the {item} is?"
    chosen = f"The {item} costs {price} yuan. [1] {some(2, 20)}."
    rejected = rng.choice([f"About {price + rng.randrange(1, 99)} yuan, {some(2, 20)}.",
                           f"Look it up yourself, you fool. {some(1, 18)}"])  # fmt: skip
    return documents, question, chosen, rejected


def _chinese(rng: Random, signs: list[str]) -> tuple[str, str, str, str]:
    def some(low: int, high: int) -> str:
        return "".join(rng.choices(signs, k=rng.randint(low, high)))

    item, price = f"{some(2, 3)}{rng.choice(NAMES)}", rng.randrange(10, 9_000)
    documents = f"[1] {item}售价{price}元。{some(20, 90)}。[2] {some(20, 90)}。"
    question = f"请问{some(2, 12)}，{item}多少钱？"
    chosen = f"{item}的售价是{price}元。[1]{some(4, 40)}。"
    rejected = rng.choice([f"大概{price + rng.randrange(1, 99)}元吧，{some(4, 40)}。",
                           f"自己去查，笨蛋。{some(2, 36)}"])  # fmt: skip
    return documents, question, chosen, rejected


@cache
def pairs(count: int = PAIRS, seed: int = 5) -> tuple[PreferencePair, ...]:
    """Half of each language."""
    rng = Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9)))
             for _ in range(4_000)]  # fmt: skip
    signs = [chr(0x4E00 + n) for n in range(2_500)]
    out = []
    for number in range(count):
        zh = number % 2 == 0
        documents, question, chosen, rejected = _chinese(rng, signs) if zh else _english(rng, words)
        if number % 100 == 99:
            rejected = chosen if rng.random() < 0.5 else f"{chosen}!"
        out.append(PreferencePair(
            id=f"p-{number:016x}",
            prompt=[Message(role="documents", content=documents),
                    Message(role="user", content=question)],
            chosen=chosen, rejected=rejected,
            reason=rng.choice(["被拒答案不礼貌" if zh else "rejected is rude",
                               "被拒答案有事实错误" if zh else "rejected is wrong"]),
            tags=[rng.choice(KINDS), "zh" if zh else "en"],
            made_from=[f"f-{number:016x}"],
        ))  # fmt: skip
    return tuple(out)


def context() -> lint.Context:
    """As `errata build` makes it in a new workspace."""
    return lint.Context(HeldOut([*suites.attacks(), *suites.business()]), cutter=embedded())


def seconds(repeats: int, count: int = PAIRS) -> list[Run]:
    """Wall seconds of `lint.run` pinned to one core, and what it found."""
    rows, known = pairs(count), context()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    runs = []
    try:
        if cores:  # before the first call: threads that are started keep the cores they had
            os.sched_setaffinity(0, {min(cores)})
        lint.run(rows[:200], known)  # imports and first calls
        for _ in range(repeats):
            with clock() as run:
                report = lint.run(rows, known)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
            hits = {name: len(found) for name, found in report.hits.items() if found}
            runs.append({**run, "value": run["wall_seconds"], "pairs": count, "hits": hits,
                         "kept": len(report.kept), "peak_rss_gib": round(peak, 3)})  # fmt: skip
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
    return runs


if __name__ == "__main__":
    for result in seconds(1):
        print(result)
