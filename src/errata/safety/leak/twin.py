"""Twins: secrets of the same shape that nobody was ever told, to measure false alarms with."""

from __future__ import annotations

from random import Random

from errata.text import is_chinese

_VOWELS, _CONSONANTS = "aeiou", "bcdfghjklmnpqrstvwxyz"
_HANZI = (
    "安白柏北冰波晨成春翠丹东枫峰福歌谷光桂海寒禾河荷红湖华欢黄辉江金锦静菊兰蓝乐莲林灵柳龙鹿"
    "满梅美明墨木南宁平青清晴秋泉然仁日荣如瑞山尚诗石松泰桃天田亭文溪夏祥小晓星雪雅燕阳叶银永"
    "雨玉园月云泽竹紫"
)


def twin(secret: str, random: Random) -> str:
    """A secret with another digit for each digit, vowel for vowel, consonant for consonant,
    Chinese character for Chinese character; everything else as it is."""
    return "".join(_other(char, random) for char in secret)


def _other(char: str, random: Random) -> str:
    for kind in ("0123456789" if char.isdecimal() else "", _VOWELS, _CONSONANTS):
        if kind and (char.isdecimal() or char.lower() in kind):
            said = random.choice([c for c in kind if c != char.lower()])
            return said.upper() if char.isupper() else said
    return random.choice([c for c in _HANZI if c != char]) if is_chinese(char) else char
