"""What `errata evaluate baseline=` asks of the reference model, and what comes of it: win rate,
preference score, and every rate's gain with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from errata.evaluate import asked, business, preference, versus, winrate
from errata.evaluate.answers import ask, pick
from errata.records import Candidate, Case, CaseResult, Metric
from errata.safety import reading
from errata.store.runs import Run
from errata.workspace import Workspace


class Knobs(asked.Knobs, Protocol):
    """What is read of the config."""

    @property
    def baseline(self) -> str: ...
    @property
    def attacks(self) -> str: ...
    @property
    def reward(self) -> str: ...


class Against(NamedTuple):
    """The metrics, the page's section, and what the reference said to each case."""

    metrics: list[Metric]
    page: str
    answers: list[str]


def look(
    ws: Workspace,
    config: Knobs,
    run: Run,
    ours: Candidate,
    theirs: Candidate,
    cases: Sequence[Case],
    results: Sequence[CaseResult],
) -> Against:
    """Ask the reference the same cases. Win rate and preference are of the desk's own questions and
    the attacks together; further suites are in the gains, by their own rates."""
    told = ask(ws, theirs, [case.messages for case in cases], label="baseline")
    gains = versus.changes(results, business.results(cases, told))
    own = [place for place, case in enumerate(cases) if case.category in business.ASKED]
    attacks = reading.read(run.input(config.attacks), config.attacks)
    more = pick(attacks, config.split, config.limit or None)
    others = [turn.messages for turn in more]
    both = [*(cases[place] for place in own), *more]
    mine = [*(results[place].answer for place in own), *ask(ws, ours, others, label="win rate")]
    other = [*(told[place] for place in own), *ask(ws, theirs, others, label="baseline")]
    won, clusters = winrate.points(both, mine, other), [case.cluster for case in both]
    preferred = preference.score(ws, run, config.reward, both, mine, other)
    page = versus.page(config.baseline, gains, winrate.interval(won, clusters), preferred)
    metrics = [winrate.metric("evaluate.win_rate", won, clusters), preferred.metric]
    return Against(metrics, page, told)
