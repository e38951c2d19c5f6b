"""A LoRA layer as one step of autograd: x Wᵀ + b + s · (x Aᵀ) Bᵀ (Hu 2021, arXiv 2106.09685).

peft computes it in five, each of which writes a full output; here the low-rank part is added in
place, forward and backward, and only x and x Aᵀ are kept. It takes over where it is the same sum:
one active plain LoRA adapter without dropout on a plain linear layer with frozen weights. Elsewhere
(several adapters, DoRA, quantised or merged weights, dropout in training) peft's own forward runs.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        """(N, in) → (N, out). Two dimensions only: a view made in here may not be written to later,
        and Gemma 3n does."""
        a, b = a.to(x.dtype), b.to(x.dtype)
        low = x @ a.T
        out = nn.functional.linear(x, weight, bias)
        out.addmm_(low, b.T, alpha=scale)
        ctx.save_for_backward(x, low, weight, a, b)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, low, weight, a, b = ctx.saved_tensors
        (grad,) = grads
        pull = (grad @ b).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(pull, a)
        grad_a = pull.T @ x if ctx.needs_input_grad[3] else None
        grad_b = (grad.T @ low).mul_(ctx.scale) if ctx.needs_input_grad[4] else None
        return grad_x, None, None, grad_a, grad_b, None


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    active = self.active_adapters
    name = active[0] if len(active) == 1 else None
    plain = (
        name in self.lora_A
        and not (self.disable_adapters or self.merged or args or kwargs)
        and name not in self.lora_variant
        and (not self.training or isinstance(self.lora_dropout[name], nn.Identity))
        and not torch.is_autocast_enabled(x.device.type)
        and x.dtype == self.base_layer.weight.dtype
    )
    if not plain:
        own: Tensor = type(self).forward(self, x, *args, **kwargs)
        return own
    base, down, up = self.base_layer, self.lora_A[name], self.lora_B[name]
    flat = x.reshape(-1, x.shape[-1])
    out: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
        flat, base.weight, base.bias, down.weight, up.weight, self.scaling[name]
    )
    return out.view(*x.shape[:-1], out.shape[-1])


def fuse(model: Any) -> int:
    """Put the one-step forward on every layer that can take it; returns how many did."""
    from peft.tuners.lora import Linear

    done = 0
    for module in model.modules():
        if type(module) is not Linear or type(module.base_layer) is not nn.Linear:
            continue
        frozen = not any(p.requires_grad for p in module.base_layer.parameters())
        biased = any(layer.bias is not None for layer in module.lora_B.values())
        if frozen and not biased and not module.base_layer._forward_hooks:
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
            done += 1
    return done
