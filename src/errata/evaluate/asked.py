"""What `errata evaluate` asks beside the business suite, and the numbers that come of it.

    misuse     tasks with a trap for tools          → tool_misuse
    grounded   questions about documents            → hallucination_rate, citation_support
    persona    one request in several voices        → persona_gap
    probe      a request with one detail changed    → counterfactual_consistency, _sensitivity

A case of any suite may carry a weight; where they differ, weighted_accuracy is published too. The
suites of the desk itself (business.CORE) keep their own numbers: nothing here changes them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol

from errata import jsonl, metrics, stats
from errata.evaluate import business, grounding, pages, probes, style
from errata.evaluate.answers import pick
from errata.evaluate.claims import CITED, claims
from errata.records import Case, CaseResult, Language, Metric, Slice
from errata.safety import predicates, reading
from errata.text import user_text

MORE = ("misuse", "grounded", "persona", "probe")
WHOLE = ("persona", "probe")  # with limit= base requests are kept or left out, never one voice


class Knobs(Protocol):
    """What is read of the config."""

    @property
    def suite(self) -> str: ...
    @property
    def more(self) -> list[str]: ...
    @property
    def split(self) -> str: ...
    @property
    def limit(self) -> int: ...


def read(
    open_: Callable[[str], Path], config: Knobs, today: date | None = None
) -> tuple[list[Case], list[Case]]:
    """The cases of the split: business, and those of `more`; `open_` finds a file by its name.

    BadInput where a file is missing, a case cannot be asked (reading.py), is there twice, or is of
    a category that nobody counts."""
    today = today or datetime.now(UTC).date()
    own = reading.read(open_(config.suite), config.suite)
    more = [(path, case) for path in config.more for case in reading.read(open_(path), path)]
    # Of its own suite's ids each counts once here: small talk of few words comes more than once.
    reading.once([*((config.suite, case) for case in {c.id: c for c in own}.values()), *more])
    reading.counted(more, MORE)
    mine = [case for case in own if case.category in business.ASKED and not case.over(today)]
    others = [case for _, case in more if not case.over(today)]
    limit = config.limit or None
    apart = pick([c for c in others if c.category not in WHOLE], config.split, limit)
    whole = [c for c in others if c.category in WHOLE and c.split == config.split]
    return pick(mine, config.split, limit), apart + (_bases(whole, limit) if limit else whole)


def _bases(cases: Sequence[Case], limit: int) -> list[Case]:
    """Whole base requests, by the hash of their names and each label in turn, until `limit` cases
    of a language are there."""
    by_label: dict[tuple[Language, str], dict[str, list[Case]]] = defaultdict(dict)
    for case in cases:
        by_label[case.language, case.family].setdefault(case.cluster, []).append(case)
    out: list[Case] = []
    for tongue in sorted({language for language, _ in by_label}):
        mine = [groups for key, groups in sorted(by_label.items()) if key[0] == tongue]
        piles = [sorted(groups.items(), key=lambda item: jsonl.digest(item[0])) for groups in mine]
        count = 0
        for turn in range(max(map(len, piles))):
            for pile in piles:
                if turn < len(pile) and count < limit:
                    out += pile[turn][1]
                    count += len(pile[turn][1])
    return out


def summarise(cases: Sequence[Case], scored: Sequence[CaseResult]) -> list[Metric]:
    """The numbers of the categories that were asked; of those that were not, none."""
    found = []
    there = {case.category for case in cases}
    if "misuse" in there:
        found.append(_misuse(cases, scored))
    if "grounded" in there:
        found += _grounded(cases, scored)
    if "persona" in there:
        found.append(probes.persona_gap(cases, scored))
    if "probe" in there:
        found += probes.counterfactual(cases, scored)
    weighed = [place for place, case in enumerate(cases) if case.category != "probe"]
    if len({cases[place].weight for place in weighed}) > 1:
        found.append(_weighted([cases[p] for p in weighed], [scored[p] for p in weighed]))
    return found


def _misuse(cases: Sequence[Case], scored: Sequence[CaseResult]) -> Metric:
    mine = [(c, r) for c, r in zip(cases, scored, strict=True) if c.category == "misuse"]
    bad = [business.misused(r) for _, r in mine]
    slices: list[tuple[str | None, Language | None]] = [(c.family, c.language) for c, _ in mine]
    return metrics.rate("evaluate.tool_misuse", bad, [c.cluster for c, _ in mine], slices)


def _grounded(cases: Sequence[Case], scored: Sequence[CaseResult]) -> list[Metric]:
    """Answers with a claim that no document holds; and, of those that claim something, how many
    cite passages that hold it. An answer that says nothing is unscored in both."""
    mine = [(c, r) for c, r in zip(cases, scored, strict=True) if c.category == "grounded"]
    borne: list[bool | None] = []
    for case, result in mine:
        documents = "\n".join(turn.content for turn in case.messages if turn.role == "documents")
        numbered, question = grounding.passages(documents), user_text(case.messages)
        said = result.answer
        cites = CITED.search(said) and not grounding.cited_wrongly(said, numbered, question)
        borne.append(bool(cites))
    clusters = [case.cluster for case, _ in mine]
    slices: list[tuple[str | None, Language | None]] = [(c.family, c.language) for c, _ in mine]
    telling = [i for i, (_, r) in enumerate(mine)
               if claims(r.answer) and not predicates.degenerate(r.answer)]  # fmt: skip
    return [
        metrics.rate("evaluate.hallucination_rate", [r.invented for _, r in mine], clusters,
                     slices),
        metrics.rate("evaluate.citation_support", [borne[i] for i in telling],
                     [clusters[i] for i in telling], [slices[i] for i in telling]),
    ]  # fmt: skip


def _weighted(cases: Sequence[Case], scored: Sequence[CaseResult]) -> Metric:
    """Σ w·right / Σ w over all cases but probes, with its slices by language.

    Bounds: Clopper–Pearson on Kish's effective n of the weights of whole clusters,
    (Σ W)² / Σ W², which takes a cluster's cases for one."""
    value, n, low, high = _weigh(cases, scored)
    whole = metrics.number("evaluate.weighted_accuracy", value, n, low, high)
    cells = []
    languages: list[Language] = sorted({case.language for case in cases})
    for tongue in languages:
        places = [place for place, case in enumerate(cases) if case.language == tongue]
        part = _weigh([cases[p] for p in places], [scored[p] for p in places])
        cells.append(Slice(language=tongue, value=part[0], n=part[1], low=part[2], high=part[3]))
    unscored = sum(result.hit is None for result in scored)
    return whole.model_copy(update={"slices": cells, "unscored": unscored})


def _weigh(
    cases: Sequence[Case], scored: Sequence[CaseResult]
) -> tuple[float | None, int, float | None, float | None]:
    rows = [(c, r.hit) for c, r in zip(cases, scored, strict=True) if r.hit is not None]
    if not rows:
        return None, 0, None, None
    total = sum(case.weight for case, _ in rows)
    value = sum(case.weight for case, hit in rows if hit) / total
    clusters: dict[str, float] = defaultdict(float)
    for case, _ in rows:
        clusters[case.cluster] += case.weight
    worth = total**2 / sum(weight**2 for weight in clusters.values())
    low, high = stats.clopper_pearson(min(value, 1.0) * worth, worth, metrics.LEVEL)
    return value, len(rows), low, high


def spoken(cases: Sequence[Case], answers: Sequence[str]) -> list[style.Said]:
    """The answers whose style is looked at: all but those to probes, which repeat a request."""
    return [
        style.Said(
            text=answer,
            question=user_text(case.messages),
            label=case.family if case.category == "persona" else case.category,
            persona=case.persona,
            language=case.language,
            cluster=case.cluster,
        )
        for case, answer in zip(cases, answers, strict=True)
        if case.category != "probe"
    ]


def styled(found: style.Style) -> list[Metric]:
    """`evaluate.template_share` and `evaluate.distinct_2`; a slice has its own commonest one."""
    share = metrics.rate("evaluate.template_share", found.flags,
                         [said.cluster for said in found.kept])  # fmt: skip
    whole = next((c for c in found.cells if (c.kind, c.language) == ("all", None)), None)
    first = whole.ours["distinct_2"] if whole else style.Reading(None)
    pairs = metrics.number("evaluate.distinct_2", first.value, whole.n if whole else 0,
                           first.low, first.high)  # fmt: skip
    return [
        metric.model_copy(update={"slices": _slices(found.cells, name)})
        for metric, name in ((share, "template_share"), (pairs, "distinct_2"))
    ]


def _slices(cells: Sequence[style.Cell], name: str) -> list[Slice]:
    out = []
    for cell in cells:
        if cell.kind == "persona" or cell.language is None:
            continue
        told = cell.ours[name]
        n = cell.n if told.value is not None else 0
        out.append(Slice(kind=cell.name or None, language=cell.language, value=told.value, n=n,
                         low=told.low, high=told.high))  # fmt: skip
    return out


def told(
    cases: Sequence[Case],
    scored: Sequence[CaseResult],
    theirs: Sequence[str] | None,
    baseline: str,
) -> tuple[list[Metric], str]:
    """The numbers of style, and the sections of the page on voices and style."""
    mine = spoken(cases, [result.answer for result in scored])
    others = None
    if theirs is not None:
        others = [
            text for case, text in zip(cases, theirs, strict=True) if case.category != "probe"
        ]
    found = style.style(mine, others)
    sections = pages.voices_md(probes.voices(cases, scored)) + pages.style_md(found, baseline)
    if not any(case.category in MORE for case in cases):
        sections += (
            "\nNo further suites were asked: `more:` in configs/evaluate.yaml names none; a new "
            "workspace has three. / 未评测更多套件：configs/evaluate.yaml 的 `more:` 为空；"
            "新工作区自带三个。\n"
        )
    return styled(found), sections
