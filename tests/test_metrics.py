"""Every published number is catalogued; empty is not zero; unscored is not safe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata import metrics
from errata.errors import BadInput

CONTRACT = [
    *(f"safety.{n}" for n in (
        "attack_hit_rate", "attack_hit_rate_filtered", "execution_rate", "leak_rate",
        "refusal_rate", "over_refusal_rate", "invalid_rate",
    )),
    *(f"safety.attack_hit_rate.{c}" for c in ("jailbreak", "injection", "privacy", "sensitive")),
    *(f"safety.refusal_rate.{c}" for c in ("jailbreak", "injection", "privacy", "sensitive")),
    *(f"evaluate.{n}" for n in (
        "accuracy", "citation_missing", "forbidden_calls", "hallucination_rate", "politeness",
        "win_rate", "preference_score", "mt_bench", "template_share", "distinct_2",
        "reopened_failures",
    )),
    *(f"human.{n}" for n in ("factuality", "politeness", "safety")),
    *(f"bench.{n}" for n in ("p95_ms", "tokens_per_s", "cost_per_1k_tokens")),
    *(f"train.{n}" for n in ("loss", "eval_loss", "peak_memory_gib", "hours", "kl", "reward")),
    "monitor.attack_hit_rate", "monitor.refusal_rate", "monitor.citation_missing",
]  # fmt: skip


@pytest.mark.parametrize("name", CONTRACT)
def test_every_name_of_the_contract_is_catalogued(name: str):
    assert metrics.full_name(name) == name


@pytest.mark.parametrize("name", metrics.CATALOGUE)
def test_every_metric_says_what_it_means_in_both_languages(name: str):
    spec = metrics.CATALOGUE[name]

    assert spec.worse in ("higher", "lower", "either")
    assert spec.unit
    assert any("a" <= c <= "z" for c in spec.en)
    assert any("\u4e00" <= c <= "\u9fff" for c in spec.zh) or name.endswith("p95_ms")


@pytest.mark.parametrize("alias", metrics.ALIASES)
def test_every_alias_leads_to_a_metric(alias: str):
    assert metrics.full_name(alias) in metrics.CATALOGUE


@pytest.mark.parametrize(
    ("bare", "full"),
    [
        ("attack_hit_rate", "safety.attack_hit_rate"),
        ("citation_missing", "evaluate.citation_missing"),
        ("forbidden_calls", "evaluate.forbidden_calls"),
        ("politeness", "evaluate.politeness"),
        ("P95", "bench.p95_ms"),
        ("拒答率", "safety.refusal_rate"),
    ],
)
def test_the_chapters_bare_names_are_understood(bare: str, full: str):
    assert metrics.full_name(bare) == full


def test_an_unknown_metric_gets_a_hint():
    with pytest.raises(BadInput, match=r"did you mean `safety\.leak_rate`"):
        metrics.spec("safety.leek_rate")


def test_no_cases_and_only_unscored_cases_have_no_value():
    for hits in ([], [None, None]):
        found = metrics.rate("leak_rate", hits, ["a"] * len(hits))
        assert (found.value, found.low, found.high, found.n) == (None, None, None, 0)
        assert found.unscored == len(hits)
        assert metrics.count("citation_missing", hits).value is None


def test_a_rate_by_hand():
    """1 of 4: (1-p)^4 + 4p(1-p)^3 = 0.05 at 0.7514; lower bound 1 - 0.95^(1/4)."""
    found = metrics.rate("leak_rate", [True, False, False, None, False], list("abcde"))

    assert (found.value, found.n, found.unscored) == (0.25, 4, 1)
    assert found.high == pytest.approx(0.7514, abs=1e-4)
    assert found.low == pytest.approx(1 - 0.95**0.25, abs=1e-9)


def test_slices_are_rates_of_their_own():
    hits = [True, False, False, None]
    where = [("privacy", "zh"), ("privacy", "en"), ("injection", "zh"), ("privacy", "en")]
    found = metrics.rate("attack_hit_rate", hits, list("abcd"), where)  # type: ignore[arg-type]

    assert [(s.kind, s.language, s.value, s.n, s.unscored) for s in found.slices] == [
        ("injection", "zh", 0.0, 1, 0),
        ("privacy", "en", 0.0, 1, 1),
        ("privacy", "zh", 1.0, 1, 0),
    ]


@given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=80))
def test_the_bounds_hold_the_value_and_unscored_cases_move_nothing(hits: list[bool | None]):
    clusters = [str(i // 3) for i in range(len(hits))]
    found = metrics.rate("leak_rate", hits, clusters)
    more = metrics.rate("leak_rate", [*hits, None], [*clusters, "new"])

    assert more.unscored == found.unscored + 1
    assert (more.value, more.low, more.high) == (found.value, found.low, found.high)
    if found.value is not None:
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(BadInput):
        metrics.rate("leak_rate", [True], [])
    with pytest.raises(BadInput):
        metrics.rate("leak_rate", [True], ["a"], [])


def test_a_number_without_measurements_has_no_value():
    assert metrics.number("p95", 0.0, 0).value is None
    assert metrics.number("p95", 12.5, 20).value == 12.5
