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

    name: Literal["full", "lora", "dora", "qlora", "freeze", "galore"]
    bytes_per_weight: float | None = None
    layers: int = 0  # freeze: how many of the last blocks learn
    rank: int = 0  # galore: of its projection

    @property
    def adapts(self) -> bool:
        """Whether adapters learn, and not the weights."""
        return self.name in ("lora", "dora", "qlora")


class Optimizer(NamedTuple):
    """`states` per trained parameter, each of `state_bytes` (None: of the parameter's own type)."""

    states: int
    state_bytes: float | None = None
    paged: bool = False
    in_backward: bool = False
    spare: bool = False  # torch's foreach AdamW: the roots of all second moments at once
    on_host: bool = False  # states and master weights lie in the host's memory


class Precision(NamedTuple):
    """Bytes of a weight, its gradient, the copy that computes and the master copy.

    `native`: adapters are of the weights' own type (litgpt's `bf16-true`, torchtune), not float32.
    `frozen`: of weights that do not learn; Lightning's `bf16-mixed` keeps those in float32 too.
    """

    weight: int
    gradient: int
    compute_copy: int = 0
    master: int = 0
    native: bool = False
    frozen: int = 2


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
_ALIASES: tuple[tuple[str, str], ...] = (
    (r"(full|sft)[\s_-]*(parameters?)?[\s_-]*(fine[\s_-]*tun\w*|ft)?", "full"),
    (r"q-?lora.*gptq.*|gptq.*lora|lora.*gptq.*", "qlora-gptq4"),
    (r"q-?lora.*(dq|double).*|(lora.*)?(bnb[.-])?nf4[ .-](dq|double).*", "qlora-nf4-dq"),
    (r"(bnb|bitsandbytes)?.*q-?lora.*|(lora.*)?(bnb[.-])?nf4", "qlora-nf4"),
    (r"dora", "dora"),
    (r"(rs-?)?lora( ?\+|-?plus)?( fine-?tun\w*)?", "lora"),
)
_UNSAID = re.compile(
    r"\s*(unknown|unspecified|not (stated|given|specified|published)|default|n/?a|none|null"
    r"|[?–-]*)\s*", re.IGNORECASE,
)  # fmt: skip


def said(text: str | None) -> str:
    """The text, or nothing where it only says that it says nothing."""
    return "" if text is None or _UNSAID.fullmatch(text) else text


def method(text: str | None) -> tuple[Method, str]:
    """The method, and what stood in brackets behind it."""
    if not text or not text.strip():
        raise Unclear("method is not given")
    found = re.fullmatch(r"\s*([^()]+?)\s*(?:\((.*)\))?\s*", text)
    name, more = (found[1].lower(), found[2] or "") if found else (text.lower(), "")
    kind, _, rest = name.partition(" ")
    if kind in ("freeze", "galore"):
        return _partly(kind, f"{rest} {more}"), more
    for pattern, known in _ALIASES:
        if name not in METHODS and re.fullmatch(pattern, name):
            name = known
    if name in METHODS and METHODS[name].name == "qlora":
        name = _stored(text.lower(), name)
    if name in METHODS:
        return METHODS[name], more
    raise Unclear(f"method `{text}` has no estimate; known are {', '.join(METHODS)}, "
                  "freeze (N layers) and galore (rank N)")  # fmt: skip


def _stored(text: str, name: str) -> str:
    """How a quantised base is kept, by all of the text; `` where that is in no table here."""
    other = re.search(r"(?<!\d)[2358][ -]?bit|int[28]\b|aqlm|hqq|eetq|awq|llm\.int8", text)
    if other and not re.search(r"adam|lion|optim|paged", text):  # those bits are an optimizer's
        return ""
    if name == "qlora-nf4" or name == "qlora":
        name = "qlora-gptq4" if "gptq" in text else name
        name = "qlora-nf4-dq" if re.search(r"\bdq\b|double", text) else name
    return name


def _partly(kind: str, more: str) -> Method:
    """`freeze (2 layers)` learns the last two blocks; `galore (rank 1024)` projects gradients."""
    number = re.search(r"(?<!\d)\d+(?![\d.]|[ -]?bit)", more)  # `freeze (16-bit)`: a type
    if kind == "freeze" and not number:
        raise Unclear(
            "freeze: which layers are trained is not in the row; write `freeze (2 layers)`"
        )
    if kind == "freeze" and number:
        return Method("freeze", layers=int(number[0]))
    return Method("galore", rank=int(number[0]) if number else 0)


_OPTIMIZERS: tuple[tuple[str, Optimizer], ...] = (
    (r"ademamix", Optimizer(3)),
    (r"adafactor", Optimizer(0)),
    (r"lomo", Optimizer(0, in_backward=True)),
    (r"adam[-_ ]?mini", Optimizer(1)),
    (r"lion.*8.?bit|8.?bit.*lion", Optimizer(1, 1)),
    (r"lion|muon|signum", Optimizer(1)),
    (r"adam.*4.?bit|4.?bit.*adam", Optimizer(2, 0.5)),
    (r"adam.*(8.?bit|int8|fp8)|(8.?bit|int8).*adam|bnb.*adam", Optimizer(2, 1)),
    (r"adam.*(fp32|float32).*(state|moment)", Optimizer(2, 4)),
    (r"adam|lamb|sophia|came", Optimizer(2)),
    (r"sgd.*momentum|momentum.*sgd", Optimizer(1)),
    (r"rmsprop|adagrad", Optimizer(1)),
    (r"sgd", Optimizer(0)),
)


_IN_BACKWARD = r"in[ _-]*(bwd|backward)|optimizer_in|layer[ _-]*wise|per[ _-]layer"


def optimizer(text: str | None, more: str, assumed: list[str]) -> Optimizer:
    """From the row's `optimizer` and what its method says of one."""
    words = f"{said(text)} {more}".lower()
    for pattern, found in _OPTIMIZERS:
        if re.search(pattern, words):
            return found._replace(
                paged="paged" in words,
                in_backward=found.in_backward or bool(re.search(_IN_BACKWARD, words)),
                on_host=bool(re.search(r"cpu|offload", said(text).lower())),
                spare=bool(re.search(r"foreach|adamw_torch(?!_)", words)) and found.states == 2,
            )
    if said(text):
        raise Unclear(f"optimizer `{text}` is not known; write one like `adamw` or `adamw 8bit`")
    assumed.append("optimizer: AdamW")
    return Optimizer(2)


_PRECISIONS: tuple[tuple[str, Precision], ...] = (
    (r"(bf)?16-mixed", Precision(4, 4, compute_copy=2, frozen=4)),  # as Lightning spells it
    (r"mixed|amp\b|autocast", Precision(4, 4, compute_copy=2)),
    (r"(bf)?16-true", Precision(2, 2, native=True)),
    (r"32-true", Precision(4, 4, native=True, frozen=4)),
    (r"master|deepspeed|zero", Precision(2, 2, master=4)),
    (r"bf16|bfloat16|fp16|float16|half|\b16\b|16.?bit|nf4|4.?bit|int4", Precision(2, 2)),
    (r"fp32|float32|tf32|full|\b32\b|32.?bit", Precision(4, 4, frozen=4)),
)


def precision(text: str | None, assumed: list[str]) -> Precision:
    """Of weights and gradients."""
    for pattern, found in _PRECISIONS:
        if re.search(pattern, said(text).lower()):
            return found
    if said(text):
        raise Unclear(f"precision `{text}` is not known; write bf16, fp16, fp32 or `bf16 mixed`")
    assumed.append("precision: bf16")
    return Precision(2, 2)


_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"all|linear|linears|every|default_?all", LINEARS),
    (r"c_?attn|attn_?qkv|w?qkv(_proj)?|query_key_value|wpack|w_pack|in_proj", ("q", "k", "v")),
    (r"attn|attention|self[_-]?attn|attns|mha", ATTENTION),
    (r"mlps?|ffn|feed[_-]?forward|dense_?mlp", MLP),
    (r"w?q(_?proj)?|query|q_?lin|wq|to_q|lora_q\w*", ("q",)),
    (r"w?k(_?proj)?|key|wk|to_k|lora_k\w*", ("k",)),
    (r"w?v(_?proj)?|value|wv|to_v|lora_v\w*", ("v",)),
    (r"o(_?proj)?|wo|dense|output_proj|out_proj|attn_proj|projection|proj|lora_proj\w*", ("o",)),
    (r"gate(_?proj)?|w1|fc_1", ("gate",)),
    (r"fc1|linear_in|dense_h_to_4h", ("gate", "up")),  # the one matrix of an MLP without a gate
    (r"gate_?up(_?proj)?", ("gate", "up")),
    (r"up(_?proj)?|w3|fc_2", ("up",)),
    (r"down(_?proj)?|w2|fc2|linear_out|dense_4h_to_h", ("down",)),
    (r"c_?proj", ("o", "down")),
    (r"head|lm_?head|output|embed_out|lora_head", ("head",)),
)


def targets(text: str | list[str] | None, assumed: list[str]) -> frozenset[str]:
    """Which linear layers have an adapter; `head` among them when the output layer has one."""
    words = " ".join(text) if isinstance(text, list) else said(text)
    if not words.strip():
        assumed.append("LoRA targets: all linear layers")
        return frozenset(LINEARS)
    words = words.lower()
    plain = re.sub(r"\(.*?\)", " ", words)  # what is in brackets spells out the same again
    plain = plain if re.search(r"[a-z]", plain) else words
    letters = re.fullmatch(r"\s*([qkvo]{2,4}|[qkvogud]{5,7})\s*", plain)  # qv, qkvo, qkvogud
    if letters:
        short = {"g": "gate", "u": "up", "d": "down"}
        return frozenset(short.get(letter, letter) for letter in letters[1])
    # in "all attn+mlp" the words after `all` say all of what
    of_what = re.search(r"all[ -]+(attn|attention|mlp)", plain)
    found: set[str] = set()
    for word in re.findall(r"[a-z][\w-]*", plain):
        if word not in _FILLERS and not (word == "all" and of_what):
            found.update(_target(word))
    return frozenset(found)


_FILLERS = [
    "and",
    "layer",
    "layers",
    "module",
    "modules",
    "projections",
    "projection_layers",
    "the",
    "of",
    "only",
    "in",
    "block",
    "blocks",
    "lora",
    "on",
    "both",
    "plus",
    "with",
    "target",
    "targets",
    "default",
    "weights",
    "matrices",
]


def _target(word: str) -> tuple[str, ...]:
    for pattern, names in _GROUPS:
        if re.fullmatch(pattern, word):
            return names
    if re.fullmatch(r"(all|every)[-_]?(linear|lin)\w*([-_]layers?)?|linear[-_]layers?", word):
        return LINEARS
    raise Unclear(f"LoRA target `{word}` is not known; write names like `q,v` or `all`")


def loss(text: str | None, assumed: list[str]) -> Loss:
    """Whether all logits exist at once (full), as 16-bit chunks (chunked), or never (fused)."""
    words = said(text).lower()
    if not words.strip():
        assumed.append("loss: full cross-entropy")
        return "full"
    if re.search(r"(no|non|un|without)[ -]*(fused|chunk|liger)", words):
        return "full"
    if re.search(r"fused|liger|linear|\bcut\b|cce|unsloth|triton", words):
        return "fused"
    if "chunk" in words:
        return "chunked"
    if re.search(r"full|ce\b|cross|sigmoid|dpo|standard|default|naive|hf|fp32|float|logit|eager"
                 r"|torch|causal|lm\b|sft|nll|plain|bf16|vanilla", words):  # fmt: skip
        return "full"
    raise Unclear(f"loss `{text}` is not known; write full, chunked or fused")


def reading(text: str | None, assumed: list[str]) -> Reading:
    """Which of the three numbers called `memory` is meant; they differ by gigabytes."""
    words = said(text).lower()
    if not words.strip():
        assumed.append("metric: memory of the device")
        return "device"
    if re.search(r"alloc|active", words):
        return "allocated"
    if re.search(r"reserv|cached", words):
        return "reserved"
    if re.search(r"device|nvidia|smi|report|gpu|vram|card|peak|max|total|used|usage|mem|fit"
                 r"|unspecified|unknown|^\W*[mg]i?b\W*$", words):  # fmt: skip
        return "device"
    raise Unclear(f"metric `{text}` is not known; write max_allocated, reserved or device")
