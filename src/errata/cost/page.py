"""The page that `errata cost` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from errata.cost import advice, memory
from errata.cost.calibrate import FILE, Calibration
from errata.cost.memory import GIB, Setup
from errata.cost.money import Price
from errata.cost.time import gpu, sizes
from errata.language import say
from errata.report import markdown_table

if TYPE_CHECKING:
    from errata.cost.stage import Config

Row = dict[str, Any]
FIRST = 3  # changes that are told of a row that does not fit


def _span(low: float, high: float) -> str:
    return f"{low:.3g} – {high:.3g}"


def _room(config: Config) -> str:
    kind = gpu(config.gpu)
    return "/".join(str(size) for size in (kind[1].gib if kind else sizes(config.gpu)))


def _yes(found: bool | None) -> str:
    return {True: say("yes", "能"), False: say("no", "不能"), None: say("unsure", "不确定")}[found]


def text(
    rows: list[Row],
    config: Config,
    answer: advice.Estimate,
    each: Price | None,
    kept: list[Row],
    known: Calibration | None,
) -> str:
    """All of it: the table, its terms, what it depends on, what to change, what a budget buys."""
    head = [say("model", "模型"), say("method", "方法")]
    fit = say(f"fits on {_room(config)} GiB", f"{_room(config)} GiB 能否放下")
    numbers = [say("peak GiB", "峰值显存 GiB"), fit, say("hours", "小时"), say("money", "费用")]
    table = [[row["model"], row["method"], *_numbers(row)] for row in rows]
    parts = list(dict.fromkeys(part for row in rows for part in row["terms"]))
    shown = [[r["model"], r["method"], *(f"{r['terms'].get(p, 0):.3g}" for p in parts)]
             for r in rows]  # fmt: skip
    on, off = say("checkpointing on", "开启重计算"), say("checkpointing off", "关闭重计算")
    last = next((row for row in rows if row["method"] == "qlora-nf4-dq"), rows[-1])
    lines = [
        _used(config, on if config.grad_checkpointing else off),
        "",
        markdown_table([*head, *numbers], table),
        say("Terms of the peak, GiB:", "峰值的各项，GiB："),
        markdown_table([*head, *(say(p, _TERMS[p]) for p in parts)], shown),
        say("Activations that one layer keeps, MiB:", "每层为反向传播保留的激活，MiB："),
        markdown_table([*head, off, on], [_layer(row) for row in rows]),
        say(f"What it depends on: {last['model']} {last['method']}, one thing changed at a time:",
            f"取决于什么：{last['model']} {last['method']}，每次只改一项："),
        markdown_table([say("change", "改动"), *numbers], _depends(last, answer)),
        *_start(rows, config, answer),
        *_first(rows, answer),
        *_budget(kept, config),
        _footnote(each, known),
    ]  # fmt: skip
    return "\n".join(lines)


def _used(config: Config, checkpointing: str) -> str:
    kind = gpu(config.gpu)
    several = [f"{config.gpus} GPU, {config.sharding}"] if config.gpus > 1 else []
    return " · ".join([
        kind[0] if kind else config.gpu, *several, config.objective, f"seq_len {config.seq_len}",
        f"micro_batch {config.micro_batch}", f"grad_accum {config.grad_accum}",
        f"{config.rows:,} × {config.epochs:g}", config.optimizer, f"lora_r {config.lora_r}",
        checkpointing,
    ])  # fmt: skip


def _numbers(row: Row) -> list[str]:
    return [
        f"{_span(row['low_gib'], row['high_gib'])} ({row['peak_gib']:.3g})",
        _yes(row["fits"]),
        _span(*row["hours"]) if row["hours"] else "–",
        _money(row["money"]),
    ]


def _depends(row: Row, answer: advice.Estimate) -> list[list[str]]:
    found = []
    for change in advice.variations(row["spec"]):
        other = answer(row["spec"].model_copy(update=change.values))
        if other["peak_gib"] is None:  # rows shorter than the prompt that they share
            continue
        said = say(change.said, "原样") if not change.values else change.said
        found.append([said, *_numbers(other)])
    return found


def _start(rows: list[Row], config: Config, answer: advice.Estimate) -> list[str]:
    """The first configuration of each model that fits, from what learns most downwards."""
    room = _room(config)
    lines = [
        say(f"To start with on {room} GiB, the first that fits of full, LoRA, QLoRA (the chapter's "
            "own start: configs/presets/7b-qlora-10k.yaml):",
            f"{room} GiB 上的起点：全量、LoRA、QLoRA 中第一个能放下的"
            "（本章起点：configs/presets/7b-qlora-10k.yaml）：")
    ]  # fmt: skip
    for name in dict.fromkeys(row["model"] for row in rows):
        spec = next(row["spec"] for row in rows if row["model"] == name)
        found = advice.smallest(spec, answer)
        if found is None:
            none = say("none fits; a larger card or several", "都放不下；换更大的卡或多卡")
            lines.append(f"- {name}: {none}")
            continue
        at, got = found
        lines.append(
            f"- {name}: method={at.method} seq_len={at.seq_len} micro_batch={at.micro_batch} "
            f"grad_checkpointing=true loss={at.loss}: "
            f"{_span(got['low_gib'], got['high_gib'])} GiB"
        )
    return [*lines, ""]


def _first(rows: list[Row], answer: advice.Estimate) -> list[str]:
    """What to change first, of each row that is not sure to fit."""
    lines = []
    for row in rows:
        if row["fits"]:
            continue
        tried = advice.savings(row["spec"], answer)[:FIRST]
        told = "; ".join(
            f"{change.said} −{saved:.3g} GiB ({say('fits', '放得下')}: {_yes(found['fits'])})"
            for saved, change, found in tried
        )
        lines.append(f"- {row['model']} {row['method']}: {told}")
    title = say("Does not fit for sure; what to change first, GiB of the upper end saved:",
                "不能确保放下；先改什么（上限可省的 GiB）：")  # fmt: skip
    return [title, *lines, ""] if lines else []


def _budget(kept: list[Row], config: Config) -> list[str]:
    if not kept:
        return []
    limits = [f"{config.budget:g}" if config.budget else "", f"{config.hours:g} h" if config.hours
              else ""]  # fmt: skip
    title = say(f"Within {' · '.join(filter(None, limits))} (LoRA):",
                f"预算 {' · '.join(filter(None, limits))} 之内（LoRA）：")  # fmt: skip
    head = ["", say("within", "预算内"), say("hours", "小时"), say("money", "费用"),
            say("peak GiB", "峰值显存 GiB"), say("fits", "能否放下")]  # fmt: skip
    table = [
        [row["what"], _yes(row["within"]),
         *(_span(*row[name]) if row[name] else "–" for name in ("hours", "money")),
         f"{row['peak_gib']:.3g}" if row["peak_gib"] else "–", _yes(row["fits"])]
        for row in kept
    ]  # fmt: skip
    return [title, markdown_table(head, table)]


_TERMS = {
    "weights": "权重",
    "adapters": "适配器",
    "optimizer": "优化器",
    "gradients": "梯度",
    "activations": "激活",
    "logits": "logits",
    "workspace": "工作区",
    "kv_cache": "KV 缓存",
    "communication": "通信缓冲",
    "overhead": "额外开销",
}


def _layer(row: dict[str, Any]) -> list[str]:
    setup: Setup = row["setup"]
    kept = memory.layer_bytes(setup) * setup.tokens / GIB * 1024
    return [row["model"], row["method"], f"{kept:.4g}",
            f"{2 * setup.arch.hidden * setup.tokens / GIB * 1024:.4g}"]  # fmt: skip


def _money(found: dict[str, Any] | None) -> str:
    return f"{_span(found['low'], found['high'])} {found['currency']}" if found else "–"


def _footnote(each: Price | None, known: Calibration | None) -> str:
    cost = f"{each.low:g} – {each.high:g} {each.currency}" if each else "?"
    source = say("the measured spread of this formula", "本公式的实测偏差")
    if known:
        source = say(f"what this team's runs measured ({FILE}, {known.made})",
                     f"本团队训练的实测（{FILE}，{known.made}）")  # fmt: skip
    return say(
        f"Low and high hold {source}; `fits` is judged on the high end.\n"
        f"Hours are for rows as long as seq_len. An hour of a GPU is taken to cost {cost}; "
        "set price_low and price_high, or configs/prices.yaml.",
        f"低、高两端来自{source}；能否放下按高端判断。\n"
        f"小时数按每行都达到 seq_len 计算。每张 GPU 每小时按 {cost} 计；"
        "可用 price_low、price_high 或 configs/prices.yaml 设置。",
    )
