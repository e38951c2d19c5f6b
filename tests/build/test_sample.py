"""A declared mix is kept, a sample is stratified, and neither depends on the order of the rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.build.sample import Mix, check, draw
from errata.errors import BadInput
from errata.records import Failure


def failure(id: str, label: str = "privacy", zh: bool = False, **extra: Any) -> Failure:
    prompt = f"问题{id}是什么？" if zh else f"What is {id}?"
    fields = {"id": id, "prompt": prompt, "bad_answer": "x", "label": label, **extra}
    return Failure.model_validate(fields)


ROWS = st.lists(
    st.tuples(st.sampled_from(["privacy", "injection", "other"]), st.booleans(),
              st.sampled_from([None, "ticket", "online"])),
    max_size=60,
).map(lambda rows: [failure(f"f{n}", label, zh, source=source)
                    for n, (label, zh, source) in enumerate(rows)])  # fmt: skip
MIXES = st.builds(
    Mix,
    label=st.sampled_from(
        [{}, {"privacy": 0.5, "injection": 0.25}, {"other": 3}, {"privacy": 0.0}]
    ),
    language=st.sampled_from([{}, {"zh": 0.5, "en": 0.5}, {"zh": 4}]),
    source=st.sampled_from([{}, {"ticket": 0.3}, {"unknown": 2}]),
)


@settings(max_examples=200, deadline=None)
@given(ROWS, MIXES, st.integers(0, 40), st.integers(0, 3))
def test_no_value_gets_more_than_was_asked(
    rows: list[Failure], mix: Mix, size: int, seed: int
) -> None:
    found = draw(rows, mix, size, seed)
    assert found.places == sorted(set(found.places))
    assert len(found.places) <= (size or len(rows))
    for line in found.lines:
        assert line.got <= line.there
        assert line.rows is None or line.got <= line.rows
    taken = {rows[place].id for place in found.places}
    again = draw(rows[::-1], mix, size, seed)
    assert {rows[::-1][place].id for place in again.places} == taken


@given(ROWS)
def test_without_a_mix_or_a_size_all_are_taken(rows: list[Failure]) -> None:
    assert draw(rows, Mix(), 0, 0).places == list(range(len(rows)))


def test_a_sample_has_every_stratum_in_its_share() -> None:
    rows = [failure(f"a{n}", "privacy") for n in range(80)]
    rows += [failure(f"b{n}", "injection", zh=True) for n in range(20)]
    labels = Counter(rows[place].label for place in draw(rows, Mix(), 10, 3).places)
    assert labels == {"privacy": 8, "injection": 2}


def test_shares_are_those_of_what_can_be_had() -> None:
    """10 of zh at a share of one half: the largest sample has 20 rows."""
    rows = [failure(f"a{n}") for n in range(90)] + [failure(f"z{n}", zh=True) for n in range(10)]
    found = draw(rows, Mix(language={"zh": 0.5, "en": 0.5}), 0, 0)
    assert len(found.places) == 20
    assert [(line.value, line.asked, line.rows, line.there, line.got) for line in found.lines] == [
        ("zh", "50%", 10, 10, 10), ("en", "50%", 10, 90, 10)]  # fmt: skip


def test_a_scarce_value_gives_all_it_has_and_the_report_says_so() -> None:
    rows = [failure(f"a{n}") for n in range(90)] + [failure(f"z{n}", zh=True) for n in range(4)]
    mix = Mix(language={"zh": 0.5, "en": 0.5}, label={"factuality": 0.2})
    found = draw(rows, Mix(language=mix.language), 20, 0)
    assert len(found.places) == 8, "no larger sample is half Chinese"
    absent = [line for line in draw(rows, mix, 20, 0).lines if line.value == "factuality"]
    assert [(line.rows, line.there, line.got) for line in absent] == [(2, 0, 0)]


def test_the_rest_shares_what_shares_leave_and_a_cap_only_caps() -> None:
    rows = [failure(f"{name}{n}", name) for name in ("privacy", "injection", "other", "sensitive")
            for n in range(30)]  # fmt: skip
    found = draw(rows, Mix(label={"privacy": 0.5, "injection": 5}), 40, 0)
    got = Counter(rows[place].label for place in found.places)
    assert got["privacy"] == 20
    assert got["injection"] == 5
    assert got["other"] + got["sensitive"] == 15


def test_a_tag_counts_where_it_is_declared() -> None:
    rows = [failure(f"f{n}", tags=["en", "pirate" if n % 2 else "granny"]) for n in range(20)]
    found = draw(rows, Mix(tag={"pirate": 3}), 0, 0)
    assert sum("pirate" in rows[place].tags for place in found.places) == 3
    assert len(found.places) == 13


@pytest.mark.parametrize(
    ("mix", "said"),
    [
        (Mix(label={"jailbrek": 0.1}), r"mix\.label: no `jailbrek`; did you mean `jailbreak`"),
        (Mix(language={"fr": 0.1}), r"mix\.language: no `fr`"),
        (Mix(source={"a": 0.6, "b": 0.6}), r"mix\.source: shares add up to 1\.2"),
        (Mix(source={"a": 1.5}), r"mix\.source\.a: 1\.5: a share lies in 0–1"),
        (Mix(source={"a": -1}), r"mix\.source\.a: -1: a share lies in 0–1"),
    ],
)
def test_a_mix_that_cannot_be_meant_is_refused(mix: Mix, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check(mix, "configs/build.yaml")
    check(Mix(label={"privacy": 1.0, "*": 0.0}), "configs/build.yaml")
