"""May this model be given out under this licence? The base's licence, the data's and a teacher's
terms, held against the model's own licence and use. Pure.

A table of what each licence asks, as its text says it; what is not in it a person has to read. A
conflict that somebody has permission for is settled by naming it: `permissions` in
policies/model-card.yaml, which the card then shows. This reads licences, it is no lawyer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from errata.language import say

Use = Literal["commercial", "non-commercial", "research"]
Role = Literal["base", "data", "teacher"]
Level = Literal["conflict", "unread", "permitted", "duty"]


OPEN: tuple[Level, ...] = ("conflict", "unread")  # what a person has to settle


class Terms(NamedTuple):
    """What a licence asks of a model that is made with it.

    uses: for what it may be used; change: whether a changed work may be passed on; under: licences
    that such a work may have (empty: any); name: how its name must begin; teaches: whether answers
    of such a model may train another one, outside its own family; cite: whether to name the source.
    """

    uses: tuple[Use, ...] = ("commercial", "non-commercial", "research")
    change: bool = True
    under: tuple[str, ...] = ()
    name: str = ""
    teaches: bool = True
    cite: bool = True


_NC: tuple[Use, ...] = ("non-commercial", "research")
_LLAMA = ("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4")
_OPEN = Terms(cite=False)
# By the Hub's identifiers. Sources: the licences' texts. Llama 2 and 3 forbid improving other
# models with their output; from 3.1 on it is allowed, and the model's name then begins with
# "Llama". Gemma's terms and the OpenRAIL family pass their restrictions of use on to what is made.
TERMS: dict[str, Terms] = {
    "apache-2.0": Terms(), "mit": Terms(), "bsd-3-clause": Terms(), "bsd-2-clause": Terms(),
    "cc0-1.0": _OPEN, "unlicense": _OPEN, "proprietary": _OPEN,
    "cc-by-4.0": Terms(), "odc-by": Terms(), "cdla-permissive-2.0": Terms(),
    "cc-by-sa-4.0": Terms(under=("cc-by-sa-4.0", "gpl-3.0")),
    "odbl": Terms(under=("odbl",)), "cdla-sharing-1.0": Terms(under=("cdla-sharing-1.0",)),
    "gpl-3.0": Terms(under=("gpl-3.0", "agpl-3.0")), "agpl-3.0": Terms(under=("agpl-3.0",)),
    "cc-by-nc-4.0": Terms(_NC), "cc-by-nc-sa-4.0": Terms(_NC, under=("cc-by-nc-sa-4.0",)),
    "cc-by-nd-4.0": Terms(change=False), "cc-by-nc-nd-4.0": Terms(_NC, change=False),
    "openrail": Terms(under=("openrail",)), "bigscience-openrail-m": Terms(
        under=("bigscience-openrail-m", "openrail")),
    "bigcode-openrail-m": Terms(under=("bigcode-openrail-m", "openrail")),
    "gemma": Terms(under=("gemma",)),
    "llama2": Terms(under=("llama2",), teaches=False),
    "llama3": Terms(under=("llama3",), name="Llama 3", teaches=False),
    "llama3.1": Terms(under=("llama3.1",), name="Llama"),
    "llama3.2": Terms(under=("llama3.2",), name="Llama"),
    "llama3.3": Terms(under=("llama3.3",), name="Llama"),
    "llama4": Terms(under=("llama4",), name="Llama"),
    "qwen": Terms(under=("qwen",)), "qwen-research": Terms(_NC, under=("qwen-research",)),
    "mrl": Terms(("research",), under=("mrl",)), "deepseek": Terms(under=("deepseek",)),
    # Terms of service of providers: what their models answer may not make a competing model.
    "openai-terms": Terms(teaches=False), "anthropic-terms": Terms(teaches=False),
    "google-terms": Terms(teaches=False),
}  # fmt: skip
# Licences under which anybody may use a work commercially; a non-commercial part forbids them.
_RESTRICTED = {name for name, terms in TERMS.items() if "commercial" not in terms.uses}


class Part(NamedTuple):
    """Something that the model was made with."""

    role: Role
    name: str
    licence: str

    @property
    def id(self) -> str:
        """How `permissions` names it."""
        return f"{self.role} {self.name}"


class Ruling(NamedTuple):
    """What follows from one part."""

    part: Part
    level: Level
    en: str
    zh: str

    @property
    def text(self) -> str:
        """In the reader's language."""
        return say(self.en, self.zh)


# Words that change nothing, and other spellings of what is left.
_NOISE = re.compile(r"\b(the|licen[cs]e|agreement|version|community|only|or later|international|"
                    r"terms of (?:use|service))\b|[,()]|\bv(?=\d)")  # fmt: skip
_SPELT = {"apache-2": "apache-2.0", "gpl-3": "gpl-3.0", "gplv3": "gpl-3.0", "agpl-3": "agpl-3.0",
          "cc0": "cc0-1.0", "openai": "openai-terms", "anthropic": "anthropic-terms",
          "google": "google-terms", "3-clause-bsd": "bsd-3-clause"}  # fmt: skip


def plain(licence: str) -> str:
    """As the table spells it: `Llama 3.1 Community License` is llama3.1, `GPL v3` gpl-3.0. What has
    a word more, such as `with restrictions`, is another licence."""
    words = _NOISE.sub(" ", re.sub(r"[-_\s]+", " ", licence.strip().lower()))
    name = re.sub(r"^(meta-)?llama-(?=\d)", "llama", "-".join(words.split()))
    return _SPELT.get(name, name)


def rulings(
    licence: str, use: Use, name: str, parts: Iterable[Part], permissions: Mapping[str, str]
) -> list[Ruling]:
    """What each part asks of a model called `name`, of that licence and use: conflicts first.

    permissions: a part's id → why it is fine all the same; settles what it names, nothing else."""
    found: list[Ruling] = []
    parts = list(parts)
    for part in parts:
        for ruling in _of(plain(licence), use, name, part, parts):
            why = permissions.get(part.id, "").strip()
            if why and ruling.level in OPEN:
                ruling = ruling._replace(
                    level="permitted", en=f"{ruling.en}. Permitted: {why}",
                    zh=f"{ruling.zh}。已获许可：{why}")  # fmt: skip
            found.append(ruling)
    order: Sequence[Level] = ("conflict", "unread", "permitted", "duty")
    return sorted(found, key=lambda ruling: order.index(ruling.level))


def _of(licence: str, use: Use, name: str, part: Part, parts: list[Part]) -> Iterator[Ruling]:
    terms = TERMS.get(plain(part.licence))
    if terms is None:
        yield Ruling(part, "unread", f"`{part.licence}` is not in the table: read it, then say why "
                     "it is fine", f"`{part.licence}` 不在表中：请人工阅读并说明理由")  # fmt: skip
        return
    if use not in terms.uses:
        yield Ruling(part, "conflict", f"allows {' and '.join(terms.uses)} use, not {use}",
                     f"只允许{'、'.join(_ZH[u] for u in terms.uses)}用途，"
                     f"不允许{_ZH[use]}")  # fmt: skip
    if part.role == "teacher":
        if not terms.teaches and not _family(parts, part):
            yield Ruling(part, "conflict", "its answers may not train another model",
                         "其回答不得用于训练其他模型")  # fmt: skip
        if terms.name and not name.startswith(terms.name):
            yield _named(part, terms.name)
        return
    yield from _passed_on(licence, name, part, terms)


def _passed_on(licence: str, name: str, part: Part, terms: Terms) -> Iterator[Ruling]:
    """What base and data ask of the licence that the model has."""
    restricted = plain(part.licence) in _RESTRICTED
    if part.role == "data" and not terms.teaches:  # such data are answers of that model
        yield Ruling(part, "conflict", "its answers may not train another model",
                     "其回答不得用于训练其他模型")  # fmt: skip
    if not terms.change:
        yield Ruling(part, "conflict", "a changed work may not be passed on", "不得传播演绎作品")
    if terms.under and licence not in terms.under:
        # Whether a model is an adaptation of its data is not settled: a person decides.
        level: Level = "conflict" if part.role == "base" else "unread"
        yield Ruling(part, level, f"what is made of it stays under {' or '.join(terms.under)}, not "
                     f"{licence}",
                     f"衍生作品须为 {' 或 '.join(terms.under)}，而非 {licence}")  # fmt: skip
    elif restricted and licence not in _RESTRICTED and licence != "proprietary":
        yield Ruling(part, "conflict", f"{licence} would let others use commercially what it does "
                     "not", f"{licence} 允许他人商用，而它不允许")  # fmt: skip
    if part.role == "base" and terms.name and not name.startswith(terms.name):
        yield _named(part, terms.name)
    if terms.cite:
        yield Ruling(part, "duty", "keep its notice and name it", "保留其声明并署名")


def _named(part: Part, start: str) -> Ruling:
    return Ruling(part, "conflict", f"the model's name must begin with `{start}`",
                  f"模型名称须以 `{start}` 开头")  # fmt: skip


def _family(parts: list[Part], teacher: Part) -> bool:
    """Whether the base is of the teacher's own family: that one its answers may improve."""
    base = {plain(part.licence) for part in parts if part.role == "base"}
    return plain(teacher.licence) in _LLAMA and bool(base & set(_LLAMA))


_ZH = {"commercial": "商业", "non-commercial": "非商业", "research": "研究"}
LEVELS: dict[Level, str] = {
    "conflict": "conflict / 冲突", "unread": "unread / 待人工阅读",
    "permitted": "permitted / 已获许可", "duty": "duty / 义务",
}  # fmt: skip
