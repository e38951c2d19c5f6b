"""A workspace with a few rows to train on, and how to stop a run in its middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from errata import jsonl
from errata.records import Message, PreferencePair, SftExample
from errata.workspace import Workspace

ITEMS = [("amber lamp", 42), ("jade kettle", 17), ("solar fan", 230), ("misty tent", 88)]
ASKED = [
    "How much is the {}?",
    "What does the {} cost?",
    "What is the price of the {}?",
    "{} 多少钱？",
]


@pytest.fixture
def lessons(ws: Workspace, tiny_models: Callable[[str], str]) -> Workspace:
    """16 SFT rows and 16 pairs (the good answer cites, the bad one insults), of uneven lengths."""
    rows, pairs = [], []
    for number, (item, price) in enumerate(ITEMS):
        for way, ask in enumerate(ASKED):
            id = f"{number}-{way}"
            prompt = [
                Message(
                    role="documents", content=f"[1] The {item} costs {price} yuan." * (way + 1)
                ),
                Message(role="user", content=ask.format(item)),
            ]
            good = f"It costs {price} yuan. [1]" + " Thank you for asking." * number
            said = [*prompt, Message(role="assistant", content=good)]
            rows.append(SftExample(id=f"s-{id}", messages=said, why="w", origin="reference"))
            pairs.append(
                PreferencePair(
                    id=f"p-{id}",
                    prompt=prompt,
                    chosen=good,
                    rejected="You stupid fool!",
                    reason="r",
                )
            )
    jsonl.write(ws.data / "sft.jsonl", rows)
    jsonl.write(ws.data / "prefs.jsonl", pairs)
    return ws


@pytest.fixture
def knobs(tiny_models: Callable[[str], str]) -> dict[str, Any]:
    """A panel for seconds, not minutes; the loss at every step."""
    return {
        "model": tiny_models("llama"),
        "max_steps": 6,
        "micro_batch": 4,
        "lora_r": 4,
        "lora_alpha": 8.0,
        "lr": 1e-2,
        "seq_len": 256,
    }


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """The process gets one SIGTERM at the beginning of step `n` (counted from 0); the list holds
    every step that was begun, in this run and the next ones."""
    from errata.train.job import Watch

    def arm(step: int) -> list[int]:
        begun: list[int] = []

        def on_step_begin(self: Watch, args: Any, state: Any, control: Any, **_: Any) -> None:
            begun.append(state.global_step)
            if begun.count(step) == 1 and begun[-1] == step:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(Watch, "on_step_begin", on_step_begin)
        return begun

    return arm


@pytest.fixture
def adapter_of() -> Callable[[Workspace, str], dict[str, Any]]:
    """The adapter's tensors of a run."""

    def read(ws: Workspace, run_id: str) -> dict[str, Any]:
        return load_file(Path(ws.runs) / run_id / "adapter" / "adapter_model.safetensors")

    return read
