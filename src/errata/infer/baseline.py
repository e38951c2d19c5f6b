"""Numbers of a benchmark held against an earlier run's: `regression` in configs/bench.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from errata.errors import BadInput, Blocked, NoDecision
from errata.infer.timing import crossed
from errata.store import past
from errata.store.runs import Run
from errata.workspace import Workspace

# Numbers that may be held against an earlier run, and which way is worse.
WORSE = {"p50_ms": "higher", "p95_ms": "higher", "ttft_ms": "higher", "tpot_ms": "higher",
         "tokens_per_s": "lower", "peak_gib": "higher", "size_bytes": "higher"}  # fmt: skip


class Knobs(Protocol):
    """What of the config decides."""

    @property
    def regression(self) -> dict[str, float]: ...
    @property
    def baseline(self) -> str: ...
    @property
    def requests(self) -> int: ...


def regressed(ws: Workspace, config: Knobs, run: Run, now: Mapping[str, Any],
              machine: Mapping[str, Any]) -> None:  # fmt: skip
    """Blocked where a number got worse than the baseline's by more than its factor; NoDecision
    where there is nothing to hold it against."""
    if not config.regression:
        return
    if unknown := sorted(set(config.regression) - set(WORSE)):
        raise BadInput(f"bench: regression names {unknown[0]}; there are {', '.join(WORSE)}")
    before = _baseline(ws, config, run)
    if before is None:
        return  # the first run of a workspace is the baseline of the next
    if before["machine"] != machine:
        raise NoDecision(f"bench {run.id}: {before['id']} was measured on another machine or with "
                         "other versions; name another baseline=, or measure it here")  # fmt: skip
    lines = []
    for name, factor in config.regression.items():
        old, new = before["numbers"].get(name), now.get(name)
        if old is None or new is None:
            raise NoDecision(f"bench {run.id}: {name} was not measured in both runs")
        if crossed(new, old, factor, WORSE[name]):
            lines.append(f"{name} {old:.4g} → {new:.4g}, more than {factor:g} times worse")
    if lines:
        raise Blocked(f"bench {run.id}: {'; '.join(lines)}; against {before['id']}, see "
                      f"reports/bench/{run.id}.md")  # fmt: skip


def _baseline(ws: Workspace, config: Knobs, run: Run) -> dict[str, Any] | None:
    """The earlier run's id, machine, and numbers of its first variant."""
    if config.baseline == "last":
        suite = run.facts["suite"]
        runs = [r for r in past.list_runs(ws, "bench") if r["id"] != run.id
                and r["status"] == "done" and r["facts"].get("suite") == suite
                and r["facts"].get("requests") == config.requests]  # fmt: skip
        if not runs:
            return None
        found = runs[-1]
    else:
        found = past.get_run(ws, config.baseline)
    facts = found["facts"]
    if "formats" not in facts or "machine" not in facts:
        raise BadInput(f"bench: {found['id']} is no bench run to hold numbers against")
    return {"id": found["id"], "machine": facts["machine"],
            "numbers": next(iter(facts["formats"].values()))}  # fmt: skip
