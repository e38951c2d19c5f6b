"""The audit as a person reads it: conclusion, coverage, what changed, what to do about it.

It ends as the chapter asks: which of the three classes were covered, what is known of the training
and the evaluation, passed or not and why, whether to roll back, and for each class that failed what
may mend it and the command that starts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from errata.language import both, say
from errata.metrics import CATALOGUE, rate
from errata.records import ATTACKS, CaseResult, Metric, MetricsFile, Paired
from errata.report import bounds, markdown_table, short, shown
from errata.safety import licensing, memorised, mutate
from errata.safety.background import Background
from errata.safety.conclusion import Flip, Reason, Verdict, verdict
from errata.safety.guard import system
from errata.safety.guard.filter import Guard

WORDS: dict[Verdict, tuple[str, str]] = {
    "pass": ("within the limits", "达标"),
    "regression": ("regression: do not release", "退化：不得发布"),
    "insufficient": ("insufficient: too few cases to conclude", "用例不足，无法下结论"),
    "inconclusive": (
        "inconclusive: label what could not be scored",
        "结论不明：请标注未判定的回答",
    ),
}
# The chapter's table of classes: what may mend each, and the command that starts it.
MENDS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "jailbreak": (
        ("train on its own failures", "用其失败样本再训练",
         "errata safety model={model} split=tune write_back=inbox/attacks.jsonl"),
        ("a stricter filter, its classifier trained again", "收紧过滤器并再训练其分类器",
         "errata guard train"),
        ("roll back", "回滚", "errata rollback"),
    ),
    "injection": (
        ("refuse more: train on its own failures", "提高拒绝：用其失败样本再训练",
         "errata safety model={model} split=tune write_back=inbox/attacks.jsonl"),
        ("hold back answers that cite no document", "拦下未引用文档的回答", "errata guard eval"),
        ("roll back", "回滚", "errata rollback"),
    ),
    "privacy": (
        ("redaction policy: what training text still holds", "脱敏策略：训练文本中还残留什么",
         "errata redact --rescan"),
        ("refusal templates of policies/rubric.yaml", "policies/rubric.yaml 中的拒答模板",
         "errata build"),
        ("roll back", "回滚", "errata rollback"),
    ),
    "sensitive": (
        ("refusal templates of policies/rubric.yaml", "policies/rubric.yaml 中的拒答模板",
         "errata build"),
        ("roll back", "回滚", "errata rollback"),
    ),
    "lookalike": (
        ("teach what must be answered: harmless look-alikes", "补充应当回答的无害相似问题",
         "errata evaluate model={model} split=tune write_back=inbox/business.jsonl"),
    ),
}  # fmt: skip


class Audit(NamedTuple):
    """All that was found, for the pages: answers in `rows` and `turned` are redacted."""

    file: MetricsFile
    rows: list[CaseResult]
    reasons: list[Reason]
    pairs: dict[str, Paired | None] | None
    turned: list[Flip]
    known: Background
    disguised: list[CaseResult]
    through: system.Effect
    guard: Guard
    judged: list[licensing.Part]
    expired: int
    weak: int
    memory: memorised.Memory | None


def conclusion(reasons: Sequence[Reason]) -> str:
    """The verdict and its reasons in one line."""
    worst = verdict(reasons)
    mine = [say(r.en, r.zh) for r in reasons if r.verdict == worst]
    return "; ".join([say(*WORDS[worst]), *mine]) if mine else say(*WORDS[worst])


def coverage(results: Sequence[CaseResult]) -> str:
    """Class × language: cases, base requests, families, and what could not be scored."""
    rows = []
    for kind in (*ATTACKS, "lookalike"):
        for language in ("zh", "en"):
            mine = [c for c in results if c.category == kind and c.language == language]
            hits = [case.hit for case in mine]
            counts = len({c.cluster for c in mine}), len({c.family for c in mine})
            rows.append([kind, language, len(mine), *counts, hits.count(True), hits.count(None)])
    heads = ("class / 类别", "language / 语言", "cases / 用例", "base requests / 基础请求",
             "families / 家族", "hits / 命中", "unscored / 未判定")  # fmt: skip
    return markdown_table(heads, rows)


def left_out(expired: int) -> str:
    """Cases that were not asked any more."""
    told = say(
        f"{expired} cases have expired and were not asked: renew `expires`, or delete them.",
        f"{expired} 条用例已过期，未测试：请更新 `expires` 或删除。",
    )
    return f"\n{told}\n" if expired else ""


def short_values(count: int) -> str:
    """Cases whose planted value a text may hold by chance."""
    told = say(
        f"{count} cases plant a value below 19 bits: it is looked for as it is written, and in no "
        "code, for chance writes it too. Plant longer ones.",
        f"{count} 条用例植入的值不足 19 比特：只按原样查找，不查各种编码（否则会与巧合混淆）。"
        "请改用更长的值。",
    )
    return f"\n{told}\n" if count else ""


def against(pairs: Mapping[str, Paired | None], turned: Sequence[Flip]) -> str:
    """The paired test of each question, and every case that turned."""
    rows = [[name, p.n, p.worse, p.better, f"{p.p:.3g}", f"{p.diff:+.1%}",
             f"{p.low:+.1%} – {p.high:+.1%}"] for name, p in pairs.items() if p]  # fmt: skip
    heads = ("metric / 指标", "pairs / 配对", "clusters worse / 变差", "better / 变好", "p",
             "difference / 差", "95 % bounds / 界")  # fmt: skip
    cases = [["✗" if worse else "✓", case.prompt_id, f"{case.category} {case.language}",
              case.family, short(case.answer, 80)] for case, worse in turned]  # fmt: skip
    told = f"### {say('cases that turned', '判定改变的用例')}: {len(turned)}"
    table = markdown_table(
        ("", "case / 用例", "class / 类别", "family / 家族", "answer / 回答"), cases
    )
    return "\n".join([markdown_table(heads, rows), told, "", table if cases else say("none", "无")])


def training(known: Background) -> str:
    """This training run, what it was taught, and what its evaluation said."""
    record, lines = known.training, []
    if record is None:
        lines.append(say("Not trained in this workspace.", "并非在本工作区训练。"))
    else:
        used = record["facts"].get("used", {})
        minutes = float(used.get("wall_seconds", record["seconds"])) / 60
        how = f"{record['stage']}, {both(record['status'])}, {minutes:.1f} min"
        taught = ", ".join(f"{label} {n}" for label, n in sorted(known.taught.items()))
        lines += [
            f"- {say('run', '运行')}: `{record['id']}` ({how}, seed {record['seed']})",
            f"- {say('dataset version', '数据版本')}: `{known.version}`",
            f"- {say('rows it was taught', '训练样本')}: {taught or say('unknown', '未知')}",
            f"- {say('redaction policy', '脱敏策略')}: `{record['policies'].get('redaction')}`",
        ]
    rows = [[m.name, shown(m.value, m.unit), bounds(m.low, m.high, m.unit), m.n]
            for m in known.evaluated if m.name in CATALOGUE]  # fmt: skip
    table = markdown_table(("metric / 指标", "value / 值", "95 % bounds / 界", "n"), rows)
    lines += [
        "",
        table
        if rows
        else say("Not evaluated yet: `errata evaluate`.", "尚未评估：`errata evaluate`。"),
    ]
    return "\n".join(lines) + "\n"


def rollback(worst: Verdict, known: Background) -> str:
    """Whether somebody has to be taken off this model, in one sentence."""
    if worst == "pass":
        return say("No rollback: nothing was found against it.", "无需回滚：未发现问题。")
    if known.state:
        if worst == "regression":
            return say(
                f"This model is {known.state}: roll back now with `errata rollback`.",
                f"该模型状态为{both(known.state)}：请立即 `errata rollback`。",
            )
        return say(
            f"This model is {known.state} and was not shown safe: stop its rollout until it is.",
            f"该模型状态为{both(known.state)}，但尚未证明安全：在证明之前请停止放量。",
        )
    if known.serving:
        return say(
            f"Not released; `{known.serving}` goes on serving.",
            f"不发布；`{known.serving}` 继续服务。",
        )
    return say("Not released; nothing is served yet.", "不发布；尚无线上版本。")


def mends(reasons: Sequence[Reason], model: str) -> str:
    """Per class that failed, what may mend it and how to start."""
    kinds = dict.fromkeys(r.kind for r in reasons if r.verdict == "regression")
    lines = [f"- {kind}: {say(en, zh)}: `{command.format(model=model)}`"
             for kind in kinds for en, zh, command in MENDS[kind]]  # fmt: skip
    return "\n".join(lines or [say("none needed", "无需缓解")]) + "\n"


def examples(results: Iterable[CaseResult], known: Background, each: int = 5) -> str:
    """Violating answers of each class, redacted, and what was done about the class so far."""
    rows: list[list[Any]] = []
    for kind in (*ATTACKS, "lookalike"):
        mine = [case for case in results if case.category == kind and case.hit]
        fixes = [
            f"{r.id} ({r.change}: {', '.join(r.files)})" for r in known.repairs if kind in r.labels
        ]
        if known.taught.get(kind):
            fixes.append(f"{known.version}: {known.taught[kind]} {say('rows', '条训练样本')}")
        done = "; ".join(fixes) or say("none yet", "尚未处理")
        rows += [[c.prompt_id, f"{kind} {c.language}", short(c.answer, 160), c.why, done]
                 for c in mine[:each]]  # fmt: skip
    heads = ("case / 用例", "class / 类别", "answer, redacted / 回答（脱敏）", "why / 原因",
             "fix taken / 已采取的修复")  # fmt: skip
    return markdown_table(heads, rows) if rows else say("none", "无") + "\n"


def summary(reasons: Sequence[Reason], results: Sequence[CaseResult], found: Sequence[Metric],
            known: Background) -> str:  # fmt: skip
    """What the terminal shows: coverage, the numbers, the conclusion."""
    names = {"safety.attack_hit_rate", "safety.over_refusal_rate", "safety.invalid_rate"}
    names |= {f"safety.attack_hit_rate.{kind}" for kind in ATTACKS}
    names |= {"safety.attack_hit_rate_filtered", "safety.over_block_rate"}
    rows = [[m.name, shown(m.value, m.unit), bounds(m.low, m.high, m.unit), m.n]
            for m in found if m.name in names]  # fmt: skip
    table = markdown_table(("metric / 指标", "value / 值", "95 % bounds / 界", "n"), rows)
    worst = verdict(reasons)
    lines = [coverage(results), table, f"{say('Conclusion', '结论')}: {say(*WORDS[worst])}"]
    lines += [f"  {say(r.en, r.zh)}" for r in reasons]
    return "\n".join([*lines, rollback(worst, known)])


def in_disguise(results: Sequence[CaseResult]) -> str:
    """Disguise × class: tried, hits, and the share with its bounds."""
    rows = []
    for chain in sorted({mutate.chain_of(case.family) for case in results}):
        for kind in ATTACKS:
            mine = [c for c in results if c.category == kind and mutate.chain_of(c.family) == chain]
            if mine:
                found = rate(
                    "safety.attack_hit_rate", [c.hit for c in mine], [c.cluster for c in mine]
                )
                rows.append([chain, kind, found.n, found.unscored, shown(found.value, "rate"),
                             bounds(found.low, found.high, "rate")])  # fmt: skip
    heads = ("disguise / 变形", "class / 类别", "scored / 已判定", "unscored / 未判定",
             "hit / 命中率", "95 % bounds / 界")  # fmt: skip
    return markdown_table(heads, rows) if rows else ""


def render(head: str, numbers: str, found: Audit, model: str) -> str:
    """The page: conclusion, the numbers, then all that explains them."""
    worst, against_it = verdict(found.reasons), found.pairs
    parts = {
        say("Why", "原因"): "".join(f"- {say(r.en, r.zh)}\n" for r in found.reasons),
        say("Coverage of the classes", "三类覆盖"): coverage(found.rows)
        + left_out(found.expired)
        + short_values(found.weak),
        say("What a judge decided", "由判别器裁决"): licensing.page(found.judged),
        say("Training canaries", "训练金丝雀"): memorised.page(found.memory),
        say("In disguise", "变形攻击"): in_disguise(found.disguised),
        say("Through the output filter", "经过输出过滤器"): system.page(found.through),
        say("Against the baseline", "与基线对比"): against(against_it, found.turned)
        if against_it
        else "",
        say("This training and its evaluation", "本次训练与评估"): training(found.known),
        say("Rollback", "回滚结论"): rollback(worst, found.known) + "\n",
        say("What may mend it", "缓解动作"): mends(found.reasons, model),
        say("Violating examples", "违规示例"): examples(found.rows, found.known),
    }
    told = "\n".join(f"## {title}\n\n{body}" for title, body in parts.items() if body)
    mine = f"**{say('Conclusion', '结论')}**: {conclusion(found.reasons)}"
    return f"{head}\n\n{mine}\n{numbers}\n{told}"
