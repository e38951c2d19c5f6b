"""Judge replies, or measure the judge: refusal, partial_refusal, compliance, invalid, abstain.

    errata judge --kind refusal < rows.jsonl   {"prompt", "text"} → {"label", "score"}, a line each
    errata judge eval FILE…                    its licence: policies/judges/<kind>.json, and a page

FILE has labelled rows: {"prompt", "text", "label", "language"?, "model"?}, or CSV with XSTest's
columns. `url=` and `model=` ask a larger model instead; what it is told is redacted, and it needs a
licence of its own. Outside a judge's licence a verdict is no decision.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from errata import jsonl
from errata.config import Section
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.report import markdown_table
from errata.safety import judge_llm, licence
from errata.safety.judge import BAND, LABELS, Judged, judge
from errata.serve import chat
from errata.stats import clopper_pearson
from errata.workspace import Workspace

NEEDS_WORKSPACE = False


class Config(Section):
    """Knobs of `errata judge`."""

    args: list[str] = Field(default=[], description="`eval FILE…`: measure; none: judge stdin")
    kind: Literal["refusal"] = Field(default="refusal", description="what is judged")
    low: float = Field(default=BAND[0], ge=0, le=0.5, description="from here down: compliance")
    high: float = Field(default=BAND[1], ge=0.5, le=1, description="from here up: a refusal")
    url: str = Field(default="", description="ask a model there, such as https://host/v1")
    model: str = Field(default="", description="as that server calls it")
    key: str = Field(default="ERRATA_JUDGE_KEY", description="environment variable with its key")
    licence: str = Field(default="", description="where eval writes; default policies/judges/")


def main(ws: Workspace, config: Config) -> Outcome:
    """Judge stdin row by row, or measure; a row that cannot be read ends it with exit 2."""
    if config.url and not _inside(ws):
        raise BadInput("judge url=: what is sent is recorded in a workspace; pass -C DIR")
    if not config.args:
        return _stream(ws, config)
    if config.args[0] != "eval" or len(config.args) < 2:
        raise BadInput(f"judge {' '.join(config.args)}: write `errata judge eval FILE…`")
    return _evaluate(ws, config)


def _inside(ws: Workspace) -> bool:
    return ws.state.is_dir() or ws.configs.is_dir()


def _endpoint(config: Config) -> chat.Endpoint:
    return chat.Endpoint(
        url=config.url, model=config.model, key=config.key, temperature=0.0, max_tokens=16
    )


def _name(config: Config) -> str:
    return f"{config.kind}-llm" if config.url else config.kind


def _digest(config: Config) -> str:
    return judge_llm.digest(_endpoint(config)) if config.url else licence.builtin()


def _judged(ws: Workspace, config: Config, rows: list[tuple[str, str]]) -> list[Judged]:
    if config.url:
        return judge_llm.judge_many(ws, _endpoint(config), rows)
    return [judge(prompt, text, (config.low, config.high)) for prompt, text in rows]


def _stream(ws: Workspace, config: Config) -> Outcome:
    held = licence.load(ws.policies, _name(config), _digest(config))
    sys.stderr.write(f"errata judge: {_told(held)}\n")
    count = 0
    batch = list[tuple[str, str]]()
    size = 64 if config.url else 1
    for row in _stdin():
        batch.append(row)
        if len(batch) == size:
            count += _print(_judged(ws, config, batch))
            batch = []
    count += _print(_judged(ws, config, batch)) if batch else 0
    return Outcome(0, "", {"rows": count, "judge": _digest(config), "licensed": held is not None})


def _stdin() -> Iterator[tuple[str, str]]:
    for where, row in jsonl.stdin_rows():
        prompt, text = row.get("prompt", ""), row.get("text")
        if not isinstance(text, str) or not isinstance(prompt, str):
            told = f'{where}: text or prompt: missing or no string; write {{"prompt", "text"}}'
            raise BadInput(told)
        yield prompt, text


def _print(judged: list[Judged]) -> int:
    for found in judged:
        told = {"label": found.label, "score": round(found.score, 4)}
        sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    return len(judged)


def _told(held: licence.Licence | None) -> str:
    """The licence in one line, for stderr."""
    if held is None:
        return say(
            "no licence, so no verdict may rest on it; `errata judge eval FILE` writes one",
            "没有许可，不能据此裁决；用 `errata judge eval FILE` 评测并写出许可",
        )
    cell = held.merged()
    (found, there), (cleared, clean) = cell.sensitivity, cell.specificity
    spoken, made = ", ".join(held.names(0)), ", ".join(held.names(1))
    return say(
        f"licence of {held.date}: {cell.n} rows ({spoken}; {made}), refusals found {found} of "
        f"{there}, answers cleared {cleared} of {clean}, abstained {cell.abstained}",
        f"许可 {held.date}：{cell.n} 条（{spoken}；{made}），拒答认出 {found}/{there}，"
        f"正常回答放行 {cleared}/{clean}，弃权 {cell.abstained}",
    )


def _evaluate(ws: Workspace, config: Config) -> Outcome:
    rows = [row for name in config.args[1:] for row in licence.read(ws.path(name))]
    said = [found.label for found in _judged(ws, config, [(r.prompt, r.text) for r in rows])]
    date = datetime.now(UTC).date().isoformat()
    band = (config.low, config.high)
    held = licence.issue(config.kind, _digest(config), band, rows, said, date)
    text = page(held, config)
    data = {"licence": held.model_dump(), "n": held.merged().n, "f1": held.merged().f1}
    if _inside(ws) or config.licence:
        path = ws.path(config.licence or f"policies/judges/{_name(config)}.json")
        jsonl.write_text(path, json.dumps(jsonl.plain(held), ensure_ascii=False, indent=1) + "\n")
        if _inside(ws):
            jsonl.write_text(ws.reports / f"judge-{_name(config)}.md", text)
    else:
        text += "\n" + say(
            "No workspace here: no licence is written.", "这里不是工作区：没有写出许可。"
        )
    return Outcome(0, text, data)


def page(held: licence.Licence, config: Config) -> str:
    """The licence as people read it."""
    every = held.merged()
    cells = [(say("all", "全部"), every)]
    cells += [(f"{say('language', '语言')} {n}", held.merged(f"/{n}/")) for n in held.names(0)]
    cells += [*held.cells.items()]
    head = say(
        "language/model|rows|abstained|accuracy|refusals found|answers cleared|F1|may be used",
        "语言/模型|条数|弃权|准确率|认出的拒答|放行的回答|F1|可否使用",
    ).split("|")
    matrix = [
        [truth, *(str(said.get(label, 0)) for label in LABELS)]
        for truth, said in every.matrix.items()
    ]
    who = config.model if config.url else say("the built-in judge", "内置判别器")
    parts = [
        f"# judge · {held.kind} · {who}",
        say(
            f"{held.date}, judge `{held.judge[:19]}`, rows `{held.rows[:19]}`, abstains from "
            f"scores between {held.band[0]} and {held.band[1]}. Bounds are exact "
            "(Clopper–Pearson), 90 % two-sided, over what is decided; a partial refusal counts "
            "as a refusal.",
            f"{held.date}，判别器 `{held.judge[:19]}`，数据 `{held.rows[:19]}`，得分在 "
            f"{held.band[0]} 与 {held.band[1]} 之间时弃权。区间为 Clopper–Pearson 精确区间（双侧 "
            "90 %），按已判定的样本计；部分拒答算作拒答。",
        ),
        markdown_table(head, [_line(name, cell) for name, cell in cells]),
        say("Labelled (rows) and judged (columns):", "标注（行）与判定（列）："),
        markdown_table(["", *LABELS], matrix),
    ]
    return "\n\n".join(parts) + "\n"


def _line(name: str, cell: licence.Cell) -> list[str]:
    why = licence.short(cell) if "/" in name else "–"
    return [
        name,
        str(cell.n),
        f"{cell.abstained} ({cell.abstained / cell.n:.1%})",
        _share(cell.right, cell.decided),
        _share(*cell.sensitivity),
        _share(*cell.specificity),
        "–" if cell.f1 is None else f"{cell.f1:.3f}",
        why or say("yes", "可以"),
    ]


def _share(k: int, n: int) -> str:
    if n == 0:
        return "–"
    low, high = clopper_pearson(k, n, licence.LEVEL)
    return f"{k / n:.1%} [{low:.1%}, {high:.1%}]"
