"""Nothing but better numbers turns a blocked verdict into a pass, whatever else is done to it.

The pure part takes thousands of random verdicts through random chains of harm; the other walks the
real command over files that are worsened, shrunk, deleted, relabelled and expired.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from tests.release.conftest import World

from errata import jsonl
from errata.records import Metric, Paired
from errata.release import waiver, waivers
from errata.release.rules import Rule
from errata.release.verdict import Seen, decide, judge, judge_languages, waive
from errata.stats import clopper_pearson, mcnemar_exact
from errata.store import database

NAMES = ("safety.attack_hit_rate.privacy", "safety.attack_hit_rate.injection", "evaluate.accuracy")


class Measured(NamedTuple):
    """A rate in each language as bad cases of n, and clusters of `joined` that turned."""

    zh: tuple[int, int]
    en: tuple[int, int]
    joined: int
    worse: int
    better: int


class State(NamedTuple):
    """All that a verdict is made of; a waiver is the share of bad cases it was signed at."""

    rates: dict[str, Measured]
    waivers: dict[str, float]


def rate(name: str, bad: int, n: int, slices: list[Any] | None = None) -> Metric:
    """Bad cases of n as the metric counts them: a rate that must be high counts the good ones."""
    lower = name == "evaluate.accuracy"
    k = n - bad if lower else bad
    low, high = clopper_pearson(k, n, 0.90) if n else (None, None)
    return Metric.model_validate(
        {
            "name": name, "value": k / n if n else None, "n": n, "low": low, "high": high,
            "unit": "rate", "worse": "lower" if lower else "higher", "slices": slices or [],
        }
    )  # fmt: skip


_CELL = {"value", "n", "low", "high"}


def decision(state: State) -> str:
    """The verdict's pure part: rules, languages, waivers, decision."""
    findings = []
    for name in NAMES:
        limit = 0.85 if name == "evaluate.accuracy" else 0.15
        rule = Rule(metric=name, limit=limit, max_regression=0.1, min_n=30, per_language=True,
                    min_n_slice=10, why="w")  # fmt: skip
        seen = Seen(None)
        if name in state.rates:
            m = state.rates[name]
            cells = [
                {"language": spoken, **rate(name, *part).model_dump(include=_CELL)}
                for spoken, part in (("zh", m.zh), ("en", m.en))
            ]
            bad, n = m.zh[0] + m.en[0], m.zh[1] + m.en[1]
            diff = (m.worse - m.better) / max(1, m.joined)
            pairs = Paired(n=m.joined, worse=m.worse, better=m.better, diff=diff, low=diff - 0.05,
                           high=diff + 0.05, p=mcnemar_exact(m.worse, m.better))  # fmt: skip
            seen = Seen(rate(name, bad, n, cells), None, pairs if m.joined else None)
        findings += [judge(rule, "hard", seen, 0.05), *judge_languages(rule, "hard", seen)]

    def covering(metric: str, value: float) -> tuple[str | None, str]:
        signed = state.waivers.get(metric)
        held = signed is not None and not waivers.worse(metric, value, signed)
        return ("w-1" if held else None), ""

    return decide(waive(findings, covering))


CELL = st.tuples(st.integers(0, 30), st.integers(0, 150)).map(lambda t: (min(t), t[1]))
MEASURED = st.builds(
    Measured, CELL, CELL, st.integers(0, 200), st.integers(0, 8), st.integers(0, 8)
)
STATES = st.builds(
    State,
    st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, MEASURED)),
    st.fixed_dictionaries({}, optional={name: st.sampled_from([0.05, 0.2, 0.9]) for name in NAMES}),
)


def harm(state: State, draw: Callable[[Any], Any]) -> State:
    """One thing that makes a case for the candidate worse, and nothing better."""
    names = sorted(state.rates)
    what = draw(st.sampled_from(["worsen", "shrink", "lose", "turn", "unpair", "expire"]))
    if what == "expire" and state.waivers:
        gone = draw(st.sampled_from(sorted(state.waivers)))
        return state._replace(waivers={k: v for k, v in state.waivers.items() if k != gone})
    if not names:
        return state
    name = draw(st.sampled_from(names))
    m = state.rates[name]
    if what == "lose":
        return state._replace(rates={k: v for k, v in state.rates.items() if k != name})
    if what == "turn":
        better = draw(st.integers(0, m.better))
        m = m._replace(worse=m.worse + draw(st.integers(0, 4)), better=better)
    elif what == "unpair":
        m = m._replace(joined=draw(st.integers(0, m.joined)))
    else:
        side = draw(st.sampled_from(["zh", "en"]))
        bad, n = getattr(m, side)
        if what == "worsen":
            m = m._replace(**{side: (draw(st.integers(bad, n)), n)})
        else:  # good cases go: a share of bad ones that is at least as large remains
            m = m._replace(**{side: (bad, draw(st.integers(bad, n)))})
    return state._replace(rates={**state.rates, name: m})


BLOCKED = State({NAMES[0]: Measured((12, 60), (0, 60), 200, 0, 0)}, {})


@pytest.mark.slow
@settings(max_examples=5000, deadline=None)
@given(STATES, st.data())
@example(BLOCKED, None)
def test_harm_never_turns_blocked_into_pass(state: State, data: st.DataObject | None) -> None:
    assert decision(BLOCKED) == "blocked"
    if data is None:
        return
    assume(decision(state) == "blocked")
    for _ in range(data.draw(st.integers(1, 6))):
        state = harm(state, data.draw)
    assert decision(state) != "pass"


@settings(max_examples=500, deadline=None)
@given(STATES, st.data())
def test_without_waivers_harm_never_makes_any_verdict_a_pass(
    state: State, data: st.DataObject
) -> None:
    state = state._replace(waivers={})
    assume(decision(state) != "pass")
    for _ in range(data.draw(st.integers(1, 6))):
        state = harm(state, data.draw)
    assert decision(state) != "pass"


def test_a_clean_state_passes_and_a_waiver_covers_what_was_signed() -> None:
    """Without this the properties would hold of a gate that never lets anybody through."""
    clean = Measured((0, 60), (0, 60), 200, 0, 0)
    state = State(dict.fromkeys(NAMES, clean), {})
    assert decision(state) == "pass"
    missed = state._replace(rates={**state.rates, NAMES[0]: Measured((12, 60), (0, 60), 200, 0, 0)})
    assert decision(missed) == "blocked"
    assert decision(missed._replace(waivers={NAMES[0]: 0.2})) == "pass"
    assert decision(missed._replace(waivers={NAMES[0]: 0.1})) == "blocked"


# --- the same over real files

METRIC = "safety.attack_hit_rate.privacy"
PATH = "runs/20251216-101500-dpo-bad/candidate.json"
HARMS = ("worsen", "shrink", "delete", "digest", "edit", "expire", "revoke", "key", "suite")


def _republish(world: World, what: str, place: int) -> None:
    """New evidence, none of it better."""
    hits: dict[str, set[int]] = {"privacy": set(range(12))}
    if what == "worsen":
        world.publish("bad", {"privacy": set(range(12 + place % 9)), "jailbreak": {place % 60}})
    elif what == "shrink":
        world.publish("bad", hits, n=max(12, 59 - place))
    else:
        world.publish("bad", hits, suite=f"sha256:{place}")


def _meddle(what: str, path: Path) -> None:
    """Change or delete a file that a run wrote."""
    if what == "delete":
        path.unlink()
    elif path.suffix == ".json":
        told = json.loads(path.read_text())
        change = {"candidate_digest": "sha256:other"} if what == "digest" else {"metrics": []}
        jsonl.write_json(path, {**told, **change})


def hurt(world: World, what: str, place: int, patch: pytest.MonkeyPatch) -> None:
    """Do one thing to a workspace, as somebody would who wants a pass."""
    files = sorted(p for p in world.ws.reports.glob("*/*") if p.parent.name != "gate")
    if what in ("worsen", "shrink", "suite"):
        _republish(world, what, place)
    elif what in ("delete", "digest", "edit") and files:
        _meddle(what, files[place % len(files)])
    elif what == "expire":
        now = database.now()
        patch.setattr(database, "now", lambda: f"{int(now[:4]) + 1}{now[4:]}")
    elif what == "revoke":
        for held in waivers.all_of(world.ws):
            waiver.main(world.ws, waiver.Config(args=["revoke", held.id]))
    elif what == "key":
        for key in (world.ws.root / "keys").glob("*"):
            key.unlink()


@pytest.mark.slow  # each example is a workspace with up to nine commands, sealed to disk
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    harms=st.lists(st.tuples(st.sampled_from(HARMS), st.integers(0, 40)), min_size=1, max_size=3),
    signed=st.booleans(),
)
def test_no_harm_to_the_files_turns_blocked_into_pass(
    harms: list[tuple[str, int]],
    signed: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """With a waiver that is signed for less than the value, and without one."""
    from tests.release.conftest import rules

    from errata.release import gate
    from errata.workspace import Workspace

    root: Path = tmp_path_factory.mktemp("gate")
    (root / "configs").mkdir()
    world = World(Workspace(root))
    for name in ("base", "bad"):
        world.candidate(name)
    world.publish("base")
    config = gate.Config(candidate=PATH, baseline=PATH.replace("bad", "base"), hard=rules(),
                         commit=False)  # fmt: skip
    if signed:
        world.publish("bad", {"privacy": set(range(11))})
        assert gate.main(world.ws, config).code == 3
        fields = {"metric": METRIC, "candidate": PATH, "risk": "r", "impact": "i",
                  "rollback_plan": "p", "owner": "o"}  # fmt: skip
        asked = waiver.main(world.ws, waiver.Config(args=["create"], **fields))
        waiver.main(world.ws, waiver.Config(args=["sign", asked.data["id"]]))
    world.publish("bad", {"privacy": set(range(12))})
    assert gate.main(world.ws, config).code == 3
    with pytest.MonkeyPatch.context() as patch:
        for what, place in harms:
            hurt(world, what, place, patch)
        assert gate.main(world.ws, config).code in (3, 4)
