"""`reports/data-lint.md`: what the checks found, what waits for a person, what the data is like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from errata.build import lint, lint_set, lint_tables, skeleton, split
from errata.build.made import Made
from errata.records import Failure, PreferencePair
from errata.report import markdown_table, short

if TYPE_CHECKING:
    from errata.build.stage import Files

SHOWN = 20
EXAMPLES = 3


class Page(NamedTuple):
    """All that the report is drawn from."""

    made: Made
    report: lint.Report
    failures: Sequence[Failure]
    context: lint.Context
    facts: Mapping[str, Any]
    version: str


def longer_chosen(pairs: Sequence[PreferencePair]) -> float | None:
    """Share of pairs whose chosen answer is longer (ties count half); 0.5 is no length bias."""
    if not pairs:
        return None
    lengths = [(len(lint.plain(pair.chosen)), len(lint.plain(pair.rejected))) for pair in pairs]
    return fmean(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in lengths)


def facts(
    made: Made, report: lint.Report, files: Files, group_of: Mapping[str, str], held: set[str]
) -> dict[str, Any]:
    """The numbers of a build."""
    sizes = [len(rows) for rows in files.values()]
    kept = report.kept
    templates = skeleton.templates(lint_tables.answers(made.sft))
    return {
        "sft": sizes[0],
        "pairs": sizes[1],
        "sft_valid": sizes[2],
        "pairs_valid": sizes[3],
        "needs_human": len(made.needs_human),
        "summaries": made.summaries,
        "duplicates": made.dropped,
        "near_twins": len(made.twins),
        "unsampled": made.unsampled,
        "verbatim": made.verbatim,
        "capped": made.capped,
        "repeated": made.repeated,
        "undecided": made.undecided,
        "rejected": made.rejected,
        "origins": dict(sorted(Counter(row.origin for row in made.sft).items())),
        "groups": len(set(group_of.values())),
        "groups_crossing": len(split.crossing(dict(group_of), held)),
        "template_share": round(skeleton.share(templates), 4),
        "chosen_longer": longer_chosen(kept),
        "length_auc": round(lint_set.length_auc(kept), 4) if kept else None,
        "distinct_failures": lint_set.sources(kept),
        "hits": {name: len({hit.id for hit in hits}) for name, hits in report.hits.items()},
    }


def render(page: Page) -> str:
    """The report, both languages in every heading."""
    made, pairs = page.made, page.report.kept
    parts = [
        "# Data lint · 数据检查",
        f"Dataset version / 数据版本: `{page.version}`. Written by `errata build`.",
        _numbers(page),
        "## Checks · 检查项",
        _checks(page.report),
        _findings(page.report),
        "## What the pairs cover · 偏好对覆盖",
        lint_tables.by_label(pairs),
        "## Scenarios and boundaries · 场景与边界",
        lint_tables.by_scenario(made.sft),
        "## Templates · 模板",
        lint_tables.templates(made.sft, pairs),
        "## Lengths · 长度",
        lint_tables.lengths(pairs),
        "## Mix · 配比",
        lint_tables.mix(made),
        "## Trend · 趋势",
        lint_tables.by_time(page.failures),
        "## Needs a human · 待人工处理",
        _waiting(made),
        _review(page.report),
        _twins(made),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def draw(page: Page, report: Path) -> list[Path]:
    """The plots beside the report; their paths."""
    return lint_tables.plots(page.report.kept, page.failures, report)


def _numbers(page: Page) -> str:
    facts, cutter = page.facts, page.context.cutter
    longer = facts["chosen_longer"]
    cut = f"{cutter.seq_len} tokens · 词元" if cutter else "not checked: no tokenizer here · 未检查"
    rows = [
        ["SFT rows, train / validation · SFT 训练/验证", f"{facts['sft']} / {facts['sft_valid']}"],
        [
            "pairs, train / validation · 偏好对 训练/验证",
            f"{facts['pairs']} / {facts['pairs_valid']}",
        ],
        ["distinct failures and cases in the pairs · 偏好对来源数", facts["distinct_failures"]],
        [
            "groups, crossing the split · 分组数/跨集组数",
            f"{facts['groups']} / {facts['groups_crossing']}",
        ],
        ["equal rows merged · 合并的重复行", facts["duplicates"]],
        ["near twins left out · 略去的近似重复", facts["near_twins"]],
        ["left out by the mix · 因配比未取", facts["unsampled"]],
        ["SFT rows left out, answer taught already · 答案重复未取", facts["verbatim"]],
        ["pairs left out, question has enough · 同一问题偏好对已够", facts["repeated"]],
        ["templates above their share, for people · 超出模板占比", facts["capped"]],
        ["taken out by people · 人工剔除", facts["rejected"]],
        ["without a sure label · 标签待定", facts["undecided"]],
        ["SFT rows by origin · SFT 来源", origins(facts["origins"])],
        ["hard negatives · 难负例", facts["negatives"]],
        ["most frequent template · 最常见模板占比", f"{facts['template_share']:.1%}"],
        ["chosen is longer · chosen 更长的占比", "—" if longer is None else f"{longer:.1%}"],
        ["longest row that was checked for · 截断长度", cut],
        ["summary rows, never trained on · 仅摘要不参与训练", facts["summaries"]],
        ["checks and thresholds · 检查与阈值", facts["lint"][7:19]],
        ["rubric · 评判标准", facts["rubric"][7:19]],
    ]
    return markdown_table(["what / 项目", "value / 值"], rows)


def origins(counts: Mapping[str, int]) -> str:
    """How many rows came of whom."""
    return ", ".join(f"{origin} {count}" for origin, count in counts.items()) or "—"


def _checks(report: lint.Report) -> str:
    rows = []
    for check in lint.CHECKS:
        hits = report.hits[check.id]
        ids = {hit.id for hit in hits} - {lint.WHOLE}
        count = len(ids) or ("set · 整体" if hits else 0)
        actions = dict.fromkeys(hit.action or check.action for hit in hits)
        done = ", ".join(actions) or check.action
        rows.append([check.id, done, count, f"{check.means.en} · {check.means.zh}",
                     f"{check.todo.en} · {check.todo.zh}"])  # fmt: skip
    heads = ["check / 检查", "action / 动作", "pairs / 行数", "meaning / 含义", "to do / 处理"]
    return markdown_table(heads, rows)


def _findings(report: lint.Report) -> str:
    """The first hits of every check that has some, with their reasons."""
    parts = []
    for check in lint.CHECKS:
        hits = report.hits[check.id]
        if hits:
            shown = [f"  - `{hit.id}` {_safe(hit.why)}" for hit in hits[:EXAMPLES]]
            more = [f"  - … +{len(hits) - EXAMPLES}"] if len(hits) > EXAMPLES else []
            parts.append("\n".join([f"- **{check.id}**", *shown, *more]))
    return "\n".join(parts)


def _safe(why: str) -> str:
    """Words of an answer as code, so that they format nothing."""
    return short(why.replace("`", "'").replace("<", "‹").replace("\n", " "), 400)


def _waiting(made: Made) -> str:
    if not made.needs_human:
        return "None. · 无。"
    note = (
        "The right answer is not known. Write it with `errata review`, then build again."
        "\n\n"
        "以下样本缺少参考答案。请用 `errata review` 填写，然后重新构建。"
    )
    rows = [[f.id, f.label, f.source or "—"] for f in made.needs_human[:SHOWN]]
    table = markdown_table(["failure / 失败样本", "label / 标签", "source / 来源"], rows)
    return f"{note}\n\n{table}{_rest(len(made.needs_human))}"


def _review(report: lint.Report) -> str:
    """Pairs of which no judge can tell which side is better."""
    check = next(check for check in lint.CHECKS if check.id == "chosen-is-better")
    ids = [hit.id for hit in lint.of_action(check, report.hits[check.id], "review")]
    if not ids:
        return ""
    title = (
        f"Pairs that no judge tells apart, for `errata review` · 判据无法区分的偏好对: {len(ids)}"
    )
    shown = ", ".join(f"`{id}`" for id in ids[:SHOWN])
    return f"{title}\n\n{shown}{_rest(len(ids))}"


def _twins(made: Made) -> str:
    if not made.twins:
        return ""
    rows = [[twin.dropped, twin.kept] for twin in made.twins[:SHOWN]]
    table = markdown_table(["left out / 略去", "stands for it / 由其代表"], rows)
    return f"## Near twins · 近似重复\n\n{table}{_rest(len(made.twins))}"


def _rest(count: int) -> str:
    return f"\n\n… +{count - SHOWN}" if count > SHOWN else ""
