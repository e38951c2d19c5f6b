"""The catalogue of every number the product publishes: its unit, which way is worse, its meaning.

A metric that is not here cannot be published or gated on. A new one is a line in `_TABLE`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from errata.config import hint
from errata.errors import BadInput
from errata.records import ATTACKS, Language, Metric, Slice, Worse
from errata.stats import clustered_bounds

# One-sided 95 % at either end.
LEVEL = 0.90


class Spec(NamedTuple):
    """What a name stands for."""

    unit: str
    worse: Worse
    en: str
    zh: str


_TABLE: dict[str, Spec] = {
    "safety.attack_hit_rate": Spec(
        "rate", "higher", "attacks that reach their goal, no filter", "攻击命中率（无过滤器）"
    ),
    "safety.attack_hit_rate_filtered": Spec(
        "rate",
        "higher",
        "attacks that reach their goal through the filter",
        "攻击命中率（经过滤器）",
    ),
    "safety.over_block_rate": Spec(
        "rate", "higher", "harmless or right answers that the filter touches", "过滤器误拦率"
    ),
    "safety.execution_rate": Spec(
        "rate", "higher", "injected instructions that are carried out", "注入指令执行率"
    ),
    "safety.leak_rate": Spec(
        "rate", "higher", "privacy attacks that get a secret or personal data", "隐私泄露率"
    ),
    "safety.refusal_rate": Spec("rate", "either", "attacks answered with a refusal", "攻击拒答率"),
    "safety.over_refusal_rate": Spec(
        "rate", "higher", "harmless look-alikes that are refused", "过度拒答率"
    ),
    "safety.invalid_rate": Spec(
        "rate", "higher", "answers that are neither refusal nor answer", "无效回答率"
    ),
    "evaluate.accuracy": Spec(
        "rate", "lower", "business questions answered correctly", "业务正确率"
    ),
    "evaluate.tool_choice": Spec(
        "rate", "lower", "agent tasks with the right call, or rightly none", "工具选择正确率"
    ),
    "evaluate.citation_missing": Spec(
        "count", "higher", "answers from documents without a citation", "缺少引用的回答数"
    ),
    "evaluate.forbidden_calls": Spec(
        "count", "higher", "calls of a tool that the role may not use", "违规工具调用数"
    ),
    "evaluate.hallucination_rate": Spec(
        "rate", "higher", "answers that the documents do not bear out", "幻觉率"
    ),
    "evaluate.politeness": Spec("rate", "lower", "answers in a polite tone", "礼貌率"),
    "evaluate.citation_support": Spec(
        "rate", "lower", "answers whose cited passages hold what they claim", "引用有据率"
    ),
    "evaluate.tool_misuse": Spec(
        "rate", "higher", "trap tasks with a call that should not be made", "工具误用率"
    ),
    "evaluate.weighted_accuracy": Spec(
        "rate", "lower", "cases answered correctly, by their weight", "加权正确率"
    ),
    "evaluate.persona_gap": Spec(
        "rate", "higher", "largest difference of accuracy between voices", "人物间正确率最大差"
    ),
    "evaluate.counterfactual_consistency": Spec(
        "rate", "lower", "same answer when an irrelevant detail changes", "反事实一致率"
    ),
    "evaluate.counterfactual_sensitivity": Spec(
        "rate", "lower", "another answer when a relevant detail changes", "反事实敏感率"
    ),
    "evaluate.win_rate": Spec(
        "rate", "lower", "answers preferred to the reference model's", "相对参考模型的胜率"
    ),
    "evaluate.preference_score": Spec(
        "rate", "lower", "pairs whose chosen answer the model prefers", "偏好得分"
    ),
    "evaluate.mt_bench": Spec(
        "score", "lower", "MT-Bench style score, 1 to 10", "MT-Bench 评分（1–10）"
    ),
    "evaluate.mt_bench_win_rate": Spec(
        "rate", "lower", "turns a judge prefers to the baseline's", "MT-Bench 对基线胜率"
    ),
    "evaluate.template_share": Spec(
        "rate", "higher", "answers that share the commonest wording", "模板化回答占比"
    ),
    "evaluate.distinct_2": Spec(
        "rate", "lower", "different pairs of words among all", "二元组多样性"
    ),
    "evaluate.reopened_failures": Spec(
        "count", "higher", "fixed critical failures that came back", "复发的严重失败数"
    ),
    "evaluate.reopened_rate": Spec(
        "rate", "higher", "other fixed failures that came back", "其他已修复失败的复发率"
    ),
    "human.factuality": Spec(
        "rate", "lower", "sampled answers people found true", "人工评审：事实性"
    ),
    "human.politeness": Spec(
        "rate", "lower", "sampled answers people found polite", "人工评审：礼貌性"
    ),
    "human.safety": Spec("rate", "lower", "sampled answers people found safe", "人工评审：安全性"),
    "human.win_rate": Spec(
        "rate", "lower", "sampled answers people prefer to the baseline's", "人工评审：胜率"
    ),
    "bench.p95_ms": Spec("ms", "higher", "latency that 95 % of requests stay under", "P95 延迟"),
    "bench.tokens_per_s": Spec("tokens/s", "lower", "tokens generated in a second", "吞吐"),
    "bench.cost_per_1k_tokens": Spec(
        "money", "higher", "cost of a thousand tokens", "每千 token 成本"
    ),
    "train.loss": Spec("nats", "higher", "training loss", "训练损失"),
    "train.eval_loss": Spec("nats", "higher", "validation loss", "验证损失"),
    "train.peak_memory_gib": Spec("GiB", "higher", "peak memory of the process", "显存/内存峰值"),
    "train.hours": Spec("h", "higher", "hours of training", "训练时长"),
    "train.kl": Spec(
        "nats", "higher", "KL divergence from the reference model", "相对参考模型的 KL 散度"
    ),
    "train.reward": Spec("score", "lower", "mean reward", "平均奖励"),
}

_PER_CLASS = ("safety.attack_hit_rate", "safety.attack_hit_rate_filtered", "safety.refusal_rate")
_ROOMS = ("safety", "evaluate", "human", "bench", "train")


def _expand() -> dict[str, Spec]:
    """The table, its per-class names, and the same numbers on live windows."""
    out = dict(_TABLE)
    for name in _PER_CLASS:
        spec = _TABLE[name]
        for kind in ATTACKS:
            out[f"{name}.{kind}"] = spec._replace(en=f"{spec.en}: {kind}", zh=f"{spec.zh}：{kind}")
    for name, spec in list(out.items()):
        room, bare = name.split(".", 1)
        if room in ("safety", "evaluate", "bench"):
            out[f"monitor.{bare}"] = spec._replace(en=f"{spec.en} (live)", zh=f"{spec.zh}（线上）")
    return out


CATALOGUE: dict[str, Spec] = _expand()


def _aliases() -> dict[str, str]:
    """The chapter's bare names: what stands after the room, when only one room has it."""
    out: dict[str, str] = {}
    for name in CATALOGUE:
        room, bare = name.split(".", 1)
        if room in _ROOMS:
            out.setdefault(bare, name)
    return {
        **out,
        "p95": "bench.p95_ms",
        "P95": "bench.p95_ms",
        "cost": "bench.cost_per_1k_tokens",
        "memory": "train.peak_memory_gib",
        "over_refusal": "safety.over_refusal_rate",
        "命中率": "safety.attack_hit_rate",
        "执行率": "safety.execution_rate",
        "泄露率": "safety.leak_rate",
        "拒答率": "safety.refusal_rate",
        "幻觉率": "evaluate.hallucination_rate",
        "偏好胜率": "evaluate.win_rate",
        "偏好得分": "evaluate.preference_score",
        "成本": "bench.cost_per_1k_tokens",
    }


ALIASES: dict[str, str] = _aliases()


def full_name(name: str) -> str:
    """The catalogued name of a metric, given that or a bare name; else BadInput with a hint."""
    found = ALIASES.get(name, name)
    if found in CATALOGUE:
        return found
    known = [*CATALOGUE, *ALIASES]
    raise BadInput(f"no metric `{name}`{hint(name, known)}")


def spec(name: str) -> Spec:
    """Unit, direction and meaning of a metric."""
    return CATALOGUE[full_name(name)]


def _share(
    hits: Sequence[bool | None], clusters: Sequence[str]
) -> tuple[float | None, int, float | None, float | None, int]:
    """Value, n, low, high and how many could not be scored; all None without a scored case."""
    pairs = zip(hits, clusters, strict=True)
    scored = [(hit, cluster) for hit, cluster in pairs if hit is not None]
    unscored = len(hits) - len(scored)
    if not scored:
        return None, 0, None, None, unscored
    flags = [hit for hit, _ in scored]
    value = sum(flags) / len(flags)
    low, high = clustered_bounds(flags, [cluster for _, cluster in scored], LEVEL)
    return value, len(flags), low, high, unscored


def _cells(
    slices: Sequence[tuple[str | None, Language | None]] | None, length: int
) -> Iterator[tuple[str | None, Language | None, list[int]]]:
    """Class, language and places of each slice, in order of their names."""
    if slices is None:
        return
    if len(slices) != length:
        raise BadInput(f"{length} cases and {len(slices)} slices: give one per case")
    places: dict[tuple[str, str], list[int]] = {}
    for place, (kind, language) in enumerate(slices):
        places.setdefault((kind or "", language or ""), []).append(place)
    for (kind_name, tongue), found in sorted(places.items()):
        yield kind_name or None, cast("Language | None", tongue or None), found


def rate(
    name: str,
    hits: Sequence[bool | None],
    clusters: Sequence[str],
    slices: Sequence[tuple[str | None, Language | None]] | None = None,
) -> Metric:
    """A share with one-sided 95 % bounds (Clopper–Pearson on the effective n of the clusters).

    None is a case that could not be scored: it is in no rate, and counted in `unscored`.
    `slices` gives class and language of each case, for a rate of each pair of them.
    """
    if len(hits) != len(clusters):
        raise BadInput(f"{name}: {len(hits)} cases and {len(clusters)} clusters: give one per case")
    what = spec(name)
    value, n, low, high, unscored = _share(hits, clusters)
    cells = []
    for kind, language, places in _cells(slices, len(hits)):
        part = _share([hits[i] for i in places], [clusters[i] for i in places])
        cells.append(
            Slice(
                kind=kind, language=language, value=part[0], n=part[1], low=part[2], high=part[3],
                unscored=part[4],
            )
        )  # fmt: skip
    return Metric(
        name=full_name(name), value=value, n=n, low=low, high=high, unit=what.unit,
        worse=what.worse, slices=cells, unscored=unscored,
    )  # fmt: skip


def count(
    name: str,
    hits: Sequence[bool | None],
    slices: Sequence[tuple[str | None, Language | None]] | None = None,
) -> Metric:
    """How many cases hit, of n that could be scored; None, not 0, when none could."""
    what = spec(name)

    def tally(part: Sequence[bool | None]) -> tuple[float | None, int, int]:
        scored = [hit for hit in part if hit is not None]
        return float(sum(scored)) if scored else None, len(scored), len(part) - len(scored)

    value, n, unscored = tally(hits)
    cells = []
    for kind, language, places in _cells(slices, len(hits)):
        part = tally([hits[i] for i in places])
        cells.append(
            Slice(kind=kind, language=language, value=part[0], n=part[1], unscored=part[2])
        )
    return Metric(
        name=full_name(name), value=value, n=n, unit=what.unit, worse=what.worse, slices=cells,
        unscored=unscored,
    )  # fmt: skip


def number(
    name: str, value: float | None, n: int, low: float | None = None, high: float | None = None
) -> Metric:
    """A measured number that is not a share of cases: milliseconds, loss, a score."""
    what = spec(name)
    return Metric(
        name=full_name(name), value=value if n else None, n=n, low=low, high=high, unit=what.unit,
        worse=what.worse,
    )  # fmt: skip
