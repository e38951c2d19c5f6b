"""The panel of every training stage, and what each of its stages must reach.

Every knob has its trade-off in the YAML beside it; an unknown knob is refused.
"""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field

from errata.config import Section
from errata.train.watch import Watching

# Other names that people and the chapter's command line use.
ALIASES = {
    "learning_rate": "lr",
    "lora_rank": "lora_r",
    "num_train_epochs": "epochs",
    "gradient_accumulation_steps": "grad_accum",
    "per_device_train_batch_size": "micro_batch",
    "max_seq_length": "seq_len",
    "model_name_or_path": "model",
}


class Bound(Section):
    """What a measured number must reach."""

    min: float | None = None
    max: float | None = None

    def missed(self, name: str, value: float | None) -> list[str]:
        """One sentence if `value` misses; no value, or NaN, is a miss."""
        if value is None or value != value:
            return [f"{name} has no value"]
        if self.max is not None and value > self.max:
            return [f"{name} {value:.4g} is above {self.max:g}"]
        if self.min is not None and value < self.min:
            return [f"{name} {value:.4g} is below {self.min:g}"]
        return []


class Panel(Section):
    """Knobs that all training stages share."""

    inputs: list[str] = Field([], description="files this stage needs; all must be there")
    outputs: list[str] = Field([], description="files this stage must leave; {run_id} is filled in")
    accept: dict[str, Bound] = Field({}, description="metric → {min, max}; a miss is exit 3")
    model: str = Field("tiny", description="path, hub id, run id, or a name in configs/models.yaml")
    dataset: str = Field("data/sft.jsonl", description="training rows")
    eval_dataset: str | None = Field(None, description="validation rows; none: no validation loss")
    max_steps: int = Field(0, ge=0, description="optimiser steps; 0: by epochs")
    epochs: float = Field(2.0, gt=0, description="passes over the data; more fits closer")
    seed: int = Field(17, description="same seed, same machine: the same metrics")
    order: Literal["random", "sequential"] = Field(
        "random", description="of the rows within an epoch; sequential: as they stand in the file"
    )
    method: Literal["lora", "qlora", "full"] = Field(
        "lora", description="lora; qlora: frozen weights in 4 bits, slower; full: all weights learn"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the frozen weights; auto: float32 on a CPU"
    )
    bf16: bool = Field(False, description="bfloat16 products: faster where the machine has them")
    checkpointing: bool = Field(
        False, description="compute activations again in backward: a third slower, far less memory"
    )
    micro_tokens: int = Field(
        0, ge=0, description="tokens at once at most, same gradient; 0: what suits the device"
    )
    seq_len: int = Field(512, ge=16, description="longest row in tokens; memory grows with it")
    micro_batch: int = Field(16, ge=1, description="rows at once: memory against speed")
    grad_accum: int = Field(1, ge=1, description="micro batches a step: time for memory")
    lr: float = Field(1e-3, gt=0, description="too large drifts, too small does not converge")
    lr_scheduler: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="how the learning rate decays"
    )
    warmup: float = Field(0.05, ge=0, description="share of steps (below 1) or steps of warm-up")
    weight_decay: float = Field(0.0, ge=0, description="pull of adapter weights towards zero")
    lora_r: int = Field(16, ge=1, description="capacity of the adapter")
    lora_alpha: float = Field(32.0, gt=0, description="scale of the adapter: alpha / r")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="noise against overfitting")
    budget_hours: float | None = Field(
        None, gt=0, description="stop and keep the state at this time"
    )
    save_every: int = Field(100, ge=1, description="steps between checkpoints to resume from")
    resume: str = Field(
        "auto", description="auto: a cut-off run of the same config; never; a run id"
    )

    @property
    def mixed(self) -> bool:
        """Whether training multiplies in bfloat16 what is stored in float32 (autocast).

        By `bf16` (a method with frozen weights stores those in bfloat16), or as accelerate's
        launcher was told."""
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower() == "bf16"
        return launched or (self.bf16 and self.method == "full")


class Training(Panel, Watching):
    """Knobs of the stages that a `Trainer` carries out."""

    eval_every: int = Field(0, ge=0, description="steps between validations; 0: at the end only")
    log_every: int = Field(5, ge=1, description="steps between points of the loss curve")
