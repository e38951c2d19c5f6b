"""Attack suites of other projects, from your disk: read, counted, kept beside the workspace's own.

    errata suite import FILE…      JailbreakBench, AdvBench, HarmBench, StrongREJECT, XSTest,
                                   CyberSecEval, BIPIA, garak, promptfoo → suites/foreign.jsonl
    errata suite list [FILE…]      what is in the suites: classes, languages, licences, predicates

A file's format is told by its fields; `format=` names it. Cases are merged by id, so that a second
import of a file changes nothing. A row that cannot be used, or whose success nothing here can
judge, is set aside with its file, line and reason; exit 2 when no row is usable. What is imported
are other people's harmful requests: the template's .gitignore keeps the file on this disk.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from errata import git, jsonl
from errata.build.heldout import FOREIGN
from errata.config import Section
from errata.errors import BadInput
from errata.evaluate.mtbench import questions
from errata.language import say
from errata.outcome import Outcome
from errata.records import ATTACKS, Case
from errata.report import markdown_table
from errata.safety.foreign.read import FORMATS, read
from errata.safety.foreign.rows import How
from errata.workspace import Workspace

PLACES = 3  # rows named for each reason


class Config(Section):
    """Knobs of `errata suite`."""

    args: list[str] = Field(default=[], description="`import FILE…` or `list [FILE…]`")
    out: str = Field(default=FOREIGN, description="where the cases go")
    format: str = Field(default="", description=f"of all files: {', '.join(FORMATS)}")
    category: Literal["", "jailbreak", "injection", "privacy", "sensitive", "lookalike"] = Field(
        default="", description="class of all rows, whatever the files say"
    )
    split: Literal["heldout", "by-hash"] = Field(
        default="heldout", description="by-hash: tune, dev, heldout 50:20:30 by base request"
    )
    licence: str = Field(default="", description="of the texts; empty: what the publisher states")
    expires: str = Field(default="", description="a date from which they are asked no more")
    contexts: int = Field(
        default=2, ge=0, description="BIPIA: documents that each attack is put into; 0: all"
    )


def main(ws: Workspace, config: Config) -> Outcome:
    """Import, or list."""
    verb, *names = config.args or [""]
    if verb == "import" and names:
        return _import(ws, config, names)
    if verb == "list":
        return _list(ws, names)
    raise BadInput(
        f"suite {' '.join(config.args)}: write `errata suite import FILE…` or `errata suite list`"
    )


def _import(ws: Workspace, config: Config, names: Sequence[str]) -> Outcome:
    how = How(config.format, config.category, config.split, config.licence, _date(config.expires),
              config.contexts)  # fmt: skip
    out = ws.path(config.out)
    cases = {case.id: case for case in jsonl.read(out, Case)} if out.is_file() else {}
    before, given = set(cases), Counter[tuple[str, str]]()
    aside = defaultdict[str, list[str]](list)
    for row, format, found in read([ws.path(name) for name in names], how):
        if isinstance(found, Case):
            given[row.file, format] += 1
            cases[found.id] = found
        else:
            aside[str(found)].append(f"{row.file}:{row.line}")
    told = _told(given, aside)
    if not given:
        places = next(iter(aside.items()), ("no rows", []))
        where = f" ({places[1][0]})" if places[1] else ""
        step = "see the reasons above, or name another format="
        raise BadInput(f"{', '.join(names)}: no usable row: {places[0]}{where}; {step}", told)
    _one_split(config.out, cases.values())
    jsonl.write(out, (cases[id] for id in sorted(cases)))
    fresh = len(cases.keys() - before)
    where = ws.relative(out)
    counts = {"cases": len(cases), "new": fresh, "aside": sum(map(len, aside.values()))}
    text = "\n".join([
        *told.splitlines(),
        say(f"{where}: {len(cases)} cases, {fresh} of them new",
            f"{where}：共 {len(cases)} 条用例，新增 {fresh} 条"),
        "", page(where, list(cases.values()), _today()),
        *_kept_here(ws, out),
        say(f"next: errata safety more=[{where}]", f"下一步：errata safety more=[{where}]"),
    ])  # fmt: skip
    return Outcome(0, text, {**counts, "out": where, "reasons": dict(aside)})


def _one_split(name: str, cases: Iterable[Case]) -> None:
    """A goal that is trained on in one set may not measure in another."""
    splits = dict[str, Case]()
    for case in cases:
        other = splits.setdefault(case.cluster, case)
        if other.split != case.split:
            raise BadInput(
                f"{name}: {other.id} ({other.split}) and {case.id} ({case.split}) have one goal; "
                "import all of its files with the same split="
            )


def _date(given: str) -> str:
    try:
        return given and date.fromisoformat(given).isoformat()
    except ValueError:
        raise BadInput(f"expires={given}: not a date; write it as 2027-12-31") from None


def _today() -> date:
    return datetime.now(UTC).date()


def _told(given: Counter[tuple[str, str]], aside: Mapping[str, Sequence[str]]) -> str:
    """What each file gave, and what was set aside: each reason, how often, the first places."""
    lines = [
        say(f"{name}: {format}, requests: {count}", f"{name}：{format}，{count} 条请求")
        for (name, format), count in given.items()
    ]
    for reason, places in sorted(aside.items(), key=lambda item: -len(item[1])):
        shown = ", ".join(places[:PLACES]) + (", …" if len(places) > PLACES else "")
        lines.append(say(f"set aside, {len(places)}: {reason} ({shown})",
                         f"搁置 {len(places)} 条：{reason}（{shown}）"))  # fmt: skip
    return "\n".join(lines)


def _kept_here(ws: Workspace, out: Path) -> list[str]:
    """A warning where git would take the file."""
    if git.git(ws.root, "check-ignore", "--quiet", str(out), check=False).returncode != 1:
        return []  # ignored, or no repository
    name = ws.relative(out)
    return [say(f"git would take {name}: add it to .gitignore, others' attacks stay on this disk",
                f"git 会收录 {name}：请加入 .gitignore，他人的攻击文本只留在本机")]  # fmt: skip


def _list(ws: Workspace, names: Sequence[str]) -> Outcome:
    cases = (path for path in ws.suites.glob("*.jsonl") if ws.relative(path) != questions.FILE)
    paths = [ws.path(name) for name in names] or sorted(cases)
    if not paths:
        raise BadInput("suites/: no suite; `errata suite import FILE…` brings some")
    found = {ws.relative(path): jsonl.read(path, Case) for path in paths}
    parts = [page(name, cases, _today()) for name, cases in found.items()]
    return Outcome(0, "\n".join(parts), {name: len(cases) for name, cases in found.items()})


def page(name: str, cases: Sequence[Case], today: date) -> str:
    """A suite as a table: a line for each class, language, split and licence."""
    cells = defaultdict[tuple[str, str, str, str], list[Case]](list)
    for case in cases:
        cells[case.category, case.language, case.split, case.licence or "–"].append(case)
    order = (*ATTACKS, "lookalike")
    rows = [
        [kind, spoken, split, licence, len(found), len({case.cluster for case in found}),
         _counted(case.success.kind for case in found),
         sum(case.over(today) for case in found) or "–"]
        for (kind, spoken, split, licence), found in sorted(
            cells.items(),
            key=lambda item: (order.index(item[0][0]) if item[0][0] in order else 9, item[0]),
        )
    ]  # fmt: skip
    heads = say("class|language|split|licence|cases|base requests|predicates|expired",
                "类别|语言|划分|许可证|用例|基础请求|判据|已过期").split("|")  # fmt: skip
    return f"{name}\n\n{markdown_table(heads, rows)}"


def _counted(kinds: Iterable[str]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(kinds).items()))
