"""What a run holds in memory: measured step by step, and predicted by the cost room beforehand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psutil
import torch
from transformers import TrainerCallback

from errata.cost import own
from errata.cost.arch import Arch
from errata.cost.memory import Peak, Setup, peak
from errata.cost.spec import Spec, understand
from errata.cost.stage import shape_of
from errata.cost.time import operations
from errata.cost.words import Unclear
from errata.errors import BadInput
from errata.language import say
from errata.train.job import peak_rss_gib
from errata.train.model import weights_dtype
from errata.train.ppo_config import Config as PpoConfig
from errata.train.step import tokens_at_once

if TYPE_CHECKING:
    from errata.train.stage import Job

GIB = 1024**3


def memory_gib() -> float:
    """GiB now: allocated on a GPU, at its highest so far; else the process's resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / GIB
    return float(psutil.Process().memory_info().rss) / GIB


def before_gib() -> float:
    """GiB before a model is there: on a CPU the highest so far, not what is resident now. A kernel
    that takes idle pages back makes that less by any amount, and the growth after it more: 0.32
    and 0.37 GiB were measured so on a busy machine where it is 0.15."""
    return memory_gib() if torch.cuda.is_available() else peak_rss_gib()


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
    cost room has no formula (another architecture).

    On a CPU: what the process's resident memory grows by (cost/own.py). On a GPU: tensors.
    """
    empty = dict.fromkeys(("predicted_memory_gib", "low_gib", "high_gib"))
    try:
        arch = shape_of(job.ws, job.start.base)
        found, of, each = _on_gpu(job, arch) if torch.cuda.is_available() else _on_cpu(job, arch)
    except (BadInput, Unclear) as error:
        return {**empty, "reason": str(error)}
    return {
        "predicted_memory_gib": round(found.gib, 4),
        "low_gib": round(found.low, 4),
        "high_gib": round(found.high, 4),
        "terms": {name: round(value, 4) for name, value in found.terms.items()},
        "of": of,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "operations_per_token": round(each),
    }


def _at_once(job: Job) -> int:
    """Tokens of a forward pass at most: a micro batch's rows, and no more than its budget."""
    config = job.config
    longest, rows = job.longest or config.seq_len, config.micro_batch
    budget = job.at_once
    if isinstance(config, PpoConfig):  # `longest` is a prompt's, which its answers share
        longest += config.answers_per_prompt * config.max_new_tokens
        rows = max(1, rows // config.answers_per_prompt)
        budget = tokens_at_once(config, job.scorer.device)
    return max(longest, min(rows * longest, budget or rows * longest))


def _on_cpu(job: Job, arch: Arch) -> tuple[Peak, str, float]:
    config = job.config
    tokens = _at_once(job)
    rollout, adapters = 0, 1
    if isinstance(config, PpoConfig):
        # The sampler draws four micro batches of answers at once; reward is an adapter too.
        answers = min(4 * config.micro_batch, config.rollout_batch)
        rollout = answers * ((job.longest or config.seq_len) + config.max_new_tokens)
        adapters = 2 + (job.start.adapter is not None)
    half = weight_type(weights_dtype(config)) != "fp32"
    step = own.Step(
        arch, job.stage, config.method, tokens,
        weight=2 if half and config.method != "full" else 4,
        rank=config.lora_r, checkpointing=config.checkpointing,
        cached=rollout, adapters=adapters,
    )  # fmt: skip
    of = f"growth of one process's resident memory, {tokens} tokens at once"
    return own.peak(step), of, operations(_setup(job, arch), "sft")


def _setup(job: Job, arch: Arch) -> Setup:
    """The run as the published formulas have it: a row is what a step holds at once."""
    config = job.config
    mixed = config.bf16 and config.method == "full"
    spec = Spec(
        arch=arch,
        method="qlora-nf4-dq" if config.method == "qlora" else config.method,
        objective="rm" if job.stage == "rm" else "sft",
        seq_len=_at_once(job) if job.stage != "rm" else -(-_at_once(job) // 2),
        micro_batch=1,
        grad_accum=config.grad_accum,
        grad_checkpointing=config.checkpointing,
        optimizer="adamw",
        lora_r=config.lora_r,
        precision="bf16 mixed" if mixed else weight_type(weights_dtype(config)),
        # Only labelled positions are scored, a part of the vocabulary's rows at a time.
        loss="fused",
        metric="allocated",
    )
    return understand(spec)[0][0]


def _on_gpu(job: Job, arch: Arch) -> tuple[Peak, str, float]:
    setup = _setup(job, arch)
    of = f"tensors of one process, {setup.tokens} tokens at once"
    return peak(setup), of, operations(setup, "sft")


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
