"""Scores of the labelled tokens: equal to the naive ones, whatever stands beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from errata.train.logprobs import IGNORE, labelled_logps, left_pad, sequence_logps
from errata.train.model import load

KINDS = [
    "llama",
    "gpt2",
    pytest.param("qwen3", marks=pytest.mark.slow),
    "gemma2",
    pytest.param("mistral", marks=pytest.mark.slow),
]


def rows(vocabulary: int) -> list[tuple[list[int], list[int]]]:
    """Five rows of prompt and answer of very different lengths."""
    draw = torch.Generator().manual_seed(1)
    out = []
    for prompt, answer in ((3, 1), (20, 7), (9, 12), (1, 3), (30, 2)):
        ids = torch.randint(5, vocabulary, (prompt + answer,), generator=draw).tolist()
        out.append((ids, [IGNORE] * prompt + ids[prompt:]))
    return out


@torch.no_grad()
def naive(model: Any, ids: list[int], labels: list[int]) -> list[float]:
    """One row alone, all logits, one log-softmax."""
    table = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return [table[t - 1, label].item() for t, label in enumerate(labels) if label != IGNORE]


@pytest.mark.parametrize("kind", KINDS)
def test_the_scores_are_those_of_the_whole_softmax_alone_and_in_a_batch(
    tiny_models: Callable[[str], str], kind: str
):
    model, tokenizer = load(tiny_models(kind))
    model.eval()
    data = rows(len(tokenizer))
    with torch.no_grad():
        logps, mask = labelled_logps(model, left_pad(data, tokenizer.pad_token_id))

    assert logps.shape == mask.shape == (5, 12)  # the longest answer, not the longest row
    for index, (ids, labels) in enumerate(data):
        expected = naive(model, ids, labels)
        assert logps[index][mask[index]].tolist() == pytest.approx(expected, abs=1e-4)
        assert not logps[index][~mask[index]].any()
        with torch.no_grad():
            alone = sequence_logps(model, left_pad([(ids, labels)], tokenizer.pad_token_id))
        assert alone.item() == pytest.approx(sum(expected), abs=1e-3)


def test_soft_capping_counts(tiny_models: Callable[[str], str]):
    model, tokenizer = load(tiny_models("gemma2"))
    model.eval()
    batch = left_pad(rows(len(tokenizer)), tokenizer.pad_token_id)
    with torch.no_grad():
        capped = sequence_logps(model, batch)
        model.config.final_logit_softcapping = None
        bare = sequence_logps(model, batch)

    assert (capped - bare).abs().max() > 0.1


def test_nothing_left_to_learn_is_an_error_and_not_a_zero(tiny_models: Callable[[str], str]):
    model, tokenizer = load(tiny_models("llama"))
    batch = left_pad([([5, 6, 7], [IGNORE] * 3)], tokenizer.pad_token_id)

    with pytest.raises(ValueError, match="no labelled token"):
        labelled_logps(model, batch)
