"""The sections of an evaluation's page that are no metrics: voices, probes, style and templates."""

from __future__ import annotations

from collections.abc import Sequence

from errata.evaluate.probes import Voice
from errata.evaluate.style import Cell, Reading, Style
from errata.report import bounds, markdown_table, short, shown

_SHOWN = ("distinct_1", "distinct_2", "self_similarity", "template_share", "openings", "length")
_HEADS = ("distinct-1", "distinct-2", "self-similarity / 自相似", "template share / 模板占比",
          "openings, bits / 开头熵", "length / 长度")  # fmt: skip
_SHARES = ("template_share",)


def voices_md(voices: Sequence[Voice]) -> str:
    """Accuracy of each voice in each language; empty where no voice was asked for."""
    if not voices:
        return ""
    rows = [
        [v.persona, v.language, shown(right.value, "rate"),
         bounds(right.low, right.high, "rate"), right.n]
        for v in voices for right in (v.accuracy,)
    ]  # fmt: skip
    heads = ("voice / 人物", "language / 语言", "right / 正确", "95 % bounds / 界", "n")
    return "\n## Voices / 人物\n\n" + markdown_table(heads, rows)


def style_md(found: Style, baseline: str = "") -> str:
    """How varied the answers are, in every cell, against the baseline; the commonest templates."""
    if not found.cells:
        return ""
    compared = bool(found.cells[0].change)
    head = (
        "\n## Style / 风格\n\n"
        "Of prose answers; pieces of 100 tokens, so that length alone changes no distinct-n. "
        "/ 仅统计非工具调用的回答；按 100 词元分段，避免长度影响。\n"
    )
    if compared:
        head += (
            f"Δ: minus `{baseline}` on the same questions, with one-sided 95 % bounds; one in ten "
            "of so many intervals leaves out 0 by chance. **→** more of a template in two measures "
            "or more. / Δ：与基线之差及其单侧 95 % 界；区间众多，约一成会偶然不含 0。"
            "**→**：至少两项指标显示更模板化。\n"
        )
    rows = [[_name(cell), cell.n, *(_cell(cell, name) for name in _SHOWN)] for cell in found.cells]
    table = markdown_table(("", "n", *_HEADS), rows)
    return f"{head}\n{table}{_templates(found, compared)}"


def _name(cell: Cell) -> str:
    words = " ".join(filter(None, (cell.name or "all / 全部", cell.language)))
    return ("→ " if towards_template(cell) else "") + words


def _cell(cell: Cell, name: str) -> str:
    own = _number(cell.ours[name].value, name)
    if name == "length" and cell.ours["spread"].value is not None:
        own += f" ± {cell.ours['spread'].value:.1f}"
    change = cell.change.get(name)
    if change is None or change.value is None:
        return own
    if (change.value, change.low or 0.0, change.high or 0.0) == (0.0, 0.0, 0.0):
        return f"{own}, Δ 0"
    reach = ""
    if change.low is not None and change.high is not None:
        reach = f" [{_number(change.low, name, True)}, {_number(change.high, name, True)}]"
    return f"{own}, Δ {_number(change.value, name, True)}{reach}"


def _number(value: float | None, name: str, signed: bool = False) -> str:
    if value is None:
        return "–"
    plus = "+" if signed else ""
    if name in _SHARES:
        return f"{value * 100:{plus}.1f} %"
    return f"{value:{plus}.1f}" if name == "length" else f"{value:{plus}.2f}"


def towards_template(cell: Cell) -> bool:
    """Whether at least two measures got worse, each with its whole interval."""
    up = [cell.change.get(name) for name in ("self_similarity", "template_share")]
    down = [cell.change.get(name) for name in ("distinct_1", "distinct_2", "openings")]
    worse = sum(_above(change) for change in up) + sum(_below(change) for change in down)
    return worse >= 2


def _above(change: Reading | None) -> bool:
    return change is not None and change.low is not None and change.low > 0


def _below(change: Reading | None) -> bool:
    return change is not None and change.high is not None and change.high < 0


def _templates(found: Style, compared: bool) -> str:
    heads = ["language / 语言", "answers / 回答数", "an example / 例"]
    if compared:
        heads.insert(2, "baseline / 基线")
    rows = []
    for one in found.repeated:
        theirs = [one.theirs] if compared else []
        rows.append([one.language, one.ours, *theirs, short(one.example, 120)])
    title = "\nThe commonest templates / 最常见的模板\n\n"
    return title + markdown_table(heads, rows)
