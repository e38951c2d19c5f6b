"""Methods, optimizers, targets, losses and metrics as people publish them, put into one form.

What is not understood raises `Unclear` with the reason: a cost is never guessed from half a row.
Each table is read from the top; the first pattern that is found decides.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Loss = Literal["full", "chunked", "fused"]
Reading = Literal["allocated", "reserved", "device"]
LINEARS = ("q", "k", "v", "o", "gate", "up", "down")
ATTENTION, MLP = LINEARS[:4], LINEARS[4:]


class Unclear(ValueError):
    """A row that has no answer, and why."""


class Method(NamedTuple):
    """`bytes_per_weight` of the frozen linear layers; None: as `precision` says."""

    name: Literal["full", "lora", "dora", "qlora"]
    bytes_per_weight: float | None = None


class Optimizer(NamedTuple):
    """`states` per trained parameter, each of `state_bytes` (None: of the parameter's own type)."""

    states: int
    state_bytes: float | None = None
    paged: bool = False
    in_backward: bool = False


class Precision(NamedTuple):
    """Bytes of a weight, its gradient and a copy that computes; adapters are always float32."""

    weight: int
    gradient: int
    compute_copy: int = 0
    master: int = 0


# nf4: 4 bits and a float32 scale per 64 weights, 4 + 32/64; double-quantised: 8 bits per scale, a
# float32 per 256 of them, 4 + 8/64 + 32/(64·256). GPTQ: a 16-bit scale and a 4-bit zero per 128.
METHODS: dict[str, Method] = {
    "full": Method("full"),
    "lora": Method("lora"),
    "dora": Method("dora"),
    "qlora": Method("qlora", (4 + 32 / 64) / 8),
    "qlora-nf4": Method("qlora", (4 + 32 / 64) / 8),
    "qlora-nf4-dq": Method("qlora", (4 + 8 / 64 + 32 / (64 * 256)) / 8),
    "qlora-gptq4": Method("qlora", (4 + 20 / 128) / 8),
}
_KNOWN_GAPS = {
    "freeze": "which layers are trained is not in the row",
    "galore": "the rank of its projection is not in the row",
}


def method(text: str | None) -> tuple[Method, str]:
    """The method, and what stood in brackets behind it."""
    if not text:
        raise Unclear("method is not given")
    found = re.fullmatch(r"\s*([\w.-]+)\s*(?:\((.*)\))?\s*", text)
    name = found[1].lower() if found else text
    if found and name in METHODS:
        return METHODS[name], found[2] or ""
    reason = _KNOWN_GAPS.get(name, f"known are {', '.join(METHODS)}")
    raise Unclear(f"method `{text}` has no estimate: {reason}")


_OPTIMIZERS: tuple[tuple[str, Optimizer], ...] = (
    (r"ademamix", Optimizer(3)),
    (r"adafactor", Optimizer(0)),
    (r"lion.*8.?bit|8.?bit.*lion", Optimizer(1, 1)),
    (r"lion", Optimizer(1)),
    (r"adam.*8.?bit|8.?bit.*adam", Optimizer(2, 1)),
    (r"adam", Optimizer(2)),
    (r"sgd.*momentum|momentum.*sgd", Optimizer(1)),
    (r"rmsprop|adagrad", Optimizer(1)),
    (r"sgd", Optimizer(0)),
)


def optimizer(text: str | None, more: str, assumed: list[str]) -> Optimizer:
    """From the row's `optimizer` and what its method says of one."""
    said = f"{text or ''} {more}".lower()
    for pattern, found in _OPTIMIZERS:
        if re.search(pattern, said):
            in_backward = bool(re.search(r"in[ _-]*(bwd|backward)|optimizer_in", said))
            return found._replace(paged="paged" in said, in_backward=in_backward)
    if text and text.strip():
        raise Unclear(f"optimizer `{text}` is not known; write one like `adamw` or `adamw 8bit`")
    assumed.append("optimizer: AdamW")
    return Optimizer(2)


_PRECISIONS: tuple[tuple[str, Precision], ...] = (
    (r"mixed|amp|autocast", Precision(4, 4, compute_copy=2)),
    (r"master|deepspeed|zero", Precision(2, 2, master=4)),
    (r"bf16|bfloat16|fp16|float16|half", Precision(2, 2)),
    (r"fp32|float32|tf32|full", Precision(4, 4)),
)


def precision(text: str | None, assumed: list[str]) -> Precision:
    """Of weights and gradients."""
    for pattern, found in _PRECISIONS:
        if text and re.search(pattern, text.lower()):
            return found
    if text and text.strip():
        raise Unclear(f"precision `{text}` is not known; write bf16, fp16, fp32 or `bf16 mixed`")
    assumed.append("precision: bf16")
    return Precision(2, 2)


_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"all|linear", LINEARS),
    (r"c_?attn|qkv|query_key_value", ("q", "k", "v")),
    (r"attn|attention", ATTENTION),
    (r"mlp|ffn|feed.?forward", MLP),
    (r"q(_?proj)?|query|wq", ("q",)),
    (r"k(_?proj)?|key|wk", ("k",)),
    (r"v(_?proj)?|value|wv", ("v",)),
    (r"o(_?proj)?|wo|dense|output_proj|out_proj", ("o",)),
    (r"gate(_?proj)?|w1|fc1", ("gate",)),
    (r"up(_?proj)?|w3", ("up",)),
    (r"down(_?proj)?|w2|fc2", ("down",)),
    (r"c_?proj", ("o", "down")),
    (r"head|lm_?head|output", ("head",)),
)


def targets(text: str | list[str] | None, assumed: list[str]) -> frozenset[str]:
    """Which linear layers have an adapter; `head` among them when the output layer has one."""
    said = " ".join(text) if isinstance(text, list) else (text or "")
    if not said.strip():
        assumed.append("LoRA targets: all linear layers")
        return frozenset(LINEARS)
    said = said.lower()
    plain = re.sub(r"\(.*?\)", " ", said)  # what is in brackets spells out the same again
    plain = plain if re.search(r"[a-z]", plain) else said
    # in "all attn+mlp" the words after `all` say all of what
    of_what = re.search(r"all[ -]+(attn|attention|mlp)", plain)
    found: set[str] = set()
    for word in re.findall(r"[a-z][\w-]*", plain):
        if word not in _FILLERS and not (word == "all" and of_what):
            found.update(_target(word))
    return frozenset(found)


_FILLERS = ("and", "layers", "modules", "projections", "the", "of")


def _target(word: str) -> tuple[str, ...]:
    for pattern, names in _GROUPS:
        if re.fullmatch(pattern, word):
            return names
    if re.fullmatch(r"all[-_]linear(s|[-_]layers)?|linear[-_]layers", word):
        return LINEARS
    raise Unclear(f"LoRA target `{word}` is not known; write names like `q,v` or `all`")


def loss(text: str | None, assumed: list[str]) -> Loss:
    """Whether all logits exist at once (full), as 16-bit chunks (chunked), or never (fused)."""
    said = (text or "").lower()
    if not said.strip():
        assumed.append("loss: full cross-entropy")
        return "full"
    if re.search(r"fused|liger|linear|cut|unsloth", said):
        return "fused"
    if "chunk" in said:
        return "chunked"
    if re.search(r"full|ce\b|cross|sigmoid|dpo|standard|default", said):
        return "full"
    raise Unclear(f"loss `{text}` is not known; write full, chunked or fused")


def reading(text: str | None, assumed: list[str]) -> Reading:
    """Which of the three numbers called `memory` is meant; they differ by gigabytes."""
    said = (text or "").lower()
    if not said.strip():
        assumed.append("metric: memory of the device")
        return "device"
    if re.search(r"alloc|active", said):
        return "allocated"
    if re.search(r"device|nvidia|smi|report|gpu", said):
        return "device"
    if "reserv" in said:
        return "reserved"
    raise Unclear(f"metric `{text}` is not known; write max_allocated, reserved or device")
