"""An adapter as its own artifact: peft's form, and llama.cpp's beside it when GGUF is asked for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from errata import jsonl
from errata.errors import BadInput
from errata.export import gguf as ggml
from errata.export.merge import HALF
from errata.language import say
from errata.records import Candidate

FORMATS = (*HALF, "gguf-f16")
WEIGHTS = "adapter_model.safetensors"


def write(adapter: Path, target: Path, fmt: str, source: Candidate, config: Any) -> list[str]:
    """Copy an adapter to `target` in another type, with the base it belongs to by digest; what has
    to be told of it. `config` is the base's."""
    from safetensors.torch import load_file, save_file

    target.mkdir()
    shutil.copyfile(adapter / "adapter_config.json", target / "adapter_config.json")
    state = load_file(adapter / WEIGHTS)
    if fmt == "gguf-f16":
        shutil.copyfile(adapter / WEIGHTS, target / WEIGHTS)
        _gguf(target / "lora.gguf", state, adapter, config)
    else:
        save_file({name: at.to(HALF[fmt]) for name, at in state.items()}, target / WEIGHTS)
    base = {"base": source.base, "base_digest": source.base_digest}
    jsonl.write_json(target / "base.json", base)
    if fmt != "gguf-f16":
        return []
    return [
        say("lora.gguf goes with a GGUF of the same base", "lora.gguf 须配同一基座的 GGUF 使用")
    ]


def _gguf(path: Path, state: dict[str, Any], adapter: Path, config: Any) -> None:
    """llama.cpp's adapter: A and B beside the name of each matrix; it scales by alpha / rank."""
    import gguf

    told = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    if told.get("use_dora") or told.get("rank_pattern") or told.get("alpha_pattern"):
        raise BadInput(f"{adapter.parent.name}: more than plain LoRA; merge=true exports it")
    arch = ggml.ARCHITECTURES[config.model_type]
    of_name = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(of_name[arch], config.num_hidden_layers)
    writer = gguf.GGUFWriter(str(path), arch)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    root = told["r"] ** 0.5 if told.get("use_rslora") else 1.0  # peft then scales by alpha / √r
    writer.add_float32("adapter.lora.alpha", float(told["lora_alpha"]) * root)
    for key, tensor in state.items():
        layer, _, part = key.removeprefix("base_model.model.").rpartition(".lora_")
        found = names.get_name(layer)
        if not layer or found is None:
            raise BadInput(f"{key}: llama.cpp has no adapter there; merge=true exports it")
        up = part.startswith("B")
        whole = ggml.turned(f"{layer}.weight", tensor, config) if up else tensor
        data = np.ascontiguousarray(whole.float().numpy())
        writer.add_tensor(f"{found}.weight.lora_{'b' if up else 'a'}", data)
    ggml.write_out(writer)
