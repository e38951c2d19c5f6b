"""Load a causal LM and its tokenizer by path; put a LoRA adapter on it, or go on with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from errata.errors import BadInput
from errata.train.tokens import PLAIN_TEMPLATE

DTYPES = {
    "auto": "auto",
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def _dtype(name: str) -> Any:
    """`auto`: float32 on a CPU, where half precision is slow or absent; the checkpoint's own on a GPU."""
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

    loader = AutoModelForCausalLM if kind == "causal" else AutoModelForSequenceClassification
    extra = {} if kind == "causal" else {"num_labels": 1}
    try:
        tokenizer = load_tokenizer(path)
        model = loader.from_pretrained(path, dtype=_dtype(dtype), **extra)
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
    """A trainable adapter on all linear layers but the head: new, or a copy of `start` to go on with.

    Seed before calling: the new matrices are drawn here."""
    from peft import LoraConfig, PeftModel, TaskType, get_peft_model

    if start is not None:
        return PeftModel.from_pretrained(model, str(start), is_trainable=True)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules="all-linear",
        task_type=TaskType.CAUSAL_LM if kind == "causal" else TaskType.SEQ_CLS,
    )
    return get_peft_model(model, config)


def save_adapter(model: Any, folder: Path) -> None:
    """The `default` adapter alone, without the base and without helper adapters."""
    model.save_pretrained(str(folder), selected_adapters=["default"])
    (folder / "README.md").unlink(missing_ok=True)  # peft's template card says nothing true
