"""The adapter's effect written into the base's weights, in float32, and held against the original.

Never into 4-bit weights: rounding them again loses more than most adapters add (facts of QLoRA
merges: degenerate models). A base that is stored in few bits is refused; a QLoRA adapter is merged
into the 16-bit base that was quantised for its training, and how far that is from what was trained
is measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from errata.errors import BadInput

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def plain_base(base: str, name: str) -> None:
    """BadInput for a base whose weights are quantised: there is nothing whole to export."""
    path = Path(base) / "config.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    how = (told.get("quantization_config") or {}).get("quant_method")
    if how is None and any(Path(base).glob("*.gguf")) and not any(Path(base).glob("*.safetensors")):
        how = "gguf"
    if how is not None:
        raise BadInput(
            f"{name}: its weights are quantised already ({how}); merging into them, or quantising "
            "twice, loses what was learnt: export the 16-bit model that it was made of"
        )


def carrier(fmt: str, stored: torch.dtype) -> torch.dtype:
    """The type merged weights are written in: the format's own; float16 for GGUF; for int8 and nf4
    the base's if it has 16 bits, else bfloat16."""
    if fmt.startswith("gguf"):
        return torch.float16
    if fmt in HALF:
        return HALF[fmt]
    return stored if stored in (torch.float16, torch.bfloat16) else torch.bfloat16


def stored_dtype(base: str) -> torch.dtype:
    """Of the base's weights as its config says."""
    from transformers import AutoConfig

    found = AutoConfig.from_pretrained(base).dtype
    return found if isinstance(found, torch.dtype) else torch.float32


def merged(model: Any) -> Any:
    """The base with the adapter in it; the model itself where there is no adapter. BadInput when
    the sum is not finite."""
    if not hasattr(model, "merge_and_unload"):
        return model
    try:
        return model.merge_and_unload(safe_merge=True)
    except ValueError as error:  # peft: "NaNs detected in the merged weights"
        raise BadInput(f"the adapter cannot be merged: {error}; its training diverged") from None


def rounded(model: Any, dtype: torch.dtype) -> None:
    """Give every weight a value that `dtype` can hold; they stay float32, as do the frequencies of
    the positions, which no checkpoint holds. BadInput for a value beyond the type's range."""
    for name, weight in model.named_parameters():
        weight.data = weight.data.to(dtype).float()
        if not bool(torch.isfinite(weight).all()):
            raise BadInput(f"{name}: values beyond {dtype}'s range; use format=bf16 or fp32")
