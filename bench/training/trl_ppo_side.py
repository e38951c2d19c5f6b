"""The opponent in PPO: TRL 1.12, the last release that has it.

Run as `python -m training.trl_ppo_side SETTINGS` with TRL 1.12's folder first on PYTHONPATH. Its
trainer wants policy, reference, reward and value as models of their own. With `lora`, the policy
carries an adapter and is its own reference (TRL's `peft_config`); reward and value stay whole
models, for TRL knows no other way.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
    set_seed,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

from training.meter import Meter

METER = Meter()


class Curve(TrainerCallback):
    """Policy loss and KL of each rollout."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.kl: list[float] = []

    def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
        if logs and "loss/policy_avg" in logs:
            self.losses.append(logs["loss/policy_avg"])
            self.kl.append(logs["objective/kl"])


def config(s: dict[str, Any]) -> PPOConfig:
    """One rollout of `batch` episodes, one update an epoch, no sampling for people to read."""
    return PPOConfig(
        output_dir=s["scratch"],
        per_device_train_batch_size=s["batch"],
        gradient_accumulation_steps=1,
        num_mini_batches=1,
        local_rollout_forward_batch_size=s["batch"],
        total_episodes=s["batch"] * s["steps"],
        num_ppo_epochs=s["epochs"],
        response_length=s["max_new_tokens"],
        stop_token="eos",
        temperature=1.0,
        kl_coef=s["kl_coef"],
        vf_coef=0.5,  # this and the next: what `errata ppo` has by default
        missing_eos_penalty=2.0,
        learning_rate=s["lr"],
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        seed=s["seed"],
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def main(s: dict[str, Any]) -> None:
    """Train, and print one JSON line."""
    set_seed(s["seed"])
    tokenizer = AutoTokenizer.from_pretrained(s["model"], padding_side="left")
    rows = [json.loads(line) for line in Path(s["dataset"]).read_text().splitlines()]
    each = s["answers_per_prompt"]  # TRL answers a prompt as often as it is in the data
    prompts = [tokenizer(r["prompt"])["input_ids"] for r in rows[: len(rows) // each]]
    data = Dataset.from_dict({"input_ids": [ids for ids in prompts for _ in range(each)]})

    def causal() -> Any:
        return AutoModelForCausalLM.from_pretrained(s["model"], dtype=s["dtype"])

    def scalar() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(
            s["model"], dtype=s["dtype"], num_labels=1
        )

    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    curve = Curve()
    trainer = PPOTrainer(
        args=config(s),
        processing_class=tokenizer,
        model=causal(),
        ref_model=None if s["lora"] else causal(),
        reward_model=scalar(),
        value_model=scalar(),
        train_dataset=data,
        eval_dataset=data.select(range(s["batch"])),
        callbacks=[curve],
        peft_config=lora if s["lora"] else None,
    )
    METER.start()
    trainer.train()
    METER.stop(losses=curve.losses, kl=curve.kl, steps=s["steps"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
