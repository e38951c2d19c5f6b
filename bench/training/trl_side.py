"""The opponent: TRL 1.16's DPO, SFT and reward trainers, each as its documentation sets it up.

Run in the opponents' environment as `python -m training.trl_side SETTINGS`, SETTINGS a JSON object
(sides.py: settings). What differs from TRL's defaults is what must be equal on both sides: LoRA,
learning rate, precision, order of rows, no gradient checkpointing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from training.meter import Meter
from training.work import ROW

METER = Meter()


class Curve(TrainerCallback):
    """The loss of every step; the clock stops where the last step ends."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])

    def on_train_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        METER.stop(losses=self.losses, steps=state.global_step)


def common(s: dict[str, Any]) -> dict[str, Any]:
    """Arguments of all three trainers."""
    return {
        "output_dir": s["scratch"],
        "per_device_train_batch_size": s["batch"],
        "max_steps": s["steps"],
        "learning_rate": s["lr"],
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "seed": s["seed"],
        "data_seed": s["seed"],
        "train_sampling_strategy": "sequential",
        "max_length": s["seq_len"],
        # bf16 weights are trained under TRL's default, bf16 autocast; fp32 weights in fp32.
        "bf16": s["dtype"] == "bfloat16",
        "model_init_kwargs": {"dtype": s["dtype"]},
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def text_or_turns(rows: list[dict[str, Any]], *names: str) -> Dataset:
    """Messages stay messages; of plain text, the prompt is followed by the space that the chat
    template puts there."""
    plain = isinstance(rows[0][names[0]], str)
    first = [row[names[0]] + " " if plain else row[names[0]] for row in rows]
    return Dataset.from_dict({"prompt": first} | {n: [r[n] for r in rows] for n in names[1:]})


def dpo(s: dict[str, Any], rows: list[dict[str, Any]], lora: LoraConfig) -> Any:
    """`precompute`: reference log-probs by TRL itself, inside the clock."""

    class Timed(DPOTrainer):
        def _precompute_ref_logps(self, *args: Any) -> Dataset:
            METER.start()
            return super()._precompute_ref_logps(*args)

    config = DPOConfig(**common(s), beta=s["beta"], precompute_ref_log_probs=s["precompute"])
    data = text_or_turns(rows, "prompt", "chosen", "rejected")
    return Timed(s["model"], args=config, train_dataset=data, peft_config=lora)


def sft(s: dict[str, Any], rows: list[dict[str, Any]], lora: LoraConfig) -> Any:
    """Packed by best-fit-decreasing into rows of 512; two of our examples are one row."""
    config = SFTConfig(**{**common(s), "max_length": ROW}, packing=True, completion_only_loss=True)
    config.per_device_train_batch_size = s["batch"] // 2
    named = [{"instruction": r["instruction"], "completion": r["output"]} for r in rows]
    data = text_or_turns(named, "instruction", "completion")
    trainer = SFTTrainer(s["model"], args=config, train_dataset=data, peft_config=lora)
    lengths = [list(row) for row in trainer.train_dataset["seq_lengths"]]
    said = [len(r["instruction"].split()) + len(r["output"].split()) + 1 for r in rows]
    assert lengths == [list(two) for two in zip(said[::2], said[1::2], strict=True)], lengths[:3]
    return trainer


def rm(s: dict[str, Any], rows: list[dict[str, Any]], lora: LoraConfig) -> Any:
    """A scalar head and its adapter."""
    lora.task_type = "SEQ_CLS"
    data = text_or_turns(rows, "prompt", "chosen", "rejected")
    config = RewardConfig(**common(s))
    return RewardTrainer(s["model"], args=config, train_dataset=data, peft_config=lora)


def main(s: dict[str, Any]) -> None:
    """Train, and print one JSON line."""
    rows = [json.loads(line) for line in Path(s["dataset"]).read_text().splitlines()]
    lora = LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    trainer = {"dpo": dpo, "sft": sft, "rm": rm}[s["stage"]](s, rows, lora)
    if s.get("logps"):  # what TRL makes of each pair before a step is taken
        both = zip(
            trainer.train_dataset["ref_chosen_logps"],
            trainer.train_dataset["ref_rejected_logps"],
            strict=True,
        )
        METER.stop(logps=[[float(c), float(r)] for c, r in both])
        return
    trainer.add_callback(Curve())
    METER.start()
    trainer.train()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
