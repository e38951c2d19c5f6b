"""Throughput against Presidio, and on chat logs in which one row in a hundred holds anything."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from statistics import median
from typing import Any

from dataset import frames, near, values
from dataset.quality import KEY, Row, left, rows
from errata.intake.redact import Policy, redact_many

Answer = Callable[[Sequence[str]], list[str]]
BATCH = 2000  # texts at a time; from 256 on the speed is the same


def ours(texts: Sequence[str]) -> list[str]:
    """The default policy, in batches."""
    rules = Policy().rules
    return [
        done.text
        for at in range(0, len(texts), BATCH)
        for done in redact_many(texts[at : at + BATCH], rules, KEY)
    ]


def presidio() -> Answer:
    """All predefined recognizers and no NER, which is its fastest form; each span becomes `<TYPE>`.

    A blank pipeline cuts the text into words and nothing else; Presidio asks for one language, and
    the recognizers of `en` are those that find anything in either.
    """
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    class Blank(SpacyNlpEngine):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.nlp = {"en": spacy.blank("en")}

    registry = RecognizerRegistry()
    registry.load_predefined_recognizers()
    registry.remove_recognizer("SpacyRecognizer")
    engine = AnalyzerEngine(nlp_engine=Blank(), registry=registry)

    def answer(texts: Sequence[str]) -> list[str]:
        out = []
        for text in texts:
            clean, end = text, len(text) + 1
            found = engine.analyze(text=text, language="en")
            for span in sorted(found, key=lambda span: (-span.end, span.start)):
                if span.end <= end:
                    clean = f"{clean[: span.start]}<{span.entity_type}>{clean[span.end :]}"
                    end = span.start
            out.append(clean)
        return out

    return answer


def english(random: Random, count: int) -> list[Row]:
    """Support messages with one value in each: mail, phone, card, SSN, IBAN, IP address."""
    return _some(random, count, "en", ("EMAIL", "PHONE", "CARD", "SSN", "IBAN", "IP"))


def chinese(random: Random, count: int) -> list[Row]:
    """Chat messages with one value in each: mobile, resident ID, card, mail, plate."""
    return _some(random, count, "zh", ("MOBILE", "CN_ID", "CARD", "EMAIL", "PLATE"))


def _some(random: Random, count: int, language: str, kinds: tuple[str, ...]) -> list[Row]:
    made = [r for r in rows(random, 2 * count // len(kinds)) if r.language == language]
    made = [row for row in made if row.kind in kinds]
    random.shuffle(made)
    around = frames.AROUND_EN if language == "en" else frames.AROUND_ZH
    gap = " " if language == "en" else ""
    return [row._replace(text=_around(random, row.text, around, gap)) for row in made[:count]]


def _around(random: Random, text: str, around: Sequence[str], gap: str) -> str:
    """A message as people send it: a sentence before or behind what is told."""
    parts = [text, random.choice(around)]
    return gap.join(parts if random.random() < 0.5 else parts[::-1])


def seconds(answer: Answer, texts: Sequence[str]) -> tuple[float, list[str]]:
    """CPU-seconds of this process."""
    began = time.process_time()
    out = answer(texts)
    return time.process_time() - began, out


def against(made: Sequence[Row], peer: Answer, share: int, repeats: int) -> dict[str, Any]:
    """Both sides on the same rows, ours on all and the peer's on one in `share`, in turn."""
    texts = [row.text for row in made]
    few = made[:: max(share, 1)]
    ours(texts[:200])
    peer([few[0].text])
    ratios, own, other = [], [], []
    for _ in range(repeats):
        took, mine = seconds(ours, texts)
        slow, theirs = seconds(peer, [row.text for row in few])
        own.append(len(texts) / took)
        other.append(len(few) / slow)
        ratios.append(own[-1] / other[-1])
    return {
        "value": median(ratios),
        "ours docs/s": round(median(own)),
        "Presidio docs/s": round(median(other)),
        "characters a row": round(sum(map(len, texts)) / len(texts)),
        "recall, ours": _recall(made, mine),
        "recall, Presidio": _recall(few, theirs),
    }


def _recall(made: Sequence[Row], out: Sequence[str]) -> dict[str, float]:
    total = Counter(row.kind for row in made)
    lost = Counter(row.kind for row, text in zip(made, out, strict=True) if left(row.value, text))
    return {kind: round(1 - lost[kind] / count, 4) for kind, count in sorted(total.items())}


def chats(random: Random, count: int) -> list[str]:
    """Chat rows of both languages, with orders, prices, times; one in a hundred holds a value."""
    values.seeded()
    english, chinese = values.LOCALES["en_US"], values.LOCALES["zh_CN"]
    told = [*rows(random, 20)]
    quiet = near.lines(random, count // 20 + 1)
    out = []
    for number in range(count):
        if number % 2:
            text = f"{english.sentence(12)} {english.sentence(9)}"
        else:
            text = f"{chinese.sentence(10)}{chinese.sentence(12)}"
        if number % 20 == 7:
            text += quiet[number // 20]
        if number % 20 == 13:
            text += random.choice([*near.PROSE, *frames.ANY_ZH]).replace("{}", "它")
        if number % 100 == 50:
            text += random.choice(told).text
        out.append(text)
    return out


def _work(texts: Sequence[str]) -> int:
    return sum(map(len, ours(texts)))


def chat_logs(texts: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """Two processes, half of the rows each: bytes of the input over the wall time of both."""
    size = sum(len(text.encode()) for text in texts) / 1e6
    halves = [texts[0::2], texts[1::2]]
    runs = []
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(_work, [half[:500] for half in halves])
        for _ in range(repeats):
            began, cpu = time.perf_counter(), time.process_time()
            pool.map(_work, halves)
            wall = time.perf_counter() - began
            one, _ = seconds(ours, texts)
            runs.append({"value": size / wall, "wall_seconds": wall, "MB": round(size, 2),
                         "MB/s of one process (CPU)": round(size / one, 1),
                         "cpu_seconds": time.process_time() - cpu})  # fmt: skip
    return runs
