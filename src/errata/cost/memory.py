"""Peak memory of a training run, term by term, from the shape of the model.

Everything that is alive at the worst moment of a step is counted: weights by type, adapters,
optimizer states, gradients, what each layer keeps for the backward pass, the logits, and what the
allocator and driver hold besides. Moments compete: the loss (all activations and the logits), the
last layer's backward pass, its end (all gradients), the update, and with PPO the generation of a
rollout. Bytes per token are those of a Llama-shaped block (docs/cost.md has every formula).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from errata.cost.arch import Arch
from errata.cost.stack import Stack
from errata.cost.words import Loss, Method, Optimizer, Precision, Reading

GIB = float(1 << 30)
Sharding = Literal["ddp", "zero1", "zero2", "zero3"]

# Logits, bytes a token and vocabulary entry. full: 10 where the loss stays in 16 bits (logits,
# log-softmax, three gradients), 14 where it is float32 (2 + 3 · 4); published slopes are 9 to 13.
# chunked: 16-bit logits, an eighth of them at a time in float32. fused with the head: neither.
LOGITS: dict[Loss, float] = {"full": 12.0, "chunked": 2.25, "fused": 0.25}
COMPILED, UPCAST = 10.0, 16.0  # a compiler joins some; with a float32 head it is 4 · 4
# Held besides the tensors. reserved: blocks of the allocator that are cut up; device: those, the
# driver's context and the kernels' workspaces.
SLACK: dict[Reading, float] = {"allocated": 0.0, "reserved": 0.05, "device": 0.05}
CONTEXT: dict[Reading, float] = {"allocated": 0.0, "reserved": 0.0, "device": 1.0}
# What measured runs lie between, over this estimate: see docs/cost.md and bench/cost.py.
LOW, HIGH = 0.70, 1.32


class Setup(NamedTuple):
    """One training run, understood."""

    arch: Arch
    method: Method
    seq_len: int
    micro_batch: int
    grad_accum: int
    checkpointing: bool
    optimizer: Optimizer
    precision: Precision
    loss: Loss
    reading: Reading
    sequences: int = 1  # answers a row: 2 for preference pairs
    shared_prompt: int = 0  # tokens of a pair that are computed once for both answers
    logits: bool = True  # False for a reward model: one scalar a row
    frozen_copies: int = 0  # whole models besides the one that learns
    learners: int = 1  # models that learn: 2 when the value model is one of its own
    adapters: int = 1  # on one base: policy, reference, reward
    rollout: int = 0  # answers that are generated at once
    lora_r: int = 0
    targets: frozenset[str] = frozenset()
    stack: Stack = Stack()
    gpus: int = 1
    sharding: Sharding = "ddp"

    @property
    def tokens(self) -> int:
        """In one forward pass."""
        row = self.seq_len * self.sequences - self.shared_prompt * (self.sequences - 1)
        return row * self.micro_batch


def adapter_params(arch: Arch, rank: int, targets: frozenset[str]) -> int:
    """r·(in + out) for each adapted layer: A is (r, in), B is (out, r)."""
    per_block = sum(a + b for name, (a, b) in arch.linears().items() if name in targets)
    head = arch.hidden + arch.vocab if "head" in targets else 0
    return rank * (arch.layers * per_block + head)


def trained(run: Setup) -> float:
    """Parameters that learn."""
    arch, method = run.arch, run.method
    if method.adapts:
        return float(adapter_params(arch, run.lora_r, run.targets)) * run.learners
    share = min(method.layers, arch.layers) / arch.layers if method.name == "freeze" else 1.0
    return (arch.block * share if share < 1 else arch.params) * run.learners


def _weights(run: Setup) -> float:
    arch, precision = run.arch, run.precision
    frozen = run.method.name not in ("full", "galore")
    per = precision.frozen if frozen else precision.weight
    linear = run.method.bytes_per_weight
    if linear is None:
        mine = arch.params * per
    else:
        rest = 4 if run.stack.upcast else 2  # embeddings, head, norms
        mine = arch.block * linear + (arch.params - arch.block) * rest
    copies = run.frozen_copies * (mine if linear is not None else arch.params * 2)
    # with adapters, a second learner of its own is a second base
    return mine * run.learners + copies


def _states(run: Setup, count: float, per: int) -> float:
    """Optimizer states, and the master copy where precision asks for one."""
    opt = run.optimizer
    if opt.on_host or (opt.paged and run.reading != "device"):
        return 0.0  # paged is managed memory: the allocator's counters do not see it
    # 8-bit states carry a float32 scale per 256 values
    each = opt.state_bytes * (1 + 4 / 256) if opt.state_bytes else float(per)
    if run.method.name == "galore":
        return _projected(run, opt.states * each, per)
    if run.precision.master and not run.method.adapts:
        each = max(each, 4.0) if not opt.state_bytes else each
        return count * (opt.states * each + run.precision.master)
    return count * opt.states * each


def _projected(run: Setup, states: float, per: int) -> float:
    """GaLore (Zhao et al. 2024): of an m × n matrix with m ≤ n, states of r × n and a projector of
    m × r; embeddings and norms have states of their own."""
    arch, rank = run.arch, run.method.rank
    whole = arch.params - arch.block
    block = sum(
        states * min(rank, a, b) * max(a, b) + per * min(rank, a, b) * min(a, b)
        for a, b in arch.linears().values()
    )
    return whole * states + arch.layers * block


def layer_bytes(run: Setup) -> float:
    """What one block keeps for its backward pass, per token.

    RMSNorm computes in float32 and keeps its input so (LayerNorm in 16 bits); attention keeps q, k,
    v, its output and a float32 per head; the gated MLP keeps both branches and SiLU's result. A
    linear layer keeps its input only when it, or an adapter on it, learns.
    """
    arch, stack = run.arch, run.stack
    h, q, kv, f = arch.hidden, arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim, arch.ffn
    gated, fused = arch.mlp_linears == 3, stack.kernels == "fused"
    wide = (
        2 if stack.upcast or (run.precision.weight == 4 and not run.precision.compute_copy) else 1
    )
    norms = 2 * (2.0 if fused or not gated else 4.0) * h
    attention = wide * (2 * (q + 2 * kv) + 2 * q) + 4 * arch.heads
    if stack.eager:  # scores in float32 and in 16 bits
        attention += 6 * arch.heads * run.seq_len
    branches = (2 if fused else 3) if gated else 1
    kept = norms + attention + wide * 2 * f * branches
    if not run.method.adapts:
        kept += wide * (2 * 2 * h)  # inputs of q, k, v and of gate, up; the output's is attention's
        if stack.kernels == "plain":
            kept += wide * (2 * 2 * h + 2 * f)  # a norm before its weight; what goes into down
        return kept
    if run.method.name == "qlora" and not fused:
        kept += 2 * (2 * h + f)  # 4-bit products keep their input, in some versions
    return kept + _adapters_keep(run)


def _adapters_keep(run: Setup) -> float:
    arch, kept = run.arch, 0.0
    each = {"peft": 4, "autocast": 2, "native": 0}[run.stack.inputs]
    for name, (size, out) in arch.linears().items():
        if name in run.targets:
            kept += each * size + (each or 2) * run.lora_r
            kept += 6 * out if run.method.name == "dora" else 0  # both summands, to be scaled
    if run.stack.inputs == "native" and run.method.name != "qlora":
        kept += 2 * arch.hidden * bool(run.targets & {"q", "k", "v"})
        kept += 2 * arch.hidden * bool(run.targets & {"gate", "up"})
        if run.stack.kernels == "plain":
            kept += 2 * arch.ffn * ("down" in run.targets)
    return kept


def _turn(run: Setup) -> float:
    """Gradients of a block's MLP while its backward pass goes through it, per token."""
    arch = run.arch
    wide = 2 if run.stack.upcast else 1
    return wide * (2.0 * arch.ffn * (arch.mlp_linears - 1) + 2 * arch.hidden)


def _logits(run: Setup) -> float:
    if not run.logits:
        return 0.0
    per = LOGITS[run.loss]
    if run.loss == "full":
        per = UPCAST if run.stack.upcast else COMPILED if run.stack.kernels == "compiled" else per
    return per * run.arch.vocab * run.tokens


def _moments(run: Setup) -> tuple[dict[str, float], ...]:
    """What is alive, in bytes, besides what always is; the largest sum is the peak."""
    arch, full, precision = run.arch, not run.method.adapts, run.precision
    count = trained(run)
    per = precision.gradient if full else _adapter_bytes(run)
    gradients = count * per
    head = arch.vocab * arch.hidden * per if run.method.name in ("full", "galore") else 0.0
    held = gradients if run.grad_accum > 1 or not full else 0.0
    if run.optimizer.in_backward:
        gradients, held = head, 0.0
    if run.sharding in ("zero2", "zero3"):
        gradients, held, head = (x / run.gpus for x in (gradients, held, head))
    layers = min(run.method.layers, arch.layers) if run.method.name == "freeze" else arch.layers
    one = layer_bytes(run) * run.tokens
    wide = 4.0 if run.stack.upcast or (full and precision.weight == 4) else 2.0
    saved = (wide * arch.hidden * run.tokens if run.checkpointing else one) * layers
    saved *= 0 if run.stack.offload else 1
    again = one * (run.checkpointing or run.stack.offload)
    turn, copies = _turn(run) * run.tokens, count * precision.compute_copy if full else 0.0
    logits = _logits(run)
    spare = count * per if run.optimizer.spare else 0.0
    # Two models that learn take their step one after the other: one's activations at a time.
    return (
        {"weights": copies, "gradients": held, "activations": saved, "logits": logits},
        {"weights": copies, "gradients": max(held, head), "activations": saved + again + turn},
        {"gradients": gradients, "activations": one + turn},
        {"gradients": gradients, "workspace": spare},
        {"gradients": held, "kv_cache": _cache(run), "logits": 4.0 * arch.vocab * run.rollout},
    )


def _cache(run: Setup) -> float:
    """Keys and values of every token of a rollout in 16 bits, all layers."""
    arch = run.arch
    return 4.0 * arch.kv_heads * arch.head_dim * arch.layers * run.seq_len * run.rollout


def _adapter_bytes(run: Setup) -> int:
    """Of an adapter's parameter, its gradient and each moment."""
    return 2 if run.stack.inputs == "native" and run.precision.weight == 2 else 4


def terms(run: Setup) -> dict[str, float]:
    """GiB of each thing that is alive at the worst moment, on one GPU; their sum is the peak."""
    arch, full = run.arch, not run.method.adapts
    per = run.precision.weight if full else _adapter_bytes(run)
    count = trained(run)
    names = ("weights", "adapters", "optimizer", "gradients", "activations", "logits", "workspace")
    found = dict.fromkeys(names, 0.0)
    found["weights"] = _weights(run)
    found["adapters"] = (0.0 if full else count * per) * run.adapters
    found["optimizer"] = _states(run, count, per)
    if run.method.bytes_per_weight:  # the largest linear layer, unpacked to 16 bits
        found["workspace"] = max(a * b for a, b in arch.linears().values()) * 2.0
    if run.gpus > 1:
        _spread(run, found, count * (run.precision.gradient if full else per))
    for name, value in max(_moments(run), key=lambda moment: sum(moment.values())).items():
        found[name] = found.get(name, 0.0) + value
    found = {name: value / GIB for name, value in found.items()}
    found["overhead"] = sum(found.values()) * SLACK[run.reading] + CONTEXT[run.reading]
    return found


def _spread(run: Setup, found: dict[str, float], gradients: float) -> None:
    """What of it lies on one of several GPUs (Rajbhandari et al. 2020), and what they exchange.

    DDP copies gradients into buckets; ZeRO-3 and FSDP gather a block while it computes, and the
    next one ahead of it.
    """
    if run.sharding != "ddp":
        found["optimizer"] /= run.gpus
    if run.sharding == "zero3":
        found["adapters"] /= run.gpus
        per = found["weights"] / run.arch.params
        found["weights"] /= run.gpus
        widest = max(run.arch.block / run.arch.layers, run.arch.vocab * run.arch.hidden)
        found["communication"] = 2 * widest * min(per, 2.0)
    else:
        found["communication"] = gradients if run.sharding == "ddp" else min(gradients, 2.0 * 5e8)


class Peak(NamedTuple):
    """GiB; low and high are the measured spread around the estimate."""

    gib: float
    low: float
    high: float
    terms: dict[str, float]


def peak(run: Setup) -> Peak:
    """The estimate with its interval; Unclear when the shape is none of a dense decoder."""
    run.arch.check()
    found = terms(run)
    total = math.fsum(found.values())
    return Peak(total, total * LOW, total * HIGH, found)
