"""A guard model of somebody else's: any sequence classifier of transformers, by its path on disk.

    model: {path: models/guard, unsafe: [unsafe, INJECTION]}        in policies/filter.yaml

Its score is the probability of the labels that are called unsafe, of the worst window of a long
answer. It is one look more, under thresholds of its own (`model`): measure it with
`errata guard eval` as you would any rule. It is read from disk alone, never from a hub.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field

from errata.config import Section, hint
from errata.errors import BadInput

PROMPT = 1000  # characters of the request that are shown to it, the last ones
STRIDE = 32  # tokens that two windows share
LONGEST = 8192  # tokens, where a model names no length

Score = Callable[[str, str], float]


class Outside(Section):
    """Which model, and what its labels mean."""

    path: str = Field(default="", description="folder that from_pretrained loads; empty: none")
    unsafe: list[str] = Field(
        default_factory=lambda: ["unsafe"], description="its labels that speak against an answer"
    )
    pair: bool = Field(
        default=True, description="it reads the request and the answer; false: the answer alone"
    )


def load(told: Outside) -> Score:
    """`score(request, answer)`: 0 … 1. BadInput for a folder or labels that do not fit."""
    return _load(told.path, tuple(told.unsafe), told.pair)


@lru_cache(maxsize=2)
def _load(path: str, unsafe: tuple[str, ...], pair: bool) -> Score:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    where = f"policies/filter.yaml: model.path: {path}"
    if not (Path(path) / "config.json").is_file():
        raise BadInput(f"{where}: no config.json there; give a folder that from_pretrained loads")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        loaded: Any = AutoModelForSequenceClassification.from_pretrained(
            path, local_files_only=True
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BadInput(f"{where}: {str(error).splitlines()[0]}") from None
    model = loaded.eval()
    labels = {str(name): place for place, name in model.config.id2label.items()}
    for name in unsafe:
        if name not in labels:
            told = f"no label `{name}`{hint(name, [*labels])}"
            raise BadInput(f"policies/filter.yaml: model.unsafe: {told}")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
    places = [labels[name] for name in unsafe]
    room = min(
        tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", LONGEST)
    )

    @torch.inference_mode()
    def score(request: str, answer: str) -> float:
        texts = (request[-PROMPT:], answer) if pair and request else (answer,)
        cut = "only_second" if len(texts) == 2 else "only_first"
        asked = len(tokenizer(texts[0]).input_ids) if len(texts) == 2 else 0
        if asked > room // 2:  # a request that leaves no room for the answer
            texts, cut = (answer,), "only_first"
        read = tokenizer(
            *texts, truncation=cut, max_length=room, stride=min(STRIDE, room // 4),
            return_overflowing_tokens=True, padding=True, return_tensors="pt",
        )  # fmt: skip
        logits = model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).logits
        return float(logits.float().softmax(-1)[:, places].sum(-1).max())

    return score
