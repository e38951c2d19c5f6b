"""Peak memory of Errata's own training step on a CPU: flat rows, fused adapters, a lean head.

The published stacks of memory.py keep other things. Here (docs/training.md) nothing is padded, a
frozen norm keeps its normed input in float32, a fused adapter its input and its rank-r image, and
only labelled positions meet the head, a table at a time. The unit is what a process's resident
memory grows by: weights mapped from their file count, and so do malloc's and the libraries' shares.
"""

from __future__ import annotations

from typing import NamedTuple

from errata.cost.arch import Arch
from errata.cost.memory import GIB, Peak, adapter_params
from errata.cost.words import LINEARS

TABLE = 6 << 20  # logits at once, train/head.py
# What a process grows by besides tensors: modules loaded late, thread arenas. Measured on the
# embedded model, whose tensors are 20 MiB.
PROCESS = 0.065 * GIB
# Blocks of one layer after the other, of changing sizes, are not all given back: with checkpointing
# the heap holds several layers' worth. Measured on 61 M parameters, micro batches of 450 to 1,024.
HELD = 4.0
SLACK = 0.05  # malloc's cut-up blocks and huge pages, of what comes and goes within a step
# Predicted against measured in bench/results/cost.md: within 15 %.
LOW, HIGH = 0.80, 1.25
HIGH_HALF = 1.8  # bfloat16 on a CPU: 1.6 times the estimate was measured, and not explained


class Step(NamedTuple):
    """One stage's step, as the panel has it."""

    arch: Arch
    stage: str  # sft, dpo, rm or ppo
    method: str  # lora, qlora or full
    tokens: int  # in one forward: prompts once, both answers
    weight: int = 4  # bytes of a frozen weight; activations are of its type
    rank: int = 16
    checkpointing: bool = False
    cached: int = 0  # tokens in the KV cache of a rollout
    adapters: int = 1  # of PPO: policy, reward, perhaps a reference


def layer_bytes(step: Step) -> float:
    """What a block keeps for its backward pass, per token.

    Two norms in float32 and their outputs; q, k, v as attention sees them, its output and that
    output laid out again; both branches of the MLP, SiLU's result and the product.
    """
    arch, b = step.arch, step.weight
    h, q, kv, f = arch.hidden, arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim, arch.ffn
    kept = 2 * 4 * h + 2 * b * h + b * (q + 2 * kv) + 2 * b * q + 4 * arch.heads
    kept += b * f * (4 if arch.mlp_linears == 3 else 2)
    if step.stage != "sft":  # branches: each sees a copy of its prompt's keys, and holds all of q
        kept += b * (q + kv)
    if step.method == "full":
        return kept + 2 * 4 * h  # a norm that learns keeps its input besides
    return kept + b * step.rank * len(arch.linears())


def terms(step: Step) -> dict[str, float]:
    """GiB of what is alive at the worst moment of a step; the sum is the growth of the process."""
    arch, full, b = step.arch, step.method == "full", step.weight
    count = arch.params if full else adapter_params(arch, step.rank, frozenset(LINEARS))
    table = 4 * min(TABLE, step.tokens * arch.vocab) if step.stage != "rm" else 0
    one = layer_bytes(step) * step.tokens
    turn = b * step.tokens * (3 * arch.ffn + 3 * arch.hidden)
    inputs = b * arch.hidden * step.tokens * arch.layers
    saved = inputs + HELD * (one + turn) if step.checkpointing else one * arch.layers
    linear = (4 + 8 / 64 + 32 / (64 * 256)) / 8 if step.method == "qlora" else b
    # A head that learns keeps three tables; the embedding's gradient comes twice where it is tied.
    head = 3 * table + 4 * arch.vocab * arch.hidden if full else table
    found = {
        "weights": arch.block * linear + (arch.params - arch.block) * b,
        "adapters": 0.0 if full else 4.0 * count * step.adapters,
        "optimizer": 8.0 * count,
        "gradients": 4.0 * count,
        "activations": (saved + turn) * (1 + SLACK),
        "logits": head * (1 + SLACK),
        "kv_cache": 2.0 * b * arch.kv_heads * arch.head_dim * arch.layers * step.cached,
        "process": PROCESS,
    }
    if step.stage == "ppo":  # copies of the best adapter and of the last
        found["adapters"] += 4.0 * count
    if found["kv_cache"] > found["activations"]:  # a rollout is sampled while nothing is kept
        found["activations"] = 0.0
    else:
        found["kv_cache"] = 0.0
    return {name: value / GIB for name, value in found.items()}


def peak(step: Step) -> Peak:
    """The estimate with the interval of our own runs; Unclear for a shape that is not dense."""
    step.arch.check()
    found = terms(step)
    total = sum(found.values())
    high = HIGH_HALF if step.weight == 2 else HIGH
    return Peak(total, total * LOW, total * high, found)
