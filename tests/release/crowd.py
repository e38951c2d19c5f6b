"""Live traffic, simulated through the real models: requests come, are routed, answered and watched.

    journey = drive(ws, release, engine_answer, pool, check, stable=digest)

`engine_answer(digest, prompts) -> answers` is the only way to a model, and `check(case, answer)`
the only judge of one, so the same loop runs on the embedded model in the demo and on scripted
answers in the tests. Requests draw a user and a question from a finite pool; an answer is asked
for once per digest and prompt. Everything follows from the seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from errata import jsonl
from errata.evaluate import failures
from errata.evaluate.failures import Checked
from errata.records import Case, Message, Release
from errata.release import control, live, monitor, routing
from errata.release.control import Step
from errata.release.live import Live
from errata.workspace import Workspace

Answer = Callable[[str, list[list[Message]]], list[str]]
Cache = dict[tuple[str, str], str]


Check = Callable[[Case, str], Checked]


@dataclass
class Journey:
    """A rollout from its first stage to its end, or to the end of the traffic."""

    release: Release
    steps: list[Step] = field(default_factory=list)
    requests: int = 0
    written_back: str | None = None

    @property
    def state(self) -> str:
        """rolling, serving or rolled_back."""
        return self.release.state


class Settings(NamedTuple):
    """The simulated crowd."""

    users: int = 2000
    per_window: int = 400
    max_windows: int = 200
    seed: int = 0


def drive(
    ws: Workspace,
    release: Release,
    engine_answer: Answer,
    pool: Sequence[Case],
    check: Check,
    *,
    stable: str,
    config: monitor.Config | None = None,
    settings: Settings | None = None,
    cache: Cache | None = None,
    on_step: Callable[[Step], None] = lambda _: None,
) -> Journey:
    """Serve windows of traffic until the release serves everybody or is rolled back.

    `stable` is the digest that answers the other users (the serving release, or the base model).
    """
    settings, loop = settings or Settings(), control.Control(ws, config)
    cache = {} if cache is None else cache
    random, journey = Random(f"{settings.seed}|{release.id}"), Journey(release)
    bad: dict[tuple[str, str], dict[str, Any]] = {}
    for window in range(settings.max_windows):
        now = routing.Routing(canary=journey.release)
        requests = _requests(now, pool, random, settings)
        digests = {"canary": release.candidate_digest, "stable": stable}
        _answer([(arm, case) for arm, _, case in requests], digests, engine_answer, cache)
        rows = []
        for arm, user, case in requests:
            answer = cache[digests[arm], _key(case)]
            seen = check(case, answer)
            rows.append(_row(window, journey.release, arm, digests[arm], user, case, seen))
            if seen.failed is not False and arm == "canary":
                bad.setdefault(
                    (case.id, answer),
                    failures.row(case, answer, seen, f"{arm}:{release.id}", release=release.id),
                )
        live.append(ws, rows)
        journey.requests += len(rows)
        step = loop.tick()
        assert step is not None
        journey.steps.append(step)
        journey.release = routing.current(ws).releases[release.id]
        on_step(step)
        if journey.release.state != "rolling":
            break
    journey.written_back = _write_back(ws, release, list(bad.values()))
    return journey


def _requests(
    now: routing.Routing, pool: Sequence[Case], random: Random, settings: Settings
) -> list[tuple[live.Arm, str, Case]]:
    """One window of requests: who asks is drawn, which arm answers is the user's bucket."""
    found: list[tuple[live.Arm, str, Case]] = []
    for _ in range(settings.per_window):
        user = f"user-{random.randrange(settings.users)}"
        found.append((now.arm(user), user, pool[random.randrange(len(pool))]))
    return found


def _key(case: Case) -> str:
    return jsonl.digest(case.messages)


def _answer(
    requests: Sequence[tuple[live.Arm, Case]],
    digests: dict[str, str],
    engine_answer: Answer,
    cache: Cache,
) -> None:
    """Ask each arm's model, in one batch, what it was not asked before."""
    for arm, digest in digests.items():
        new = {_key(case): case.messages for a, case in requests if a == arm}
        new = {key: messages for key, messages in new.items() if (digest, key) not in cache}
        if new:
            answers = engine_answer(digest, list(new.values()))
            cache.update(zip(((digest, key) for key in new), answers, strict=True))


def _row(
    window: int,
    release: Release,
    arm: live.Arm,
    digest: str,
    user: str,
    case: Case,
    seen: Checked,
) -> Live:
    return Live(
        window=str(window),
        stage=release.stage_percent,
        arm=arm,
        release=release.id,
        digest=digest,
        subject=user,
        case=case.id,
        failed=seen.failed,
        label=seen.label,
        hard=seen.hard,
    )


def _write_back(ws: Workspace, release: Release, rows: list[dict[str, Any]]) -> str | None:
    if not rows:
        return None
    path = ws.inbox / f"canary-{release.id}.jsonl"
    jsonl.write(path, rows)
    return ws.relative(path)
