"""What an estimate depends on, what to change first where it does not fit, what a budget buys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from errata.cost.spec import Spec

Estimate = Callable[[Spec], dict[str, Any]]


class Change(NamedTuple):
    """A knob's other value, as it is written on the command line."""

    said: str
    values: dict[str, Any]


def variations(spec: Spec) -> list[Change]:
    """Length, batch, accumulation, optimizer, checkpointing and loss, each moved by itself."""
    length, batch = spec.seq_len or 2048, spec.micro_batch or 1
    accum, kept = spec.grad_accum or 1, bool(spec.grad_checkpointing)
    found = [Change("as it is", {})]
    found += [
        Change(f"seq_len={n}", {"seq_len": n})
        for n in (max(1, length // 4), max(1, length // 2), length * 2, length * 4)
    ]
    found += [Change(f"micro_batch={n}", {"micro_batch": n}) for n in (1, 2, 4, 8) if n != batch]
    found += [Change(f"grad_accum={n}", {"grad_accum": n}) for n in (1, 16) if n != accum]
    found += [
        Change(f"optimizer={name}", {"optimizer": name})
        for name in ("adamw 8bit", "paged adamw 8bit", "adafactor", "sgd")
    ]
    found.append(Change(f"grad_checkpointing={str(not kept).lower()}",
                        {"grad_checkpointing": not kept}))  # fmt: skip
    found += [Change(f"loss={name}", {"loss": name}) for name in ("chunked", "fused")]
    return found


def savings(spec: Spec, answer: Estimate) -> list[tuple[float, Change, dict[str, Any]]]:
    """Changes that need less, most GiB of the upper end saved first."""
    changes = [c for c in variations(spec) if c.values]
    if spec.method == "full":
        changes.append(Change("method=lora", {"method": "lora"}))
    if spec.method in ("full", "lora", "dora"):
        changes.append(Change("method=qlora-nf4-dq", {"method": "qlora-nf4-dq"}))
    if (spec.gpus or 1) == 1:
        changes.append(Change("gpus=4 sharding=fsdp", {"gpus": 4, "sharding": "fsdp"}))
    here = answer(spec)["high_gib"]
    tried = [(c, answer(spec.model_copy(update=c.values))) for c in changes]
    saved = [(here - a["high_gib"], c, a) for c, a in tried if a["high_gib"] is not None]
    return sorted((x for x in saved if x[0] > 0.01), key=lambda x: -x[0])


# From what learns most to what needs least; the first that fits is the one to start with.
LADDER: tuple[dict[str, Any], ...] = tuple(
    {"method": method, "loss": loss, "micro_batch": 1, "grad_checkpointing": True}
    | ({"seq_len": length} if length else {})
    for method in ("full", "lora", "qlora-nf4-dq")
    for length in (None, 1024, 512)
    for loss in ("full", "fused")
)  # fmt: skip


def smallest(spec: Spec, answer: Estimate) -> tuple[Spec, dict[str, Any]] | None:
    """The first of the ladder whose upper end fits; None when none does."""
    for step in LADDER:
        if step.get("seq_len", 0) > (spec.seq_len or 2048):
            continue
        tried = spec.model_copy(update=step)
        found = answer(tried)
        if found["fits"]:
            return tried, found
    return None


def within(
    spec: Spec, answer: Estimate, budget: float | None, hours: float | None
) -> list[dict[str, Any]]:
    """Whether DPO and RLHF (a reward model, then PPO) keep to a budget of money and hours: True on
    the upper ends, False when not even the lower ends do, None between."""
    found: list[dict[str, Any]] = []
    for name, parts in (("DPO", ("dpo",)), ("RLHF", ("rm", "ppo"))):
        each = [answer(spec.model_copy(update={"objective": part})) for part in parts]
        if any(a["hours"] is None or a["money"] is None for a in each):
            found.append({"what": name, "within": None, "hours": None, "money": None,
                          "peak_gib": None, "fits": None})  # fmt: skip
            continue
        time = [sum(a["hours"][end] for a in each) for end in (0, 1)]
        cost = [sum(a["money"][end] for a in each) for end in ("low", "high")]
        limits = [(time, hours), (cost, budget)]
        asked = [(span, limit) for span, limit in limits if limit is not None]
        memory = [a["fits"] for a in each]
        yes = all(span[1] <= limit for span, limit in asked) and all(memory)
        no = any(span[0] > limit for span, limit in asked) or False in memory
        found.append({
            "what": name,
            "within": True if yes else False if no else None,
            "hours": [round(t, 2) for t in time],
            "money": [round(c, 2) for c in cost],
            "peak_gib": max(a["peak_gib"] for a in each),
            "fits": True if all(memory) else False if False in memory else None,
        })  # fmt: skip
    return found
