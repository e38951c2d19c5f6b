"""Linear layers in 8 or 4 bits; embeddings, head and norms stay in 16.

bitsandbytes: int8 is LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339), nf4 the 4-bit normal
floats of QLoRA with double quantisation. torchao: int8 weights with a scale a row. Each is saved
quantised, and loads as any checkpoint does where its package is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from errata.errors import BadInput
from errata.language import say

FORMATS = ("int8", "nf4")
INSTALL = {
    "bitsandbytes": "pip install 'errata[export]'",
    "torchao": "pip install 'torchao>=0.15'",
}


def backend_of(fmt: str, wanted: str) -> str:
    """Who quantises; `auto`: bitsandbytes. BadInput where it is not installed, or cannot."""
    if fmt not in FORMATS:
        if wanted != "auto":
            raise BadInput(f"backend={wanted} is for int8 and nf4, not for {fmt}; leave it out")
        return ""
    backend = "bitsandbytes" if wanted == "auto" else wanted
    if backend == "torchao" and fmt == "nf4":
        raise BadInput("backend=torchao has no nf4 here; use backend=bitsandbytes, or format=int8")
    if find_spec(backend) is None:
        raise BadInput(f"format={fmt} needs {backend}; run `{INSTALL[backend]}`")
    return backend


def uneven(model: Any) -> list[str]:
    """Linear layers that nf4 leaves in 16 bits: bitsandbytes' blocks have 64 weights, and its
    kernel on CPUs with AVX512-BF16 takes whole blocks of a row, and 32 rows at once."""
    return [
        name
        for name, part in model.named_modules()
        if type(part) is torch.nn.Linear and (part.in_features % 64 or part.out_features % 32)
    ]


def settings(fmt: str, backend: str, spared: Sequence[str]) -> Any:
    """transformers' quantisation config; `spared` layers stay as they are, beside the head."""
    from transformers import BitsAndBytesConfig, TorchAoConfig

    if backend == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig

        return TorchAoConfig(Int8WeightOnlyConfig())
    if fmt == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=[*spared, "lm_head"] if spared else None,
    )


def quantise(source: Path, target: Path, whole: Any, fmt: str, backend: str) -> list[str]:
    """Read a 16-bit checkpoint, which holds the model `whole`, in fewer bits, and save it so; what
    has to be told."""
    from transformers import AutoModelForCausalLM

    spared, loader = uneven(whole) if fmt == "nf4" else [], AutoModelForCausalLM
    model: Any = loader.from_pretrained(
        str(source), dtype=whole.dtype, quantization_config=settings(fmt, backend, spared)
    )
    model.save_pretrained(str(target))
    if not spared:
        return []
    count, one = len(spared), spared[0]
    return [
        say(f"{count} layers stay in 16 bits: no multiples of 64 × 32, as {one}",
            f"{count} 层保持 16 位：形状不是 64 × 32 的倍数，如 {one}")
    ]  # fmt: skip
