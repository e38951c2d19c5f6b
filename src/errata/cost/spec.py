"""One row of `--specs`: read as it is published, turned into a setup, or refused with a reason."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from errata.cost import stack, words
from errata.cost.arch import Arch
from errata.cost.memory import Setup, Sharding
from errata.cost.words import Method, Unclear


class Spec(BaseModel):
    """A cost spec row; every text is free text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arch: Arch
    method: str | None = None
    objective: str | None = None
    seq_len: int | None = Field(None, ge=1, le=100_000_000)
    micro_batch: int | None = Field(None, ge=1, le=1_000_000)
    grad_accum: int | None = Field(None, ge=1, le=1_000_000)
    rows: int | None = Field(None, ge=1, le=1_000_000_000_000)
    epochs: float | None = Field(None, gt=0, le=1_000_000, allow_inf_nan=False)
    grad_checkpointing: bool | None = None
    optimizer: str | None = None
    lora_r: int | None = Field(None, ge=0, le=1_000_000)
    lora_targets: str | list[str] | None = None
    precision: str | None = None
    loss: str | None = None
    gpu: str | None = None
    metric: str | None = None
    # Not in every row: several GPUs, pairs that share their prompt, PPO's models, remarks.
    gpus: int | None = Field(None, ge=1, le=100_000)
    sharding: str | None = None
    prompt_len: int | None = Field(None, ge=1, le=100_000_000)
    reference: str | None = None
    models: str | None = None
    rollout: int | None = Field(None, ge=1, le=1_000_000)
    note: str | None = None
    source: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _unsaid(cls, row: Any) -> Any:
        """`n/a`, `-` and the like in any field, a number's too, are a field that is not given."""
        if not isinstance(row, dict):
            return row
        return {k: None if isinstance(v, str) and not words.said(v) else v for k, v in row.items()}


_RANK = 16  # where none is given: an adapter of rank 8 or 64 differs by a few per cent of the peak
# Rows of Alpaca and its kin: a micro batch's longest is what counts, of 52,000 with a mean of 100
# tokens and a longest of about 1,000. Where a row says so, its own seq_len is only their limit.
_SHORT = 512
_OBJECTIVES = ("sft", "dpo", "rm", "ppo")


def _needed(spec: Spec, name: str) -> int:
    value = getattr(spec, name)
    if value is None:
        raise Unclear(f"{name} is not given")
    return int(value)


def objective(spec: Spec) -> str:
    """`sft` where none is given."""
    said = (spec.objective or "sft").strip().lower()
    known = {"sft": "sft", "dpo": "dpo", "rm": "rm", "reward": "rm", "reward model": "rm",
             "reward modeling": "rm", "reward_modeling": "rm", "ppo": "ppo",
             "rlhf": "ppo"}  # fmt: skip
    if said not in known:
        raise Unclear(f"objective `{said}` has no estimate; known are {', '.join(_OBJECTIVES)}")
    return known[said]


def understand(spec: Spec) -> tuple[list[Setup], list[str]]:
    """The setups a row may mean (both ways of what is not given), and what was assumed."""
    assumed: list[str] = []
    method, more = words.method(spec.method)
    said = stack.said_in(more, spec.optimizer, spec.precision, spec.loss, spec.note, spec.source)
    if method.name == "galore" and not method.rank:
        if spec.lora_r is None:
            raise Unclear("galore: the rank of its projection is not in the row; give lora_r")
        method = method._replace(rank=spec.lora_r)
    precision = words.precision(spec.precision, assumed)
    loss = words.loss(spec.loss, assumed)
    extra = _extra(spec, method, assumed)
    if not method.adapts and not (words.said(spec.optimizer) or more):
        raise Unclear("optimizer is not given, and is the largest term of a full run")
    if spec.grad_accum is None:
        assumed.append("grad_accum: 1")
    setup = Setup(
        arch=spec.arch,
        method=method,
        seq_len=_length(spec, said, assumed),
        micro_batch=_needed(spec, "micro_batch"),
        grad_accum=spec.grad_accum or 1,
        checkpointing=bool(spec.grad_checkpointing),
        optimizer=words.optimizer(spec.optimizer, more, assumed),
        precision=precision,
        loss=loss,
        reading=words.reading(spec.metric, assumed),
        **extra,
    )
    stacks = stack.stacks(said, method, precision, loss, assumed)
    kept = spec.grad_checkpointing
    if kept is None and (kept := stack.checkpointing(said)) is not None:
        assumed.append(f"grad_checkpointing: {'on' if kept else 'off'}, by the row's words")
    elif kept is None:
        assumed.append("grad_checkpointing: either")
    ways = (True, False) if kept is None else (kept,)
    return [setup._replace(checkpointing=c, stack=s) for c, s in product(ways, stacks)], assumed


def _length(spec: Spec, said: str, assumed: list[str]) -> int:
    """seq_len, or what rows of a data set known to be short have."""
    if stack.short_rows(said) and (spec.seq_len is None or spec.seq_len > _SHORT):
        assumed.append(f"tokens a row: {_SHORT}, the longest of a batch of short rows")
        return _SHORT
    return _needed(spec, "seq_len")


def _extra(spec: Spec, method: Method, assumed: list[str]) -> dict[str, Any]:
    """What depends on the objective, the adapters and the number of GPUs."""
    name = objective(spec)
    found: dict[str, Any] = {"logits": name != "rm", "sequences": 2 if name in ("dpo", "rm") else 1}
    if method.adapts:
        found["targets"] = words.targets(spec.lora_targets, assumed)
        if spec.lora_r == 0:
            raise Unclear("lora_r is 0: no adapter would learn")
        if spec.lora_r is None:
            assumed.append(f"lora_r: {_RANK}")
        found["lora_r"] = spec.lora_r or _RANK
    separate = re.search(r"separate|copy|path|second|two", (spec.reference or "").lower())
    if name == "dpo" and (separate or not (method.adapts or spec.reference)):
        found["frozen_copies"] = 1  # with adapters, the reference is the model without them
    if found["sequences"] == 2 and spec.prompt_len:
        if spec.seq_len and spec.prompt_len > spec.seq_len:
            raise Unclear(f"prompt_len {spec.prompt_len} is above seq_len {spec.seq_len}")
        found["shared_prompt"] = spec.prompt_len
    if name == "ppo":
        found |= _ppo(spec, method, assumed)
    found["gpus"] = spec.gpus or 1
    if spec.sharding or found["gpus"] > 1:
        found["sharding"] = _sharding(spec.sharding, assumed)
    return found


def _ppo(spec: Spec, method: Method, assumed: list[str]) -> dict[str, Any]:
    """One base with adapters for policy and reward, or four models, two of which learn."""
    said = (spec.models or "").lower()
    four = bool(re.search(r"four|4|separate", said)) or (not said and not method.adapts)
    if not said:
        assumed.append(f"models: {'four' if four else 'one base, shared'}")
    rows = spec.rollout or (spec.micro_batch or 1) * (spec.grad_accum or 1)
    if spec.rollout is None:
        assumed.append(f"rollout: {rows} answers at once")
    if four:
        return {"rollout": rows, "frozen_copies": 2, "learners": 2}
    return {"rollout": rows, "adapters": 2 if method.adapts else 1,
            "frozen_copies": 0 if method.adapts else 2}  # fmt: skip


_SHARDINGS: tuple[tuple[str, Sharding], ...] = (
    (r"zero-?\s*3|stage\s*3|fsdp|full_shard|fully", "zero3"),
    (r"zero-?\s*2|stage\s*2|shard_grad_op", "zero2"),
    (r"zero-?\s*1|stage\s*1|zero_redundancy", "zero1"),
    (r"ddp|data.?parallel|no_shard|none", "ddp"),
)


def _sharding(text: str | None, assumed: list[str]) -> Sharding:
    said = (text or "").lower()
    for pattern, found in _SHARDINGS:
        if re.search(pattern, said):
            return found
    if said.strip():
        raise Unclear(f"sharding `{text}` is not known; write ddp, fsdp, zero1, zero2 or zero3")
    assumed.append("sharding: ddp")
    return "ddp"
