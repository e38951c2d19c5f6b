"""`evaluate.preference_score`: how often a reward model prefers the candidate's answer to the
reference's.

A reward model is a judge, and answers only as far as it was measured: on the held-back pairs of its
own training it must be right more often than chance, at the lower end of its interval, or there is
no score. It is a proxy that training can overfit (Gao et al. 2023, arXiv 2210.10760), so the gate
alerts on it and blocks on what was measured without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from errata import candidates
from errata.errors import BadInput
from errata.evaluate import winrate
from errata.language import say
from errata.metrics import LEVEL, number
from errata.records import Case, Message, Metric
from errata.report import shown
from errata.stats import clopper_pearson
from errata.store import past
from errata.store.runs import Run
from errata.workspace import Workspace

NAME = "evaluate.preference_score"


class Judge(NamedTuple):
    """A reward model: its run, and how many of n held-back pairs it had right."""

    run: str
    right: float
    n: int
    model: str  # what it was trained on; the judged models may have another base

    @property
    def low(self) -> float:
        """The lower end of its accuracy."""
        return clopper_pearson(round(self.right * self.n), self.n, LEVEL).low

    @property
    def licensed(self) -> bool:
        """Whether it is shown to be better than chance."""
        return self.n > 0 and self.low > 0.5


class Preferred(NamedTuple):
    """The metric, and what the page says of it."""

    metric: Metric
    told: str


def judge(ws: Workspace, name: str) -> Judge | None:
    """The reward model that is meant; `last`: the newest finished one, None where there is none.
    BadInput for a run that is no reward model."""
    record = past.last_run(ws, "rm") if name == "last" else past.get_run(ws, name)
    if record is None:
        return None
    if record["stage"] != "rm" or not (ws.runs / str(record["id"]) / "adapter").is_dir():
        raise BadInput(f"reward={name}: no finished run of `errata rm`; see `errata runs`")
    facts = record["facts"]
    right, n = facts["metrics"].get("preference_score"), int(facts.get("held_back") or 0)
    n = n if right is not None else 0
    return Judge(str(record["id"]), float(right or 0.0), n, str(record["config"]["model"]))


def score(
    ws: Workspace,
    run: Run,
    name: str,
    cases: Sequence[Case],
    ours: Sequence[str],
    theirs: Sequence[str],
) -> Preferred:
    """The share of prompts on which the reward model prefers our answer; equal rewards tie."""
    found = judge(ws, name)
    if found is None:
        none = say("no reward model here (`errata rm`)", "尚无奖励模型（`errata rm`）")
        return Preferred(number(NAME, None, 0), none)
    accuracy = f"{shown(found.right, 'rate')} (≥ {found.low:.1%}, n = {found.n})"
    told = say(f"reward model {found.run}, right on {accuracy} of held-back pairs",
               f"奖励模型 {found.run}，在保留偏好对上的正确率 {accuracy}")  # fmt: skip
    if not found.licensed:
        told += say(": not shown better than chance, so no score", "：未证明优于随机，故不计分")
        return Preferred(number(NAME, None, 0), told)
    from errata.serve.reward import rewards

    folder = ws.runs / found.run / "adapter"
    base, _ = candidates.verify(ws, candidates.resolve(ws, found.model))
    run.note(reward_model=found.run)
    run.link(found.run, run.id, "rewarded")
    both = [[*case.messages, Message(role="assistant", content=said)]
            for said_all in (ours, theirs)
            for case, said in zip(cases, said_all, strict=True)]  # fmt: skip
    given = rewards(base, folder, both)
    mine, other = given[: len(cases)], given[len(cases) :]
    won = [1.0 if a > b else 0.0 if a < b else 0.5 for a, b in zip(mine, other, strict=True)]
    return Preferred(winrate.metric(NAME, won, [case.cluster for case in cases]), told)
