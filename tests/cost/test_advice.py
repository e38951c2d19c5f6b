"""What an estimate depends on, what to change first, what a budget buys, and the shapes refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.cost.test_cost import ROW

from errata import cli
from errata.config import load
from errata.cost import advice, arch
from errata.cost.money import Price, own_prices
from errata.cost.spec import Spec
from errata.cost.stage import Config, estimate
from errata.cost.words import Unclear
from errata.errors import BadInput
from errata.train.sft import Config as SftConfig

ANSWER: Any = partial(estimate, config=Config())


def spec(**changes: Any) -> Spec:
    return Spec.model_validate({**ROW, "metric": "device", **changes})


def test_savings_are_ranked_and_true() -> None:
    full = spec(method="full")
    found = advice.savings(full, ANSWER)
    saved = [gib for gib, _, _ in found]
    assert saved == sorted(saved, reverse=True)
    assert found[0][1].said == "method=qlora-nf4-dq"
    here = ANSWER(full)["high_gib"]
    for gib, change, _ in found:
        there = ANSWER(full.model_copy(update=change.values))["high_gib"]
        assert gib == pytest.approx(here - there)
        assert gib > 0


def test_the_first_that_fits_is_what_learns_most() -> None:
    at, got = advice.smallest(spec(gpu="A100-80G", seq_len=2048), ANSWER) or (None, None)
    assert at
    assert got
    assert (at.method, got["fits"]) == ("full", True)
    small, _ = advice.smallest(spec(gpu="12GB card", seq_len=2048), ANSWER) or (None, None)
    assert small
    assert small.method == "qlora-nf4-dq"
    assert advice.smallest(spec(gpu="1GB card"), ANSWER) is None


def test_a_budget_is_judged_on_the_upper_ends() -> None:
    row = spec(gpu="A100-80G")
    dpo, rlhf = advice.within(row, ANSWER, 1e6, 1e6)
    assert (dpo["within"], rlhf["within"]) == (True, True)
    assert rlhf["hours"][1] > dpo["hours"][1], "a reward model, rollouts, and four forwards"
    between = advice.within(row, ANSWER, None, (dpo["hours"][0] + dpo["hours"][1]) / 2)
    assert between[0]["within"] is None
    none = advice.within(row, ANSWER, dpo["money"][0] / 2, None)
    assert [b["within"] for b in none] == [False, False]


def test_the_command_says_what_a_budget_buys(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cost", "--budget", "1000000", "--hours", "1000000", "--gpu", "H100",
                     "--json"]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "| DPO | " in out
    assert json.loads(out.splitlines()[-1])["budget"][0]["within"] is True


def test_a_teams_prices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "configs").mkdir()
    file = tmp_path / "configs" / "prices.yaml"
    file.write_text("prices:\n  RTX4090: {low: 2.0, high: 3.0, currency: EUR}\n")
    assert own_prices(file) == {"RTX4090": Price(2.0, 3.0, "EUR")}
    assert cli.main(["cost", "-C", str(tmp_path)]) == 0
    assert "EUR" in capsys.readouterr().out
    file.write_text("prices:\n  RTX4090: {low: -1.0, high: 3.0}\n")
    assert cli.main(["cost", "-C", str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("abacus: {low: 1, high: 2}", "prices.abacus: no such GPU"),
        ("A100: {low: 5, high: 1}", "prices.A100: low is above high"),
        ("A100: {low: 1, high: .inf}", "high"),
    ],
)
def test_prices_that_cannot_be(tmp_path: Path, told: str, said: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(f"prices:\n  {told}\n", encoding="utf-8")
    with pytest.raises(BadInput, match=said):
        own_prices(path)


def test_a_price_is_found_by_the_name_that_people_write(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("prices:\n  RTX 4090: {low: 1, high: 2}\n", encoding="utf-8")
    assert own_prices(path) == {"RTX4090": Price(1, 2)}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "encoder"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "encoder"),
        ({"model_type": "mixtral", "num_local_experts": 8}, "experts"),
        ({"model_type": "mamba"}, "state"),
        ({"model_type": "llava", "vision_config": {"hidden_size": 8}}, "images"),
        ({"model_type": "llama", "hidden_size": 0}, "vocab_size"),
    ],
)
def test_shapes_without_an_estimate_are_named(said: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unclear, match=reason):
        arch.from_config(said, "config.json")


def test_gpt2_has_two_matrices_in_its_mlp() -> None:
    """GPT-2 small: 12 · (4·768² + 2·768·3072) and 50,257 tied words."""
    said = {"model_type": "gpt2", "vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12}
    found = arch.from_config(said, "config.json")
    assert (found.mlp_linears, found.ffn, found.tied) == (2, 3072, True)
    assert found.block == 12 * (4 * 768**2 + 2 * 768 * 3072)


def test_the_chapters_preset_is_a_config_of_sft() -> None:
    import errata

    folder = Path(errata.__file__).parent / "template" / "configs" / "presets"
    found = load(folder / "7b-qlora-10k.yaml", SftConfig, [])
    assert (found.method, found.seq_len, found.micro_batch, found.grad_accum) == (
        "qlora", 2048, 1, 16,
    )  # fmt: skip
    row = spec(method="qlora-nf4-dq", seq_len=found.seq_len, micro_batch=found.micro_batch,
               grad_checkpointing=found.checkpointing, gpu="RTX 4090")  # fmt: skip
    assert ANSWER(row)["fits"] is True


TURNS: dict[str, str] = {
    "gpu": "gpu=H100", "gpus": "gpus=2", "sharding": "gpus=2 sharding=fsdp",
    "seq_len": "seq_len=64",
    "micro_batch": "micro_batch=2", "grad_accum": "grad_accum=1", "rows": "rows=7",
    "epochs": "epochs=9",
    "grad_checkpointing": "grad_checkpointing=false", "lora_r": "lora_r=200",
    "lora_targets": "lora_targets=q", "optimizer": "optimizer=sgd", "precision": "precision=fp32",
    "loss": "loss=fused", "objective": "objective=dpo",
    "prompt_len": "objective=dpo prompt_len=900",
    "reference": "objective=dpo reference=separate", "models": "objective=ppo models=four",
    "rollout": "objective=ppo rollout=500", "budget": "budget=9", "hours": "hours=9",
    "price_low": "price_low=0.01", "price_high": "price_high=99",
    "currency": "price_low=1 currency=EUR",
}  # fmt: skip


def test_every_knob_does_something(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against the same words without it; `verify` alone reads `steps`."""
    assert set(Config.model_fields) - set(TURNS) == {"args", "model", "specs", "steps"}

    def data(words: list[str]) -> Any:
        assert cli.main(["cost", "-C", str(tmp_path), "--json", *words]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    for knob, line in TURNS.items():
        words = line.split()
        without = [word for word in words if not word.startswith(f"{knob}=")]
        assert data(words) != data(without), knob
