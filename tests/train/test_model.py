"""How a model is made to learn: the base's own noise is off, adapters go on as they were."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from errata.errors import BadInput
from errata.store import past
from errata.train import dpo, reward, sft
from errata.train.model import adapt, add_lora, kept_knobs, load, save_adapter, without_dropout
from errata.workspace import Workspace

Adapter = Callable[[Workspace, str], dict[str, Any]]


def test_dpo_on_a_base_that_drops_begins_at_ln_2(
    lessons: Workspace, knobs: dict[str, Any], tiny_models: Callable[[str], str]
):
    config = json.loads((Path(tiny_models("gpt2")) / "config.json").read_text())
    assert config["resid_pdrop"] == config["attn_pdrop"] == 0.1
    knobs |= {"model": tiny_models("gpt2"), "max_steps": 1, "log_every": 1}
    done = dpo.main(lessons, dpo.Config(**knobs, versus_cases=0)).data

    assert done["losses"] == [pytest.approx(math.log(2), abs=1e-5)]


@pytest.mark.parametrize("kind", ["gpt2", "falcon", "llama"])
def test_without_dropout_training_mode_computes_what_evaluation_does(kind: str):
    from transformers import AutoConfig, AutoModelForCausalLM

    drops = {"gpt2": {}, "falcon": {"hidden_dropout": 0.5, "attention_dropout": 0.5},
             "llama": {"attention_dropout": 0.5}}  # fmt: skip
    shape = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape, **drops[kind]))
    ids = torch.arange(20)[None]
    with torch.no_grad():
        true = model.eval()(ids).logits
        assert not torch.allclose(model.train()(ids).logits, true, atol=1e-4)
        without_dropout(model)
        assert torch.allclose(model(ids).logits, true, atol=1e-5)
    # LoRA's comes later, and is the panel's.
    layers = [m for m in add_lora(model, 4, 8, 0.2).modules() if isinstance(m, torch.nn.Dropout)]
    assert max(layer.p for layer in layers) == 0.2


def test_a_reward_model_goes_on_from_an_sft_run(
    lessons: Workspace, knobs: dict[str, Any], adapter_of: Adapter
):
    first = sft.main(lessons, sft.Config(**knobs)).data["run_id"]
    told = {**knobs, "model": first, "lora_r": 16, "lora_alpha": 32.0, "lr": 1e-9, "max_steps": 1}
    second = reward.main(lessons, reward.Config(**told)).data["run_id"]
    start, end = adapter_of(lessons, first), adapter_of(lessons, second)

    assert end.keys() - start.keys() == {"base_model.model.score.weight"}
    assert max(tensor.abs().max() for name, tensor in start.items() if "lora_B" in name) > 1e-3
    for name, tensor in start.items():
        assert torch.allclose(end[name], tensor, atol=1e-6), name
    config = json.loads((lessons.runs / second / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["task_type"]) == (4, 8.0, "SEQ_CLS")
    # The panel's rank is not the adapter's: the run says so, and its report claims the truth.
    notes = past.get_run(lessons, second)["facts"]["notes"]
    assert any("keeps its lora_r=4, lora_alpha=8" in note for note in notes)
    report = (lessons.reports / "posttrain" / f"{second}.md").read_text()
    assert "| lora\\_r | 4 |" in report


def test_a_reward_model_refuses_an_adapter_of_another_base(
    tiny_models: Callable[[str], str], tmp_path: Path
):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    save_adapter(add_lora(load(tiny_models())[0], 4, 8, 0.0), tmp_path / "run" / "adapter")
    for changed in ({"intermediate_size": 80}, {"num_hidden_layers": 1}):
        config = AutoConfig.from_pretrained(tiny_models(), num_labels=1, **changed)
        other = AutoModelForSequenceClassification.from_config(config)
        with pytest.raises(BadInput, match=r"adapter run: \d+ of its matrices do not fit"):
            adapt(other, reward.Config(), tmp_path / "run" / "adapter", "reward")


def test_knobs_that_an_adapter_keeps_are_told(tiny_models: Callable[[str], str], tmp_path: Path):
    save_adapter(add_lora(load(tiny_models())[0], 4, 8, 0.0), tmp_path / "run" / "adapter")
    panel = sft.Config(lora_r=8, lora_alpha=8.0)
    model = adapt(load(tiny_models())[0], panel, tmp_path / "run" / "adapter")

    assert kept_knobs(model, panel) == {"lora_r": 4}
    assert kept_knobs(model, sft.Config(lora_r=4, lora_alpha=8.0)) == {}
    assert kept_knobs(load(tiny_models())[0], panel) == {}


def test_a_model_that_takes_no_adapter_is_told_what_does_work():
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 1, "state_size": 8}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", **shape))
    with pytest.raises(BadInput, match="use method=full") as refused:
        add_lora(model, 4, 8, 0.0)
    assert "\n" not in str(refused.value)


def test_a_router_that_gives_a_tuple_gets_no_adapter():
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {
        "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 48,
        "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4,
    }  # fmt: skip
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("phimoe", **shape))
    adapted = add_lora(model, 4, 8, 0.0)
    assert adapted(torch.arange(5)[None]).logits.shape == (1, 5, 99)
    named = [name for name, _ in adapted.named_parameters() if "lora_A" in name]
    assert named
    assert not [name for name in named if "router" in name]
