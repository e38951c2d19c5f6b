"""What a training run will cost, before it runs: peak memory, hours and money, low and high.

    errata cost                          full, LoRA and QLoRA on 7B and 13B
    errata cost model=tiny seq_len=512   the same for a checkpoint, from its config.json
    errata cost budget=50 hours=10       whether DPO and RLHF keep to it
    errata cost --specs FILE.jsonl       one JSON answer a line, in order
    errata cost verify objective=dpo     three real steps: predicted against measured
    errata cost calibrate                learn from this workspace's runs

Every term is shown. Memory intervals are the measured spread around this formula (docs/cost.md);
"fits" is judged on the upper end. A row that is not understood is answered with null and a reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from errata import candidates, jsonl
from errata.config import Section
from errata.cost import advice, calibrate, memory, page
from errata.cost.arch import Arch, from_config
from errata.cost.memory import Peak, Setup
from errata.cost.money import Price, money, own_prices, price
from errata.cost.spec import Spec, objective, understand
from errata.cost.time import Gpu, gpu, hours, sizes
from errata.cost.words import Unclear
from errata.errors import BadInput
from errata.outcome import Outcome
from errata.workspace import Workspace

NEEDS_WORKSPACE = False
LLAMA_7B = Arch(vocab=32000, hidden=4096, layers=32, heads=32, kv_heads=32, head_dim=128,
                ffn=11008, params_B=6.738)  # fmt: skip
LLAMA_13B = Arch(vocab=32000, hidden=5120, layers=40, heads=40, kv_heads=40, head_dim=128,
                 ffn=13824, params_B=13.016)  # fmt: skip
METHODS = ("full", "lora", "qlora-nf4-dq")
_ANSWER = ("peak_gib", "low_gib", "high_gib", "terms", "fits", "hours", "money")
PRICES = "configs/prices.yaml"
HERE = "here"


class Config(Section):
    """Knobs of `errata cost`."""

    args: list[str] = Field(default=[], description="`verify` or `calibrate`; none: the table")
    model: str = Field(default="", description="path or name; default: Llama 7B and 13B shapes")
    specs: str = Field(default="", description="JSONL of spec rows; one JSON answer a line")
    gpu: str = Field(default="RTX 4090", description="for hours, money, fits; here: as calibrated")
    gpus: int = Field(default=1, ge=1, le=100_000, description="of them; memory is of each")
    sharding: str = Field(default="ddp", description="ddp, zero1, zero2, zero3 or fsdp")
    seq_len: int = Field(
        default=2048, ge=1, le=100_000_000, description="tokens a row; memory grows with it"
    )
    micro_batch: int = Field(
        default=1, ge=1, le=1_000_000, description="rows at once; memory grows with it"
    )
    grad_accum: int = Field(default=16, ge=1, le=1_000_000, description="micro batches a step")
    rows: int = Field(default=10_000, ge=1, le=10**12, description="training rows")
    epochs: float = Field(default=1.0, gt=0, le=1_000_000, description="passes over them")
    grad_checkpointing: bool = Field(default=True, description="recompute instead of keeping")
    lora_r: int = Field(default=16, ge=1, le=1_000_000, description="rank of the adapters")
    lora_targets: str = Field(default="all", description="layers with an adapter, such as q,v")
    optimizer: str = Field(default="adamw", description="such as adamw 8bit paged")
    precision: str = Field(default="bf16", description="such as bf16, `bf16 mixed` or fp32")
    loss: str = Field(default="full", description="full, chunked or fused cross-entropy")
    objective: str = Field(default="sft", description="sft, dpo, rm or ppo")
    prompt_len: int = Field(
        default=0, ge=0, le=100_000_000, description="tokens that a pair shares; 0: padded"
    )
    reference: str = Field(default="", description="DPO's: adapter off, or separate; default: fits")
    models: str = Field(default="", description="PPO's: shared or four; default: by the method")
    rollout: int = Field(
        default=0, ge=0, le=1_000_000, description="PPO answers at once; 0: those of a step"
    )
    steps: str = Field(default="", description="verify: what the stage is told, `micro_batch=4`")
    budget: float | None = Field(default=None, gt=0, description="money that DPO or RLHF may cost")
    hours: float | None = Field(default=None, gt=0, description="hours that they may take")
    price_low: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="of an hour; default: common"
    )
    price_high: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="of an hour; default: common"
    )
    currency: str = Field(default="USD", description="of the prices")


def estimate(
    spec: Spec,
    config: Config,
    own: dict[str, Price] | None = None,
    here: calibrate.Device | None = None,
) -> dict[str, Any]:
    """The answer to one spec row. `own`: the workspace's prices; `here`: what its runs say of the
    device that is asked about."""
    try:
        setups, assumed = understand(spec)
        peaks = [memory.peak(setup) for setup in setups]
    except Unclear as error:
        return {**dict.fromkeys(_ANSWER), "reason": str(error)}
    if here:
        peaks = [_learned(peak, here.memory) for peak in peaks]
    low, high = min(p.low for p in peaks), max(p.high for p in peaks)
    middle = math.sqrt(min(p.gib for p in peaks) * max(p.gib for p in peaks))
    kind = gpu(spec.gpu)
    room = kind[1].gib if kind else sizes(spec.gpu)
    answer: dict[str, Any] = {
        "peak_gib": round(middle, 3),
        "low_gib": round(low, 3),
        "high_gib": round(high, 3),
        "terms": {name: round(value, 4) for name, value in _nearest(peaks, middle).terms.items()},
        "fits": fits(setups, room, here) if room else None,
        "hours": None,
        "money": None,
        "assumed": assumed,
    }
    if kind and spec.rows and spec.epochs:
        timed = _measured(kind[1], here)
        each = [hours(s, objective(spec), spec.rows, spec.epochs, timed) for s in setups]
        span = (min(a for a, _ in each), max(b for _, b in each))
        answer["hours"] = [round(end, 4) for end in span]
        cost = price(kind[0], config.price_low, config.price_high, config.currency, own)
        answer["money"] = money(span, cost, spec.gpus or 1) if cost else None
    return answer


def _learned(peak: Peak, found: calibrate.Learned) -> Peak:
    return Peak(
        peak.gib * found.ratio, peak.gib * found.low, peak.gib * found.high,
        {name: value * found.ratio for name, value in peak.terms.items()},
    )  # fmt: skip


def _measured(kind: Gpu, here: calibrate.Device | None) -> Gpu:
    if here is None or here.speed is None:
        return kind
    rate = kind.tera * 1e12
    return kind._replace(share=(here.speed.low / rate, here.speed.high / rate))


def _nearest(peaks: list[Peak], value: float) -> Peak:
    return min(peaks, key=lambda peak: abs(peak.gib - value))


def fits(
    setups: list[Setup], room: tuple[int, ...], here: calibrate.Device | None = None
) -> bool | None:
    """Whether the whole of it, context and slack included, goes on a card of one of these sizes.

    True when the upper end fits the smallest; False when not even the lower end fits the largest.
    """
    peaks = [memory.peak(setup._replace(reading="device")) for setup in setups]
    if here:
        peaks = [_learned(peak, here.memory) for peak in peaks]
    if max(peak.high for peak in peaks) <= min(room):
        return True
    return False if min(peak.low for peak in peaks) > max(room) else None


def answer_row(
    row: dict[str, Any], config: Config, own: dict[str, Price] | None = None
) -> dict[str, Any]:
    """A row of a specs file; unknown fields are named in the answer, not read."""
    ignored = sorted(set(row) - set(Spec.model_fields))
    try:
        spec = Spec.model_validate({k: v for k, v in row.items() if k in Spec.model_fields})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return {**dict.fromkeys(_ANSWER), "reason": f"{where}: {first['msg']}"}
    found = estimate(spec, config, own)
    return {**found, "ignored": ignored} if ignored else found


def answer_file(
    path: Path, config: Config, own: dict[str, Price] | None = None
) -> Iterator[dict[str, Any]]:
    """An answer a line, in order; a line that is no JSON object stops no other. BadInput for a file
    without a single row."""
    first, rows = None, 0
    for number, raw in jsonl.lines(path):
        try:
            row = jsonl.parse_row(raw, f"{path}:{number}")
        except BadInput as error:
            first = first or error
            yield {**dict.fromkeys(_ANSWER), "reason": str(error)}
        else:
            rows += 1
            yield answer_row(row, config, own)
    if not rows:
        raise first or BadInput(f"{path}: no rows; give a JSONL file of spec rows")


def shape_of(ws: Workspace, name: str) -> Arch:
    """The shape of a checkpoint, from its config.json; nothing is loaded. BadInput where there is
    none, or no estimate for it."""
    given = Path(name).expanduser()
    path = given if given.name == "config.json" and given.is_file() else None
    path = path or Path(candidates.resolve_base(ws, name).path) / "config.json"
    if not path.is_file():
        raise BadInput(f"{name}: its config.json is not on this machine; give a path")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(said, dict):
            raise Unclear(f"{path}: not a model's config.json")
        return from_config(said, str(path))
    except (Unclear, ValidationError, ValueError) as error:
        raise BadInput(f"{str(error).splitlines()[0]}; give a decoder's config.json") from None


def _spec(arch: Arch, method: str, config: Config) -> Spec:
    names = ("objective", "seq_len", "micro_batch", "grad_accum", "rows", "epochs", "optimizer",
             "grad_checkpointing", "lora_r", "lora_targets", "loss", "gpu", "precision", "gpus",
             "sharding")  # fmt: skip
    knobs = {name: getattr(config, name) for name in names}
    knobs |= {name: value for name in ("prompt_len", "reference", "models", "rollout")
              if (value := getattr(config, name))}  # fmt: skip
    return Spec(arch=arch, method=method, metric="device", **knobs)


def main(ws: Workspace, config: Config) -> Outcome:
    """The table, the answers to a file of specs, or one of the two that measure."""
    if config.args:
        return _measure(ws, config)
    own, known = own_prices(ws.path(PRICES)), calibrate.read(ws)
    if config.specs:
        answers = list(answer_file(_file(ws, config.specs), config, own))
        lines = [json.dumps(answer, ensure_ascii=False) for answer in answers]
        unknown = sum(answer["peak_gib"] is None for answer in answers)
        return Outcome(0, "\n".join(lines), {"answers": len(answers), "unanswered": unknown})
    config, here = _device(config, known)
    kind = gpu(config.gpu)
    if kind is None and not sizes(config.gpu):
        raise BadInput(f"gpu `{config.gpu}` is not known; write its memory with it, such as `48GB`,"
                       " or add it to errata/cost/rates.py")  # fmt: skip
    shapes = {"7B": LLAMA_7B, "13B": LLAMA_13B}
    if config.model:
        shapes = {config.model: shape_of(ws, config.model)}
    answer = partial(estimate, config=config, own=own, here=here)
    rows = []
    for name, arch in shapes.items():
        for method in METHODS:
            spec = _spec(arch, method, config)
            found = answer(spec)
            if "reason" in found:
                raise BadInput(f"cost: {found['reason']}")
            rows.append({"model": name, "method": method, **found, "spec": spec,
                         "setup": understand(spec)[0][0]})  # fmt: skip
    cost = price(kind[0] if kind else None, config.price_low, config.price_high,
                 config.currency, own)  # fmt: skip
    kept = []
    if config.budget or config.hours:
        lora = rows[0]["spec"].model_copy(update={"method": "lora"})
        kept = advice.within(lora, answer, config.budget, config.hours)
    text = page.text(rows, config, answer, cost, kept, known if here else None)
    data = [{k: v for k, v in row.items() if k not in ("setup", "spec")} for row in rows]
    return Outcome(0, text, {"estimates": data, "budget": kept})


def _device(
    config: Config, known: calibrate.Calibration | None
) -> tuple[Config, calibrate.Device | None]:
    """What the calibration says of the GPU that is asked about; `here` is the only one it knows."""
    asked = gpu(config.gpu)
    devices = known.devices if known else {}
    if config.gpu.strip().lower() != HERE:
        same = [d for name, d in devices.items() if asked and (gpu(name) or ("",))[0] == asked[0]]
        return config, same[0] if same else None
    found = {name: device for name, device in devices.items() if gpu(name)}
    if not found:
        raise BadInput(f"gpu=here: {calibrate.FILE} knows no GPU of this team; train on one, then "
                       "run `errata cost calibrate`")  # fmt: skip
    name, device = next(iter(found.items()))
    return config.model_copy(update={"gpu": name}), device


def _measure(ws: Workspace, config: Config) -> Outcome:
    if config.args == ["calibrate"]:
        return calibrate.calibrate(ws)
    if config.args == ["verify"]:
        from errata.cost import verify

        return verify.verify(ws, config.model, config.objective, tuple(config.steps.split()))
    raise BadInput(f"cost {' '.join(config.args)}: write `errata cost verify` or `… calibrate`")


def _file(ws: Workspace, name: str) -> Path:
    here = Path(name).expanduser()
    path = here if here.is_file() else ws.path(name)
    if not path.is_file():
        raise BadInput(f"{name}: no such file; give a JSONL file of spec rows")
    return path
