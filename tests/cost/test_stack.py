"""Which program a row is of, by its words; what a row that lacks numbers may be answered with."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cost.test_cost import ROW, answer

from errata.cost import stack, words
from errata.cost.spec import Spec, understand
from errata.cost.stack import Stack


def found(said: str, method: str = "lora", loss: Any = "full", precision: str = "bf16") -> Any:
    of, assumed = words.METHODS[method], []
    one = stack.stacks(said, of, words.precision(precision, []), loss, assumed)
    return one, assumed


@pytest.mark.parametrize(
    ("said", "precision", "expected"),
    [
        ("", "bf16", Stack()),
        ("", "bf16 mixed", Stack(inputs="autocast")),
        ("", "bf16-true", Stack(inputs="native")),
        ("pytorch/torchtune readme | packed, compile", "bf16",
         Stack(inputs="native", kernels="compiled")),
        ("no compile", "bf16", Stack()),
        ("unsloth", "bf16", Stack(inputs="native", kernels="fused", offload=True)),
        ("liger kernels", "bf16", Stack(kernels="fused")),
        ("+act offload", "bf16", Stack(offload=True)),
        ("no activation offload", "bf16", Stack()),
        ("without flash attention", "bf16", Stack(eager=True)),
    ],
)  # fmt: skip
def test_programs_by_their_words(said: str, precision: str, expected: Stack) -> None:
    assert found(said, precision=precision) == ([expected], [])


def test_how_a_k_bit_base_was_prepared_is_asked_both_ways_where_nothing_says() -> None:
    both, assumed = found("", "qlora-nf4")
    assert [s.upcast for s in both] == [False, True]
    assert len(assumed) == 1
    for said, upcast in (("transformers, trl", True), ("llama-factory", False)):
        (one,), none = found(said, "qlora-nf4")
        assert (one.upcast, none) == (upcast, [])
    assert [s.upcast for s in found("", "qlora-gptq4")[0]] == [False]
    assert [s.upcast for s in found("", "qlora-nf4", "chunked")[0]] == [False]


def test_rows_known_to_be_short_have_an_assumed_length() -> None:
    """The longest of a batch of Alpaca's rows; a limit of 4,096 that no row reaches is none."""
    for limit in (None, 4096):
        got = answer(seq_len=limit, note="alpaca, unpacked")
        assert any("512" in line for line in got["assumed"]), got
    assert answer(seq_len=4096, note="alpaca, packed")["assumed"] == []
    assert answer(seq_len=256, note="alpaca")["assumed"] == []


def test_checkpointing_by_the_rows_words() -> None:
    off = answer(grad_checkpointing=None, note="ckpt probably off")
    assert off["peak_gib"] == answer(grad_checkpointing=False)["peak_gib"]
    on = answer(grad_checkpointing=None, note="with activation checkpointing")
    assert on["peak_gib"] == answer(grad_checkpointing=True)["peak_gib"]


@pytest.mark.parametrize(
    ("text", "layers", "rank"),
    [("freeze (2 layers)", 2, 0), ("freeze (last 4)", 4, 0), ("galore (rank 1024)", 0, 1024)],
)
def test_parts_of_a_model(text: str, layers: int, rank: int) -> None:
    of, _ = words.method(text)
    assert (of.layers, of.rank) == (layers, rank)
    assert answer(method=text)["peak_gib"] < answer(method="full")["peak_gib"]


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"gpus": 8, "sharding": "FSDP full_shard"}, "sharding", "zero3"),
        ({"gpus": 2, "sharding": "DeepSpeed ZeRO-2"}, "sharding", "zero2"),
        ({"gpus": 2}, "sharding", "ddp"),
        ({"objective": "dpo", "prompt_len": 700}, "tokens", 2 * (2 * 1024 - 700)),
        ({"objective": "dpo", "reference": "separate copy"}, "frozen_copies", 1),
        ({"objective": "dpo"}, "frozen_copies", 0),
        ({"objective": "dpo", "method": "full"}, "frozen_copies", 1),
        ({"objective": "ppo"}, "adapters", 2),
        ({"objective": "ppo", "models": "four models"}, "learners", 2),
        ({"objective": "ppo", "method": "full"}, "frozen_copies", 2),
        ({"objective": "ppo", "rollout": 96}, "rollout", 96),
        ({"objective": "reward modeling"}, "logits", False),
        ({"objective": "n/a", "sharding": "-", "lora_r": "n/a"}, "lora_r", 16),
        ({"method": "full", "lora_r": 0, "lora_targets": "n/a"}, "lora_r", 0),
        ({"method": "full parameter fine-tuning"}, "method", words.METHODS["full"]),
        ({"method": "QLoRA (NF4, double quant)"}, "method", words.METHODS["qlora-nf4-dq"]),
        ({"method": "QLoRA (GPTQ-Int4)"}, "method", words.METHODS["qlora-gptq4"]),
        ({"method": "QLoRA (8-bit paged AdamW)"}, "method", words.METHODS["qlora"]),
    ],
)  # fmt: skip
def test_objectives_and_gpus(changes: dict[str, Any], field: str, value: Any) -> None:
    setups, _ = understand(Spec.model_validate({**ROW, **changes}))
    assert getattr(setups[0], field) == value


def test_four_models_need_more_than_adapters_on_one() -> None:
    shared, four = (answer(objective="ppo", models=m)["peak_gib"] for m in ("shared", "four"))
    assert four > 2 * shared


@pytest.mark.parametrize(
    ("text", "fits"),
    [("some 48GB card", True), ("abacus-80G", True), ("a 2 GB toy", False), ("abacus", None)],
)
def test_a_card_of_no_table_is_judged_by_the_memory_in_its_name(text: str, fits: Any) -> None:
    got = answer(gpu=text)
    assert got["fits"] is fits
    assert got["hours"] is None
