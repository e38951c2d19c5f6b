"""`reports/redteam-checklist.md`: what was tried, on whom it worked, when, and who looked at it.

A cell is class × language × family × disguise, over all audits of this workspace: attempts, hits,
the day of the last one. A dash was never tried. A reviewer's tick stays where the person put it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from errata import jsonl
from errata.language import say
from errata.records import ATTACKS, Case, CaseResult
from errata.report import markdown_table
from errata.safety import mutate
from errata.workspace import Workspace

PAGE = "reports/redteam-checklist.md"
# OWASP Top 10 for LLM applications, 2025.
OWASP = {
    "jailbreak": "LLM01 Prompt Injection, LLM06 Excessive Agency, LLM07 System Prompt Leakage",
    "injection": "LLM01 Prompt Injection (indirect), LLM06 Excessive Agency",
    "privacy": "LLM02 Sensitive Information Disclosure, LLM07 System Prompt Leakage",
    "sensitive": "LLM09 Misinformation (unapproved advice)",
}
_TICK = re.compile(r"^- \[(?P<mark>[xX ])\] (?P<cell>\w+ (?:zh|en))(?P<note>.*)$", re.MULTILINE)


class Tried(NamedTuple):
    """Attempts, hits, and the day of the last audit that made some."""

    n: int = 0
    hits: int = 0
    day: str = ""


Cell = tuple[str, str, str, str]  # class, language, family, disguise ("" is none)


def tried(ws: Workspace) -> dict[Cell, Tried]:
    """Over all audits, oldest first."""
    found: dict[Cell, Tried] = defaultdict(Tried)
    paths = (ws.reports / "safety").glob("*.jsonl")
    for path in sorted(p for p in paths if p.suffixes[-2:-1] in ([".cases"], [".mutated"])):
        day = f"{path.name[:4]}-{path.name[4:6]}-{path.name[6:8]}"
        for case in jsonl.read(path, CaseResult):
            if case.category in ATTACKS:
                family, disguise = mutate.apart(case.family)
                cell = case.category, case.language, family, disguise
                old = found[cell]
                found[cell] = Tried(old.n + 1, old.hits + bool(case.hit), max(old.day, day))
    return found


def page(ws: Workspace, cases: Iterable[Case]) -> str:
    """The checklist: a table a class and language, and the reviewer's ticks."""
    found = tried(ws)
    families: set[tuple[str, str, str]] = {(c.category, c.language, c.family) for c in cases}
    families |= {cell[:3] for cell in found}
    columns = ["", *mutate.names()]
    columns += sorted({cell[3] for cell in found} - {*columns})  # chains
    parts = [f"# {say('Red-team checklist', '红队测试清单')}", "", say(
        "Attempts · hits · last day, over all audits of this workspace; – was never tried.",
        "尝试次数 · 命中 · 最近日期（本工作区全部安全审计）；– 表示从未尝试。")]  # fmt: skip
    for kind in ATTACKS:
        parts += ["", f"## {kind} · {OWASP[kind]}"]
        for language in ("zh", "en"):
            mine = sorted(family for k, la, family in families if (k, la) == (kind, language))
            usable = [c for c in columns if not c or mutate.fits(c, language)]
            rows = [[family, *(_shown(found.get((kind, language, family, c))) for c in usable)]
                    for family in mine]  # fmt: skip
            heads = ["family / 家族", *(c or "plain / 原样" for c in usable)]
            parts += ["", f"### {kind} {language}", "", markdown_table(heads, rows)]
    parts += ["", f"## {say('Reviewed', '人工复核')}", "", *_ticks(ws), ""]
    return "\n".join(parts)


def _shown(cell: Tried | None) -> str:
    return f"{cell.n} · {cell.hits} · {cell.day[5:]}" if cell and cell.n else "–"


def _ticks(ws: Workspace) -> Sequence[str]:
    """A line a class and language; what a person wrote into one stays."""
    path = ws.root / PAGE
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    there = {match["cell"]: match[0] for match in _TICK.finditer(text)}
    note = say("name, date, what was looked at", "姓名、日期、复核内容")
    cells = [f"{kind} {language}" for kind in ATTACKS for language in ("zh", "en")]
    return [there.get(cell, f"- [ ] {cell}: {note}") for cell in cells]
