"""What must hold of training whatever the architecture: how the work is cut changes nothing.

Each claim compares two ways to the same numbers on random weights of three shapes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from errata.store import past
from errata.train import attention, dpo, fused, sft
from errata.train.logprobs import Scorer, ready
from errata.train.model import add_lora, load
from errata.train.packing import IGNORE, Encoded, Tree, cut, grow, lay_flat, lay_padded
from errata.workspace import Workspace

SHAPES = ["llama", "qwen3", "mistral"]
WAYS = [attention.SEGMENTS, "sdpa", "flex_attention"]


def trees(vocabulary: int, seed: int = 0, count: int = 5) -> list[Tree]:
    """Pairs, single rows and a prompt with three answers, of 2 to 12 tokens a piece.

    Within 16 tokens a row: Mistral's window here is 16, so that it hides nothing."""
    rng = Random(seed)

    def words(n: int) -> list[int]:
        return [rng.randrange(5, vocabulary) for _ in range(n)]

    out = []
    for index in range(count):
        answers = [words(rng.randint(2, 6)) for _ in range((1, 2, 3)[index % 3])]
        out.append(Tree(words(rng.randint(2, 9)), tuple(Encoded(a, a) for a in answers)))
    return out


def scorer_of(path: str, way: str) -> tuple[Scorer, Any]:
    """A model with a moved adapter, scoring by one way."""
    torch.manual_seed(1)
    model, tokenizer = load(path)
    model = add_lora(model, 4, 8, 0.0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    ready(model, tokenizer.pad_token_id, 16)
    inner = model.get_base_model()
    inner.set_attn_implementation("sdpa" if way == "padded" else way)
    inner.errata_way = way
    return Scorer(model, tokenizer.pad_token_id, way, None), tokenizer


def gradients(scorer: Scorer, data: list[Tree]) -> dict[str, torch.Tensor]:
    """Of a loss that weighs every sequence differently."""
    scorer.model.zero_grad()
    sums = scorer.sequence_logps(data)
    (sums * torch.linspace(0.5, 1.5, len(sums))).sum().backward()
    return {n: p.grad.clone() for n, p in scorer.model.named_parameters() if p.grad is not None}


def close(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], atol: float) -> bool:
    return one.keys() == two.keys() and all(torch.allclose(one[k], two[k], atol=atol) for k in one)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("way", WAYS)
def test_packed_is_padded(tiny_models: Callable[[str], str], kind: str, way: str):
    """Log-probs, last hidden states and gradients of flat rows are those of separate ones."""
    plain, tokenizer = scorer_of(tiny_models(kind), "padded")
    data = trees(len(tokenizer))
    with torch.no_grad():
        expected = plain(data)[0]
    flat, _ = scorer_of(tiny_models(kind), way)
    with torch.no_grad():
        found = flat(data)[0]

    assert torch.allclose(found.logps, expected.logps, atol=1e-4)
    assert torch.allclose(found.last, expected.last, atol=1e-4)
    if way == "flex_attention":
        return  # on a CPU it computes no gradient
    one, two = gradients(flat, data), gradients(plain, data)
    assert max(g.abs().max() for g in two.values()) > 0.1
    assert close(one, two, 2e-3)


@pytest.mark.parametrize("kind", SHAPES)
def test_a_shared_prompt_is_two_separate_ones(tiny_models: Callable[[str], str], kind: str):
    scorer, tokenizer = scorer_of(tiny_models(kind), attention.SEGMENTS)
    together = trees(len(tokenizer))
    apart = [Tree(t.prefix, (branch,)) for t in together for branch in t.branches]

    with torch.no_grad():
        assert torch.allclose(
            scorer.sequence_logps(together), scorer.sequence_logps(apart), atol=1e-4
        )
    assert lay_flat(together).ids.numel() < lay_flat(apart).ids.numel()
    assert close(gradients(scorer, together), gradients(scorer, apart), 2e-3)


@pytest.mark.parametrize("kind", SHAPES)
def test_a_row_does_not_see_its_neighbours(tiny_models: Callable[[str], str], kind: str):
    scorer, tokenizer = scorer_of(tiny_models(kind), attention.SEGMENTS)
    first, *rest = trees(len(tokenizer))
    others = trees(len(tokenizer), seed=9)
    with torch.no_grad():
        one = scorer.sequence_logps([*rest, first])[-1]
        two = scorer.sequence_logps([*others, first])[-1]
    assert one.item() == pytest.approx(two.item(), abs=1e-4)


@pytest.mark.parametrize("kind", SHAPES)
def test_an_adapter_that_is_off_is_the_base_and_a_merged_one_is_the_adapter(
    tiny_models: Callable[[str], str], kind: str
):
    scorer, tokenizer = scorer_of(tiny_models(kind), attention.SEGMENTS)
    data = trees(len(tokenizer))
    base, _ = load(tiny_models(kind))
    bare = ready(base, tokenizer.pad_token_id, 16)
    with torch.no_grad():
        on = scorer.sequence_logps(data)
        with scorer.model.disable_adapter():
            off = scorer.sequence_logps(data)
        assert torch.allclose(off, bare.sequence_logps(data), atol=1e-4)
        assert (on - off).abs().max() > 0.1
        merged = scorer.model.merge_and_unload()
        again = ready(merged, tokenizer.pad_token_id, 16)
        assert torch.allclose(again.sequence_logps(data), on, atol=2e-3)


@pytest.mark.parametrize("kind", SHAPES)
def test_a_fused_lora_layer_is_pefts(tiny_models: Callable[[str], str], kind: str):
    plain, tokenizer = scorer_of(tiny_models(kind), attention.SEGMENTS)
    data = trees(len(tokenizer))
    one = gradients(plain, data)
    assert fused.fuse(plain.model) == 7 * 2  # q k v o gate up down, two layers
    with torch.no_grad():
        before = plain.sequence_logps(data)
    two = gradients(plain, data)

    assert close(one, two, 2e-3)
    quick, _ = scorer_of(tiny_models(kind), attention.SEGMENTS)
    with torch.no_grad():
        assert torch.allclose(quick.sequence_logps(data), before, atol=1e-4)
        # What is not the plain sum goes peft's way: off, two adapters, dropout in training.
        with plain.model.disable_adapter(), quick.model.disable_adapter():
            assert torch.equal(plain.sequence_logps(data), quick.sequence_logps(data))


def test_what_a_fused_layer_gives_may_be_written_to(tiny_models: Callable[[str], str]):
    """As Gemma 3n does; autograd forbids it of a view that a function of ours makes."""
    scorer, _ = scorer_of(tiny_models("llama"), attention.SEGMENTS)
    fused.fuse(scorer.model)
    layer = scorer.model.get_submodule("base_model.model.model.layers.0.mlp.gate_proj")
    x = torch.randn(2, 3, 32, requires_grad=True)
    out = layer(x)
    out *= 2
    out.sum().backward()
    (mine,) = torch.autograd.grad((2 * type(layer).forward(layer, x)).sum(), x)
    assert torch.allclose(x.grad, mine, atol=1e-4)
    assert layer(x[:, :0]).shape == (2, 0, 64)  # an expert that no token goes to


@pytest.mark.parametrize("most_rows", [1, 2, 100])
@pytest.mark.parametrize("most_tokens", [0, 1, 20, 10_000])
def test_cutting_keeps_every_example_once_and_the_longest_first(most_rows: int, most_tokens: int):
    data = trees(100, count=12)
    parts = cut(data, lambda tree: tree.tokens, most_rows, most_tokens)

    assert sorted(map(id, data)) == sorted(id(tree) for part in parts for tree in part)
    sizes = [tree.tokens for part in parts for tree in part]
    assert sizes == sorted(sizes, reverse=True)
    for part in parts:
        assert len(part) <= most_rows
        assert len(part) == 1 or not most_tokens or sum(t.tokens for t in part) <= most_tokens


def test_what_each_token_may_see():
    """By hand: a prompt of 2, answers of 1 and 2; then a prompt of 1 with an answer of 1."""
    mask = attention.tree_mask(((2, 1, 2), (1, 1)))
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 1],
    ]


def test_both_layouts_say_what_predicts_what():
    tree = grow(
        Encoded([1, 2, 7, 8], [IGNORE, IGNORE, 7, 8]), Encoded([1, 2, 9], [IGNORE, IGNORE, 9])
    )
    assert tree == Tree([1, 2], (Encoded([7, 8], [7, 8]), Encoded([9], [9])))
    flat, padded = lay_flat([tree]), lay_padded([tree], 0)

    assert flat.ids.tolist() == [[1, 2, 7, 8, 9]]
    assert flat.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert flat.at.tolist() == [1, 2, 1]  # both answers' first tokens from the prompt's last
    assert flat.targets.tolist() == [7, 8, 9]
    assert flat.owner.tolist() == [0, 0, 1]
    assert flat.last.tolist() == [3, 4]
    assert padded.ids.tolist() == [[1, 2, 7, 8], [1, 2, 9, 0]]
    assert padded.at.tolist() == [1, 2, 5]
    assert padded.last.tolist() == [3, 6]


def adapter(ws: Workspace, run: str) -> dict[str, torch.Tensor]:
    return load_file(ws.runs / run / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize("stage", [sft, dpo], ids=["sft", "dpo"])
@pytest.mark.parametrize("kind", ["llama", pytest.param("qwen3", marks=pytest.mark.slow)])
def test_eight_times_one_is_one_times_eight(
    lessons: Workspace, knobs: dict[str, Any], tiny_models: Callable[[str], str],
    stage: Any, kind: str,
):  # fmt: skip
    knobs = {**knobs, "model": tiny_models(kind), "lr": 1e-3, "log_every": 1, "max_steps": 3}
    cuts = [(8, 1, 0), (1, 8, 0), (4, 2, 90)]
    made = [
        stage.main(
            lessons, stage.Config(**{**knobs, "micro_batch": m, "grad_accum": a, "micro_tokens": t})
        ).data
        for m, a, t in cuts
    ]
    for other in made[1:]:
        assert other["losses"] == pytest.approx(made[0]["losses"], abs=2e-4)
        assert close(adapter(lessons, made[0]["run_id"]), adapter(lessons, other["run_id"]), 2e-5)


@pytest.mark.parametrize("stage", [sft, dpo], ids=["sft", "dpo"])
def test_running_out_of_memory_halves_the_batch_and_not_the_step(
    lessons: Workspace, knobs: dict[str, Any], stage: Any, monkeypatch: pytest.MonkeyPatch
):
    knobs = {**knobs, "lr": 1e-3, "log_every": 1, "max_steps": 3, "micro_batch": 8}
    straight = stage.main(lessons, stage.Config(**knobs)).data
    real = Scorer.__call__
    failed = []

    def short_of_memory(self: Scorer, data: list[Tree], model: Any = None) -> Any:
        if torch.is_grad_enabled() and len(data) > 2:
            failed.append(len(data))
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return real(self, data, model)

    monkeypatch.setattr(Scorer, "__call__", short_of_memory)
    halved = stage.main(lessons, stage.Config(**{**knobs, "resume": "never"})).data

    assert failed[0] == 8
    assert len(failed) == 2  # and never again: the cut is kept
    assert halved["losses"] == pytest.approx(straight["losses"], abs=2e-4)
    notes = past.get_run(lessons, halved["run_id"])["facts"]["notes"]
    assert any("out of memory" in note for note in notes)


def launch(ws: Workspace, processes: int, stage: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """`torchrun … -m errata STAGE`; the record of the run it made."""
    words = [f"{name}={value}" for name, value in knobs.items()]
    before = {record["id"] for record in past.list_runs(ws, stage)}
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *torchrun, "-m", "errata", stage, "-C", str(ws.root), *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    (made,) = [r for r in past.list_runs(ws, stage) if r["id"] not in before]
    return made


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_two_processes_are_one(lessons: Workspace, knobs: dict[str, Any], stage: str):
    """Two processes with four rows each take the steps of one process with eight."""
    knobs = {**knobs, "lr": 1e-3, "log_every": 1, "max_steps": 3, "resume": "never"}
    together = launch(lessons, 2, stage, {**knobs, "micro_batch": 4})
    assert together["facts"]["processes"] == 2
    module = {"sft": sft, "dpo": dpo}[stage]
    alone = module.main(lessons, module.Config(**{**knobs, "micro_batch": 8})).data

    assert close(adapter(lessons, together["id"]), adapter(lessons, alone["run_id"]), 2e-5)
    assert Path(lessons.runs / together["id"] / "candidate.json").is_file()
