"""What a version is made of, for people: sections of reports/datasheet.md, and data/README.md, the
dataset card in Hugging Face's form. Written from what happened; what only people know is theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from errata.build import lint, lint_report, lint_tables
from errata.build.lint_report import Page
from errata.intake.human import MEANS, Human
from errata.records import Language, PreferencePair, SftExample
from errata.report import markdown_table
from errata.text import language

CARD = "data/README.md"
# Identifiers of the Hub's list; anything else is `other`, with its own name beside it.
LICENCES = {
    "apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "odc-by", "odbl", "cdla-permissive-2.0", "cdla-sharing-1.0", "openrail",
}  # fmt: skip
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
Files = Mapping[str, list[SftExample] | list[PreferencePair]]


def sections(page: Page, files: Files, human: Human, heldout: int) -> list[str]:
    """Of the datasheet: the version, dedup, lint, split, what people say, what is missing."""
    facts = page.facts
    rows = [
        ["version / 版本", page.version],
        *([name, f"{len(found)} rows"] for name, found in files.items()),
        ["SFT rows by origin / 回答来源", lint_report.origins(facts["origins"])],
        ["distinct failures and cases in the pairs / 偏好对来源数", facts["distinct_failures"]],
        ["pairs with a hard negative / 难负例", facts["negatives"]],
    ]
    dedup = [
        ["equal rows merged / 合并的重复行", facts["duplicates"]],
        ["near twins, built from once / 近似重复", facts["near_twins"]],
        ["answers taught already / 回答重复", facts["verbatim"]],
        ["pairs of a question beyond its share / 同一问题超出的偏好对", facts["repeated"]],
        ["templates above their share / 超出模板占比", facts["capped"]],
        ["left out by the declared mix / 因配比未取", facts["unsampled"]],
        ["taken out by people / 人工剔除", facts["rejected"]],
    ]
    return [
        "## Dataset version · 数据版本",
        markdown_table(["what / 项目", "value / 值"], rows),
        "## Dedup · 去重",
        markdown_table(["what / 项目", "rows / 行数"], dedup),
        "## Lint · 检查",
        _lint(page.report),
        "## Split · 划分",
        f"{facts['groups']} groups of requests alike; {facts['groups_crossing']} on both sides. "
        f"No row is like one of {heldout} held-out cases (13-grams, MinHash of 5-grams).\n\n"
        f"按相似请求分为 {facts['groups']} 组，跨训练与验证集 {facts['groups_crossing']} 组；"
        f"与 {heldout} 个留出用例均不重合。",
        *people(human),
        "## Gaps that were measured · 测得的缺口",
        "\n".join(f"- {gap}" for gap in gaps(page)) or lint_tables.NOTHING,
    ]


def people(human: Human) -> list[str]:
    """What people say of the data, and where they say nothing."""
    rows = [[MEANS[name], str(value).strip() or "⚠ empty / 未填"] for name, value in human]
    return ["## What people say · 人工填写", markdown_table(["what / 项目", "answer / 内容"], rows)]


def gaps(page: Page) -> list[str]:
    """What the numbers say is thin or missing."""
    found = [
        f"{label} {spoken}: {count} pairs, fewer than {page.context.limits.min_per_label}"
        for (label, spoken), count in _thin(page)
    ]
    facts = page.facts
    told = (
        ("needs_human", "failures wait for an answer / 待人工填写"),
        ("summaries", "failures kept as summaries, never trained on / 仅摘要"),
    )
    found += [f"{facts[name]} {what}" for name, what in told if facts[name]]
    found += [f"source `{name}`: {count} failures not declared for training / 未声明训练用途"
              for name, count in facts["untrained"].items()]  # fmt: skip
    if facts["pairs"] < page.context.limits.set_size:
        found.append(f"{facts['pairs']} pairs: fewer than {page.context.limits.set_size}")
    return found


def _thin(page: Page) -> list[tuple[tuple[str, Language], int]]:
    pairs = page.report.kept
    counts = Counter((lint.label(row), language(lint.plain(row.prompt))) for row in pairs)
    least = page.context.limits.min_per_label
    names, tongues = sorted({name for name, _ in counts}), get_args(Language)
    cells = [(name, spoken) for name in names for spoken in tongues]
    return [(cell, counts[cell]) for cell in cells if counts[cell] < least]


def _lint(report: lint.Report) -> str:
    rows = []
    for check in lint.CHECKS:
        hits = {hit.id for hit in report.hits[check.id]}
        rows.append([check.id, check.action, len(hits), f"{check.means.en} · {check.means.zh}"])
    return markdown_table(["check / 检查", "action / 处理", "hits / 命中", "means / 含义"], rows)


def hub_licence(licence: str) -> dict[str, str]:
    """The licence as metadata of the Hub has it."""
    if licence in LICENCES:
        return {"license": licence}
    return {"license": "other", "license_name": licence.replace(" ", "-") or "not-stated"}


def card(page: Page, files: Files, human: Human, body: Sequence[str]) -> str:
    """The dataset card: metadata that the Hub reads, then the datasheet's sections."""
    rows = [row for found in files.values() for row in found]
    spoken = sorted({language(_asked(row)) for row in rows})
    size = next((name for most, name in SIZES if len(rows) < most), "1M<n<10M")
    meta = {
        **hub_licence(human.licence.strip().lower()),
        "language": spoken,
        "pretty_name": f"Repairs {page.version}",
        "task_categories": ["text-generation"],
        "size_categories": [size],
        "tags": ["preference", "dpo", "sft", "safety", "synthetic-identifiers"],
        "configs": _configs(files),
    }
    head = yaml.safe_dump(meta, allow_unicode=True, sort_keys=False)
    title = [
        f"# Repairs `{page.version}`",
        "Answers a model should have given, and pairs of a better and a worse one, made of its own "
        "failures by `errata build`. Personal data and credentials were replaced; values that look "
        "like life are invented.\n\n由 `errata build` 根据模型自身的失败样本生成："
        "应有的回答，以及好坏回答的偏好对。个人信息与凭据均已替换，文中看似真实的值都是虚构的。",
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(part.strip() for part in [*title, *body]) + "\n"


def _asked(row: SftExample | PreferencePair) -> str:
    return lint.plain(row.prompt) if isinstance(row, PreferencePair) else lint_tables.asked(row)


def _configs(files: Files) -> list[dict[str, Any]]:
    """One config a kind of row, with its train and validation files; empty files are left out."""
    found: dict[str, list[dict[str, str]]] = {}
    for name, rows in files.items():
        kind, _, part = Path(name).stem.partition(".")
        if rows:
            split = "validation" if part == "valid" else "train"
            found.setdefault(kind, []).append({"split": split, "path": Path(name).name})
    return [{"config_name": kind, "data_files": parts} for kind, parts in found.items()]
