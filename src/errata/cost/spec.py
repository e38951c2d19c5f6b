"""One row of `--specs`: read as it is published, turned into a setup, or refused with a reason."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from errata.cost import words
from errata.cost.memory import Arch, Setup
from errata.cost.words import Unclear


class Spec(BaseModel):
    """A cost spec row; every text is free text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arch: Arch
    method: str | None = None
    objective: str | None = None
    seq_len: int | None = Field(None, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    grad_accum: int | None = Field(None, ge=1)
    rows: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    grad_checkpointing: bool | None = None
    optimizer: str | None = None
    lora_r: int | None = Field(None, ge=1)
    lora_targets: str | list[str] | None = None
    precision: str | None = None
    loss: str | None = None
    gpu: str | None = None
    metric: str | None = None


_RANK = 16  # where none is given: an adapter of rank 8 or 64 differs by a few per cent of the peak
# objective → sequences a row, whether all logits are made
_OBJECTIVES = {"sft": (1, True), "dpo": (2, True), "rm": (2, False)}


def _needed(spec: Spec, name: str) -> int:
    value = getattr(spec, name)
    if value is None:
        raise Unclear(f"{name} is not given")
    return int(value)


def understand(spec: Spec) -> tuple[list[Setup], list[str]]:
    """The setups a row may mean (two when checkpointing is not given), and what was assumed."""
    assumed: list[str] = []
    method, more = words.method(spec.method)
    name = (spec.objective or "sft").lower()
    if name not in _OBJECTIVES:
        raise Unclear(f"objective `{name}` has no estimate; known are {', '.join(_OBJECTIVES)}")
    sequences, logits = _OBJECTIVES[name]
    extra: dict[str, Any] = {"sequences": sequences, "logits": logits}
    if method.name != "full":
        extra["targets"] = words.targets(spec.lora_targets, assumed)
        if spec.lora_r is None:
            assumed.append(f"lora_r: {_RANK}")
        extra["lora_r"] = spec.lora_r or _RANK
    elif name == "dpo":
        extra["frozen_copies"] = 1  # with adapters, the reference is the model without them
    if method.name == "full" and not (spec.optimizer or more):
        raise Unclear("optimizer is not given, and is the largest term of a full run")
    if spec.grad_accum is None:
        assumed.append("grad_accum: 1")
    setup = Setup(
        arch=spec.arch,
        method=method,
        seq_len=_needed(spec, "seq_len"),
        micro_batch=_needed(spec, "micro_batch"),
        grad_accum=spec.grad_accum or 1,
        checkpointing=bool(spec.grad_checkpointing),
        optimizer=words.optimizer(spec.optimizer, more, assumed),
        precision=words.precision(spec.precision, assumed),
        loss=words.loss(spec.loss, assumed),
        reading=words.reading(spec.metric, assumed),
        **extra,
    )
    if spec.grad_checkpointing is not None:
        return [setup], assumed
    assumed.append("grad_checkpointing: either")
    return [setup._replace(checkpointing=True), setup], assumed
