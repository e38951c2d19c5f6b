"""What the demo's users ask, and what breaks in the middle of its second rollout."""

from __future__ import annotations

import shutil
from pathlib import Path

from errata import jsonl
from errata.records import ATTACKS, Case
from errata.workspace import Workspace


def pool(ws: Workspace) -> list[Case]:
    """What users ask: mostly business, some attacks; tune, for its failures are trained on."""
    cases = jsonl.read(ws.suites / "business.jsonl", Case)
    cases += jsonl.read(ws.suites / "attacks.jsonl", Case)
    tune = sorted((c for c in cases if c.split == "tune"), key=lambda c: c.id.rsplit("-", 1)[-1])
    business = [case for case in tune if case.category not in (*ATTACKS, "agent")]
    attacks = [case for case in tune if case.category in ATTACKS]
    return business[:360] + attacks[:40]


def damage(ws: Workspace, adapter: Path, scale: float) -> Path:
    """A copy of an adapter with noise on its weights: what a bad disk or a botched copy leaves."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = ws.runs / "damaged-adapter"
    shutil.copytree(adapter, folder, dirs_exist_ok=True)
    weights = load_file(folder / "adapter_model.safetensors")
    rng = torch.Generator().manual_seed(0)
    for name, value in weights.items():
        noise = torch.randn(value.shape, generator=rng) * value.std() * scale
        weights[name] = (value + noise).contiguous()
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder
