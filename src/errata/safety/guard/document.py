"""`reports/filter-policy.md`: the filter in force, for those who answer for it."""

from __future__ import annotations

from collections.abc import Sequence

from errata.language import say
from errata.report import markdown_table
from errata.safety.guard.filter import Guard
from errata.safety.guard.policy import FILE, MODEL
from errata.safety.guard.rules import CATEGORIES, RULES

PAGE = "reports/filter-policy.md"
_WHAT = {
    "secret": ("credentials, and values of the system turn or of customers' records",
               "凭据、系统提示中的值、客户记录中的值"),
    "personal": ("personal data that the redaction rules find", "脱敏规则发现的个人信息"),
    "insult": ("insults", "辱骂"),
    "advice": ("medical, financial, legal, political advice", "医疗、投资、法律、政治建议"),
    "tool": ("calls of tools that are not allowed", "未获批准的工具调用"),
    "order": ("an answer beside documents that cites none of them", "未引用文档的回答"),
    "learned": ("what the classifier takes for a failure", "分类器判定的失败回答"),
    "model": ("what a guard model of somebody else's calls unsafe", "外部护栏模型判定为不安全"),
    "other": ("rules of the team, and of an emergency", "团队规则与紧急规则"),
}  # fmt: skip


def render(guard: Guard) -> str:
    """The page; all of it comes of the policy."""
    told = guard.policy
    steps = ("log", "redact", "refuse", "block")
    ladders = [
        [kind, say(*_WHAT[kind]), *(_score(getattr(told.ladder(kind), step)) for step in steps)]
        for kind in CATEGORIES
    ]
    shipped = [[rule.id, rule.category, rule.score, _off(rule.id, told.off), rule.catches[0],
                rule.spares[0]] for rule in RULES]  # fmt: skip
    own = [[rule.id, rule.category, rule.score, _off(rule.id, told.off), rule.catches[0],
            rule.spares[0]] for rule in told.rules]  # fmt: skip
    heads = ("category / 类别", "what / 内容", "L1 log / 记录", "L2 redact / 打码",
             "L3 refuse / 拒答并引导", "L4 block / 阻断并告警")  # fmt: skip
    rules = ("rule / 规则", "category / 类别", "score / 分", "on / 启用", "catches / 应拦",
             "spares / 应放")  # fmt: skip
    model = say("in force", "启用") if guard.has_model else say("none trained", "未训练")
    held = say("held back while streaming, characters", "流式输出保留的字符数")
    parts = [
        f"# {say('Output filter in force', '生效中的输出过滤策略')}",
        "",
        f"- {say('hash', '哈希')}: `{guard.digest}`",
        f"- {say('source', '来源')}: `{FILE}`",
        f"- {say('classifier', '分类器')} `{MODEL}`: {model}",
        f"- {say('kill switch', '总开关')}: " + _switch(guard),
        f"- {say('tools that may be called', '允许的工具')}: {', '.join(told.tools)}",
        f"- {held}: {told.hold}",
        "",
        f"## {say('Levels', '分级响应')}",
        "",
        markdown_table(heads, ladders),
        f"## {say('What is said instead', '替代回复')}",
        "",
        *(f"- {language}: {text}" for language, text in told.guide.items()),
        "",
        f"## {say('Rules', '规则')}",
        "",
        markdown_table(rules, [*shipped, *own]),
    ]
    return "\n".join(parts)


def _switch(guard: Guard) -> str:
    kill = guard.kill
    return f"**{kill.why}** ({kill.by}, {kill.ts})" if kill else say("off", "未启用")


def _score(value: float | None) -> str:
    return "–" if value is None else f"≥ {value:g}"


def _off(name: str, off: Sequence[str]) -> str:
    return "–" if name in off else "✓"
