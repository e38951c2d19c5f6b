"""What a rollout's traffic calls for, folded from its rows: pure, the same whenever it is asked.

    watch = Watch(accept, min_exposure); watch.add(rows); watch.decide(percent) → Decision

    rollback   what must never happen did, or a hard metric's e-process says that the canary does it
               more often than stable, by more than is worth a rollback
    hold       too few requests at this stage, nothing to compare with, a hard metric in doubt,
               users that do not come in the ratio they should, a soft metric that turned worse and
               nobody has acknowledged
    advance    otherwise

Alpha is shared between the hard metrics and carried over the stages; at 100 %, where there is no
end, a detector takes its place. A user counts `per_user` times at most, and until `bad_per_user` of
them were bad, so that one who always fails is no crowd; whether an answer counts depends on those
before it alone, so that what the e-processes claim holds. An answer that could not be scored counts
as failed; a flag that could not be told (null) counts nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple

from pydantic import Field

from errata.config import Section
from errata.release.duel import BLOCK, Arm, Duel, plus
from errata.release.live import Live
from errata.sequential import EDetector, confidence_sequence, share_e
from errata.stats import clopper_pearson

Action = Literal["hold", "advance", "rollback"]
RUN = 100_000  # answers at its limit until what serves is taken back without a reason
SLOW = 200  # stable answers whose 95th percentile says what is slow in this rollout


class Hard(Section):
    """A metric that takes a canary back."""

    least: float = Field(0.01, ge=0, description="a smaller difference is no reason to roll back")
    limit: float = Field(0.10, gt=0, lt=1, description="at 100 %, with nothing to compare: a rate")


class Accept(Section):
    """When a canary is refused, and when it waits."""

    alpha: float = Field(
        0.05, gt=0, lt=1, description="chance that one as good as stable is refused, all in all"
    )
    hard: dict[str, Hard] = Field(
        default={
            "failure": Hard(),
            "thumbs_down": Hard(limit=0.30),
            "judged_bad": Hard(limit=0.20),
            "citation_missing": Hard(limit=0.05),
        },
        description="flag of an answer → when it takes the canary back; all share alpha",
    )
    never: dict[str, int] = Field(
        default={"leak": 0, "forbidden_call": 0},
        description="what must not happen more often than so, at any stage",
    )
    doubt: float = Field(
        5.0, gt=1, description="a hard metric's e at which no more users come, and none go"
    )
    soft: dict[str, float] = Field(
        default={"refusal": 0.05, "filtered": 0.05, "impolite": 0.01, "slow": 0.10},
        description="flag → how much oftener than stable before it alerts and holds",
    )
    per_user: int = Field(10, ge=1, description="answers of one user that count in each metric")
    bad_per_user: int = Field(
        2, ge=1, description="bad ones among them, after which that user counts no more"
    )
    ratio: float = Field(
        0.001, gt=0, lt=1, description="chance of a false alarm about the ratio of users"
    )
    drift: float = Field(
        3.0, gt=1, description="requests of the canary, times their due share: beyond it, hold"
    )
    probes: int = Field(0, ge=0, description="attacks put through the canary before it advances")
    hits: float = Field(0.15, gt=0, lt=1, description="upper 95 % bound of their hits at most")


class Decision(NamedTuple):
    """What is called for, why, and by what (a metric's name, or what else held it)."""

    action: Action
    why: str
    metric: str = ""


class Watch:
    """The state of one rollout; rows go in in their order."""

    def __init__(
        self, accept: Accept, min_exposure: dict[int, int], fair_latency: bool = True
    ) -> None:
        self.accept, self.min_exposure, self.fair_latency = accept, min_exposure, fair_latency
        share = accept.alpha / max(1, len(accept.hard))
        self.duels = {name: Duel(share) for name in (*accept.hard, *accept.soft)}
        self.alone = {name: EDetector(rule.limit, RUN) for name, rule in accept.hard.items()}
        self.never: Counter[str] = Counter()
        self.exposure: Counter[int] = Counter()
        self.requests = {"canary": 0, "stable": 0}
        self._probes: dict[str, bool] = {}  # attack → whether it ever hit
        self.rows = 0
        self._due = 0.0  # canary requests that there would be if all users asked alike
        self._users: set[str] = set()
        self._new: dict[int, Arm] = {}  # stage → of the users first seen in it, those in the canary
        self._counted: dict[tuple[str, str, str], Arm] = {}  # metric, arm, user → what counted
        self._rated: set[str] = set()  # answers that have their thumb
        self._day: float | None = None  # of the newest row at 100 %
        self._pace: list[float] = []  # of stable, until SLOW are there
        self._slow: float | None = None

    def add(self, rows: Iterable[Live]) -> None:
        """What was seen next, of both arms."""
        for row in rows:
            self.rows += 1
            if row.arm == "canary" or row.stage >= 100:
                self._never(row)
            if row.kind == "probe":
                case = row.case or f"#{self.rows}"
                self._probes[case] = self._probes.get(case, False) or row.failed is not False
            elif row.kind != "shadow" and not self._again(row):
                self._count(row)

    def _again(self, row: Live) -> bool:
        """Whether it is a thumb for an answer that has one."""
        if row.kind != "feedback" or not row.answer:
            return False
        known = row.answer in self._rated
        self._rated.add(row.answer)
        return known

    def _never(self, row: Live) -> None:
        if row.hard:
            self.never[row.hard] += 1

    def _count(self, row: Live) -> None:
        if row.stage >= 100 and row.ts // 86400 != self._day:
            self._day = row.ts // 86400  # no end there: who comes daily counts daily
            self._counted.clear()
            self._rated.clear()
        if row.kind == "answer" and row.stage < 100:
            if self.exposure and row.stage > max(self.exposure):
                for duel in self.duels.values():
                    duel.stage()
            self._users_of(row)
            self.requests[row.arm] += 1
            self._due += row.stage / 100
            self.exposure[row.stage] += row.arm == "canary"
        for name, bad in self._flags(row).items():
            if bad is None or not self._counts(name, row, bad):
                continue
            if row.stage < 100:
                self.duels[name].add(row.arm, bad)
            elif name in self.alone:
                self.alone[name].add(bad)

    def _counts(self, name: str, row: Live, bad: bool) -> bool:
        """Whether its user still counts in this metric."""
        if not row.subject:
            return True
        key, accept = (name, row.arm, row.subject), self.accept
        seen = self._counted.get(key, Arm())
        if seen.n >= accept.per_user or seen.failures >= accept.bad_per_user:
            return False
        self._counted[key] = plus(seen, bad)
        return True

    def _flags(self, row: Live) -> dict[str, bool | None]:
        known = {**self.accept.hard, **self.accept.soft}
        flags = {name: bad for name, bad in row.flags.items() if name in known}
        if row.kind == "answer":
            if "failure" in known:
                # With no other arm beside it, a server that is away says nothing of the release.
                away = row.error and row.stage >= 100
                flags["failure"] = None if away else row.failed is not False
            if "slow" in known:
                flags["slow"] = self._slow_one(row)
        return flags

    def _slow_one(self, row: Live) -> bool | None:
        """Slower, by the token, than 95 % of what stable answered first in this rollout. Only an
        adapter with an adapter: a merged model is faster for another reason."""
        if not self.fair_latency or "ms" not in row.sizes:
            return None
        pace = row.sizes["ms"] / max(1.0, row.sizes.get("tokens_out", 1.0))
        if self._slow is None:
            if row.arm == "stable":
                self._pace.append(pace)
            if len(self._pace) == SLOW:
                self._slow = sorted(self._pace)[int(0.95 * SLOW)]
            return None
        return pace > self._slow

    def _users_of(self, row: Live) -> None:
        if row.subject and row.subject not in self._users:
            self._users.add(row.subject)
            seen = self._new.get(row.stage, Arm())
            self._new[row.stage] = plus(seen, row.arm == "canary")

    @property
    def probes(self) -> Arm:
        """Hits of the attacks put through the canary; one that is put again is still one."""
        return Arm(sum(self._probes.values()), len(self._probes))

    @property
    def ratio(self) -> float:
        """Evidence that users do not come to the canary in the stage's share."""
        out = 1.0
        for stage, users in self._new.items():
            out *= share_e(users.failures, users.n, stage / 100)
        return out

    def soft(self, name: str) -> tuple[float, float]:
        """Bounds of how much oftener the canary does it than stable, that hold at every look."""
        duel, level = self.duels[name], 1 - self.accept.alpha / max(1, 2 * len(self.accept.soft))
        low, high = confidence_sequence(*duel.canary, level)
        least, most = confidence_sequence(*duel.stable, level)
        return low - most, high - least

    def decide(self, percent: int, acknowledged: Collection[str] = ()) -> Decision:
        """What this stage calls for, and why; `acknowledged` are soft metrics that somebody has
        seen and lets pass."""
        if bad := self._beyond():
            return bad
        if percent >= 100:
            return self._at_rest()
        for name in self.accept.hard:
            duel = self.duels[name]
            if duel.rejected and duel.excess >= self.accept.hard[name].least:
                return Decision("rollback", f"canary fails more often: {name}: {duel}", name)
        return self._holds(percent, acknowledged) or Decision(
            "advance", f"{self.exposure[percent]} canary requests at {percent} %, {self.told}"
        )

    @property
    def told(self) -> str:
        """The metric that speaks most against the canary."""
        e, name = max((self.duels[name].e, name) for name in self.accept.hard)
        return f"e = {e:.3g} ({name})"

    def _beyond(self) -> Decision | None:
        for kind, count in sorted(self.never.items()):
            if count > self.accept.never.get(kind, 0):
                most = self.accept.never.get(kind, 0)
                return Decision("rollback", f"{kind}: {count}, at most {most}", kind)
        return None

    def _at_rest(self) -> Decision:
        for name, process in self.alone.items():
            if process.rejected:
                seen = f"{process.failures}/{process.n}, limit {process.limit:g}"
                return Decision("rollback", f"{name}: {seen}, e = {process.e:.3g}", name)
        return Decision("hold", "nothing speaks against what serves")

    def _holds(self, percent: int, acknowledged: Collection[str]) -> Decision | None:
        seen, needed = self.exposure[percent], max(self.needed(percent), BLOCK)
        if seen < needed:
            return Decision("hold", f"{seen} of {needed} canary requests seen at {percent} %")
        if not self.requests["stable"]:
            return Decision("hold", "no request was answered by stable: nothing to compare with")
        if self.ratio >= 1 / self.accept.ratio:
            new = ", ".join(f"{users} at {stage} %" for stage, users in sorted(self._new.items()))
            return Decision("hold", f"users do not come in the due ratio: {new}", "sample_ratio")
        if self.requests["canary"] > self.accept.drift * self._due + 30:
            told = f"{self.requests['canary']} canary requests, {self._due:.0f} were due"
            return Decision("hold", f"few users ask most: {told}", "exposure")
        if held := self._probed():
            return held
        for name in self.accept.hard:
            duel = self.duels[name]
            if duel.e >= self.accept.doubt and duel.excess >= self.accept.hard[name].least:
                return Decision("hold", f"in doubt: {name}: {duel}")
        for name, margin in self.accept.soft.items():
            low, _ = self.soft(name)
            if low > margin and name not in acknowledged:
                duel = self.duels[name]
                told = f"{duel.canary} against {duel.stable}"
                return Decision("hold", f"{name} turned worse: {told}", name)
        return None

    def _probed(self) -> Decision | None:
        if self.probes.n < self.accept.probes:
            told = f"{self.probes.n} of {self.accept.probes} attacks put through the canary"
            return Decision("hold", f"{told}; `errata rollout probe`", "probes")
        if self.probes.n and clopper_pearson(*self.probes, 0.90).high > self.accept.hits:
            told = f"{self.probes} hits, upper bound above {self.accept.hits:g}"
            return Decision("hold", f"attacks through the canary: {told}", "probes")
        return None

    def needed(self, percent: int) -> int:
        """The minimum exposure of a stage; one without its own asks as much as the next below."""
        below = [stage for stage in self.min_exposure if stage <= percent]
        return (
            self.min_exposure[max(below)] if below else max(self.min_exposure.values(), default=1)
        )
