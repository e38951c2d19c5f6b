"""Which licences go together, each row derived from what the licence's own text says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.release.licences import OPEN, TERMS, Part, Use, plain, rulings

USES: tuple[Use, ...] = ("research", "non-commercial", "commercial")

BASE = Part("base", "b", "apache-2.0")


def open_(licence: str, use: Use, *parts: Part, name: str = "desk", **permitted: str) -> list[str]:
    permissions = {key.replace("_", " ", 1): why for key, why in permitted.items()}
    found = rulings(licence, use, name, parts, permissions)
    return [f"{one.part.id}: {one.level}" for one in found if one.level in OPEN]


@pytest.mark.parametrize(
    ("licence", "use", "part", "what"),
    [
        # permissive into anything
        ("proprietary", "commercial", Part("base", "b", "Apache-2.0"), []),
        ("mit", "commercial", Part("data", "d", "cc-by-4.0"), []),
        # a community licence stays on what is made of it, under a name that begins so
        ("apache-2.0", "commercial", Part("base", "b", "gemma"), ["base b: conflict"]),
        ("gemma", "commercial", Part("base", "b", "gemma"), []),
        ("llama3.1", "commercial", Part("base", "b", "llama3.1"), ["base b: conflict"]),
        # non-commercial: neither sold, nor given on under a licence that lets others sell
        ("cc-by-nc-4.0", "commercial", Part("data", "d", "cc-by-nc-4.0"), ["data d: conflict"]),
        ("apache-2.0", "research", Part("data", "d", "cc-by-nc-4.0"), ["data d: conflict"]),
        ("cc-by-nc-4.0", "research", Part("data", "d", "cc-by-nc-4.0"), []),
        ("proprietary", "research", Part("base", "b", "qwen-research"), ["base b: conflict"]),
        # no derivatives
        ("apache-2.0", "research", Part("data", "d", "cc-by-nd-4.0"), ["data d: conflict"]),
        # share-alike: certain of a base, for a person to say of data
        ("apache-2.0", "commercial", Part("base", "b", "gpl-3.0"), ["base b: conflict"]),
        ("apache-2.0", "commercial", Part("data", "d", "cc-by-sa-4.0"), ["data d: unread"]),
        # a provider's terms
        ("apache-2.0", "commercial", Part("teacher", "t", "openai-terms"), ["teacher t: conflict"]),
        ("apache-2.0", "commercial", Part("teacher", "t", "apache-2.0"), []),
        ("apache-2.0", "commercial", Part("teacher", "t", "llama3.3"), ["teacher t: conflict"]),
        # what nobody has read yet
        ("apache-2.0", "commercial", Part("base", "b", "acme-eula"), ["base b: unread"]),
        ("apache-2.0", "commercial", Part("data", "d", ""), ["data d: unread"]),
    ],
)
def test_a_part_and_the_licence_of_the_model(
    licence: str, use: Use, part: Part, what: list[str]
) -> None:
    assert open_(licence, use, part) == what


@pytest.mark.parametrize(
    ("told", "table"),
    [("Apache License, Version 2.0", "apache-2.0"), ("apache-2", "apache-2.0"),
     ("MIT License", "mit"), ("CC BY-NC 4.0 International", "cc-by-nc-4.0"),
     ("Llama 3.1 Community License Agreement", "llama3.1"), ("Meta Llama 2", "llama2"),
     ("GPL v3", "gpl-3.0"), ("GPL-3.0-or-later", "gpl-3.0"),
     ("OpenAI Terms of Use", "openai-terms"),
     ("Apache 2.0 with restrictions", "apache-2.0-with-restrictions"), ("", "")],
)  # fmt: skip
def test_a_licence_is_known_as_people_write_it(told: str, table: str) -> None:
    assert plain(told) == table
    assert plain(table) == table


@pytest.mark.parametrize("name", sorted(TERMS))
def test_every_name_of_the_table_is_its_own(name: str) -> None:
    assert plain(name) == name


def test_a_name_that_begins_as_asked_settles_it() -> None:
    part = Part("base", "b", "llama3.1")
    assert open_("llama3.1", "commercial", part, name="Llama-3.1-desk") == []


def test_llamas_answers_may_improve_llamas_and_nothing_else() -> None:
    teacher = Part("teacher", "t", "llama2")
    assert open_("llama2", "commercial", Part("base", "b", "llama2"), teacher) == []
    assert open_("apache-2.0", "commercial", BASE, teacher) == ["teacher t: conflict"]


def test_a_closed_models_answers_are_a_conflict_by_whatever_door_they_came_in() -> None:
    data = Part("data", "d", "openai-terms")
    assert open_("proprietary", "commercial", data) == ["data d: conflict"]


def test_a_permission_settles_what_it_names_and_nothing_else() -> None:
    parts = (Part("base", "b", "gemma"), Part("data", "d", "cc-by-nd-4.0"))
    assert open_("mit", "research", *parts, base_b="a letter") == ["data d: conflict"]
    assert open_("mit", "research", *parts, base_b=" ") == ["base b: conflict", "data d: conflict"]


@given(st.sampled_from(sorted(TERMS)), st.sampled_from(USES))
def test_a_model_under_the_licence_of_its_only_part_is_free_unless_its_use_or_kind_is_not(
    licence: str, use: Use
) -> None:
    part = Part("base", "b", licence)
    terms = TERMS[licence]
    name = f"{terms.name} desk"
    expected = use in terms.uses and terms.change
    assert (not open_(licence, use, part, name=name)) == expected
