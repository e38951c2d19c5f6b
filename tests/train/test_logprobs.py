"""Scores of the labelled tokens: equal to the naive ones, whatever stands beside them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.errors import BadInput
from errata.train import attention, logprobs
from errata.train.exact import apart, inexact
from errata.train.head import LOGITS_AT_ONCE, Transform, score_hidden, transform_of
from errata.train.logprobs import ready
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOGITS_AT_ONCE, "cpu", budget)
        mine = hidden.clone().requires_grad_()
        logps = score_hidden(mine, head, targets, transform)
        (logps * pull).sum().backward()
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
        monkeypatch.setitem(LOGITS_AT_ONCE, "cpu", budget)
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
        ({"num_attention_heads": None}, 64, "without attention"),
    ],
)
def test_architectures_where_flat_rows_are_not_exact_are_known(
    fields: dict[str, Any], seq_len: int, words: str | None
):
    found = inexact(config(**fields), seq_len)
    assert found is None if words is None else words in str(found)


@pytest.mark.parametrize(
    "name", ["final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap"]
)
def test_soft_caps_are_known_by_every_name(name: str):
    assert transform_of(config(**{name: 30.0})) == Transform(1.0, 30.0)


def test_a_row_that_learns_everything_begins_after_its_first_token():
    ids = [4, 5, 6]
    assert grow(Encoded(ids, [IGNORE, 5, 6])) == Tree([4], (Encoded([5, 6], [5, 6]),))


SMALL = {
    "vocab_size": 160, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
MOE = {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2}
ROPE = {"rope_theta": 1e4, "original_max_position_embeddings": 16}
ODD: dict[str, dict[str, Any]] = {
    "gpt_oss": {**MOE, "sliding_window": 4096},  # a sink takes a share of every softmax
    "llama4_text": {**MOE, "attention_chunk_size": 64},  # its prefix names no part of it
    "gemma3n_text": {"head_dim": 8, "vocab_size_per_layer_input": 160, "num_kv_shared_layers": 0,
                     "hidden_size_per_layer_input": 8, "laurel_rank": 4},
    "phimoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "llama": {"max_position_embeddings": 16,
              "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}},
    "phi3": {"max_position_embeddings": 512, "original_max_position_embeddings": 16,
             "rope_parameters": {"rope_type": "longrope", "short_factor": [1.0] * 4,
                                 "long_factor": [2.0] * 4, **ROPE}},
    "doge": {"keep_window_size": 8},
}  # fmt: skip


def odd(kind: str) -> Any:
    """A random model of that kind whose logits differ clearly from token to token."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SMALL, **ODD[kind]}))
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 or "sink" in name:
                weight.copy_(torch.randn(weight.shape, generator=draw) * 0.3)
    return model.eval()


@torch.no_grad()
def forgetful(kind: str, data: list[Tree]) -> list[float]:
    """Every row alone, by a model that has seen no other."""
    found = []
    for tree in data:
        for branch in tree.branches:
            found += naive(odd(kind), Tree(tree.prefix, (branch,)))
    return found


@pytest.mark.parametrize(
    ("kind", "way", "words"),
    [
        ("gpt_oss", "padded", "s_aux"),
        ("llama4_text", "own", "chunked_attention"),
        pytest.param("gemma3n_text", "errata_segments", None, marks=pytest.mark.slow),
        ("llama", "padded", "dynamic rope"),
        ("phi3", "padded", "longrope rope"),
        ("doge", "padded", "picks 8 keys"),
    ],
)
def test_odd_architectures_are_scored_as_each_row_alone(kind: str, way: str, words: str | None):
    data = trees(160)
    model = odd(kind)
    was = model.config._attn_implementation
    for _ in range(2):  # the second time it is still the model's own attention that is compared
        scorer = ready(model, 0, 64)
        with torch.no_grad():
            scored, _ = scorer(data)
        assert scored.logps.tolist() == pytest.approx(forgetful(kind, data), abs=2e-4)
        assert scorer.way == way
        assert words is None or words in str(scorer.why)
    assert (model.config._attn_implementation == was) is (way in ("padded", "own"))


def test_an_argument_that_changes_scores_is_refused():
    q = torch.randn(1, 2, 3, 4)
    attention._forward(None, q, q, q, None, spans=((1, 2),), softcap=None, use_cache=False)
    for name in ("s_aux", "softcap", "a_new_one"):
        with pytest.raises(ValueError, match=name):
            attention._forward(None, q, q, q, None, spans=((1, 2),), **{name: 1.0})


@pytest.mark.parametrize("kind", ["llama", "phi3", "doge"])
def test_rows_that_cannot_reach_the_limit_are_packed(kind: str):
    assert apart(odd(kind).config, 64)
    assert apart(odd(kind).config, 8) is None


def test_a_row_longer_than_the_positions_is_refused_before_training(
    tiny_models: Callable[[str], str],
):
    model, tokenizer = load(tiny_models("gpt2"))
    with pytest.raises(BadInput, match="has 512 positions; set seq_len=512 or less"):
        ready(model, tokenizer.pad_token_id, 513)
    assert ready(load(tiny_models("llama"))[0], tokenizer.pad_token_id, 513)


def test_a_reward_model_that_drops_is_probed_without_and_scored_its_own_way_too(
    tiny_models: Callable[[str], str],
):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_models("gpt2"), num_labels=1, resid_pdrop=0.5, embd_pdrop=0.5
    )
    scorer = ready(model.train(), 0, 64)
    assert (scorer.way, model.training) == ("errata_segments", True)
    data = trees(160)
    model.eval()
    with torch.no_grad():
        packed, _ = scorer(data)
        model.errata_way = "own"
        own, batch = logprobs.Scorer(model, 0, "own", None)(data)
    assert torch.allclose(own.last, packed.last, atol=1e-4)
    assert not own.logps.any()
    assert len(own.logps) == len(batch.targets)


def test_half_precision_is_held_to_its_own_rounding():
    true = -torch.linspace(1, 20, 31)
    ulp = torch.finfo(torch.bfloat16).eps * true.abs().clamp_min(10)
    signs = torch.tensor([1.0, -1.0]).repeat(16)[:31]
    assert logprobs._rounding(true, true + 0.8 * signs * ulp, torch.bfloat16)
    assert not logprobs._rounding(true, true + 1.5 * signs * ulp, torch.bfloat16)
    assert not logprobs._rounding(true, true + torch.eye(31)[3] * 5 * ulp, torch.bfloat16)
    assert not logprobs._rounding(true, true + 0.8 * signs * ulp, torch.float32)
    assert not logprobs._rounding(true, true * torch.nan, torch.bfloat16)
