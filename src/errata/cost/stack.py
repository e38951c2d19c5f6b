"""Which program a row was measured with, as far as its words say: what is kept differs by it.

The four that matter: Hugging Face's peft casts inputs and adapters to float32, and its k-bit
preparation turns embeddings, head and norms into float32 as well, so that the hidden states are
float32 too; torchtune and litgpt keep everything in the model's own type; Unsloth and Liger
recompute what is cheap; a compiler recomputes some of it. Found in any text of the row.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from errata.cost.words import Loss, Method, Precision

# peft: each adapter casts its input to float32. autocast: that copy is cast back to 16 bits, and
# kept so. native: adapters in the model's type share their inputs.
Inputs = Literal["peft", "autocast", "native"]
Kernels = Literal["plain", "compiled", "fused"]


class Stack(NamedTuple):
    """How a program computes one and the same step."""

    inputs: Inputs = "peft"
    kernels: Kernels = "plain"
    upcast: bool = False  # k-bit preparation: embeddings, head, norms and hidden states in float32
    offload: bool = False  # saved activations lie in the host's memory
    eager: bool = False  # attention that keeps its scores


_NATIVE = r"torchtune|litgpt|lit-gpt|lightning|mlx|nanotron|megatron"
_OWN_KBIT = r"torchtune|litgpt|lit-gpt|unsloth|llama-?factory|swift"
_SHORT = r"alpaca|short (seq|row)|unpacked"


def said_in(*texts: str | None) -> str:
    """All of a row's free text, in small letters."""
    return " | ".join(text for text in texts if text).lower()


def stacks(
    said: str, method: Method, precision: Precision, loss: Loss, assumed: list[str]
) -> list[Stack]:
    """The stacks a row may be of: two where nothing says how a k-bit base was prepared."""
    native = precision.native or bool(re.search(_NATIVE, said)) or "unsloth" in said
    mixed = bool(precision.compute_copy)
    kernels: Kernels = "plain"
    if re.search(r"unsloth|liger", said):
        kernels = "fused"
    elif re.search(r"(?<!no )(?<!not )(?<!un)compile", said):
        kernels = "compiled"
    found = Stack(
        inputs="native" if native else "autocast" if mixed else "peft",
        kernels=kernels,
        offload=bool(re.search(r"offload|unsloth", said)) and not re.search(r"no \w*\s*off", said),
        eager=bool(re.search(r"eager att|eager$|(no|without|w/o) (flash|fa\b|fa2|sdpa)", said)),
    )
    nf4 = method.name == "qlora" and method.bytes_per_weight != (4 + 20 / 128) / 8
    if not nf4 or native or loss != "full" or re.search(_OWN_KBIT, said):
        return [found]
    if re.search(r"prepare_model|upcast|\bhf\b|hugging|transformers|\btrl\b|axolotl|peft", said):
        return [found._replace(upcast=True)]
    assumed.append("embeddings and norms of the 4-bit base: float32 (peft) or 16 bits, either")
    return [found, found._replace(upcast=True)]


def short_rows(said: str) -> bool:
    """Whether the text says that rows are those of a data set known to be short."""
    return bool(re.search(_SHORT, said)) and not re.search(r"(?<!un)packed", said)


def checkpointing(said: str) -> bool | None:
    """What the words say where the row's own field is empty."""
    off = r"(ckpt|checkpoint\w*|recompute|\bgc\b) (is )?(probably )?(off|disabled|false)"
    without = r"(no|without|w/o) (act\w* |grad\w* )?(ckpt|checkpoint|recompute|gc\b)"
    if re.search(f"{off}|{without}", said):
        return False
    if re.search(r"ckpt|checkpointing|recompute", said) and "inferred" not in said:
        return True
    return None
