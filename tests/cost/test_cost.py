"""`errata cost`: free text understood or refused with a reason, hours and money, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from errata import cli
from errata.cost import words
from errata.cost.memory import Setup
from errata.cost.money import Price, money, price
from errata.cost.spec import Spec, understand
from errata.cost.stage import LLAMA_7B, Config, answer_row, shape_of
from errata.cost.time import GPUS, SHARE, gpu, hours, operations
from errata.cost.words import ATTENTION, LINEARS, MLP, Optimizer, Precision
from errata.workspace import Workspace

ROW: dict[str, Any] = {
    "arch": LLAMA_7B.model_dump(),
    "method": "lora",
    "objective": "sft",
    "seq_len": 1024,
    "micro_batch": 2,
    "grad_accum": 8,
    "rows": 1000,
    "epochs": 1,
    "grad_checkpointing": True,
    "optimizer": "adamw",
    "lora_r": 16,
    "lora_targets": "all",
    "precision": "bf16",
    "loss": "full",
    "gpu": "RTX 4090",
    "metric": "max_allocated",
}


def the_setup(**changes: Any) -> Setup:
    (found,), _ = understand(Spec.model_validate({**ROW, **changes}))
    return found


def answer(**changes: Any) -> dict[str, Any]:
    return answer_row({**ROW, **changes}, Config())


@pytest.mark.parametrize(
    ("text", "more", "found"),
    [
        ("AdamW", "", Optimizer(2)),
        ("fused AdamW", "", Optimizer(2)),
        ("adamw_torch_fused", "", Optimizer(2)),
        ("PagedAdamW8bit + optimizer_in_bwd", "", Optimizer(2, 1, True, True)),
        ("adamw_8bit", "", Optimizer(2, 1)),
        ("paged_adamw_32bit", "", Optimizer(2, None, True)),
        (None, "8bit paged AdamW, optim-in-bwd", Optimizer(2, 1, True, True)),
        ("SGD", "", Optimizer(0)),
        ("SGD with momentum", "", Optimizer(1)),
        ("Adafactor", "", Optimizer(0)),
        ("AdaLomo", "", Optimizer(0, in_backward=True)),
        ("adam-mini", "", Optimizer(1)),
        ("adamw_torch", "", Optimizer(2, spare=True)),
        ("adamw_bnb_8bit", "", Optimizer(2, 1)),
        ("AdamW 8-bit (layer-wise)", "", Optimizer(2, 1, in_backward=True)),
        ("not stated", "", Optimizer(2)),
        ("lion 8-bit", "", Optimizer(1, 1)),
    ],
)
def test_optimizers_as_people_write_them(text: str | None, more: str, found: Optimizer) -> None:
    assert words.optimizer(text, more, []) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("q,v", set("qv")),
        ("q_proj, k_proj", set("qk")),
        ("all", set(LINEARS)),
        ("all-linear", set(LINEARS)),
        ("q,v,o + mlp", {*"qvo", *MLP}),
        ("all attn+mlp (c_attn,c_proj,w1,w2)", set(LINEARS)),
        ("all attn", set(ATTENTION)),
        ("all+output", {*LINEARS, "head"}),
        ("gate,up,down", set(MLP)),
        ("(q_proj)", {"q"}),
        ("qkvo", set("qkvo")),
        ("Wqkv", set("qkv")),
        ("lora_query, lora_value", set("qv")),
        ("all linear layers", set(LINEARS)),
        ("default", set(LINEARS)),
        (["q_proj", "down_proj"], {"q", "down"}),
    ],
)
def test_targets_as_people_write_them(text: Any, found: set[str]) -> None:
    assert words.targets(text, []) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bf16", Precision(2, 2)),
        ("fp32", Precision(4, 4, frozen=4)),
        ("bf16 mixed", Precision(4, 4, compute_copy=2)),
        ("bf16-mixed", Precision(4, 4, compute_copy=2, frozen=4)),
        ("bf16-true", Precision(2, 2, native=True)),
        ("DeepSpeed bf16", Precision(2, 2, master=4)),
    ],
)
def test_precisions(text: str, found: Precision) -> None:
    assert words.precision(text, []) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("max_allocated", "allocated"),
        ("peak active", "allocated"),
        ("reserved", "reserved"),
        ("max_reserved minus init; p99 18", "reserved"),
        ("device", "device"),
        ("nvidia-smi", "device"),
        ("reported G (nvidia-smi/unspecified)", "device"),
    ],
)
def test_readings(text: str, found: str) -> None:
    assert words.reading(text, []) == found


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"method": "prefix-tuning"}, "prefix-tuning"),
        ({"method": "lora-int8"}, "lora-int8"),
        ({"seq_len": 10**12}, "seq_len"),
        ({"objective": "dpo", "prompt_len": 5000}, "prompt_len"),
        ({"sharding": "pipeline"}, "pipeline"),
        ({"method": "galore", "lora_r": None}, "galore"),
        ({"method": "freeze"}, "freeze"),
        ({"method": None}, "method is not given"),
        ({"objective": "kto"}, "kto"),
        ({"seq_len": None}, "seq_len is not given"),
        ({"micro_batch": None}, "micro_batch is not given"),
        ({"optimizer": "shampoo-2000"}, "shampoo-2000"),
        ({"lora_targets": "experts"}, "experts"),
        ({"precision": "int3"}, "int3"),
        ({"loss": "mystery"}, "mystery"),
        ({"metric": "vibes"}, "vibes"),
        ({"method": "full", "optimizer": None}, "optimizer is not given"),
        ({"arch": None}, "arch"),
        ({"arch": {**ROW["arch"], "params_B": 46.7}}, "mixture of experts"),
        ({"seq_len": "long"}, "seq_len"),
        ({"seq_len": 0}, "seq_len"),
        ({"lora_r": 0}, "lora_r"),
        ({"grad_accum": -1}, "grad_accum"),
        ({"epochs": float("nan")}, "epochs"),
        ({"arch": {**ROW["arch"], "experts": 8}}, "arch.experts"),
        ({"arch": {**ROW["arch"], "kv_heads": 64}}, "kv_heads 64"),
        ({"method": "QLoRA 8-bit"}, "QLoRA 8-bit"),
        ({"method": "QLoRA (2bit AQLM)"}, "AQLM"),
        ({"method": "freeze (16-bit)"}, "freeze"),
        ({"method": "n/a"}, "method is not given"),
        ({"rollout": 10**400, "objective": "ppo"}, "rollout"),
        ({"prompt_len": 10**400, "objective": "dpo"}, "prompt_len"),
    ],
)
def test_what_is_not_understood_is_null_with_a_reason(changes: dict[str, Any], reason: str) -> None:
    found = answer(**changes)
    assert found["peak_gib"] is None
    assert found["fits"] is None
    assert reason in found["reason"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grad_accum", "grad_accum: 1"),
        ("optimizer", "optimizer: AdamW"),
        ("lora_r", "lora_r: 16"),
        ("lora_targets", "LoRA targets: all linear layers"),
        ("precision", "precision: bf16"),
        ("loss", "loss: full cross-entropy"),
        ("metric", "metric: memory of the device"),
        ("grad_checkpointing", "grad_checkpointing: either"),
    ],
)
def test_what_is_assumed_is_said(name: str, said: str) -> None:
    assert answer()["assumed"] == []
    assert answer(**{name: None})["assumed"] == [said]


def test_unknown_checkpointing_spans_both() -> None:
    both, on, off = (answer(grad_checkpointing=x) for x in (None, True, False))
    assert (both["low_gib"], both["high_gib"]) == (on["low_gib"], off["high_gib"])
    assert on["peak_gib"] < both["peak_gib"] < off["peak_gib"]


def test_unknown_fields_are_named_and_not_read() -> None:
    found = answer(remark="x", learning_rte=1)
    assert found["ignored"] == ["learning_rte", "remark"]
    assert found["peak_gib"] == answer()["peak_gib"]


def test_operations_by_hand() -> None:
    """A token: 2 a weight but for the looked-up embedding, and 2·32·4096·seq_len of attention; LoRA
    with checkpointing: forward, forward again, backward for the activations."""
    forward = 2 * (6.738e9 - 32000 * 4096) + 2 * 32 * 4096 * 1024
    assert operations(the_setup(), "sft") == forward * 3
    assert operations(the_setup(grad_checkpointing=False), "sft") == forward * 2
    assert operations(the_setup(method="full"), "sft") == forward * 4
    assert operations(the_setup(objective="dpo"), "dpo") == forward * 4


def test_hours_by_hand() -> None:
    """1,000 rows of 1,024 tokens at 67 % and 16 % of 165·10¹² operations a second."""
    run = the_setup()
    seconds = 1_024_000 * operations(run, "sft") / 165e12
    low, high = hours(run, "sft", 1000, 1.0, GPUS["RTX4090"])
    assert (low, high) == pytest.approx((seconds / 0.67 / 3600, seconds / 0.16 / 3600))
    assert SHARE == (0.16, 0.67)
    slow = hours(the_setup(seq_len=511), "sft", 1000, 1.0, GPUS["RTX4090"])
    assert slow[1] / slow[0] > high / low / 1.1, "few tokens a pass: slower, and less certain"


@pytest.mark.parametrize(
    ("text", "name", "sizes"),
    [
        ("4090", "RTX4090", (24,)),
        ("NVIDIA GeForce RTX 4090", "RTX4090", (24,)),
        ("A100-80G", "A100", (80,)),
        ("A100 40GB", "A100", (40,)),
        ("A100", "A100", (40, 80)),
        ("L40S", "L40S", (48,)),
        ("L4", "L4", (24,)),
        ("Tesla T4", "T4", (16,)),
        ("H100 80GB", "H100", (80,)),
        ("NVIDIA A100-SXM4-80GB", "A100", (80,)),  # not 480
        ("V100 SXM2 16 GB", "V100", (16,)),
        ("A100 40/80GB", "A100", (40, 80)),
        ("A100 MIG 1g.10gb", "A100", (10,)),
        ("A10G", "A10", (24,)),  # not 10
        ("4x24GB RTX 3090", "RTX3090", (24,)),
    ],
)
def test_gpus_as_people_write_them(text: str, name: str, sizes: tuple[int, ...]) -> None:
    found = gpu(text)
    assert found
    assert (found[0], found[1].gib) == (name, sizes)


@pytest.mark.parametrize("text", ["RTX A4000", "Quadro T4000", "T400 4GB", "P1000", "L400"])
def test_a_name_that_begins_like_a_known_one_is_another_gpu(text: str) -> None:
    assert gpu(text) is None


def test_states_in_the_hosts_memory_are_not_the_gpus() -> None:
    whole = answer(method="full")["terms"]["optimizer"]
    for text in ("DeepSpeedCPUAdam", "adamw offloaded to CPU"):
        assert whole > 10
        assert answer(method="full", optimizer=text)["terms"]["optimizer"] == 0


def test_an_unknown_gpu_gives_memory_and_no_hours() -> None:
    found = answer(gpu="abacus")
    assert found["peak_gib"]
    assert (found["fits"], found["hours"], found["money"]) == (None, None, None)


def test_money_takes_the_users_price_first() -> None:
    assert money((2.0, 4.0), Price(0.5, 1.5)) == {"low": 1.0, "high": 6.0, "currency": "USD"}
    assert price("A100", 9.0, None, "CNY") == (9.0, 9.0, "CNY")
    assert price("abacus", None, None, "USD") is None


def test_specs_are_answered_in_order_one_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "specs.jsonl"
    rows = [ROW, {**ROW, "method": "magic"}, {**ROW, "method": "full"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli.main(["cost", "--specs", str(file)]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [a["peak_gib"] is None for a in found] == [False, True, False]
    assert found[0] == answer()
    assert found[2]["peak_gib"] > found[0]["peak_gib"]
    file.write_text(f"{{\n{json.dumps(ROW)}\n[1]\n{json.dumps({**ROW, 'rows': 10**400})}\n")
    assert cli.main(["cost", "--specs", str(file)]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[1] == answer(), "a bad line stops no other"
    assert "specs.jsonl:1: not JSON" in found[0]["reason"]
    assert "specs.jsonl:3: not an object" in found[2]["reason"]
    assert found[3]["reason"].startswith("rows: ")
    for none, told in (("{\n", "specs.jsonl:1"), ("", "no rows")):
        file.write_text(none)
        assert cli.main(["cost", "--specs", str(file)]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_table_shows_every_method_size_and_term(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    monkeypatch.setenv("ERRATA_LANG", language)
    assert cli.main(["cost", "--json"]) == 0
    out = capsys.readouterr().out
    estimates = json.loads(out.splitlines()[-1])["estimates"]
    assert [(e["model"], e["method"]) for e in estimates] == [
        (size, method) for size in ("7B", "13B") for method in ("full", "lora", "qlora-nf4-dq")
    ]
    for size in range(0, 6, 3):
        full, lora, qlora = (e["peak_gib"] for e in estimates[size : size + 3])
        assert qlora < lora < full
    assert (estimates[2]["fits"], estimates[0]["fits"]) == (True, False), "the chapter's 24 GB card"
    for word in ("logits", "24 GiB", "optimizer" if language == "en" else "优化器"):
        assert word in out


def test_a_checkpoint_is_read_from_its_config(tmp_path: Path) -> None:
    said = {
        "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 16, "tie_word_embeddings": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(said))
    shape = shape_of(Workspace(tmp_path), str(tmp_path))
    assert (shape.kv_heads, shape.head_dim, shape.tied) == (2, 4, True)
    # 2·(4·8·8 + 3·8·16) + 100·8 + 5 norms of 8
    assert shape.params == 2 * (256 + 384) + 800 + 40
    assert cli.main(["cost", "model=tiny", "-C", str(tmp_path)]) == 0
    assert cli.main(["cost", "model=nowhere", "-C", str(tmp_path)]) == 2
