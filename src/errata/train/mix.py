"""Against forgetting: general rows mixed into the training rows, and a check of what is kept.

Fine-tuning on a few failures wears away what the model could do before. A share of general rows
(replay) holds it up; rows whose loss is watched (retention) show whether it did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from errata import jsonl
from errata.build.heldout import FOREIGN, HeldOut
from errata.config import Section
from errata.errors import BadInput
from errata.evaluate.mtbench import questions
from errata.language import say
from errata.records import Case, SftExample
from errata.train.audit import Look

if TYPE_CHECKING:
    from errata.train.stage import Job

T = TypeVar("T")


class Replaying(Section):
    """Knobs of the replay mix; SFT has them."""

    replay: str | None = Field(
        None, description="general rows in the form of data/sft.jsonl; none: no replay"
    )
    replay_share: float = Field(
        0.2, ge=0, lt=1, description="share of the rows that are general: higher forgets less"
    )


def mix(rows: Sequence[T], general: Sequence[T], share: float, seed: int) -> tuple[list[T], int]:
    """`rows` and so many general ones that these are `share` of all, shuffled; and how many.

    A general row comes twice only when there are fewer than are needed. Same seed, same mix.
    """
    needed = round(share / (1 - share) * len(rows)) if general else 0
    rng = Random(f"mix/{seed}")
    picked: list[T] = []
    while len(picked) < needed:
        picked += rng.sample(list(general), min(needed - len(picked), len(general)))
    mixed = [*rows, *picked]
    rng.shuffle(mixed)
    return mixed, len(picked)


def replayed(job: Job, rows: list[SftExample]) -> list[SftExample]:
    """The run's rows with its replay mixed in, and a note of it; as they are without `replay`."""
    config = job.config
    if not isinstance(config, Replaying) or config.replay is None or not config.replay_share:
        return rows
    seed = job.config.seed
    general = jsonl.read(job.run.input(config.replay, "replay"), SftExample)
    kept = _not_held_out(job, general)
    if not kept:
        raise BadInput(f"{config.replay}: every row holds a held-out case; give other rows")
    mixed, count = mix(rows, kept, config.replay_share, seed)
    job.notes.append(
        say(
            f"replay: {count} of {len(mixed)} rows are general, from {len(kept)} of "
            f"{config.replay}",
            f"回放：{len(mixed)} 行中有 {count} 行通用数据，取自 {config.replay} 的 {len(kept)} 行",
        )
    )
    if len(kept) < len(general):
        left_out = len(general) - len(kept)
        job.notes.append(
            say(f"replay: {left_out} rows hold a held-out case and were left out",
                f"回放：{left_out} 行含留出用例，已剔除")
        )  # fmt: skip
    return mixed


def _not_held_out(job: Job, rows: list[SftExample]) -> list[SftExample]:
    """Rows without any text of the workspace's held-out cases."""
    from errata.train.turns import conversation

    suites = [path for path in (*job.suites, job.ws.path(FOREIGN)) if path.is_file()]
    cases = [case for path in suites for case in jsonl.read(path, Case)]
    guard = HeldOut([*cases, *questions.cases(job.ws.path(questions.FILE))])
    return [row for row in rows if guard.find(conversation(row)[:-1]) is None]


Score = Callable[[Any, Sequence[SftExample]], float]


class Retention:
    """Rows that stand for what the model must go on knowing; called with a model, a Look."""

    def __init__(self, rows: Sequence[SftExample], score: Score) -> None:
        self.rows, self.score = rows, score

    def __call__(self, model: Any) -> Look:
        """`retention_loss`: mean loss of a token of their answers."""
        return Look({"retention_loss": self.score(model, self.rows)}, {})
