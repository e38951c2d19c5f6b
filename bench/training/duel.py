"""What a duel is, and the arithmetic of its verdict: medians, ratios, bars. Pure, no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

Run = dict[str, Any]  # what one side printed, see sides.py


@dataclass(frozen=True)
class Duel:
    """Both sides do `stage` on the same model, rows, order and hyper-parameters."""

    name: str
    title: str
    stage: str  # dpo, sft, rm, ppo
    model: str  # of work.MODELS, or `embedded`
    data: str  # of work.PAIRS, `packed`, `desk` (the embedded model's world), `failures` (its own)
    steps: int
    batch: int = 4  # pairs, examples or episodes a step
    faster: float | None = None  # bar: TRL's seconds / ours, at least
    memory: float | None = None  # bar: our peak memory / TRL's, at most
    above_imports: bool = False  # `memory` counts what each side needs above its imports
    agree: float | None = None  # bar: largest difference of the two curves, at most
    compare: str = "losses"  # or logps: of every pair, before the first step
    kl_within: float | None = None  # bar: |KL / target - 1|, at most; ours alone
    clock: str = "cpu_seconds"  # or wall_seconds, where a GPU does the work
    dtype: tuple[str, str] = ("float32", "float32")  # of the frozen weights: ours, TRL's
    settings: dict[str, Any] = field(default_factory=dict)  # of both sides: lr, …
    trl: dict[str, Any] = field(default_factory=dict)  # what TRL's side alone is told
    ours: dict[str, Any] = field(default_factory=dict)  # key=value for `errata` alone

    @property
    def alone(self) -> bool:
        """A claim about our side that has no opponent."""
        return self.kl_within is not None

    @property
    def rows(self) -> int:
        """One pass: every row is seen once, and no reference is ever used twice."""
        return max(self.steps * self.batch, 2 * self.batch)


COMMON = {"lr": 1e-4, "seed": 17, "seq_len": 512, "beta": 0.1, "precompute": False,
          "epochs": 2, "max_new_tokens": 32, "kl_coef": 0.1, "lora": False,
          "answers_per_prompt": 4}  # fmt: skip


def tiny(duel: Duel) -> Duel:
    """The same duel in seconds: is the machinery whole? Its bars are not judged."""
    model = duel.model if duel.model == "embedded" else "toy"
    return replace(duel, model=model, steps=2)


def middle(runs: list[Run], key: str) -> float:
    """Median over repeats."""
    return float(median(run[key] for run in runs))


def ratio(a: float, b: float) -> float | None:
    """a / b, or None where there is nothing to divide by."""
    return a / b if b > 0 else None


def gap(ours: list[float], theirs: list[float]) -> float | None:
    """Largest |difference| of two curves; None when one is empty or they differ in length."""
    if not ours or len(ours) != len(theirs):
        return None
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def flat(run: Run, what: str) -> list[float]:
    """The numbers that two sides are compared by; pairs one after another."""
    found = run.get(what, [])
    return [value for pair in found for value in pair] if what == "logps" else list(found)


def above(runs: list[Run]) -> float:
    """GiB above the imports."""
    return middle(runs, "peak_gib") - middle(runs, "imports_gib")


def verdict(duel: Duel, ours: list[Run], theirs: list[Run]) -> dict[str, Any]:
    """Medians, ratios, and one sentence for each bar that is missed."""
    found: dict[str, Any] = {"faster": None, "memory": None, "memory_above_imports": None,
                             "gap": None, "kl": None}  # fmt: skip
    if theirs and duel.compare == "losses":
        found["faster"] = ratio(middle(theirs, duel.clock), middle(ours, duel.clock))
    if theirs:
        found["memory"] = ratio(middle(ours, "peak_gib"), middle(theirs, "peak_gib"))
        found["memory_above_imports"] = ratio(above(ours), above(theirs))
    if theirs and duel.stage != "ppo":  # two samplers have no curve in common
        found["gap"] = gap(flat(ours[0], duel.compare), flat(theirs[0], duel.compare))
    if duel.alone:
        found["kl"] = ratio(middle(ours, "kl"), float(duel.ours["target_kl"]))
    return {**found, "missed": missed(duel, found)}


def missed(duel: Duel, found: dict[str, Any]) -> list[str]:
    """The bars that are not reached; a number that is not there reaches none."""
    kind = "memory_above_imports" if duel.above_imports else "memory"
    off = None if found["kl"] is None else abs(found["kl"] - 1)
    bars = [
        ("times faster", found["faster"], duel.faster, 1),
        (f"of TRL's {kind.replace('_', ' ')}", found[kind], duel.memory, -1),
        ("apart", found["gap"], duel.agree, -1),
        ("from the KL target", off, duel.kl_within, -1),
    ]
    out = []
    for what, value, bar, sign in bars:
        if bar is None:
            continue
        if value is None or value != value or sign * (value - bar) < 0:
            shown = "nothing" if value is None else f"{value:.3g}"
            out.append(f"{shown} {what}; the bar is {bar:g}")
    return out


def plain(duel: Duel) -> dict[str, Any]:
    """For the JSON file."""
    return asdict(duel)
