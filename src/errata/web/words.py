"""Words of records as the desk shows them: those that only a page has a place to say."""

from __future__ import annotations

from errata import language

_WORDS = {
    # labels
    "jailbreak": "越狱",
    "injection": "提示注入",
    "privacy": "隐私",
    "sensitive": "敏感话题",
    "politeness": "礼貌",
    "factuality": "事实性",
    "tool_misuse": "工具误用",
    "other": "其他",
    "lookalike": "近似无害",
    "catalogue": "商品问答",
    "tool": "工具调用",
    "smalltalk": "闲聊",
    "grounded": "有据回答",
    "full": "全文",
    "summary": "仅摘要",
    "withheld": "不再显示",
    # where a failure stands, and how bad it is
    "open": "未处理",
    "in version": "已入数据版本",
    "fixed": "已修复",
    "reopened": "复发",
    "critical": "严重",
    "normal": "一般",
    # what waits for a person, and what may be said
    "answer": "回答",
    "label": "标签",
    "keep": "保留",
    "drop": "弃用",
    "nobody wrote its answer": "尚无人撰写回答",
    "a judge failed what the teacher wrote": "教师模型的回答未通过评审",
    "no label was sure": "分类器无法确定标签",
    "yes": "是",
    "no": "否",
    "partly": "部分",
    "skip": "跳过",
    "tie": "平局",
    # lines of a verdict
    "over_limit": "超阈值",
    "regressed": "退化",
    "waived": "已豁免",
    "hard": "硬指标",
    "soft": "软指标",
    "better": "变好",
    "worse": "变差",
    # of a rollout
    "hold": "等待",
    "advance": "推进",
    "rollback": "回滚",
    "start": "开始",
    "drill": "演练",
    "acknowledged": "已确认",
    "resolved": "已关闭",
}


def word(text: str) -> str:
    """A word of a record in the reader's language; one without a translation as it is."""
    if language.is_chinese() and text in _WORDS:
        return _WORDS[text]
    return language.word(text)
