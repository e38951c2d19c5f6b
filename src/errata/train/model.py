"""Load a causal LM and its tokenizer by path; make it learn: LoRA, QLoRA, or all of its weights."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch

from errata import jsonl
from errata.errors import BadInput
from errata.train.settings import Panel
from errata.train.turns import PLAIN_TEMPLATE

DTYPES = {
    "auto": "auto",
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def _dtype(name: str) -> Any:
    """`auto`: float32 on a CPU, where half precision is slow or absent; on a GPU the file's own."""
    return torch.float32 if name == "auto" and not torch.cuda.is_available() else DTYPES[name]


def weights_dtype(config: Panel) -> str:
    """Of the loaded weights: `bf16` means bfloat16 where they are frozen."""
    frozen = config.method != "full"
    return "bfloat16" if config.bf16 and frozen and config.dtype == "auto" else config.dtype


def load_tokenizer(path: str) -> Any:
    """The tokenizer, with a pad token that is not the end token, and a chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    if tokenizer.eos_token_id is None:
        raise BadInput(
            f"model {path}: the tokenizer has no end token, so no answer would end; "
            "set eos_token in tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def load(
    path: str, dtype: str = "auto", kind: str = "causal", nf4: bool = False
) -> tuple[Any, Any]:
    """(model, tokenizer) of a checkpoint folder or hub id; BadInput when it cannot be read.

    `kind` is `causal`, or `reward` for a model with one scalar head. `nf4`: linear layers in 4-bit
    normal floats with double quantisation (Dettmers et al. 2023, arXiv 2305.14314).
    """
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # what it would warn of is checked below
    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    loader: Any = AutoModelForCausalLM if kind == "causal" else AutoModelForSequenceClassification
    extra: dict[str, Any] = {} if kind == "causal" else {"num_labels": 1}
    extra |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
    if nf4:
        extra["quantization_config"] = _four_bits(dtype)
    extra |= _exported(path)
    try:
        tokenizer = load_tokenizer(path)
        model, found = loader.from_pretrained(path, dtype=_dtype(dtype), **extra)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(
            f"model {path}: cannot be loaded: {reason}; give a complete checkpoint"
        ) from None
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise BadInput(
            f"model {path}: weights are damaged ({error}); copy the checkpoint again"
        ) from None
    # transformers fills both with random numbers and goes on; only a reward head may be new.
    lacking = {*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])}
    if lacking := {name for name in lacking if kind == "causal" or not name.startswith("score.")}:
        raise BadInput(
            f"model {path}: {len(lacking)} weights are missing or not as config.json says, "
            f"such as {min(lacking)}; give a complete checkpoint"
        )
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def _exported(path: str) -> dict[str, Any]:
    """What transformers is told beside the path of an export (errata/export): the GGUF file, which
    it unpacks. BadInput where the package is missing that the weights are stored with."""
    from importlib.util import find_spec

    from transformers import AutoConfig

    folder, needs, extra = Path(path), "", dict[str, Any]()
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a hub id; a broken file, of which transformers tells
        return extra
    told = told.get("quantization_config") or {}
    if told.get("quant_method") in ("bitsandbytes", "torchao"):
        needs = told["quant_method"]
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # a line a layer of its casts
    elif (files := sorted(folder.glob("*.gguf"))) and not any(folder.glob("*.safetensors")):
        needs, extra = "gguf", {"gguf_file": files[0].name}
        extra["config"] = AutoConfig.from_pretrained(path)
    if needs and find_spec(needs) is None:
        step = "pip install 'errata[export]'" if needs != "torchao" else "pip install torchao"
        raise BadInput(f"model {path}: stored with {needs}, which is not here; run `{step}`")
    return extra


def _four_bits(dtype: str) -> Any:
    """nf4 with double quantisation; BadInput without bitsandbytes."""
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise BadInput("method=qlora needs bitsandbytes; run `pip install 'errata[qlora]'`")
    compute = _dtype(dtype)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if compute == "auto" else compute,
    )


def adapt(model: Any, config: Panel, start: Path | None = None, kind: str = "causal") -> Any:
    """What the panel's method trains: a LoRA adapter (new, or going on from `start`), or all.

    Seed before calling: new matrices are drawn here. Raises BadInput for an adapter that was made
    on another base, or for all weights of a model whose weights are not floats.
    """
    if config.method == "full":
        if start is not None:
            model = with_adapter(model, start, False).merge_and_unload(safe_merge=True)
        model.requires_grad_(True)
        return model
    if start is None:
        return add_lora(model, config.lora_r, config.lora_alpha, config.lora_dropout, kind)
    return with_adapter(model, start, True) if kind == "causal" else _with_score(model, start)


def kept_knobs(model: Any, config: Panel) -> dict[str, Any]:
    """The panel's LoRA knobs that the adapter has otherwise, as the adapter that a run goes on
    with has them: an adapter keeps its rank, alpha and dropout."""
    if not hasattr(model, "peft_config"):
        return {}
    of = model.peft_config["default"]
    found = {"lora_r": of.r, "lora_alpha": float(of.lora_alpha), "lora_dropout": of.lora_dropout}
    return {name: value for name, value in found.items() if getattr(config, name) != value}


def without_dropout(model: Any) -> None:
    """Switch off what the base itself drops in training (GPT-2: a tenth, thrice a layer).

    A policy that drops is not its own reference: DPO's margins, a reward's gap and PPO's ratios
    would be of two different models. LoRA's dropout comes later, and is the panel's.
    """
    configs = {id(part.config): part.config for part in model.modules() if hasattr(part, "config")}
    for part in [*model.modules(), *configs.values()]:
        if isinstance(part, torch.nn.modules.dropout._DropoutNd):
            part.p = 0.0
        for name, value in list(vars(part).items()):
            if "drop" in name and isinstance(value, float):  # some are read off the configuration
                setattr(part, name, 0.0)


def drops(model: Any) -> bool:
    """Whether training adds noise: LoRA's dropout, once the base's own is off."""
    return any(isinstance(part, torch.nn.Dropout) and part.p > 0 for part in model.modules())


def add_lora(model: Any, rank: int, alpha: float, dropout: float, kind: str = "causal") -> Any:
    """A new trainable adapter on all linear layers but the head; BadInput where peft has none."""
    from peft import LoraConfig, TaskType

    # Phimoe's and Llama 4's routers are linear layers that give a tuple, which no adapter adds to.
    tuples = any(
        name.endswith(".router") and isinstance(part, torch.nn.Linear)
        and type(part) is not torch.nn.Linear for name, part in model.named_modules()
    )  # fmt: skip
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # peft divides it by r
        lora_dropout=dropout,
        target_modules="all-linear",
        exclude_modules=["router"] if tuples else None,
        task_type=TaskType.CAUSAL_LM if kind == "causal" else TaskType.SEQ_CLS,
    )
    return _wrapped(model, config)


def _wrapped(model: Any, config: Any) -> Any:
    from peft import get_peft_model

    try:
        return get_peft_model(model, config)
    except ValueError as error:  # Mamba's kernels go around its linear layers
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise BadInput(f"method=lora: no adapter fits here ({reason}); use method=full") from None


def with_adapter(model: Any, folder: Path, trainable: bool) -> Any:
    """The model with a saved adapter on it; BadInput when it was made on another base."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (RuntimeError, ValueError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if "size" in line), "")
        raise BadInput(
            f"adapter {folder.parent.name}: made on another base ({reason or error}); "
            "give the base that it was trained on"
        ) from None


def _with_score(model: Any, folder: Path) -> Any:
    """A reward model that goes on with a causal LM's adapter: of its shape, with its numbers, and
    a new score. BadInput when the adapter does not fit this base."""
    from peft import LoraConfig, TaskType
    from safetensors.torch import load_file

    config: Any = LoraConfig.from_pretrained(str(folder))
    config.task_type, config.inference_mode = TaskType.SEQ_CLS, False
    fresh = _wrapped(model, config)
    mine = dict(fresh.named_parameters())
    saved = load_file(folder / "adapter_model.safetensors")
    # peft leaves the adapter's name out of what it saves.
    found = {name: mine.get(name.replace(".weight", ".default.weight")) for name in saved}
    odd = [n for n, at in found.items() if at is None or at.shape != saved[n].shape]
    if odd:
        raise BadInput(
            f"adapter {folder.parent.name}: {len(odd)} of its matrices do not fit this base, such "
            f"as {odd[0]}; give the base that it was trained on"
        )
    with torch.no_grad():
        for name, at in found.items():
            assert at is not None
            at.copy_(saved[name])
    return fresh


def save_adapter(model: Any, folder: Path) -> None:
    """The `default` adapter alone, without the base and without helper adapters."""
    model.save_pretrained(str(folder), selected_adapters=["default"])
    (folder / "README.md").unlink(missing_ok=True)  # peft's template card says nothing true
    # peft writes a set in the order of the process's hash seed: equal runs would differ in digest.
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    jsonl.write_json(path, config)


def save_whole(model: Any, tokenizer: Any, folder: Path) -> None:
    """All weights and the tokenizer: a checkpoint that `from_pretrained` loads."""
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
