"""`policies/filter.yaml`: from which score a finding is logged, redacted, refused or blocked.

    L0 pass · L1 log · L2 redact the span · L3 refuse and guide · L4 block and alert

Its hash is in every decision, and in the runs that obey it.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, model_validator

from errata import config as configs
from errata import jsonl
from errata.candidates import weights_digest
from errata.config import Section
from errata.errors import BadInput
from errata.safety.guard.outside import Outside
from errata.safety.guard.rules import CATEGORIES, RULES, Category
from errata.workspace import Workspace

FILE = "policies/filter.yaml"
MODEL = "policies/filter-model.npz"
KILL = "policies/kill.yaml"
LEVELS = ("pass", "log", "redact", "refuse", "block")


class Ladder(Section):
    """The least score of each level; a level that is left out is never taken."""

    log: float | None = Field(default=None, description="L1: it passes, and is written down")
    redact: float | None = Field(default=None, description="L2: the span becomes a placeholder")
    refuse: float | None = Field(default=None, description="L3: a refusal and a way on instead")
    block: float | None = Field(default=None, description="L4: as L3, and somebody is alerted")

    @model_validator(mode="after")
    def _rises(self) -> Ladder:
        told = [score for score in (self.log, self.redact, self.refuse, self.block) if score]
        if told != sorted(told):
            raise ValueError("thresholds must rise: log ≤ redact ≤ refuse ≤ block")
        return self

    def level(self, score: float) -> int:
        """0 to 4."""
        steps = (self.log, self.redact, self.refuse, self.block)
        taken = [n for n, least in enumerate(steps, 1) if least is not None and score >= least]
        return max(taken, default=0)


_LADDERS: dict[Category, Ladder] = {
    "secret": Ladder(log=0.3, refuse=0.5, block=0.95),
    "personal": Ladder(redact=0.5),
    "insult": Ladder(log=0.3, refuse=0.5),
    "advice": Ladder(log=0.3, refuse=0.5),
    "tool": Ladder(block=0.5),
    "order": Ladder(log=0.3, refuse=0.6),
    "learned": Ladder(log=0.5, refuse=0.9),
    "model": Ladder(log=0.5, refuse=0.9),
    "other": Ladder(log=0.3, redact=0.5, refuse=0.7, block=0.9),
}
_GUIDE = {
    "en": "Sorry, I cannot share or do that. I can help with products, orders and returns.",
    "zh": "抱歉，这个我不能提供。我可以帮您查商品、订单和退换货。",
}


# A line about a customer, and a number of five digits or more in it.
_RECORD = r"(?:Customer|客户)[^:：\n]{1,40}[:：][^\n\[]*?(?P<value>[0-9]{5,})"


class Own(Section):
    """A rule of the team, or one for an emergency."""

    id: str = Field(min_length=1, description="its name in records and in `off`")
    category: Category = Field(default="other", description="whose thresholds hold")
    score: float = Field(default=0.9, ge=0, le=1, description="how sure it is")
    pattern: str = Field(min_length=1, description="google-re2: linear in the text")
    catches: list[str] = Field(min_length=1, description="texts it must catch, the span in ⟦ ⟧")
    spares: list[str] = Field(min_length=1, description="texts in which it must find nothing")


class Policy(Section):
    """The filter in force."""

    thresholds: dict[Category, Ladder] = Field(
        default_factory=dict, description="per category; what is left out is as shipped"
    )
    off: list[str] = Field(default_factory=list, description="ids of rules that do not run")
    rules: list[Own] = Field(default_factory=list, description="rules of your own")
    protect: list[str] = Field(
        default_factory=lambda: [_RECORD],
        description="what in documents nobody may be told: patterns with a group `value`",
    )
    tools: list[str] = Field(
        default_factory=lambda: ["order_status", "return_label", "warranty_check"],
        description="tools that an answer may call",
    )
    grounded: bool = Field(
        default=True, description="an answer beside documents cites one, declines or is polite"
    )
    guide: dict[str, str] = Field(
        default_factory=lambda: dict(_GUIDE), description="what is said instead, by language"
    )
    hold: int = Field(
        default=160, ge=32, description="characters that a stream holds back: the longest span"
    )
    learned: bool = Field(default=True, description="whether the trained classifier is asked")

    model: Outside = Field(
        default_factory=Outside, description="a guard model of somebody else's, by its path"
    )

    def ladder(self, category: Category) -> Ladder:
        """The thresholds of a category."""
        return self.thresholds.get(category, _LADDERS[category])

    @model_validator(mode="after")
    def _known(self) -> Policy:
        ids = [rule.id for rule in RULES] + [rule.id for rule in self.rules]
        for name in self.off:
            if name not in ids:
                raise ValueError(f"off: no rule `{name}`{configs.hint(name, ids)}")
        if len(set(ids)) < len(ids):
            raise ValueError("rules: an id is there twice")
        for pattern in self.protect:
            try:
                groups = re.compile(pattern).groupindex
            except re.error as error:
                raise ValueError(f"protect: `{pattern}`: {error}") from None
            if "value" not in groups:
                raise ValueError(f"protect: `{pattern}` needs a group `value`")
        return self


class Kill(Section):
    """The switch: every answer is this one, until somebody turns it back."""

    reply: dict[str, str] = Field(default_factory=lambda: dict(_GUIDE), description="by language")
    why: str = Field(description="the reason, for the ledger")
    by: str = Field(description="who")
    ts: str = Field(description="when")


def load(ws: Workspace) -> Policy:
    """The workspace's policy, or the shipped one where there is no file."""
    path = ws.root / FILE
    return configs.load(path if path.is_file() else None, Policy, name=FILE)


def killed(ws: Workspace) -> Kill | None:
    """The switch, if it is thrown."""
    path = ws.root / KILL
    return configs.load(path, Kill, name=KILL) if path.is_file() else None


def digest(policy: Policy, model: bytes | None, kill: Kill | None) -> str:
    """Changes when the policy, a shipped rule, the classifier or the switch does."""
    told: dict[str, Any] = {
        "policy": policy.model_dump(mode="json"),
        "ladders": {name: _LADDERS[name].model_dump() for name in CATEGORIES},
        "rules": [[r.id, r.category, r.score, r.pattern.pattern] for r in RULES],
        "model": jsonl.digest(model.hex()) if model else None,
        "kill": kill.model_dump() if kill else None,
        "outside": weights_digest(policy.model.path) if policy.model.path else None,
    }
    return jsonl.digest(told)


def owned(policy: Policy) -> list[tuple[Own, Any]]:
    """The team's rules, compiled and held to their examples; BadInput says what is wrong."""
    try:
        import re2
    except ImportError:
        if policy.rules:
            raise BadInput(f"{FILE}: rules need google-re2: pip install 'errata[fast]'") from None
        return []
    out = []
    for rule in policy.rules:
        try:
            pattern = re2.compile(rule.pattern)
        except re2.error as error:
            raise BadInput(f"{FILE}: rule `{rule.id}`: {error}; re2 has no look-around") from None
        for text in rule.catches:
            plain = text.replace("⟦", "").replace("⟧", "")
            found = [match.group() for match in pattern.finditer(plain)]
            if found != re.findall("⟦(.*?)⟧", text):
                raise BadInput(f"{FILE}: rule `{rule.id}`: finds {found} in `{text}`; correct it")
        for text in rule.spares:
            if pattern.search(text):
                raise BadInput(f"{FILE}: rule `{rule.id}`: must spare `{text}`; narrow it")
        out.append((rule, pattern))
    return out
