"""The sections of the model card, each from the records that it names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from errata import config as configs
from errata import jsonl
from errata.build.lint_base import label, plain
from errata.build.lint_tables import asked
from errata.intake import human
from errata.intake.human import Human
from errata.language import both
from errata.records import PreferencePair, Waiver
from errata.release import gate, licences, rules, said, trained, verdicts
from errata.release.evidence import Evidence
from errata.release.licences import Ruling
from errata.release.page import WORDS, name
from errata.release.said import Said
from errata.release.subject import Subject
from errata.release.trained import File
from errata.report import bounds, markdown_table, shown
from errata.store import ledger, people
from errata.store import seal as seals
from errata.text import language
from errata.workspace import Workspace

NONE = "⚠ none / 无"
EMPTY = "⚠ not stated / 未填"
_HEAD = ("what / 项目", "value / 值")


@dataclass(frozen=True)
class Parts:
    """What the card is written from. `waivers`: each of the candidate, and why it does not count
    today ("" where it does); `versions`: digest of a file → dataset version; `lineage`: digest of
    all steps that led to the candidate; `told`, `people`: what people say of model and data."""

    ws: Workspace
    subject: Subject
    evidence: Evidence
    waivers: Sequence[tuple[Waiver, str]]
    files: Sequence[File]
    rulings: Sequence[Ruling]
    lineage: str
    versions: Mapping[str, str]
    told: Said
    people: Human


def sections(part: Parts) -> Iterator[str]:
    """The card, in order."""
    yield _about(part)
    yield _purpose(part)
    yield _licences(part)
    yield _data(part)
    yield _numbers(part, "Evaluation · 评估", ("evaluate", "mtbench", "human", "bench"))
    yield _numbers(part, "Safety · 安全", ("safety",))
    yield _verdicts(part)
    yield "## Limits · 局限\n\n" + "\n".join(f"- {text}" for text in limits(part))
    yield _waivers(part)
    yield _releases(part)
    yield _verify(part)


def _about(part: Parts) -> str:
    candidate, release = part.subject.candidate, part.subject.release
    state = f"{release.id}: {both(release.state)}, {release.stage_percent} %" if release else \
        "not released / 未发布"  # fmt: skip
    ran = trained.of_run(part.ws, candidate.run_id)
    rows = [
        ["base / 基座", candidate.base],
        ["base digest / 基座摘要", candidate.base_digest],
        ["adapter / 适配器", candidate.adapter or NONE],
        ["adapter digest / 适配器摘要", candidate.adapter_digest or NONE],
        ["candidate digest / 候选摘要", candidate.digest],
        ["run / 运行", candidate.run_id or "⚠ trained by no run here / 非本工作区训练"],
        [
            "config hash / 配置摘要",
            ran.get("config_hash") or EMPTY,
        ],
        [
            "trained from / 训练起点",
            trained.config_of(part.ws, candidate.run_id).get("model")
            or "run record not on this machine / 运行记录不在本机",
        ],
        ["filter / 过滤器", candidate.filter_policy or "the workspace's in force / 工作区现行策略"],
        ["decoding / 解码", jsonl.canonical(candidate.decoding)],
        ["tool isolation / 工具隔离", "yes / 是" if candidate.tool_isolation else "no / 否"],
        ["state / 状态", state],
        ["lineage digest / 血缘摘要", part.lineage],
    ]
    return f"# Model card · 模型卡: {candidate.run_id or part.subject.name}\n\n" + markdown_table(
        _HEAD, rows)  # fmt: skip


def _purpose(part: Parts) -> str:
    rows = [[means, str(getattr(part.told, name) or "–")] for name, means in said.MEANS.items()
            if name not in ("base_licence", "teacher_terms")]  # fmt: skip
    return "## Intended use · 用途\n\n" + markdown_table(_HEAD, rows)


def _licences(part: Parts) -> str:
    """What each part asks; a table of what is to be kept, and conflicts before it."""
    rows = [[licences.LEVELS[one.level], one.part.id, one.part.licence or EMPTY, one.en, one.zh]
            for one in part.rulings]  # fmt: skip
    heads = ("level / 级别", "part / 部分", "licence / 许可", "what follows", "结论")
    open_ = [one for one in part.rulings if one.level in licences.OPEN]
    told = "compatible / 相容" if not open_ else f"**⚠ {len(open_)} not settled / 未解决**"
    table = markdown_table(heads, rows) if rows else "nothing is asked / 无要求"
    return f"## Licences · 许可\n\n{part.told.licence}: {told}\n\n{table}"


def _data(part: Parts) -> str:
    """Each file that a run in the chain read, with its version; what people say of the data."""
    people_say = [[human.MEANS[key], str(value).strip() or EMPTY]
                  for key, value in part.people]  # fmt: skip
    rows = [[f.run, f.path, part.versions.get(f.digest, "⚠ unknown / 未知"), f.digest]
            for f in part.files]  # fmt: skip
    heads = ("run / 运行", "file / 文件", "version / 版本", "digest / 摘要")
    parts = [
        "## Training data · 训练数据",
        "From [the datasheet](datasheet.md); redacted by `policies/redaction.yaml` before it was "
        "stored. 来源见[数据卡片](datasheet.md)；入库前已按 `policies/redaction.yaml` 脱敏。",
        markdown_table(heads, rows) if rows else NONE,
        *(_counts(file) for file in part.files if file.path in trained.ROWS),
        markdown_table(_HEAD, people_say),
    ]
    return "\n\n".join(text.strip() for text in parts)


def _counts(file: File) -> str:
    """Rows by label, language and source, of the file as the run read it."""
    if file.here is None:
        return f"{file.path} of {file.run} is not on this machine / 不在本机: `errata checkout`."
    cells: Counter[tuple[str, str, str]] = Counter()
    for row in trained.rows([file]):
        if isinstance(row, PreferencePair):
            cells[label(row), language(plain(row.prompt)), row.source or EMPTY] += 1
        else:
            cells[row.scenario or EMPTY, language(asked(row)), row.source or row.origin] += 1
    rows = [[*cell, count] for cell, count in sorted(cells.items())]
    heads = ("label / 标签", "language / 语言", "source or origin / 来源", "rows / 行数")
    return f"{file.path}: {sum(cells.values())}\n\n{markdown_table(heads, rows)}"


def _numbers(part: Parts, title: str, rooms: tuple[str, ...]) -> str:
    found = [m for m in part.evidence.metrics.values() if m.name.split(".")[0] in rooms]
    named = {m.name for m in found}  # a class that has a line of its own needs no cell beside it
    rows = [[m.name, shown(m.value, m.unit), bounds(m.low, m.high, m.unit), m.n, m.unscored]
            for m in found]  # fmt: skip
    cells = [(m, cell) for m in found for cell in m.slices if f"{m.name}.{cell.kind}" not in named]
    rows += [[f"{m.name} [{' '.join(filter(None, (cell.kind, cell.language)))}]",
              shown(cell.value, m.unit), bounds(cell.low, cell.high, m.unit), cell.n, cell.unscored]
             for m, cell in cells]  # fmt: skip
    heads = ("metric / 指标", "value / 值", "95 % bounds / 界", "n", "unscored / 未判")
    return f"## {title}\n\n{markdown_table(heads, rows) if rows else '⚠ not measured / 未测量'}"


def _verdicts(part: Parts) -> str:
    rows = []
    for event in ledger.events(part.ws, "verdict"):
        told = event["data"]
        if told["candidate_digest"] == part.subject.candidate.digest:
            whole = verdicts.read(part.ws, event)
            missed = ["⚠ its file was changed or is gone / 文件被改或缺失"]
            if whole:
                hard = (f for f in whole.findings if f.strictness == "hard")
                missed = [name(f) for f in hard if f.status != "pass"]
            rows.append([told["id"], event["ts"], " / ".join(WORDS[told["decision"]]),
                         str(told["baseline_digest"])[:19], ", ".join(missed) or "–",
                         ", ".join(told.get("waivers", [])) or "–"])  # fmt: skip
    heads = ("verdict / 裁决", "when / 时间", "decision / 结论", "baseline / 基线",
             "hard lines not met / 未满足的硬指标", "waivers / 豁免")  # fmt: skip
    return "## Verdicts · 裁决\n\n" + (markdown_table(heads, rows) if rows else NONE)


def limits(part: Parts) -> list[str]:
    """What nobody measured, or not enough; and the gaps that people know of."""
    path = part.ws.configs / "gate.yaml"
    asked_for = configs.load(path, gate.Config, name=rules.FILE) if path.is_file() else None
    ruled = [line.rule for line in rules.lines(asked_for.hard, asked_for.soft)] if asked_for else []
    found = [f"no evidence in {folder} / 无证据" for folder in part.evidence.missing]
    for rule in ruled:
        metric = part.evidence.metrics.get(rule.metric)
        if metric is None:
            found.append(f"{rule.metric}: not measured / 未测量")
        elif metric.value is None:
            found.append(f"{rule.metric}: no data yet / 尚无数据")
        elif metric.n < rule.min_n:
            found.append(f"{rule.metric}: n = {metric.n}, at least {rule.min_n} count / 样本不足")
        elif metric.unscored:
            found.append(f"{rule.metric}: {metric.unscored} answers could not be scored / 无法判定")
    gaps = part.people.known_gaps.strip()
    found.append(f"known gaps of the data / 数据已知缺口: {gaps or EMPTY}")
    return list(dict.fromkeys(found))


def _waivers(part: Parts) -> str:
    team = people.roles(part.ws).team
    told = "`team: several`: who asks cannot sign. 申请人与签字人不同。"
    if team == "solo":
        told = "**`team: solo`**: who asks for a waiver may sign it too. 申请人可自行签署。"
    rows = [[one.id, why or "in force / 有效", one.metric, f"{one.value_at_signing:g}",
             f"{one.max_percent} %", one.expires, one.requested_by, one.approved_by or NONE,
             "yes / 是" if one.emergency else "no / 否", one.risk, one.impact, one.rollback_plan,
             one.owner] for one, why in part.waivers]  # fmt: skip
    heads = ("waiver / 豁免", "state / 状态", "metric / 指标", "value signed / 签署值",
             "users / 用户", "expires / 到期", "asked by / 申请人", "signed by / 签署人",
             "emergency / 紧急", "risk / 风险", "impact / 影响", "rollback plan / 回滚方案",
             "owner / 负责人")  # fmt: skip
    table = markdown_table(heads, rows) if rows else "none / 无"
    return f"## Waivers · 豁免\n\n{told}\n\n{table}"


def _releases(part: Parts) -> str:
    rows, last = [], None
    for event in ledger.events(part.ws, "rollout"):
        told = event["data"]
        what = {"start": f"→ {told.get('release', {}).get('stage_percent')} %",
                "advance": f"→ {told.get('percent')} %",
                "rollback": f"→ {told.get('to') or 'base / 基座'}, {told.get('seconds')} s",
                }.get(told["action"], "")  # fmt: skip
        id = told.get("id") or told.get("release", {}).get("id")
        rows.append([event["ts"], told.get("actor"), told["action"], id, what,
                     told.get("why") or "–"])  # fmt: skip
        last = told if told["action"] == "rollback" else last
    heads = (
        "when / 时间",
        "who / 谁",
        "action / 动作",
        "release / 发布",
        "to / 结果",
        "why / 原因",
    )
    table = markdown_table(heads, rows) if rows else "not released / 未发布"
    took = f"the last one took {last['seconds']} s / 上次耗时" if last else "none so far / 尚未发生"
    plan = f"Rollback / 回滚: [the plan / 方案](../policies/rollback.md); {took}."
    return f"## Releases · 发布历史\n\n{table}\n\n{plan}"


def _verify(part: Parts) -> str:
    points, _ = seals.check(part.ws)
    sealed = f"event {points[-1].size}, `{points[-1].head}`, signed by `{points[-1].key}`" \
        if points else NONE  # fmt: skip
    return (
        "## How to verify · 如何核验\n\n"
        f"Ledger checkpoint before this card / 本卡之前的账本检查点: {sealed}.\n\n"
        "Bill of materials / 物料清单: [CycloneDX](model-card.cdx.json). Every file of the model, "
        "this card and its evidence / 模型、本卡与证据的每个文件: "
        "[signed manifest](model-card.sig.json) (in-toto, DSSE, Ed25519).\n\n"
        "```bash\nerrata card verify            # no byte was changed since / 未被改动\n"
        "errata audit verify          # the ledger holds / 账本完整\n"
        "errata check                 # files are as their runs left them / 交付物与账本一致\n"
        "errata gate again=true       # judged again from what is committed / 重新裁决\n```"
    )
