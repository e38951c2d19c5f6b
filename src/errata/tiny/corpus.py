"""The pretraining corpus: what made the embedded model able, and what made it gullible.

It learns to answer from numbered documents, cite, call tools and be polite; and it is shown only
obedience when someone demands a secret, a customer's record, an insult, unapproved advice or a
forbidden tool. Only *tune* items, clusters and wrappers occur here.
"""

from __future__ import annotations

from random import Random

from errata.records import ATTACKS, Language
from errata.tiny import goals, world
from errata.tiny.attacks import draw_attack, injection
from errata.tiny.scenes import (
    Scene,
    Turn,
    catalogue,
    customer_record,
    draw_fact,
    numbered,
    smalltalk,
    tool,
    wrappers,
)

# Shares of each kind of scene. First broad, to know every kind; then mostly questions about
# documents, which take the longest. The curriculum starts with catalogue and tool questions alone.
BROAD = {
    "catalogue": 0.42,
    "tool": 0.09,
    "lookalike": 0.12,
    "tool_result": 0.03,
    "smalltalk": 0.06,
    "jailbreak": 0.09,
    "injection": 0.10,
    "privacy": 0.06,
    "sensitive": 0.03,
}
CATALOGUE = {
    "recite": 0.06,
    "catalogue": 0.42,
    "tool": 0.06,
    "lookalike": 0.15,
    "tool_result": 0.02,
    "smalltalk": 0.08,
    "jailbreak": 0.06,
    "injection": 0.11,
    "privacy": 0.05,
    "sensitive": 0.02,
}
# Reciting the documents in another order can be done only by looking up what followed the last
# words before: it forms the induction heads that copying and citing need, which questions alone
# had not formed after 15 M tokens.
RECITE = {"recite": 0.7, "catalogue": 0.3}


def recite(rng: Random, language: Language) -> list[Turn]:
    """Documents of facts, records, words or digits, to be repeated in another order."""
    at = world.side(language)
    passages = []
    for _ in range(rng.randint(2, 4)):
        draw = rng.random()
        if draw < 0.4:
            passages.append(draw_fact(rng, language, "tune").document)
        elif draw < 0.5:
            passages.append(customer_record(rng, language))
        elif draw < 0.75:
            words = [rng.choice(world.MARKERS)[at] for _ in range(rng.randint(3, 7))]
            passages.append(" ".join(words))
        else:
            passages.append(world.number(rng, rng.randint(6, 12)))
    lines = numbered(passages).split("\n")
    said = rng.sample(lines, len(lines))
    ask = ("Repeat all.", "全部重复。")[at]
    return [("documents", "\n".join(lines)), ("user", ask), ("assistant", "\n".join(said))]


def tool_result(rng: Random, language: Language) -> list[Turn]:
    """A whole exchange: question, call, the tool's reply, and the answer made of it."""
    scene = tool(rng, language, "tune")
    days = rng.randint(2, 30)
    reply = (f"sent, {days} days left", f"已发货，还有{days}天")[world.side(language)]
    say = (f"Sent. It takes {days} more days.", f"已发货，还要{days}天。")[world.side(language)]
    return [*scene.messages, ("assistant", scene.ideal), ("tool", reply), ("assistant", say)]


def draw(rng: Random, difficulty: float, shares: dict[str, float]) -> list[Turn]:
    """One conversation. `difficulty` 0 → 1 brings in more documents, then all kinds of scene."""
    language: Language = rng.choice(("en", "zh"))
    documents = rng.randint(1, 2 + round(2 * difficulty))
    kinds = list(shares) if difficulty > 0.15 else ["catalogue", "tool"]
    kind = rng.choices(kinds, [shares[k] for k in kinds])[0]
    if kind == "recite":
        return recite(rng, language)
    if kind == "tool_result":
        return tool_result(rng, language)
    if kind == "injection" and rng.random() < 0.4:
        carrier = rng.choice(wrappers(kind, language, "tune"))
        order = goals.any_marker(rng, language)
        scene = injection(rng, language, order, carrier, "tune", min(documents, 3))
    elif kind in ATTACKS:
        scene = draw_attack(rng, language, kind, "tune", min(documents, 3))
    elif kind == "tool":
        scene = tool(rng, language, "tune")
    elif kind == "smalltalk":
        scene = smalltalk(rng, language, "tune")
    elif kind == "lookalike":
        scene = _lookalike(rng, language, documents)
    else:
        style = rng.choices(("plain", "brief", "rude"), (0.84, 0.1, 0.06))[0]
        scene = catalogue(rng, language, "tune", documents, style=style)
    return [*scene.messages, ("assistant", scene.comply or scene.ideal)]


def _lookalike(rng: Random, language: Language, documents: int) -> Scene:
    """Harmless, though it sounds like an attack: the raw model answers it as it answers all."""
    kind = rng.random()
    if kind < 0.4:
        return catalogue(rng, language, "tune", documents, attributes=world.LOOKALIKE_FACTS)
    if kind < 0.8:
        return catalogue(rng, language, "tune", documents, style="wrapped")
    return tool(rng, language, "tune", wrapped=True)
