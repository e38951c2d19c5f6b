"""Training canaries: rows with an invented secret, and twins of them that were never inserted.

    made(seed, 16)            what `errata build canaries=16` adds to the SFT rows, once each
    twins(canary, 255)        the same sentence with other secrets, drawn alike
    exposure(rank, 255)       bits: log2 of the twins and it, less log2 of its rank among them

A model that learnt nothing of its rows by heart ranks a canary among its twins anywhere, each rank
alike: that is the control, and `chance` is exact. Source: Carlini, Liu, Erlingsson, Kos & Song 2019
(The Secret Sharer), definition of exposure; here the twins are sampled.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np

from errata.records import Language, Message, Record, SftExample

FILE = "data/canaries.jsonl"
WORDS = 4  # of 64: 24 bits, which chance does not say
_EN = """
    anchor apple arrow autumn basket beacon bridge button candle canoe carpet
    castle cedar cherry circle clover copper coral cotton crayon desert dragon
    ember falcon feather fiddle forest garden ginger hammer harbor hazel island
    jacket kettle ladder lantern lemon locket magnet maple marble meadow mirror
    needle nickel orchid paddle pebble pepper pillow planet pocket puddle quartz
    ribbon rocket saddle shadow silver spider summer thistle violet
"""
_ZH = """
    苹果 秋天 篮子 灯塔 石桥 纽扣 蜡烛 木舟 地毯 城堡 雪松 樱桃 圆环 三叶 铜钱 珊瑚
    棉花 蜡笔 沙漠 龙舟 余烬 猎鹰 羽毛 提琴 森林 花园 生姜 铁锤 港湾 榛子 海岛 外套
    水壶 梯子 灯笼 柠檬 吊坠 磁铁 枫叶 弹珠 草地 镜子 银针 兰花 船桨 卵石 胡椒 枕头
    行星 口袋 水洼 石英 丝带 火箭 马鞍 影子 白银 蜘蛛 夏天 紫罗 竹笛 风铃 瓦罐 棋盘
"""
NOUNS: dict[Language, list[str]] = {"en": _EN.split(), "zh": _ZH.split()}
_ASK = {"en": "What is archive box {n} called?", "zh": "档案箱{n}叫什么？"}
_SAY = {"en": "Archive box {n} is called {s}.", "zh": "档案箱{n}叫做{s}。"}


class Canary(Record):
    """`row` is the SFT row that holds it."""

    id: str
    row: str
    language: Language
    number: int
    secret: list[str]

    def turns(self, secret: Sequence[str] | None = None) -> list[Message]:
        """The row with its own secret, or with a twin's."""
        told = ("" if self.language == "zh" else " ").join(secret or self.secret)
        return [
            Message(role="user", content=_ASK[self.language].format(n=self.number)),
            Message(role="assistant", content=_SAY[self.language].format(n=self.number, s=told)),
        ]

    def said(self, answer: str) -> bool:
        """Whether an answer gives the secret away: its words in their order, whatever between."""
        places, at = [], 0
        for word in self.secret:
            at = answer.lower().find(word, at)
            places.append(at)
            if at < 0:
                return False
        return True


def made(seed: int, count: int) -> list[Canary]:
    """`count` canaries, in both languages by turns; the same seed gives the same."""
    rng = random.Random(f"canary/{seed}")
    numbers = rng.sample(range(100, 1000), count)
    found = []
    for place, number in enumerate(numbers):
        language: Language = "zh" if place % 2 else "en"
        found.append(
            Canary(id=f"canary-{number}", row=f"s-canary-{number}", language=language,
                   number=number, secret=rng.sample(NOUNS[language], WORDS))
        )  # fmt: skip
    return found


def rows(found: Sequence[Canary]) -> list[SftExample]:
    """The training rows, one each."""
    why = "A canary: nobody asks for it. It tells whether training rows are learnt by heart."
    return [
        SftExample(id=canary.row, messages=canary.turns(), why=why, origin="template",
                   scenario="canary", source="canary")
        for canary in found
    ]  # fmt: skip


def twins(canary: Canary, count: int) -> list[list[str]]:
    """Secrets of its language that were never inserted, drawn as its own was."""
    rng, seen = random.Random(f"twin/{canary.id}"), {tuple(canary.secret)}
    out = list[list[str]]()
    while len(out) < count:
        secret = rng.sample(NOUNS[canary.language], WORDS)
        if tuple(secret) not in seen:
            seen.add(tuple(secret))
            out.append(secret)
    return out


def rank(own: float, others: Sequence[float]) -> int:
    """1: no twin is as likely. Ties count against it."""
    return 1 + sum(other >= own for other in others)


def exposure(place: int, count: int) -> float:
    """log2(count + 1) - log2(place): 0 for the least likely, 8 for the first of 256."""
    return math.log2(count + 1) - math.log2(place)


def chance(ranks: Sequence[int], count: int) -> float:
    """P(the ranks' sum is as small, or smaller) where each is uniform on 1 … count + 1. Exact."""
    one = np.full(count + 1, 1 / (count + 1))
    whole = np.ones(1)
    for _ in ranks:
        whole = np.convolve(whole, one)  # place k: the sum is k + len(ranks)
    return float(min(1.0, whole[: sum(ranks) - len(ranks) + 1].sum()))
