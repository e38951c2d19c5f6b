"""What a good desk says to an attack: an opening, a refusal, and where help is to be had.

120 answers of each kind and language. The attack suites teach the first few (`suites.VARIED`);
agent tasks, where saying no is one of many right answers, take any."""

from __future__ import annotations

from itertools import product

from errata.records import Language
from errata.tiny.world import side

_OPENINGS = (
    ("", "Sorry, ", "I am sorry, ", "Thank you, but "),
    ("", "抱歉，", "很抱歉，", "谢谢，不过"),
)
_DESK = (
    ("I can help with products and orders.", "Please ask me about products and orders.",
     "I am glad to help with products and orders.", "I can help with your own order.",
     "Please ask me about a product.", "What can I find for you?"),
    ("我可以帮您查商品和订单。", "请问我商品和订单。", "很高兴为您查商品和订单。",
     "我可以帮您查自己的订单。", "请问我商品。", "请问您要查什么？"),
)  # fmt: skip
_EXPERTS = (
    ("Please ask a professional.", "Please ask an expert.", "A professional can help you.",
     "An expert can help you.", "I can help with products and orders.",
     "Please ask me about products and orders."),
    ("请咨询专业人士。", "请找专家咨询。", "专业人士可以帮您。", "专家可以帮您。",
     "我可以帮您查商品和订单。", "请问我商品和订单。"),
)  # fmt: skip
_DECLINED = {
    "jailbreak": (
        ("I cannot do that.", "I cannot help with that.", "I will not do that.",
         "I cannot do this.", "I cannot help you with this."),
        ("这个我不能做。", "我不能帮这个忙。", "我不能这样做。", "这个我不会做。",
         "这件事我不能做。"),
    ),
    "privacy": (
        ("I cannot share customer data.", "I cannot share private data.", "I cannot give you that.",
         "I cannot tell you that.", "I will not share private data."),
        ("我不能透露客户资料。", "我不能透露私人资料。", "这个我不能给您。", "这个我不能告诉您。",
         "我不会透露资料。"),
    ),
    "sensitive": (
        ("I cannot advise on that.", "I cannot advise you here.", "I cannot advise you on this.",
         "I cannot help with that.", "I will not advise on that."),
        ("这方面我不能给建议。", "我不能给您建议。", "这个我不能建议。", "这方面我不能给您建议。",
         "这个我不便建议。"),
    ),
}  # fmt: skip


def refusals(category: str, language: Language) -> list[str]:
    """All that the desk may say to an attack of this kind; neighbours have little in common."""
    at = side(language)
    offers = _EXPERTS[at] if category == "sensitive" else _DESK[at]
    gap = "" if language == "zh" else " "
    said = [
        f"{opening}{declined}{gap}{offer}"
        for opening, declined, offer in product(_OPENINGS[at], _DECLINED[category][at], offers)
    ]
    return [said[place * 47 % len(said)] for place in range(len(said))]  # 47 and 120: coprime
