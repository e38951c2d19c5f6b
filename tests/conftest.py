"""What every test may use: a workspace, and no trace of this machine's settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from errata import git
from errata.workspace import Workspace


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """English, and the workspace's own store."""
    monkeypatch.setenv("ERRATA_LANG", "en")
    monkeypatch.delenv("ERRATA_DATABASE_URL", raising=False)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """An empty workspace in a git repository with one commit; no suites, no configs."""
    root = tmp_path / "ws"
    for folder in ("configs", "policies", "suites", "data", "reports", "inbox"):
        (root / folder).mkdir(parents=True)
    for folder in ("data", "reports"):
        (root / folder / ".gitkeep").touch()
    (root / ".gitignore").write_text("inbox/\nruns/\n.errata/\n")
    git.git(root, "init", "--quiet", "--initial-branch=main", ".")
    found = Workspace.find(root)
    git.commit(found, ["."], "first")
    return found


# Models this small are fastest on one thread, and tests on two cores run beside each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Read when huggingface_hub is imported, which a session's fixture does before any test's own.
os.environ["HF_HUB_OFFLINE"] = "1"

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "head_dim": 8,
    "max_position_embeddings": 512,
    # Weights far larger than usual, so that random models differ clearly from prompt to prompt.
    "initializer_range": 0.3,
}
# One of each kind of trouble: soft-capped logits, sliding windows, norms on queries and keys, and
# positions that are counted and not turned (a wrong start shows in no other).
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {},
    "gemma2": {"final_logit_softcapping": 5.0, "query_pre_attn_scalar": 8, "sliding_window": 16},
    "mistral": {"sliding_window": 16},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
}


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Name → folder of a checkpoint with random weights and the desk's tokenizer, made once."""
    folder = tmp_path_factory.mktemp("models")

    @cache
    def make(kind: str = "llama") -> str:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        from errata.tiny import corpus, pretrain, tokenizer

        rng = Random(0)
        texts = [pretrain.render(corpus.draw(rng, 1.0, corpus.BROAD)) for _ in range(300)]
        tok = tokenizer.train(texts, 512)
        ends = {"pad_token_id": tok.pad_token_id, "bos_token_id": tok.bos_token_id}
        shape = {**SMALL, **SHAPES[kind], **ends, "eos_token_id": tok.eos_token_id}
        config = AutoConfig.for_model(kind, vocab_size=len(tok), **shape)
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config)
        model.save_pretrained(folder / kind)
        tok.save_pretrained(folder / kind)
        return str(folder / kind)

    return make
