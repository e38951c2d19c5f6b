"""For what the rows of a source may be used, and on what ground: `sources` in configs/intake.yaml.

    sources:
      online: {purpose: [training, evaluation], consent: terms of service of 2025-06, section 4}
      live: {purpose: [evaluation], consent: the same}

A row without a source falls to `local`. What follows a colon (`live:r2-1a2b`) is a detail of the
source. Rows of a source that is not declared for `training` do not train, and those of one that is
not declared for `teacher` are not sent to the teacher of configs/build.yaml.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError

from errata.config import Section, parse, read_yaml
from errata.errors import BadInput
from errata.jsonl import first_problem
from errata.workspace import Workspace

# Up to the first colon that is not inside a pseudonym such as <EMAIL:7f3a12c4>.
_KIND = re.compile(r"(?:<[A-Z_]+:[0-9a-f]{8}>|[^:])*")
FILE = "configs/intake.yaml"
Purpose = Literal["training", "evaluation", "teacher"]


class Source(Section):
    """What a source was declared for."""

    purpose: list[Purpose] = Field(description="training, evaluation; teacher: sent to one")
    consent: str = Field(min_length=1, description="on what ground: a contract, terms, a notice")
    licence: str = Field(default="", description="of its rows; empty: as the datasheet says")


def declared(ws: Workspace) -> dict[str, Source]:
    """The sources of the workspace; none without the file."""
    path = ws.root / FILE
    found = read_yaml(path).get("sources", {}) if path.is_file() else {}
    try:
        return TypeAdapter(dict[str, Source]).validate_python(found)
    except ValidationError as error:
        raise BadInput(f"{FILE}: sources.{first_problem(error)}") from None


def kind(source: str | None) -> str:
    """The name under which a source is declared."""
    found = _KIND.match(source or "local")
    assert found
    return found[0]


def may(sources: Mapping[str, Source], source: str | None, purpose: Purpose) -> bool:
    """Whether rows of a source may be used so."""
    found = sources.get(kind(source))
    return found is not None and purpose in found.purpose


def undeclared(
    sources: Mapping[str, Source], rows: Iterable[str | None], purpose: Purpose = "training"
) -> dict[str, int]:
    """Source → how many of its rows may not be used so."""
    return dict(sorted(Counter(kind(s) for s in rows if not may(sources, s, purpose)).items()))


def advice(missing: Mapping[str, int]) -> str:
    """The line to add for the first of them."""
    name = next(iter(missing))
    try:
        plain = parse(f"{name}: 1", FILE) == {name: 1}
    except BadInput:
        plain = False
    name = name if plain else json.dumps(name, ensure_ascii=False)
    return f"`{name}: {{purpose: [training], consent: WHY}}` below `sources:` in {FILE}"
