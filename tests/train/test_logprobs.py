"""Scores of the labelled tokens: equal to the naive ones, whatever stands beside them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.train import logprobs
from errata.train.logprobs import Transform, inexact, ready, score_hidden
from errata.train.model import load
from errata.train.packing import IGNORE, Encoded, Tree, grow

KINDS = [
    "llama",
    "gpt2",
    pytest.param("qwen3", marks=pytest.mark.slow),
    "gemma2",
    pytest.param("mistral", marks=pytest.mark.slow),
]


def trees(vocabulary: int) -> list[Tree]:
    """Prompts and answers of very different lengths; the last tree is a pair."""
    draw = torch.Generator().manual_seed(1)

    def words(n: int) -> list[int]:
        return torch.randint(5, vocabulary, (n,), generator=draw).tolist()

    out = [Tree(words(p), (Encoded(a := words(n), a),)) for p, n in ((3, 1), (20, 7), (9, 12))]
    return [*out, Tree(words(6), tuple(Encoded(a := words(n), a) for n in (5, 8)))]


@torch.no_grad()
def naive(model: Any, tree: Tree) -> list[float]:
    """Each branch alone after its prefix, all logits, one log-softmax."""
    found = []
    for branch in tree.branches:
        ids = tree.prefix + branch.ids
        table = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        labels = [IGNORE] * len(tree.prefix) + branch.labels
        found += [table[t - 1, y].item() for t, y in enumerate(labels) if y != IGNORE]
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [True, False])
def test_the_scores_are_those_of_the_whole_softmax_alone_and_in_a_batch(
    tiny_models: Callable[[str], str], kind: str, packed: bool
):
    model, tokenizer = load(tiny_models(kind))
    model.eval()
    data = trees(len(tokenizer))
    expected = [naive(model, tree) for tree in data]
    scorer = ready(model, tokenizer.pad_token_id, 64, packed)
    with torch.no_grad():
        scored, batch = scorer(data)

    windowed = kind in ("gemma2", "mistral")  # by 16 tokens, fewer than these rows have
    assert scorer.way == ("errata_segments" if packed and not windowed else "padded")
    assert scored.logps.tolist() == pytest.approx([x for row in expected for x in row], abs=1e-4)
    assert batch.sequences == 5
    for tree, alone in zip(data, expected, strict=True):
        with torch.no_grad():
            assert scorer.sequence_logps([tree]).sum().item() == pytest.approx(sum(alone), abs=1e-3)
    # Without a batch the model is what it was.
    assert naive(model, data[0]) == pytest.approx(expected[0], abs=1e-4)


def test_soft_capping_counts_and_is_honoured(tiny_models: Callable[[str], str]):
    model, tokenizer = load(tiny_models("gemma2"))
    scorer = ready(model.eval(), tokenizer.pad_token_id, 16)
    assert "soft-capped" in str(scorer.why)
    with torch.no_grad():
        capped = scorer.sequence_logps(trees(len(tokenizer)))
        model.config.final_logit_softcapping = None
        bare = scorer.sequence_logps(trees(len(tokenizer)))

    assert (capped - bare).abs().max() > 0.1


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 9), st.sampled_from([1.0, 0.25]), st.sampled_from([None, 3.0]),
    st.integers(1, 60), st.booleans(),
)  # fmt: skip
def test_the_frozen_head_has_the_gradient_of_the_plain_one(
    rows: int, scale: float, cap: float | None, budget: int, biased: bool
):
    """Chunked or not, capped or scaled: the same log-probs, the same gradient, as autograd's."""
    torch.manual_seed(rows)
    head = torch.nn.Linear(6, 11, bias=biased).requires_grad_(False)
    hidden, targets = torch.randn(rows, 6), torch.randint(0, 11, (rows,))
    pull, transform = torch.randn(rows), Transform(scale, cap)
    was, logprobs.LOGITS_AT_ONCE = logprobs.LOGITS_AT_ONCE, {"cpu": budget}
    try:
        mine = hidden.clone().requires_grad_()
        logps = score_hidden(mine, head, targets, transform)
        (logps * pull).sum().backward()
    finally:
        logprobs.LOGITS_AT_ONCE = was
    plain = hidden.clone().requires_grad_()
    table = transform(head(plain)).log_softmax(-1)
    true = table.gather(1, targets[:, None])[:, 0]
    (true * pull).sum().backward()

    assert torch.allclose(logps, true, atol=1e-5)
    assert torch.allclose(mine.grad, plain.grad, atol=1e-5)


def test_an_open_head_learns_too(monkeypatch: pytest.MonkeyPatch):
    """Chunks that are computed again in backward give the head its whole gradient."""
    torch.manual_seed(0)
    hidden, targets = torch.randn(7, 6), torch.randint(0, 11, (7,))
    grads = []
    for budget in (10_000, 22):
        monkeypatch.setitem(logprobs.LOGITS_AT_ONCE, "cpu", budget)
        torch.manual_seed(1)
        head = torch.nn.Linear(6, 11)
        score_hidden(hidden.clone().requires_grad_(), head, targets, Transform()).sum().backward()
        grads.append(head.weight.grad)
    assert torch.allclose(grads[0], grads[1], atol=1e-6)
    assert grads[0].abs().max() > 0


def config(**more: Any) -> Any:
    found = SimpleNamespace(**more)
    found.get_text_config = lambda: found
    return found


@pytest.mark.parametrize(
    ("fields", "seq_len", "words"),
    [
        ({}, 4096, None),
        ({"sliding_window": 4096}, 4096, None),  # a window as long as the row hides nothing
        ({"sliding_window": 1024}, 2048, "sliding window of 1024 is shorter"),
        ({"sliding_window": 1024, "use_sliding_window": False}, 2048, None),
        ({"layer_types": ["full_attention"], "sliding_window": 8}, 2048, None),
        ({"layer_types": ["full_attention", "linear_attention"]}, 64, "linear_attention layers"),
        ({"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8}, 64, "of 8"),
        ({"attn_logit_softcapping": 50.0}, 64, "soft-capped"),
    ],
)
def test_architectures_where_flat_rows_are_not_exact_are_known(
    fields: dict[str, Any], seq_len: int, words: str | None
):
    found = inexact(config(**fields), seq_len)
    assert found is None if words is None else words in str(found)


def test_a_row_that_learns_everything_begins_after_its_first_token():
    ids = [4, 5, 6]
    assert grow(Encoded(ids, [IGNORE, 5, 6])) == Tree([4], (Encoded([5, 6], [5, 6]),))
