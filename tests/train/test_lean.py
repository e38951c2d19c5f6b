"""What a layer leaves out: the same numbers and gradients, and really left out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from errata.train.lean import fuse_norms
from errata.train.logprobs import ready
from errata.train.model import add_lora, load
from errata.train.packing import IGNORE, Encoded, Tree


def test_a_frozen_norm_is_one_node_with_the_same_values_and_gradient():
    torch.manual_seed(0)
    norm = LlamaRMSNorm(8)
    norm.weight.requires_grad_(False).copy_(torch.randn(8))
    x = torch.randn(3, 5, 8, requires_grad=True)
    own = norm(x)
    (gradient,) = torch.autograd.grad((own**2).sum(), x)

    assert fuse_norms(norm) == 1
    fused = norm(x)
    assert "RmsNorm" in type(fused.grad_fn).__name__
    (found,) = torch.autograd.grad((fused**2).sum(), x)
    assert torch.allclose(fused, own, atol=1e-6)
    assert torch.allclose(found, gradient, atol=1e-5)


def test_a_norm_that_learns_or_is_another_function_keeps_its_own_forward():
    other = GemmaRMSNorm(8)  # its weight is 1 + w
    other.weight.requires_grad_(False).fill_(0.5)

    assert fuse_norms(LlamaRMSNorm(8)) == 0
    assert fuse_norms(other) == 0


def test_the_last_feed_forward_part_sees_the_positions_that_are_read(
    tiny_models: Callable[[str], str],
):
    """Three prompt tokens before the one that predicts, two answers of two tokens: of nine tokens
    four are scored, and two more are their sequences' last."""
    model, tokenizer = load(tiny_models("llama"))
    model = add_lora(model, 4, 8, 0.0)
    scorer = ready(model, tokenizer.pad_token_id, 64)
    layers = model.get_base_model().model.layers
    seen: dict[int, int] = {}
    for index in (0, len(layers) - 1):
        layers[index].mlp.register_forward_pre_hook(
            lambda _, args, index=index: seen.__setitem__(index, args[0].shape[1])
        )
    branches = tuple(Encoded([7, *ids], [IGNORE, *ids]) for ids in ([8, 9], [10, 11]))

    scorer([Tree([4, 5, 6], branches)])
    assert seen == {0: 9, len(layers) - 1: 4 + 2}
