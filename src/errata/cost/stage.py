"""What a training run will cost, before it runs: peak memory, hours and money, low and high.

    errata cost                          full, LoRA and QLoRA on 7B and 13B
    errata cost model=tiny seq_len=512   the same for a checkpoint, from its config.json
    errata cost --specs FILE.jsonl       one JSON answer a line, in order

Every term is shown. Memory intervals are the measured spread around this formula (docs/cost.md);
"fits" is judged on the upper end. A row that is not understood is answered with null and a reason.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from errata import candidates, jsonl
from errata.config import Section
from errata.cost import memory
from errata.cost.memory import GIB, Arch, Peak, Setup
from errata.cost.money import Price, money, price
from errata.cost.spec import Spec, understand
from errata.cost.time import gpu, hours
from errata.cost.words import Unclear
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.report import markdown_table
from errata.workspace import Workspace

NEEDS_WORKSPACE = False
LLAMA_7B = Arch(vocab=32000, hidden=4096, layers=32, heads=32, kv_heads=32, head_dim=128,
                ffn=11008, params_B=6.738)  # fmt: skip
LLAMA_13B = Arch(vocab=32000, hidden=5120, layers=40, heads=40, kv_heads=40, head_dim=128,
                 ffn=13824, params_B=13.016)  # fmt: skip
METHODS = ("full", "lora", "qlora-nf4-dq")
_ANSWER = ("peak_gib", "low_gib", "high_gib", "terms", "fits", "hours", "money")


class Config(Section):
    """Knobs of `errata cost`."""

    model: str = Field(default="", description="path or name; default: Llama 7B and 13B shapes")
    specs: str = Field(default="", description="JSONL of spec rows; one JSON answer a line")
    gpu: str = Field(default="RTX 4090", description="for hours, money and whether it fits")
    seq_len: int = Field(default=2048, ge=1, description="tokens a row; memory grows with it")
    micro_batch: int = Field(default=1, ge=1, description="rows at once; memory grows with it")
    grad_accum: int = Field(default=16, ge=1, description="micro batches a step")
    rows: int = Field(default=10_000, ge=1, description="training rows")
    epochs: float = Field(default=1.0, gt=0, description="passes over them")
    grad_checkpointing: bool = Field(default=True, description="recompute instead of keeping")
    lora_r: int = Field(default=16, ge=1, description="rank of the adapters")
    lora_targets: str = Field(default="all", description="layers with an adapter, such as q,v")
    optimizer: str = Field(default="adamw", description="such as adamw 8bit paged")
    loss: str = Field(default="full", description="full, chunked or fused cross-entropy")
    objective: str = Field(default="sft", description="sft, dpo or rm")
    price_low: float | None = Field(default=None, ge=0, description="of an hour; default: common")
    price_high: float | None = Field(default=None, ge=0, description="of an hour; default: common")
    currency: str = Field(default="USD", description="of the prices")


def estimate(spec: Spec, config: Config) -> dict[str, Any]:
    """The answer to one spec row."""
    try:
        setups, assumed = understand(spec)
        peaks = [memory.peak(setup) for setup in setups]
    except Unclear as error:
        return {**dict.fromkeys(_ANSWER), "reason": str(error)}
    low, high = min(p.low for p in peaks), max(p.high for p in peaks)
    middle = math.sqrt(min(p.gib for p in peaks) * max(p.gib for p in peaks))
    kind = gpu(spec.gpu)
    answer: dict[str, Any] = {
        "peak_gib": round(middle, 3),
        "low_gib": round(low, 3),
        "high_gib": round(high, 3),
        "terms": {name: round(value, 4) for name, value in _nearest(peaks, middle).terms.items()},
        "fits": fits(setups, kind[1].gib) if kind else None,
        "hours": None,
        "money": None,
        "assumed": assumed,
    }
    if kind and spec.rows and spec.epochs:
        objective = (spec.objective or "sft").lower()
        each = [hours(s, objective, spec.rows, spec.epochs, kind[1]) for s in setups]
        span = (min(a for a, _ in each), max(b for _, b in each))
        answer["hours"] = [round(end, 4) for end in span]
        cost = price(kind[0], config.price_low, config.price_high, config.currency)
        answer["money"] = money(span, cost) if cost else None
    return answer


def _nearest(peaks: list[Peak], value: float) -> Peak:
    return min(peaks, key=lambda peak: abs(peak.gib - value))


def fits(setups: list[Setup], sizes: tuple[int, ...]) -> bool | None:
    """Whether the whole of it, context and slack included, goes on a card of one of these sizes.

    True when the upper end fits the smallest; False when not even the lower end fits the largest.
    """
    peaks = [memory.peak(setup._replace(reading="device")) for setup in setups]
    if max(peak.high for peak in peaks) <= min(sizes):
        return True
    return False if min(peak.low for peak in peaks) > max(sizes) else None


def answer_row(row: dict[str, Any], config: Config) -> dict[str, Any]:
    """A row of a specs file; unknown fields are named in the answer, not read."""
    ignored = sorted(set(row) - set(Spec.model_fields))
    try:
        spec = Spec.model_validate({k: v for k, v in row.items() if k in Spec.model_fields})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return {**dict.fromkeys(_ANSWER), "reason": f"{where}: {first['msg']}"}
    found = estimate(spec, config)
    return {**found, "ignored": ignored} if ignored else found


def shape_of(ws: Workspace, name: str) -> Arch:
    """The shape of a checkpoint, from its config.json; nothing is loaded."""
    path = Path(candidates.resolve_base(ws, name).path) / "config.json"
    if not path.is_file():
        raise BadInput(f"{name}: its config.json is not on this machine; give a path")
    said = json.loads(path.read_text(encoding="utf-8"))
    try:
        heads = said["num_attention_heads"]
        shape: dict[str, Any] = {
            "vocab": said["vocab_size"],
            "hidden": said["hidden_size"],
            "layers": said["num_hidden_layers"],
            "heads": heads,
            "kv_heads": said.get("num_key_value_heads") or heads,
            "head_dim": said.get("head_dim") or said["hidden_size"] // heads,
            "ffn": said["intermediate_size"],
            "tied": bool(said.get("tie_word_embeddings", False)),
        }
    except KeyError as error:
        raise BadInput(f"{path}: no {error}; only decoders shaped like Llama are known") from None
    bare = Arch(**shape, params_B=1.0)
    norms = (2 * bare.layers + 1) * bare.hidden
    return bare.model_copy(update={"params_B": (bare.block + bare.embeddings + norms) / 1e9})


def _spec(arch: Arch, method: str, config: Config) -> Spec:
    names = ("objective", "seq_len", "micro_batch", "grad_accum", "rows", "epochs", "optimizer",
             "grad_checkpointing", "lora_r", "lora_targets", "loss", "gpu")  # fmt: skip
    knobs = {name: getattr(config, name) for name in names}
    return Spec(arch=arch, method=method, precision="bf16", metric="device", **knobs)


def main(ws: Workspace, config: Config) -> Outcome:
    """The table, or the answers to a file of specs."""
    if config.specs:
        answers = [answer_row(row, config) for _, row in jsonl.rows(_file(ws, config.specs))]
        lines = [json.dumps(answer, ensure_ascii=False) for answer in answers]
        unknown = sum(answer["peak_gib"] is None for answer in answers)
        return Outcome(0, "\n".join(lines), {"answers": len(answers), "unanswered": unknown})
    if gpu(config.gpu) is None:
        raise BadInput(f"gpu `{config.gpu}` is not known; see GPUS in errata/cost/time.py")
    shapes = {"7B": LLAMA_7B, "13B": LLAMA_13B}
    if config.model:
        shapes = {config.model: shape_of(ws, config.model)}
    rows = []
    for name, arch in shapes.items():
        for method in METHODS:
            spec = _spec(arch, method, config)
            found = estimate(spec, config)
            if "reason" in found:
                raise BadInput(f"cost: {found['reason']}")
            rows.append({"model": name, "method": method, **found, "setup": understand(spec)[0][0]})
    text = _text(rows, config)
    data = [{key: value for key, value in row.items() if key != "setup"} for row in rows]
    return Outcome(0, text, {"estimates": data})


def _file(ws: Workspace, name: str) -> Path:
    here = Path(name).expanduser()
    path = here if here.is_file() else ws.path(name)
    if not path.is_file():
        raise BadInput(f"{name}: no such file; give a JSONL file of spec rows")
    return path


def _span(low: float, high: float) -> str:
    return f"{low:.3g} – {high:.3g}"


def _text(rows: list[dict[str, Any]], config: Config) -> str:
    kind = gpu(config.gpu)
    assert kind
    words = {True: say("yes", "能"), False: say("no", "不能"), None: say("unsure", "不确定")}
    sizes = "/".join(str(size) for size in kind[1].gib)
    head = [say("model", "模型"), say("method", "方法"), say("peak GiB", "峰值显存 GiB"),
            say(f"fits on {sizes} GiB", f"{sizes} GiB 能否放下"), say("hours", "小时"),
            say("money", "费用")]  # fmt: skip
    table = [
        [
            row["model"], row["method"],
            f"{_span(row['low_gib'], row['high_gib'])} ({row['peak_gib']:.3g})",
            words[row["fits"]], _span(*row["hours"]), _money(row["money"]),
        ]
        for row in rows
    ]  # fmt: skip
    parts = list(rows[0]["terms"])
    shown = [[r["model"], r["method"], *(f"{r['terms'][p]:.3g}" for p in parts)] for r in rows]
    on, off = say("checkpointing on", "开启重计算"), say("checkpointing off", "关闭重计算")
    used = [
        kind[0], config.objective, f"seq_len {config.seq_len}", f"micro_batch {config.micro_batch}",
        f"grad_accum {config.grad_accum}", f"{config.rows:,} × {config.epochs:g}", config.optimizer,
        f"lora_r {config.lora_r}", on if config.grad_checkpointing else off,
    ]  # fmt: skip
    each = price(kind[0], config.price_low, config.price_high, config.currency)
    return "\n".join(
        [
            " · ".join(used),
            "",
            markdown_table(head, table),
            say("Terms of the peak, GiB:", "峰值的各项，GiB："),
            markdown_table([*head[:2], *(say(p, _TERMS[p]) for p in parts)], shown),
            say("Activations that one layer keeps, MiB:", "每层为反向传播保留的激活，MiB："),
            markdown_table([*head[:2], off, on], [_layer(row) for row in rows]),
            _footnote(each),
        ]
    )


_TERMS = {
    "weights": "权重",
    "adapters": "适配器",
    "optimizer": "优化器",
    "gradients": "梯度",
    "activations": "激活",
    "logits": "logits",
    "workspace": "工作区",
    "overhead": "额外开销",
}


def _layer(row: dict[str, Any]) -> list[str]:
    setup: Setup = row["setup"]
    kept = memory.layer_bytes(setup) * setup.tokens / GIB * 1024
    return [row["model"], row["method"], f"{kept:.4g}",
            f"{2 * setup.arch.hidden * setup.tokens / GIB * 1024:.4g}"]  # fmt: skip


def _money(found: dict[str, Any] | None) -> str:
    return f"{_span(found['low'], found['high'])} {found['currency']}" if found else "–"


def _footnote(each: Price | None) -> str:
    cost = f"{each.low:g} – {each.high:g} {each.currency}" if each else "?"
    return say(
        "Low and high hold the measured spread of this formula; `fits` is judged on the high end.\n"
        f"Hours are for rows as long as seq_len. An hour is taken to cost {cost}; "
        "set price_low and price_high.",
        "低、高两端来自本公式的实测偏差；能否放下按高端判断。\n"
        f"小时数按每行都达到 seq_len 计算。每小时单价按 {cost} 计；"
        "可用 price_low、price_high 设置。",
    )
