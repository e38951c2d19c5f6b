"""Load a causal LM and its tokenizer by path; put a LoRA adapter on it, or go on with one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from errata import jsonl
from errata.errors import BadInput
from errata.train.tokens import PLAIN_TEMPLATE

DTYPES = {
    "auto": "auto",
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def _dtype(name: str) -> Any:
    """`auto`: float32 on a CPU, where half precision is slow or absent; on a GPU the file's own."""
    return torch.float32 if name == "auto" and not torch.cuda.is_available() else DTYPES[name]


def load_tokenizer(path: str) -> Any:
    """The tokenizer, with a pad token that is not the end token, and a chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def load(path: str, dtype: str = "auto", kind: str = "causal") -> tuple[Any, Any]:
    """(model, tokenizer) of a checkpoint folder or hub id; BadInput when it cannot be read.

    `kind` is `causal`, or `reward` for a model with one scalar head."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # what it would warn of is checked below
    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    loader: Any = AutoModelForCausalLM if kind == "causal" else AutoModelForSequenceClassification
    extra: dict[str, Any] = {} if kind == "causal" else {"num_labels": 1}
    extra |= {"ignore_mismatched_sizes": True, "output_loading_info": True}
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


def add_lora(
    model: Any,
    rank: int,
    alpha: float,
    dropout: float,
    start: Path | None = None,
    kind: str = "causal",
) -> Any:
    """A trainable adapter on all linear layers but the head: new, or a copy of `start`.

    Seed before calling: the new matrices are drawn here."""
    from peft import LoraConfig, PeftModel, TaskType, get_peft_model

    if start is not None:
        return PeftModel.from_pretrained(model, str(start), is_trainable=True)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # peft divides it by r
        lora_dropout=dropout,
        target_modules="all-linear",
        task_type=TaskType.CAUSAL_LM if kind == "causal" else TaskType.SEQ_CLS,
    )
    return get_peft_model(model, config)


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
