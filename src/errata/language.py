"""Which language the reader has: who asks the desk says so, else ERRATA_LANG, then the locale."""

from __future__ import annotations

import contextlib
import html
import os
import re
from collections.abc import Iterator
from contextvars import ContextVar

_ASKED: ContextVar[str] = ContextVar("asked", default="")


@contextlib.contextmanager
def reader(language: str) -> Iterator[None]:
    """For all that this block does, and in its threads: the language somebody asked for."""
    token = _ASKED.set(language)
    try:
        yield
    finally:
        _ASKED.reset(token)


def is_chinese() -> bool:
    """True when the reader asked for it, or the first variable that is set names its locale."""
    if asked := _ASKED.get():
        return asked == "zh"
    for name in ("ERRATA_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return value.lower().startswith("zh")
    return False


def say(en: str, zh: str) -> str:
    """The one of two texts that the reader asked for."""
    return zh if is_chinese() else en


UNSEEN = re.compile("[\0-\b\v-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Text as a terminal may have it: what would steer it (escapes, a turn of the writing's
    direction) and what it cannot write (bytes of a file's name) as `\\x1b`; lines stay lines."""
    return UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)


_ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
_ESCAPED = re.compile(r"\\([\\|`*_\[\]])")


def unescaped(text: str) -> str:
    """Tables without Markdown's escapes: on a terminal nobody renders them."""
    return _ROW.sub(lambda row: html.unescape(_ESCAPED.sub(r"\1", row[0])), text)


# Words that records hold in English, as a Chinese reader sees them.
_WORDS = {
    # what a thing is
    "failure": "失败样本",
    "sft": "SFT 样本",
    "pair": "偏好对",
    "version": "数据版本",
    "run": "运行",
    "file": "文件",
    "candidate": "候选",
    "case": "用例",
    "release": "发布",
    "compare": "并列比较",
    "item": "条目",
    "repair": "修复",
    "waiver": "豁免",
    "erased": "已删除",
    # how one came of another
    "took in": "收录",
    "failed in": "失败于",
    "became": "转为",
    "near twin": "近似重复",
    "promoted": "成为回归用例",
    "said": "作答",
    "in": "归入",
    "is": "即",
    "trained": "用于训练",
    "prompted": "用作提示",
    "rewarded": "提供奖励",
    "started": "作为起点",
    "made": "产出",
    "wrote": "写出",
    "read by": "被读取",
    "obeyed by": "被遵循",
    "changed": "修改了",
    "changed into": "改为",
    "waived by": "由其豁免",
    "repaired by": "由其修复",
    "erased into": "删除后成为",
    "rating": "人工评分",
    "rated": "被人工评分",
    "evaluate": "业务评估",
    "mtbench": "两轮问答评分",
    "human": "人工抽检",
    "safety": "安全回归",
    "bench": "推理基准",
    "judged by": "由门禁裁决",
    "released as": "发布为",
    "described in": "描述于",
    # how a run ended
    "running": "运行中",
    "done": "完成",
    "failed": "失败",
    "died": "意外中止",
    "blocked": "被阻断",
    "no_decision": "无法裁决",
    # what the gate said, and where a release is
    "pass": "通过",
    "rolling": "灰度中",
    "serving": "线上",
    "rolled_back": "已回滚",
    "superseded": "已被取代",
}


def word(text: str) -> str:
    """A word of a record in the reader's language; one without a translation as it is."""
    return _WORDS.get(text, text) if is_chinese() else text


def both(text: str) -> str:
    """A word of a record in both languages, for what is the same whoever reads it."""
    return f"{text} / {_WORDS[text]}" if text in _WORDS else text
