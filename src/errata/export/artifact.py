"""A merged model → the files of one format, in a folder that `errata` and transformers load."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from errata.export import gguf, quantise
from errata.export.tokenizer_ggml import vocabulary
from errata.store import past
from errata.train.model import save_whole
from errata.workspace import Workspace

PART = "artifact.part"  # what it is called until it is whole


def write(
    target: Path, model: Any, tokenizer: Any, fmt: str, backend: str, texts: Sequence[str]
) -> list[str]:
    """Write `model` (already of the format's type, see merge.carrier); what has to be told."""
    if not fmt.startswith("gguf"):
        if fmt not in quantise.FORMATS:
            save_whole(model, tokenizer, target)
            return []
        whole = target.with_name("whole.part")
        try:
            save_whole(model, tokenizer, whole)
            notes = quantise.quantise(whole, target, model, fmt, backend)
        finally:
            shutil.rmtree(whole, ignore_errors=True)
        tokenizer.save_pretrained(str(target))
        return notes
    target.mkdir()
    words = vocabulary(tokenizer, model.config.vocab_size, texts)
    kind = gguf.TYPES[fmt]
    with torch.no_grad():
        notes = gguf.write(
            target / "model.gguf", model.state_dict(), model.config, words, tokenizer, kind
        )
    for part in (gguf.as_read(model.config), model.generation_config, tokenizer):
        part.save_pretrained(str(target))
    return notes


def sweep(ws: Workspace) -> None:
    """Take away what exports left that were cut off: half a model is nobody's candidate."""
    for record in past.list_runs(ws, "export"):
        if record["status"] != "running":
            for name in (PART, "whole.part"):
                shutil.rmtree(ws.runs / str(record["id"]) / name, ignore_errors=True)
