"""A guard model by its path: random weights of real architectures, saved and loaded from disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from errata.errors import BadInput
from errata.records import Message
from errata.safety.guard import outside, policy
from errata.safety.guard.filter import Guard
from errata.safety.guard.outside import Outside

LABELS = {0: "safe", 1: "unsafe", 2: "injection"}
SIZES: dict[str, dict[str, Any]] = {
    "bert": {"max_position_embeddings": 128},
    "modernbert": {"max_position_embeddings": 128},
    "llama": {"max_position_embeddings": 128, "num_key_value_heads": 2},
}


@pytest.fixture(params=SIZES)
def saved(request: Any, tmp_path: Path, tiny_models: Callable[[str], str]) -> Path:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_models("llama"))
    config = AutoConfig.for_model(
        request.param, vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=4, id2label=LABELS,
        label2id={name: n for n, name in LABELS.items()},
        pad_token_id=tokenizer.pad_token_id, **SIZES[request.param],
    )  # fmt: skip
    torch.manual_seed(1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "guard")
    tokenizer.save_pretrained(tmp_path / "guard")
    return tmp_path / "guard"


def test_its_score_is_the_probability_of_the_unsafe_labels(saved: Path) -> None:
    one, other, both, safe = (
        outside.load(Outside(path=str(saved), unsafe=names))("Where is it?", "In the shop.")
        for names in (["unsafe"], ["injection"], ["unsafe", "injection"], ["safe"])
    )
    assert both == pytest.approx(one + other, abs=1e-5)
    assert both + safe == pytest.approx(1, abs=1e-5)


def test_a_long_answer_is_read_to_its_end(saved: Path) -> None:
    start = "A " * 600  # windows alike, so that another one is the worst of some label

    def scores(answer: str, request: str = "Q?") -> list[float]:
        asked = (outside.load(Outside(path=str(saved), unsafe=[name])) for name in LABELS.values())
        return [score(request, answer) for score in asked]

    assert scores(start + "zzz qqq 9") != scores(
        start
    )  # of some label the worst window is the last
    assert all(0 < score < 1 for score in scores(start))
    assert all(0 < score < 1 for score in scores("In the shop.", "Q " * 5000))


def test_the_filter_asks_it_under_its_own_thresholds(saved: Path) -> None:
    def guard(least: float) -> Guard:
        told = {"model": {"path": str(saved)}, "thresholds": {"model": {"refuse": least}}}
        return Guard(policy.Policy.model_validate(told))

    asked = [Message(role="user", content="Hello!")]
    strict, mild = guard(0.0001).check("Hello, welcome!", asked), guard(0.9999)
    assert (strict.level, strict.found[0].rule) == (3, "model")
    assert mild.check("Hello, welcome!", asked).level == 0
    assert len({guard(0.5).digest, mild.digest, Guard().digest}) == 3


def test_other_weights_are_another_policy(saved: Path) -> None:
    told = policy.Policy.model_validate({"model": {"path": str(saved)}})
    before = policy.digest(told, None, None)
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    assert policy.digest(told, None, None) != before


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"path": "/nowhere"}, "no config.json there"),
        ({"unsafe": ["unsaf"]}, "no label `unsaf`.*unsafe"),
        ({"unsafe": ["toxic"]}, "no label `toxic`; known: injection, safe, unsafe"),
    ],
)
def test_what_does_not_fit_is_named(saved: Path, told: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        outside.load(Outside.model_validate({"path": str(saved), **told}))


def test_a_misspelt_knob_is_no_model() -> None:
    with pytest.raises(ValidationError):
        policy.Policy.model_validate({"model": {"paht": "x"}})
