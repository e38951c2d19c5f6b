"""Before the first user: the sampled questions of production, asked of the candidate unseen.

    compared(ws, candidate, stable, most)   → Shadow, or None where there is no sample

The gateways' redacted log has what was asked and what stable answered. Both answers pass the same
filter and the same looks (empty or degenerate, stopped by the filter, a refusal), so the comparison
is paired. Nobody sees the candidate's answers; `reports/shadow.md` has those that turned worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from errata import jsonl
from errata.evaluate.answers import ask
from errata.records import Candidate, Message
from errata.release import quality
from errata.report import markdown_table, short
from errata.safety import predicates
from errata.safety.guard.filter import Guard
from errata.safety.refusal import is_refusal
from errata.stats import mcnemar_exact
from errata.text import user_text
from errata.workspace import Workspace

FILE = "reports/shadow.md"
ALPHA = 0.05
LOOKS = ("failure", "refusal")


class Turned(NamedTuple):
    """Of one look: questions whose answer turned worse, better, and the one-sided p of worse."""

    worse: int
    better: int
    p: float


class Shadow(NamedTuple):
    """What the candidate did on so many questions of production."""

    n: int
    looks: dict[str, Turned]

    @property
    def objection(self) -> str:
        """Why the candidate should not start; else ''. A refusal more is told, and no reason."""
        turned = self.looks["failure"]
        if turned.p > ALPHA:
            return ""
        told = f"{turned.worse} answers failed that did not before, {turned.better} the other way"
        return f"in the shadow of {self.n} requests {told} (p = {turned.p:.2g}); see {FILE}"


def compared(ws: Workspace, candidate: Candidate, stable: str, most: int) -> Shadow | None:
    """The candidate beside what the release `stable` answered, on the newest sampled requests."""
    seen = [sample for sample in quality.log(ws) if sample.release == stable][:most]
    if not seen:
        return None
    guard = Guard.of(ws)
    answers = ask(ws, candidate, [sample.prompt for sample in seen], label="shadow")
    before = [_looked(guard, sample.prompt, sample.answer) for sample in seen]
    after = [_looked(guard, s.prompt, answer) for s, answer in zip(seen, answers, strict=True)]
    looks = {}
    for name in LOOKS:
        pairs = [(was[name], now[name]) for was, now in zip(before, after, strict=True)]
        worse, better = pairs.count((False, True)), pairs.count((True, False))
        looks[name] = Turned(worse, better, mcnemar_exact(worse, better))
    found = Shadow(len(seen), looks)
    jsonl.write_text(ws.path(FILE), _page(candidate, found, seen, answers, before, after))
    return found


def _looked(guard: Guard, turns: Sequence[Message], answer: str) -> dict[str, bool]:
    stopped = guard.check(answer, turns).level >= 3
    return {"failure": predicates.degenerate(answer) or stopped, "refusal": is_refusal(answer)}


def _page(
    candidate: Candidate,
    found: Shadow,
    seen: Sequence[quality.Sample],
    answers: Sequence[str],
    before: Sequence[dict[str, bool]],
    after: Sequence[dict[str, bool]],
) -> str:
    rows = [[name, str(t.worse), str(t.better), f"{t.p:.2g}"] for name, t in found.looks.items()]
    heads = ("look / 检查", "turned worse / 变差", "turned better / 变好", "p")
    worse = [[short(user_text(sample.prompt), 120), short(sample.answer, 160), short(answer, 160)]
             for sample, answer, was, now in zip(seen, answers, before, after, strict=True)
             if any(now[name] and not was[name] for name in LOOKS)]  # fmt: skip
    return (
        f"# Shadow · 影子流量\n\n{candidate.digest[:19]}…, {found.n} requests of production / "
        f"线上请求 {found.n} 条\n\n{markdown_table(heads, rows)}\n## Turned worse · 变差的回答\n\n"
        + markdown_table(("question / 问题", "stable / 线上", "candidate / 候选"), worse[:20])
    )
