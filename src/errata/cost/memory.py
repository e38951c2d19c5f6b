"""Peak memory of a training run, term by term, from the shape of the model.

Everything that is alive at the worst moment of a step is counted: weights by type, adapters,
optimizer states, gradients, what each layer keeps for the backward pass, the logits, and what the
allocator and driver hold besides. Three moments compete: the loss (all activations and the logits),
the first layer of the backward pass, and its end (all gradients). Bytes per token are those of a
Llama-shaped block with attention that is linear in memory (SDPA, FlashAttention).
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from errata.cost.words import LINEARS, Loss, Method, Optimizer, Precision, Reading, Unclear

GIB = float(1 << 30)

# Measured on published peaks: see docs/cost.md.
# Logits, bytes a token and vocabulary entry. full: 16-bit logits, a float32 copy, its log-softmax
# and the gradient; chunked: the 16-bit logits alone, chunk by chunk in float32; fused: neither.
LOGITS: dict[Loss, float] = {"full": 12.0, "chunked": 3.0, "fused": 0.25}
# Held besides the tensors. reserved: blocks of the allocator that are cut up; device: those, the
# driver's context and the kernels' workspaces.
SLACK: dict[Reading, float] = {"allocated": 0.0, "reserved": 0.05, "device": 0.05}
CONTEXT: dict[Reading, float] = {"allocated": 0.0, "reserved": 0.0, "device": 1.0}
# Measured peak over this estimate, in 28 published runs of 5 sources: the logarithm has mean -0.042
# and spread 0.101. A run of a new source lies within mean ± t(0.975, 5 - 1)·spread·sqrt(1 + 1/5):
# rows of one source err together, so sources are counted, not rows.
LOW, HIGH = 0.70, 1.31


class Arch(BaseModel):
    """The shape of a decoder: what config.json says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab: int = Field(gt=0)
    hidden: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    ffn: int = Field(gt=0)
    mlp_linears: int = Field(3, ge=2, le=3)
    params_B: float = Field(gt=0)
    tied: bool = False

    def linears(self) -> dict[str, tuple[int, int]]:
        """(in, out) of each linear layer of a block."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        h, f = self.hidden, self.ffn
        sizes = ((h, q), (h, kv), (h, kv), (q, h), (h, f), (h, f), (f, h))
        found = dict(zip(LINEARS, sizes, strict=True))
        if self.mlp_linears == 2:
            del found["gate"]
        return found

    @property
    def block(self) -> int:
        """Weights of all linear layers of all blocks."""
        return self.layers * sum(a * b for a, b in self.linears().values())

    @property
    def embeddings(self) -> int:
        """Input and output embeddings; one matrix when tied."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def params(self) -> float:
        """All of them."""
        return self.params_B * 1e9

    def check(self) -> None:
        """A dense decoder is its blocks and embeddings; one with experts is not estimated."""
        known = self.block + self.embeddings
        if abs(known / self.params - 1) > 0.1:
            raise Unclear(
                f"params_B {self.params_B:g} does not fit the shape, which has {known / 1e9:.2f} B"
                " (a mixture of experts is not estimated)"
            )


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
    logits: bool = True  # False for a reward model: one scalar a row
    frozen_copies: int = 0  # whole models besides the one that learns
    lora_r: int = 0
    targets: frozenset[str] = frozenset()

    @property
    def tokens(self) -> int:
        """In one forward pass."""
        return self.seq_len * self.micro_batch * self.sequences


def adapter_params(arch: Arch, rank: int, targets: frozenset[str]) -> int:
    """r·(in + out) for each adapted layer: A is (r, in), B is (out, r)."""
    per_block = sum(a + b for name, (a, b) in arch.linears().items() if name in targets)
    head = arch.hidden + arch.vocab if "head" in targets else 0
    return rank * (arch.layers * per_block + head)


def _weights(run: Setup) -> float:
    arch, per = run.arch, run.precision.weight
    frozen = run.method.name != "full"
    per = (
        2 if frozen and run.precision.compute_copy else per
    )  # a frozen base has no need of float32
    linear = run.method.bytes_per_weight
    if linear is None:
        return arch.params * (per + (0 if frozen else run.precision.compute_copy))
    return arch.block * linear + (arch.params - arch.block) * per


def _states(run: Setup, trained: float, per: int) -> float:
    """Optimizer states, and the master copy where precision asks for one."""
    opt = run.optimizer
    if opt.paged and run.reading != "device":
        return 0.0  # managed memory: the allocator's counters do not see it
    # 8-bit states carry a float32 scale per 256 values
    each = opt.state_bytes * (1 + 4 / 256) if opt.state_bytes else float(per)
    if run.precision.master and run.method.name == "full":
        each = max(each, 4.0) if not opt.state_bytes else each
        return trained * (opt.states * each + run.precision.master)
    return trained * opt.states * each


def layer_bytes(run: Setup) -> float:
    """What one block keeps for its backward pass, per token.

    RMSNorm computes in float32 and keeps its input so; attention keeps q, k, v and its output; the
    gated MLP keeps both branches and SiLU's result. A linear layer keeps its input only when it, or
    an adapter on it, learns; peft casts that input to float32 once for every adapter.
    """
    arch = run.arch
    h, q, kv = arch.hidden, arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    kept = 2 * 4.0 * h + 2 * (q + 2 * kv) + 2 * q
    kept += 2 * arch.ffn * (3 if arch.mlp_linears == 3 else 1)
    if run.method.name == "full":
        return kept + 2 * 2 * h + 2 * 2 * h + 2 * arch.ffn  # norms' weights; inputs of the linears
    for name, (wide, out) in arch.linears().items():
        if name in run.targets:
            kept += 4 * wide + 4 * run.lora_r
            kept += 6 * out if run.method.name == "dora" else 0  # both summands, to be scaled
    return kept


def terms(run: Setup) -> dict[str, float]:
    """GiB of each thing that is alive at the worst moment; their sum is the estimate."""
    arch, full = run.arch, run.method.name == "full"
    adapters = 0 if full else adapter_params(arch, run.lora_r, run.targets)
    trained = arch.params if full else float(adapters)
    per = run.precision.weight if full else 4
    gradients = trained * (run.precision.gradient if full else 4)
    head = arch.vocab * arch.hidden * run.precision.gradient if full else 0.0
    held = gradients if run.grad_accum > 1 or not full else 0.0
    if run.optimizer.in_backward:
        gradients, held = head, 0.0
    one = layer_bytes(run) * run.tokens
    saved = (2.0 * arch.hidden * run.tokens if run.checkpointing else one) * arch.layers
    logits = LOGITS[run.loss] * arch.vocab * run.tokens if run.logits else 0.0
    moments: tuple[dict[str, float], ...] = (
        {"gradients": held, "activations": saved, "logits": logits},
        {
            "gradients": max(held, head),
            "activations": saved + one * run.checkpointing,
            "logits": 0.0,
        },
        {"gradients": gradients, "activations": one, "logits": 0.0},
    )
    unpacked = max(a * b for a, b in arch.linears().values()) * 2.0
    found = {
        "weights": _weights(run) + run.frozen_copies * arch.params * 2,
        "adapters": adapters * 4.0,
        "optimizer": _states(run, trained, per),
        **max(moments, key=lambda moment: sum(moment.values())),
        "workspace": unpacked if run.method.bytes_per_weight else 0.0,
    }
    found = {name: value / GIB for name, value in found.items()}
    total = sum(found.values())
    found["overhead"] = total * SLACK[run.reading] + CONTEXT[run.reading]
    return found


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
    total = sum(found.values())
    return Peak(total, total * LOW, total * HIGH, found)
