"""Run a table of duels: both sides in turn, medians against bars, a report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training import opponents, report, sides
from training.duel import COMMON, Duel, Run, middle, plain, tiny, verdict

RESULTS = sides.BENCH / "results"
KEPT = ("cpu_seconds", "wall_seconds", "peak_gib", "imports_gib", "peak_gpu_gib",
        "process_cpu_seconds")  # fmt: skip


def fight(duel: Duel, repeats: int, threads: int) -> tuple[list[Run], list[Run]]:
    """(ours, TRL's) runs. Who begins alternates, so that a drifting machine favours nobody."""
    rows = sides.rows_of(duel)
    ours: list[Run] = []
    theirs: list[Run] = []
    for turn in range(repeats):
        order = [("trl", sides.trl, theirs), ("ours", sides.errata, ours)]
        for name, side, runs in order if turn % 2 == 0 else order[::-1]:
            if duel.alone and name == "trl":
                continue
            runs.append(side(seeded(duel, turn), rows, threads))
            run = runs[-1]
            print(f"  {name:4} {run.get('cpu_seconds', 0):8.2f} CPU-s  {run['peak_gib']:6.2f} GiB  "
                  f"{_shown(run)}", flush=True)  # fmt: skip
    return ours, theirs


def seeded(duel: Duel, turn: int) -> Duel:
    """The same duel; one whose claim is about chance has another seed each time."""
    seed = COMMON["seed"] + turn
    return replace(duel, settings={**duel.settings, "seed": seed}) if duel.alone else duel


def _shown(run: Run) -> str:
    losses = [f"{loss:.4f}" for loss in run.get("losses", [])]
    return "losses " + " ".join(losses[:3] + ["…"] * (len(losses) > 6) + losses[3:][-3:])


def measured(run: Run) -> Run:
    """What goes into the report of all that a side prints."""
    return {key: run[key] for key in (*KEPT, "losses", "kl") if key in run}


def medians(runs: list[Run]) -> dict[str, float]:
    """Of everything that was measured in every run."""
    return {key: middle(runs, key) for key in KEPT if runs and all(key in run for run in runs)}


def result(duel: Duel, repeats: int, threads: int, judged: bool) -> report.Result:
    """One duel: its runs, medians, ratios, and what it missed. A side that fails is a miss."""
    print(f"{duel.name}: {duel.title}", flush=True)
    empty = {"ours": {}, "trl": {}, "found": {}, "runs": {"ours": [], "trl": []}}
    try:
        ours, theirs = fight(duel, repeats, threads)
        found = verdict(duel, ours, theirs)
        missed = found.pop("missed")
    except (sides.SideFailed, KeyError) as error:
        missed = [f"a side failed: {error!s}".replace(str(sides.BENCH.parent), ".")]
        print(f"  MISSED: {missed[0]}", flush=True)
        return {"duel": plain(duel), **empty, "missed": missed, "verdict": "MISSED"}
    runs = {"ours": [measured(run) for run in ours], "trl": [measured(run) for run in theirs]}
    done = {"ours": medians(ours), "trl": medians(theirs), "runs": runs}
    said = ("MISSED" if missed else "holds") if judged else "smoke run, not judged"
    numbers = ", ".join(f"{k} {v:.3g}" for k, v in found.items() if v is not None)
    print(f"  {said}: {numbers}" + "".join(f"\n    {line}" for line in missed * judged), flush=True)
    kept = missed if judged else []
    return {"duel": plain(duel), **done, "found": found, "missed": kept, "verdict": said}


def arguments(description: str) -> argparse.Namespace:
    """What every bench of training takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--only", metavar="NAME", action="append", help="this duel (repeatable)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side; medians count")
    parser.add_argument("--threads", type=int, default=1, help="of each side")
    parser.add_argument("--keep", action="store_true", help="with --only: keep the other results")
    parser.add_argument("--quick", action="store_true", help="toy sizes, nothing judged or kept")
    return parser.parse_args()


def main(duels: Sequence[Duel], name: str, title: str) -> int:
    """Exit code: 0 when every bar holds, 1 when one is missed, 2 for a name that is none."""
    told = arguments(title)
    wanted = set(told.only or [duel.name for duel in duels])
    if unknown := wanted - {duel.name for duel in duels}:
        print(f"bench: no duel {sorted(unknown)}; there are {', '.join(d.name for d in duels)}")
        return 2
    opponents.install()
    chosen = [duel for duel in duels if duel.name in wanted]
    chosen = [tiny(duel) for duel in chosen] if told.quick else chosen
    repeats = 1 if told.quick else told.repeats
    stamp = report.machine(told.threads)
    kept = not told.quick and (told.keep or not told.only)
    folder: Path = RESULTS if kept else sides.SCRATCH / "results"
    known: dict[str, report.Result] = {}
    for duel in chosen:
        done = result(duel, repeats, told.threads, judged=not told.quick)
        known = {**known, **(report.read(folder, name, stamp) if told.keep else {})}
        known[duel.name] = done
        results = [known[d.name] for d in duels if d.name in known]
        report.write(folder, name, title, stamp, results)
    print(f"\n{report.table(report.HEAD, [report.row(r) for r in results])}")
    print(f"\n{folder.relative_to(sides.BENCH.parent)}/{name}.md")
    return int(any(r["verdict"] == "MISSED" for r in results))
