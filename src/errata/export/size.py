"""How large an export will be, from the headers of the weights it is made of; before it starts."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path

from errata.errors import ErrataError
from errata.export.gguf import BLOCK

# Bytes a weight of a matrix. int8 (bitsandbytes) adds a float32 a row, which the margin covers;
# nf4: 4 bits, and 0.127 of doubly quantised scales (Dettmers et al. 2023); Q8_0: 34 bytes for 32
# weights, Q4_0: 18.
BYTES = {
    "fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.0, "nf4": 4.127 / 8,
    "gguf-f16": 2.0, "gguf-q8_0": 34 / 32, "gguf-q4_0": 18 / 32,
}  # fmt: skip
MARGIN = 1.05  # scales, norms in float32, tokenizer
TWICE = ("int8", "nf4")  # a merged checkpoint in 16 bits is written first, and read again


def shapes(folder: Path) -> dict[str, list[int]]:
    """Name → shape of each tensor in a folder's safetensors; {} where there are none."""
    found: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        found |= {name: at["shape"] for name, at in head.items() if name != "__metadata__"}
    return found


def estimate(found: dict[str, list[int]], fmt: str) -> int:
    """Bytes of the artifact; embeddings and head of a quantised one have 16 bits."""
    return int(MARGIN * sum(_bytes(name, shape, fmt) for name, shape in found.items()))


def _bytes(name: str, shape: list[int], fmt: str) -> float:
    plain = len(shape) < 2 or "embed" in name or "lm_head" in name
    blocked = fmt.startswith("gguf-q") and shape[-1:] and shape[-1] % BLOCK
    wide = max(2.0, BYTES[fmt]) if plain or blocked else BYTES[fmt]
    return wide * math.prod(shape)


def check(found: dict[str, list[int]], fmt: str, target: Path, free: int | None = None) -> int:
    """Bytes needed at `target`; ErrataError where fewer are free. Nothing known: nothing asked."""
    needed = estimate(found, fmt) + (estimate(found, "bf16") if fmt in TWICE else 0)
    free = shutil.disk_usage(target).free if free is None else free
    if needed > free:
        raise ErrataError(
            f"{target}: format={fmt} needs {gib(needed)}, {gib(free)} are free; free some space, "
            "or choose a smaller format"
        )
    return needed


def gib(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"


def on_disk(paths: Iterable[Path]) -> int:
    """Bytes of files."""
    return sum(path.stat().st_size for path in paths if path.is_file())
