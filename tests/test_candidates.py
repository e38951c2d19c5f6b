"""Which model is meant, and that a candidate stays what its digest says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from errata import candidates, cli, jsonl
from errata.errors import BadInput
from errata.train.model import add_lora, load, save_adapter
from errata.workspace import Workspace


@pytest.fixture
def base(tiny_models: Callable[[str], str]) -> str:
    return tiny_models("llama")


@pytest.fixture
def adapter(ws: Workspace, base: str) -> Path:
    torch.manual_seed(0)
    folder = ws.runs / "r" / "adapter"
    save_adapter(add_lora(load(base)[0], 2, 4, 0.0), folder)
    return folder


def names(ws: Workspace, **table: str) -> None:
    jsonl.write_text(ws.configs / "models.yaml", "".join(f"{k}: {v}\n" for k, v in table.items()))


def test_names_lead_to_paths_hub_ids_and_the_embedded_model(ws: Workspace, base: str):
    names(ws, **{"llama-7b": "tiny", "big": "llama-7b", "own": base, "hub": "meta/llama"})

    assert candidates.resolve_base(ws, "tiny") == (str(candidates.TINY), None)
    assert candidates.resolve_base(ws, "llama-7b") == (str(candidates.TINY), "llama-7b")
    assert candidates.resolve_base(ws, "big") == (str(candidates.TINY), "big")
    assert candidates.resolve_base(ws, "own") == (base, None)
    assert candidates.resolve_base(ws, "hub") == ("meta/llama", None)
    assert candidates.resolve_base(ws, base) == (base, None)
    shutil.copytree(base, ws.root / "mine")
    assert candidates.resolve_base(ws, "mine").path == str((ws.root / "mine").resolve())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "llama-7bb",
            r"model `llama-7bb`: no such path or name; did you mean `llama-7b`\?.*models.yaml",
        ),
        ("a", "`a` names itself"),
        ("/nowhere/at/all", "no such path or name"),
        ("./nowhere", "no such path or name"),
        ("", "no config.json|no such"),
        ("data", "data: no config.json in it"),
        ("runs/x.json", "no such manifest"),
        ("20251216-101500-sft-0001", "this run left no candidate"),
    ],
)
def test_what_is_no_model_is_one_line(ws: Workspace, name: str, words: str):
    names(ws, **{"llama-7b": "tiny", "a": "b", "b": "a"})
    (ws.runs / "20251216-101500-sft-0001").mkdir(parents=True)

    with pytest.raises(BadInput, match=words) as caught:
        candidates.resolve(ws, name)
    assert "\n" not in str(caught.value)


def test_the_digest_binds_what_decides_an_answer(ws: Workspace, base: str, adapter: Path):
    one = candidates.make(ws, base, adapter)
    changes: list[dict[str, Any]] = [
        {"decoding": {"temperature": 0.7}},
        {"system_prompt": "Be kind."},
        {"filter_policy": "sha256:1"},
        {"refusal_templates": "sha256:1"},
        {"tool_isolation": True},
    ]
    others = [candidates.make(ws, base, adapter, **change).digest for change in changes]
    bare = candidates.make(ws, base).digest

    assert len({one.digest, bare, *others}) == 7
    assert candidates.make(ws, base, adapter, run_id="another").digest == one.digest
    moved = ws.root / "moved"
    shutil.copytree(base, moved)
    shutil.copytree(adapter, ws.root / "copy")
    assert candidates.make(ws, str(moved), ws.root / "copy").digest == one.digest
    (moved / "README.md").write_text("words about it")
    assert candidates.make(ws, str(moved), ws.root / "copy").digest == one.digest
    template = moved / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert candidates.make(ws, str(moved), ws.root / "copy").digest != one.digest


def manifest(ws: Workspace, base: str, adapter: Path | None) -> Path:
    path = ws.runs / "r" / "candidate.json"
    jsonl.write_json(path, candidates.make(ws, base, adapter, run_id="r"))
    return path


def test_a_run_a_manifest_and_its_path_are_the_same_candidate(
    ws: Workspace, base: str, adapter: Path
):
    path = manifest(ws, base, adapter)
    found = [candidates.resolve(ws, name) for name in ("r", "runs/r/candidate.json", str(path))]

    assert found[0] == found[1] == found[2]
    assert found[0].adapter == "runs/r/adapter"
    assert candidates.verify(ws, found[0]) == (base, adapter)


def test_a_manifest_changed_by_hand_is_refused(ws: Workspace, base: str, adapter: Path):
    path = manifest(ws, base, adapter)
    fields = json.loads(path.read_text())
    jsonl.write_json(path, {**fields, "tool_isolation": True})
    with pytest.raises(BadInput, match="digest does not fit the manifest"):
        candidates.resolve(ws, "r")
    jsonl.write_json(path, {**fields, "mood": "good"})
    with pytest.raises(BadInput, match="not a candidate") as caught:
        candidates.resolve(ws, "r")
    assert "\n" not in str(caught.value)
    path.write_text("{")
    with pytest.raises(BadInput, match="not a candidate"):
        candidates.resolve(ws, "r")


def test_changed_weights_are_refused(ws: Workspace, base: str, adapter: Path):
    shutil.copytree(base, ws.root / "mine")
    made = candidates.make(ws, str(ws.root / "mine"), adapter)
    file = adapter / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    good = file.read_bytes()
    file.write_bytes(bytes(data))
    with pytest.raises(BadInput, match="runs/r/adapter: adapter differs from the manifest's"):
        candidates.verify(ws, made)
    file.write_bytes(good)
    assert candidates.verify(ws, made)
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(BadInput, match=r"no adapter_config\.json"):
        candidates.verify(ws, made)
    weights = ws.root / "mine" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BadInput, match="mine: weights differ from the manifest's"):
        candidates.verify(ws, made)


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def other_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "no_such_kind"}')


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": ')


def other_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))


def lacking_layers(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))


DAMAGE = [cut_weights, no_weights, empty_weights, broken_config, other_kind, no_tokenizer,
          broken_tokenizer, other_shape, lacking_layers]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_checkpoint_that_cannot_be_used_is_one_line_and_exit_2(
    ws: Workspace, base: str, damage: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
):
    shutil.copytree(base, ws.root / "mine")
    damage(ws.root / "mine")
    with pytest.raises(BadInput, match=r"model .*mine: .*; (give|copy)") as caught:
        load(str(ws.root / "mine"))
    assert "\n" not in str(caught.value)


def test_the_command_line_says_so_in_one_line(
    ws: Workspace, base: str, capfd: pytest.CaptureFixture[str]
):
    shutil.copytree(base, ws.root / "mine")
    cut_weights(ws.root / "mine")
    row = {"id": "a", "instruction": "x", "output": "y", "why": "w", "origin": "human"}
    jsonl.write(ws.data / "sft.jsonl", [row])

    for name in ("mine", "minee", "no/such-model"):
        assert cli.main(["sft", "-C", str(ws.root), "--model", name]) == 2
        lines = capfd.readouterr().err.strip().splitlines()
        assert [line for line in lines if line.startswith("errata: ")] == lines[-1:]
