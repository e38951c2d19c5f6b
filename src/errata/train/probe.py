"""What a run looks at besides its losses: the dev audit and the rows that may not be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from errata import jsonl
from errata.errors import BadInput
from errata.records import ATTACKS, SftExample
from errata.train.audit import DevAudit, Look, draw, enough, questions, read
from errata.train.mix import Retention
from errata.train.model import load_tokenizer
from errata.train.watch import Watching

if TYPE_CHECKING:
    from errata.train.stage import Job


def probe(job: Job) -> Callable[[Any], Look] | None:
    """model → audit and retention together, as the knobs ask; None when they ask for nothing."""
    config = job.config
    if not isinstance(config, Watching):
        return None
    if not (config.audit_cases or config.score_cases or job.retention):
        return None
    if job.stage == "rm":
        raise BadInput("rm: a reward model gives no answers; set audit_cases, score_cases and "
                       "retention to 0, 0 and null")  # fmt: skip
    tokenizer = job.tokenizer or load_tokenizer(job.start.base)
    parts: list[Callable[[Any], Look]] = []
    cases = []
    if config.audit_cases:
        found = read(job.run.input(config.audit_suite))
        cases += draw(found, ATTACKS, config.audit_cases)
        enough(cases, "attack", config.audit_suite)
    if config.score_cases:
        asked = questions(read(job.run.input(config.score_suite)), config.score_cases)
        enough(asked, "business case", config.score_suite)
        cases += asked
    if cases:
        parts.append(DevAudit(job.start.candidate, tokenizer, cases))
    if job.retention:
        rows = jsonl.read(job.retention, SftExample)
        parts.append(Retention(rows, lambda _, kept: job.token_loss(tokenizer, list(kept))))

    def look(model: Any) -> Look:
        with job.clock.paused():
            found = [part(model) for part in parts]
        return Look({k: v for one in found for k, v in one.values.items()},
                    {k: v for one in found for k, v in one.flags.items()})  # fmt: skip

    return look
