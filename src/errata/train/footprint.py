"""What a run holds in memory: measured step by step, and predicted by the cost room beforehand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psutil
import torch
from transformers import TrainerCallback

from errata.cost.spec import Spec
from errata.cost.stage import Config as CostConfig
from errata.cost.stage import estimate, shape_of
from errata.errors import BadInput
from errata.language import say

if TYPE_CHECKING:
    from errata.train.stage import Job

GIB = 1024**3


def memory_gib() -> float:
    """GiB now: allocated on a GPU, at its highest so far; else the process's resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / GIB
    return float(psutil.Process().memory_info().rss) / GIB


class Meter(TrainerCallback):
    """Seconds a step and memory, put beside the loss in the Trainer's history.

    Kept there they are in its checkpoints, so that the curves of a resumed run are whole.
    """

    def __init__(self) -> None:
        self._began, self._seconds, self._steps = 0.0, 0.0, 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.end()

    def begin(self) -> None:
        """A step starts."""
        self._began = time.perf_counter()

    def end(self) -> None:
        """It ends; validation, audits and checkpoints come after, and are not counted."""
        self._seconds += time.perf_counter() - self._began
        self._steps += 1

    def read(self) -> dict[str, float]:
        """Mean seconds of the steps since the last reading, and memory now."""
        found = {"memory_gib": round(memory_gib(), 4)}
        if self._steps:
            found["seconds"] = round(self._seconds / self._steps, 4)
        self._seconds, self._steps = 0.0, 0
        return found

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        if logs and "loss" in logs and state.log_history:
            state.log_history[-1].update(self.read())


def predicted(job: Job) -> dict[str, Any]:
    """`predicted_memory_gib` with low and high, and what it is of; None with a reason where the
    cost room has no formula (PPO, another architecture).

    Of tensors alone: a process holds its libraries besides (`baseline_gib` before the model came).
    """
    from errata.train.model import weights_dtype

    config = job.config
    mixed = config.bf16 and config.method == "full"
    empty = dict.fromkeys(("predicted_memory_gib", "low_gib", "high_gib"))
    sequences = 1 if job.stage == "sft" else 2
    seq_len = min(config.seq_len, -(-(job.longest or config.seq_len) // sequences))
    # A step takes as many rows at once as its budget of tokens holds.
    at_once = (job.at_once or config.micro_batch * sequences * seq_len) // (sequences * seq_len)
    try:
        spec = Spec(
            arch=shape_of(job.ws, job.start.base),
            method="qlora-nf4-dq" if config.method == "qlora" else config.method,
            objective=job.stage,
            seq_len=seq_len,
            micro_batch=max(1, min(config.micro_batch, at_once)),
            grad_accum=config.grad_accum,
            grad_checkpointing=config.checkpointing,
            optimizer="adamw",
            lora_r=config.lora_r,
            precision="bf16 mixed" if mixed else weight_type(weights_dtype(config)),
            # Only labelled positions are scored, a part of the vocabulary's rows at a time.
            loss="chunked",
            metric="allocated",
        )
    except BadInput as error:
        return {**empty, "reason": str(error)}
    found = estimate(spec, CostConfig())
    if found["peak_gib"] is None:
        return {**empty, "reason": found["reason"]}
    return {
        "predicted_memory_gib": found["peak_gib"],
        "low_gib": found["low_gib"],
        "high_gib": found["high_gib"],
        "terms": found["terms"],
        "of": f"tensors of one process, {spec.micro_batch} rows of {seq_len} tokens at once",
    }


def weight_type(dtype: str) -> str:
    """As `model.load` has it: `auto` is float32 on a CPU, and taken for bf16 on a GPU."""
    if dtype == "auto":
        return "bf16" if torch.cuda.is_available() else "fp32"
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[dtype]


def compared(job: Job, peak_gib: float) -> dict[str, Any]:
    """Predicted beside measured, for the run record; `peak_gib` is the process's."""
    if torch.cuda.is_available():
        peak_gib = memory_gib()
    return {
        **predicted(job),
        "measured_peak_gib": round(peak_gib, 3),
        "baseline_gib": round(job.baseline_gib, 3),
        "above_baseline_gib": round(peak_gib - job.baseline_gib, 3),
    }


def rows(found: dict[str, Any]) -> list[list[str]]:
    """Lines of the report's table."""
    value = found["predicted_memory_gib"]
    said = (
        found["reason"]
        if value is None
        else f"{value:.3g} ({found['low_gib']:.3g} – {found['high_gib']:.3g}), {found['of']}"
    )
    measured = (
        f"{found['measured_peak_gib']:.3g} − {found['baseline_gib']:.3g} = "
        f"{found['above_baseline_gib']:.3g}"
    )
    return [
        [say("memory predicted, GiB", "预测内存 GiB"), said],
        [
            say("memory measured: peak − before the model, GiB", "实测：峰值 − 载入模型前 GiB"),
            measured,
        ],
    ]
