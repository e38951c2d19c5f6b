"""The small audit: the model in training answers a few attacks and questions of the dev split.

It runs as an evaluation metric, so that early stopping and the best checkpoint obey it. The
held-out split stays the exam: a held-out case cannot get in here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from errata import jsonl
from errata.errors import BadInput, ErrataError
from errata.evaluate.answers import pick, prompt_of
from errata.evaluate.business import CORE
from errata.evaluate.business import results as score
from errata.evaluate.generate import Decoding, answers
from errata.records import ATTACKS, Candidate, Case, CaseResult, Split
from errata.safety import predicates

# Choices are made on dev; a suite without it gives its tune part. Never held-out.
SPLITS: tuple[Split, ...] = ("dev", "tune")
Flags = dict[str, dict[str, tuple[str, bool | None]]]


class Look(NamedTuple):
    """Metric → value (None: no case), and metric → case → (cluster, whether it is bad)."""

    values: dict[str, float | None]
    flags: Flags


def draw(cases: Iterable[Case], kinds: Sequence[str], count: int, split: str = "") -> list[Case]:
    """`count` cases of dev (else tune), evenly from each kind and language, new clusters first.

    `split` asks for that one alone. Always the same cases, whatever the order of the file.
    """
    wanted = [case for case in cases if case.category in kinds]
    if split == "heldout":
        raise ErrataError("the held-out split is the exam: no training run may look at it")
    names = (split,) if split else SPLITS
    part = next((found for name in names if (found := pick(wanted, name, None))), [])
    cells: dict[tuple[str, str], list[Case]] = {}
    for case in sorted(part, key=lambda c: c.id.rsplit("-", 1)[-1]):
        cells.setdefault((case.category, case.language), []).append(case)
    queues = []
    for _, cell in sorted(cells.items()):
        firsts = {case.cluster: case for case in reversed(cell)}
        queues.append([*firsts.values(), *(c for c in cell if c is not firsts[c.cluster])])
    rounds = max(map(len, queues), default=0)
    return [queue[i] for i in range(rounds) for queue in queues if i < len(queue)][:count]


def read(path: Path) -> list[Case]:
    """The cases of a suite that a training run may see."""
    return [case for case in jsonl.read(path, Case) if case.split in SPLITS]


AT_ONCE = 32  # answers generated together: their KV cache stays below a training step's memory


class DevAudit:
    """A fixed set of dev cases, and how the model in training does on them."""

    def __init__(self, candidate: Candidate, tokenizer: Any, cases: Sequence[Case]) -> None:
        for case in cases:
            if case.split not in SPLITS:
                raise ErrataError(f"{case.id} is {case.split}: the audit reads dev and tune alone")
        self.tokenizer, self.cases = tokenizer, list(cases)
        self.prompts = [prompt_of(candidate, case.messages) for case in cases]
        self.decoding = Decoding(int(candidate.decoding.get("max_new_tokens", 48)))

    def answer(self, model: Any) -> list[str]:
        """One greedy answer a case, of the model as it stands."""
        return answers(model, self.tokenizer, self.prompts, self.decoding, AT_ONCE)

    def __call__(self, model: Any) -> Look:
        """Answer and judge."""
        return judge(self.cases, self.answer(model))


def _impolite(result: CaseResult) -> bool:
    return bool(predicates.INSULTS.search(result.answer))


# metric → (which cases, when one is bad, whether the value is the share of the bad)
_METRICS: dict[str, tuple[Sequence[str], Callable[[CaseResult], bool | None], bool]] = {
    "attack_hit_rate": (ATTACKS, lambda r: r.hit, True),
    "refusal_rate": (ATTACKS, lambda r: r.refused, True),
    "accuracy": (CORE, lambda r: not r.hit, False),
    "over_refusal_rate": (("lookalike",), lambda r: r.refused, True),
    "politeness": ((*CORE, "lookalike"), _impolite, False),
}


def judge(cases: Sequence[Case], said: Sequence[str]) -> Look:
    """Answers → rates, by the judges of `errata evaluate` and `errata safety`."""
    values: dict[str, float | None] = {}
    flags: Flags = {}
    results = score(cases, said)
    for name, (kinds, is_bad, share_of_bad) in _METRICS.items():
        found = {r.prompt_id: (r.cluster, is_bad(r)) for r in results if r.category in kinds}
        known = [bad for _, bad in found.values() if bad is not None]
        if found:
            flags[name] = found
            share = sum(known) / len(known) if known else None
            values[name] = share if share_of_bad or share is None else 1 - share
    return Look(values, flags)


def questions(suite: Sequence[Case], count: int, split: str = "") -> list[Case]:
    """`count` business questions, and half as many harmless look-alikes."""
    return [
        *draw(suite, CORE, count, split),
        *draw(suite, ("lookalike",), count // 2, split),
    ]


def enough(cases: Sequence[Case], what: str, path: str) -> None:
    """No case where some were asked for is a mistake, not a quiet run."""
    if not cases:
        raise BadInput(
            f"{path}: no {what} in its dev or tune split; add some, or set the knob to 0"
        )
