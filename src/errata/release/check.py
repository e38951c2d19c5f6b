"""What a release owes, in one table: every class covered, every deliverable there and up to date,
every release let through by a verdict that still stands.

    errata check                     the release under way, else the serving one, else the last run
    errata check model=RUN           of a candidate
    errata check summary=FILE        also appended to a file as Markdown, as CI wants it

A line each: name, state, path, digest, what to do. Exit 0 when all is well, 1 when something is
lacking: a new workspace fails, and the table says what to run. Writes nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from pydantic import Field

from errata import jsonl
from errata.config import Section
from errata.doctor import configs
from errata.errors import BadInput
from errata.language import say
from errata.outcome import Outcome
from errata.records import Case, Language
from errata.release import deliverables, routing, rules, standing, verdicts
from errata.release import subject as subjects
from errata.release.deliverables import Line
from errata.release.subject import Subject
from errata.report import markdown_table
from errata.store import ledger
from errata.workspace import Workspace

ATTACKS = "suites/attacks.jsonl"
CLASSES = ("jailbreak", "injection", "privacy")
FINE = ("ok", "elsewhere")
_NAMES = {
    "config": "配置", "gate rules": "门禁规则", "attack classes": "攻击类别",
    "training script": "训练脚本", "weights": "模型权重", "curves": "训练曲线",
    "curves (picture)": "训练曲线（图）", "SFT data": "SFT 数据", "preference data": "偏好数据",
    "datasheet": "数据卡片", "evaluation report": "评估报告", "red-team results": "红队结果",
    "filter policy": "过滤策略", "filter policy (document)": "过滤策略文档",
    "system prompt": "系统提示词", "rollback plan": "回滚方案", "model card": "模型卡",
    "bill of materials": "物料清单", "signed manifest": "签名清单", "licences": "许可相容",
    "release": "发布", "candidate": "候选",
}  # fmt: skip
_WORDS = {"ok": "齐备", "absent": "缺失", "stale": "过期", "fails": "不合格", "elsewhere": "在别处"}


class Config(Section):
    """Knobs of `errata check`."""

    model: str = Field(
        default="", description="run id, manifest, path or name; default: what users get, or newest"
    )
    summary: str = Field(default="", description="also append the table to this file, as CI wants")


def look(ws: Workspace, model: str = "") -> tuple[Subject | None, list[Line]]:
    """Whom the workspace answers for, and every line."""
    ledger.adopt(ws)
    try:
        subject = subjects.of(ws, model)
    except BadInput as error:
        if model:
            raise
        return None, [*_rules(ws), *deliverables.all_of(ws, None), *_releases(ws),
                      Line("candidate", "fails", said=str(error))]  # fmt: skip
    return subject, [*_rules(ws), *deliverables.all_of(ws, subject), *_releases(ws)]


def _rules(ws: Workspace) -> Iterator[Line]:
    """Configs that load, hard lines that block what the chapter blocks, classes that are asked."""
    for found in configs.look(ws):
        if found.level == "bad":
            yield Line("config", "fails", found.name, "", found.said)
    path = ws.configs / "gate.yaml"
    digest = jsonl.digest_file(path) if path.is_file() else ""
    try:
        config = deliverables.gate_config(ws)
        rules.lines(config.hard, config.soft)
    except BadInput as error:
        yield Line("gate rules", "fails", rules.FILE, digest, str(error))
    else:
        yield Line("gate rules", "ok", rules.FILE, digest)
    yield _classes(ws)


def _classes(ws: Workspace) -> Line:
    path = ws.path(ATTACKS)
    if not path.is_file():
        told = say("bring it back with git, or from a new workspace", "请从 git 或新工作区恢复")
        return Line("attack classes", "absent", ATTACKS, "", told)
    held = Counter((case.category, case.language) for case in jsonl.read(path, Case)
                   if case.split == "heldout")  # fmt: skip
    lacking = [f"{kind} {spoken}" for kind in CLASSES for spoken in get_args(Language)
               if not held[kind, spoken]]  # fmt: skip
    digest = jsonl.digest_file(path)
    if lacking:
        told = say(f"no held-out case of {', '.join(lacking)}; add some (docs/safety.md)",
                   f"没有留出用例：{'、'.join(lacking)}；请补充")  # fmt: skip
        return Line("attack classes", "fails", ATTACKS, digest, told)
    return Line("attack classes", "ok", ATTACKS, digest)


def _releases(ws: Workspace) -> Iterator[Line]:
    """Every release that users get, and the verdict that lets it stand."""
    now = routing.current(ws)
    for release in filter(None, (now.canary, now.stable)):
        name, digest = f"release {release.id}", release.candidate_digest
        event = verdicts.given(ws, digest)
        path = str(event["data"].get("path", "")) if event else ""
        if event is None:
            why = say("no verdict about it", "没有关于它的裁决")
        else:
            try:
                candidate = subjects.whole(ws, release)
                why = standing.objection(ws, candidate, release.stage_percent)
            except BadInput as error:
                why = str(error)
        step = f"{why}; errata gate --candidate {release.candidate_path}, errata rollback" if why \
            else ""  # fmt: skip
        yield Line(name, "fails" if why else "ok", path, digest, step)


def main(ws: Workspace, config: Config) -> Outcome:
    """Look at all of it; exit 1 where something is lacking."""
    subject, lines = look(ws, config.model)
    open_ = [line for line in lines if line.state not in FINE]
    data = {
        "candidate": subject.candidate.digest if subject else None,
        "lines": [line._asdict() for line in lines],
        "lacking": len(open_),
    }
    if config.summary:
        with ws.path(config.summary).open("a", encoding="utf-8") as file:
            file.write(_markdown(subject, lines))
    return Outcome(1 if open_ else 0, _text(subject, lines, open_), data)


def _state(line: Line) -> str:
    return say(line.state, _WORDS[line.state])


def _chinese(line: Line) -> str:
    """`config sft` is 配置 sft."""
    first, _, rest = line.name.partition(" ")
    return _NAMES.get(line.name) or f"{_NAMES.get(first, first)} {rest}".rstrip()


def _digest(line: Line) -> str:
    return line.digest.removeprefix("sha256:")[:12] and f"sha256:{line.digest[7:19]}"


def _text(subject: Subject | None, lines: list[Line], open_: list[Line]) -> str:
    who = subject.name if subject else say("nobody yet", "尚无")
    out = [say(f"candidate: {who}", f"候选：{who}")]
    for line in lines:
        mark = "ok  " if line.state in FINE else "✗   "
        name = say(line.name, _chinese(line))
        row = f"{mark}{_state(line):<10}{name:<26}{_digest(line):<20}  {line.path}"
        out.append(row.rstrip())
        if line.said:
            out.append(f"        → {line.said}")
    ready = say("all there, all up to date", "全部齐备且为最新")
    lacking = say(f"{len(open_)} lacking", f"缺 {len(open_)} 项")
    return "\n".join([*out, lacking if open_ else ready])


def _markdown(subject: Subject | None, lines: list[Line]) -> str:
    """For a pull request: what is lacking first."""
    ordered = sorted(lines, key=lambda line: line.state in FINE)
    rows = [[f"{line.name} / {_chinese(line)}", f"{line.state} / {_WORDS[line.state]}", line.path,
             _digest(line), line.said] for line in ordered]  # fmt: skip
    open_ = sum(line.state not in FINE for line in lines)
    who = f"`{subject.candidate.digest}`" if subject else "–"
    heads = (
        "deliverable / 交付物",
        "state / 状态",
        "path / 路径",
        "digest / 摘要",
        "next / 下一步",
    )
    verdict = f"**{open_} lacking / 缺 {open_} 项**" if open_ else "**all there / 全部齐备**"
    head = f"# Check · 交付物检查\n\n{verdict}; candidate / 候选: {who}\n\n"
    return head + markdown_table(heads, rows) + "\n\n"
