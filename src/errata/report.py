"""Numbers and answers as Markdown, HTML, JUnit, SARIF and curves: the only place with formats.

Nothing here measures or decides; each function turns records into text. Answers of a model are
hostile text: they are escaped in every format, and shortened.
"""

from __future__ import annotations

import html
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from errata.jsonl import digest, replacing
from errata.metrics import CATALOGUE
from errata.records import CaseResult, Metric, MetricsFile

_NO_DATA = "no data / 无数据"
# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def shown(value: float | None, unit: str = "") -> str:
    """A number for people: shares in percent, counts whole, None as `no data`."""
    if value is None:
        return _NO_DATA
    if unit == "rate":
        return f"{value * 100:.1f} %"
    if unit == "count":
        return f"{value:.0f}"
    return f"{value:.4g} {unit}".strip()


def bounds(low: float | None, high: float | None, unit: str) -> str:
    """`low – high`, or a dash where there are none."""
    if low is None or high is None:
        return "–"
    return f"{shown(low, unit)} – {shown(high, unit)}"


def short(text: str, limit: int = 300) -> str:
    """At most `limit` characters of an answer."""
    return text if len(text) <= limit else text[:limit] + "…"


def _cell(value: Any) -> str:
    text = _NO_DATA if value is None else str(value)
    text = html.escape(_NOT_XML.sub("\ufffd", text), quote=False)
    return re.sub(r"[\r\n\u2028\u2029\x85]+", "<br>", re.sub(r"([\\|`*_\[\]])", r"\\\1", text))


def markdown_table(headers: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A table; None reads `no data`, and no cell can break out of its place."""
    lines = ["| " + " | ".join(_cell(h) for h in headers) + " |", "|" + "---|" * len(headers)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def metric_rows(metrics: Iterable[Metric]) -> list[list[str]]:
    """Name, value, bounds, n, unscored and meaning of each metric, its slices below it."""
    out = []
    for metric in metrics:
        meaning = CATALOGUE[metric.name]
        out.append(
            [
                metric.name,
                shown(metric.value, metric.unit),
                bounds(metric.low, metric.high, metric.unit),
                str(metric.n),
                str(metric.unscored),
                f"{meaning.en} / {meaning.zh}",
            ]
        )
        for part in metric.slices:
            name = "  · " + " ".join(filter(None, (part.kind, part.language)))
            value, reach = shown(part.value, metric.unit), bounds(part.low, part.high, metric.unit)
            out.append([name, value, reach, str(part.n), str(part.unscored), ""])
    return out


_HEADERS = (
    "metric / 指标",
    "value / 值",
    "95 % bounds / 界",
    "n",
    "unscored / 未判定",
    "meaning / 含义",
)
_CASE_HEADERS = ("case / 用例", "class / 类别", "family / 家族", "answer / 回答", "why / 原因")


def render_metrics_md(file: MetricsFile, title: str, note: str = "") -> str:
    """A metrics file as Markdown."""
    head = [f"# {title}", ""]
    head += [f"- run: `{file.run_id}`", f"- candidate: `{file.candidate_digest}`"]
    head += [f"- suite: `{file.suite_digest}`", ""]
    if note:
        head += [note, ""]
    return "\n".join(head) + "\n" + markdown_table(_HEADERS, metric_rows(file.metrics))


def failures_md(cases: Iterable[CaseResult], limit: int = 20) -> str:
    """The given cases with their answers, the first `limit` of each category, as a table."""
    rows: list[list[str]] = []
    seen: dict[str, int] = {}
    for case in cases:
        seen[case.category] = seen.get(case.category, 0) + 1
        if seen[case.category] <= limit:
            place = f"{case.category} {case.language}"
            why = case.why if case.hit is not None else f"unscored / 未判定: {case.why}"
            rows.append([case.prompt_id, place, case.family, short(case.answer, 160), why])
    if not rows:
        return "none / 无\n"
    left_out = sum(max(0, count - limit) for count in seen.values())
    more = f"\n… {left_out} more / 另有 {left_out} 条\n" if left_out else ""
    return markdown_table(_CASE_HEADERS, rows) + more


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%;margin:1rem 0}"
    "th,td{border-bottom:1px solid #ccc;padding:.3rem .5rem;text-align:left;vertical-align:top}"
    ".hit{color:#a00}.none{color:#777}pre{white-space:pre-wrap;margin:0}"
)


def _html(value: Any) -> str:
    return html.escape(_NOT_XML.sub("\ufffd", str(value)))


def html_table(headers: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A table with every cell escaped."""
    head = "".join(f"<th>{_html(h)}</th>" for h in headers)
    body = "".join(
        "<tr>" + "".join(f"<td><pre>{_html(value)}</pre></td>" for value in row) + "</tr>\n"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>\n"


def render_html(
    file: MetricsFile, cases: Sequence[CaseResult], title: str, conclusion: str = ""
) -> str:
    """One page that needs nothing from elsewhere: the numbers, then every hit with its answer."""
    hits = [
        [c.prompt_id, f"{c.category} {c.language}", c.family, short(c.answer), c.why]
        for c in cases
        if c.hit
    ]
    unscored = sum(case.hit is None for case in cases)
    table = html_table(_CASE_HEADERS, hits) if hits else '<p class="none">none / 无</p>'
    return (
        '<!doctype html>\n<html lang="zh"><head><meta charset="utf-8">'
        f"<title>{_html(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        f"<h1>{_html(title)}</h1>\n"
        f"<p><b>{_html(conclusion)}</b></p>\n"
        f"<p>run {_html(file.run_id)}<br>{_html(file.candidate_digest)}</p>\n"
        + html_table(_HEADERS, metric_rows(file.metrics))
        + f'<h2 class="hit">hits / 命中: {len(hits)} / {len(cases)}'
        + f", unscored / 未判定: {unscored}</h2>\n{table}\n</body></html>\n"
    )


def _bad_end(metric: Metric) -> float | None:
    """The bound a limit is held against; the value of a count or of a number without bounds."""
    if metric.value is None:
        return None
    end = metric.low if metric.worse == "lower" else metric.high
    return metric.value if end is None else end


def over_limit(metric: Metric, limit: float) -> bool | None:
    """Whether the bad end of the interval misses the limit; None without data."""
    end = _bad_end(metric)
    if end is None:
        return None
    return end < limit if metric.worse == "lower" else end > limit


def _xml(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))


def _attr(text: str) -> str:
    return quoteattr(_NOT_XML.sub("\ufffd", text))


def _metric_case(metric: Metric, limit: float) -> tuple[str, int, int]:
    head = f"<testcase classname={_attr('limits')} name={_attr(metric.name)}>"
    missed = over_limit(metric, limit)
    said = f"{shown(metric.value, metric.unit)} (n={metric.n}), limit {shown(limit, metric.unit)}"
    if missed is None:
        return f'{head}<error message="no data"/></testcase>', 0, 1
    if missed:
        return f"{head}<failure message={_attr(said)}/></testcase>", 1, 0
    return f"{head}<system-out>{_xml(said)}</system-out></testcase>", 0, 0


def _answer_case(case: CaseResult) -> tuple[str, int, int]:
    place = _attr(f"{case.category}.{case.language}.{case.family}")
    head = f"<testcase classname={place} name={_attr(case.prompt_id)}>"
    if case.hit is None:
        said = _attr(f"could not be scored: {case.why}")
        return f"{head}<error message={said}/></testcase>", 0, 1
    if case.hit:
        body = f"<failure message={_attr(case.why or 'hit')}>{_xml(short(case.answer))}</failure>"
        return f"{head}{body}</testcase>", 1, 0
    return f"{head}</testcase>", 0, 0


def render_junit(
    file: MetricsFile, cases: Sequence[CaseResult], limits: Mapping[str, float]
) -> str:
    """JUnit XML: a suite of the limits, and one per category. No data is an error, never a pass."""
    by_name = {metric.name: metric for metric in file.metrics}
    suites = [("limits", [_metric_case(by_name[n], x) for n, x in limits.items() if n in by_name])]
    for category in sorted({case.category for case in cases}):
        suites.append((category, [_answer_case(c) for c in cases if c.category == category]))
    body = []
    for name, results in suites:
        failures, errors = sum(r[1] for r in results), sum(r[2] for r in results)
        counts = f'tests="{len(results)}" failures="{failures}" errors="{errors}"'
        inner = "\n".join(r[0] for r in results)
        body.append(f"<testsuite name={_attr(name)} {counts}>\n{inner}\n</testsuite>")
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name={_attr(file.run_id)}>'
    return "\n".join([head, *body, "</testsuites>\n"])


def render_sarif(
    file: MetricsFile,
    cases: Sequence[CaseResult],
    suite: str = "suites/attacks.jsonl",
    places: Mapping[str, int] | None = None,
) -> str:
    """SARIF 2.1.0: one result per hit, at its line of the suite (`places`: case id → line)."""
    categories = sorted({case.category for case in cases})
    results = [
        {
            "ruleId": case.category,
            "ruleIndex": categories.index(case.category),
            "level": "error",
            "message": {"text": f"{case.prompt_id}: {case.why or 'hit'}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": suite},
                        "region": {"startLine": (places or {}).get(case.prompt_id, 1)},
                    }
                }
            ],
            "partialFingerprints": {"case/v1": digest(case.prompt_id).removeprefix("sha256:")},
            "properties": {"language": case.language, "family": case.family},
        }
        for case in cases
        if case.hit
    ]
    rules = [{"id": name, "shortDescription": {"text": f"{name}: hit"}} for name in categories]
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "errata", "rules": rules}},
                "automationDetails": {"id": f"errata/safety/{file.run_id}"},
                "results": results,
                "properties": {"candidate_digest": file.candidate_digest},
            }
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


Series = Sequence[tuple[float, float]]


def curves(
    path: str | Path,
    panels: Mapping[str, Mapping[str, Series]],
    title: str,
    xlabel: str = "step",
) -> Path:
    """Small panels under each other as one SVG: title of a panel → name of a curve → (x, y) pairs.

    Values that are not finite are left out, and a panel without any point. The same curves are the
    same bytes. Text stays text: the reader's own font draws it, in any language.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawn = {name: _finite(series) for name, series in panels.items()}
    drawn = {name: series for name, series in drawn.items() if series} or {title: {}}
    figure = Figure(figsize=(7, 0.6 + 1.9 * len(drawn)), layout="constrained")
    FigureCanvasSVG(figure)
    all_axes = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, series) in zip(all_axes, drawn.items(), strict=True):
        for label, pairs in series.items():
            marker = "o" if len(pairs) == 1 else None
            axes.plot([x for x, _ in pairs], [y for _, y in pairs], label=label, marker=marker)
        axes.set_title(name, fontsize="medium", loc="left")
        axes.grid(alpha=0.3)
        if len(series) > 1:
            axes.legend(fontsize="small")
    all_axes[-1].set_xlabel(xlabel)
    figure.suptitle(title, fontsize="medium")
    # A fixed salt for the ids, no date: what is drawn decides the bytes.
    fixed: Any = {"svg.hashsalt": "errata", "svg.fonttype": "none"}
    with replacing(path) as file, matplotlib.rc_context(fixed), warnings.catch_warnings():
        # matplotlib's own font has no Chinese; the reader's draws it, so nothing is missing.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return Path(path)


def _finite(series: Mapping[str, Series]) -> dict[str, list[tuple[float, float]]]:
    kept = {
        name: [(x, y) for x, y in pairs if y is not None and math.isfinite(y)]
        for name, pairs in series.items()
    }
    return {name: pairs for name, pairs in kept.items() if pairs}
