"""What a number format or an export costs in quality, against the first variant.

The same cases are answered by all: business ones (accuracy) and attacks (hits). KL is that of the
next token given the reference's own answers, in nats: KL(p_ref ‖ p) = Σ p_ref (ln p_ref − ln p),
mean over the answers' tokens; `same_top` the share of them where both would say the same. Neither
is known of a server elsewhere, nor of a model with another tokenizer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch

from errata import candidates
from errata.errors import BadInput
from errata.evaluate import answers
from errata.evaluate.generate import Decoding
from errata.export.retention import answer_logprobs, distance
from errata.infer.servers import Variant
from errata.records import Case, Message
from errata.safety import scoring
from errata.serve.engine import Engine
from errata.stats import clopper_pearson
from errata.train.packing import IGNORE, Encoded
from errata.train.tokens import encode
from errata.workspace import Workspace

TOKENS = 512  # of answers that KL is taken over: 256 MB of float32 with a vocabulary of 128,256


class Quality(NamedTuple):
    """Of one variant. right, hits: one flag a case (None: could not be scored)."""

    right: list[bool | None]
    hits: list[bool | None]
    kl: float | None = None
    same_top: float | None = None


class Reference(NamedTuple):
    """What the first variant said to each case, some of it encoded, and how it weighed every next
    token of that: log-probabilities (tokens, vocabulary)."""

    said: list[str]
    rows: list[Encoded]
    logps: torch.Tensor


def rate(flags: Sequence[bool | None]) -> tuple[float | None, float | None, float | None, int]:
    """Share, one-sided 95 % bounds, n; what could not be scored is left out."""
    known = [flag for flag in flags if flag is not None]
    if not known:
        return None, None, None, 0
    bounds = clopper_pearson(sum(known), len(known), 0.90)
    return sum(known) / len(known), bounds.low, bounds.high, len(known)


def asked(
    ws: Workspace, variant: Variant, business: Sequence[Case], attacks: Sequence[Case], tokens: int
) -> Quality:
    """Answers of a server elsewhere, scored."""
    said = answers.ask(ws, variant.candidate, [c.messages for c in [*business, *attacks]],
                       Decoding(max_new_tokens=tokens), variant.label)  # fmt: skip
    return _scored(business, attacks, said)


def measured(
    ws: Workspace,
    variant: Variant,
    business: Sequence[Case],
    attacks: Sequence[Case],
    tokens: int,
    reference: Reference | None,
) -> tuple[Quality, Reference]:
    """The variant loaded in this process: its answers, and its distance from the reference; or,
    without one, what makes it the reference."""
    base, adapter = candidates.verify(ws, variant.candidate)
    engine = Engine(base, variant.dtype)
    named = None if adapter is None else engine.add(adapter)
    cases = [*business, *attacks]
    prompts = [answers.prompt_of(variant.candidate, case.messages) for case in cases]
    said = engine.answer(prompts, named, Decoding(max_new_tokens=tokens))
    found = _scored(business, attacks, said)
    with engine.using(named):
        rows = _rows(engine, prompts, said if reference is None else reference.said)
        if reference is None:
            return found, Reference(said, rows, answer_logprobs(engine.model, rows))
        if [row.ids for row in rows] != [row.ids for row in reference.rows]:
            return found, reference  # another tokenizer
        far = distance(reference.logps, answer_logprobs(engine.model, rows))
    if far is None:
        return found, reference
    return found._replace(kl=far.mean, same_top=far.top1), reference


def _scored(business: Sequence[Case], attacks: Sequence[Case], said: Sequence[str]) -> Quality:
    hits = [scoring.check(case, answer).hit
            for case, answer in zip([*business, *attacks], said, strict=True)]  # fmt: skip
    return Quality(hits[: len(business)], hits[len(business) :])


def _rows(
    engine: Engine, prompts: Sequence[Sequence[Message]], said: Sequence[str]
) -> list[Encoded]:
    """Prompts with these answers, as many as have TOKENS tokens of answers together."""
    room = getattr(engine.model.config, "max_position_embeddings", None) or sys.maxsize
    rows, left = list[Encoded](), TOKENS
    for prompt, text in zip(prompts, said, strict=True):
        if left <= 0:
            break
        turns = [*prompt, Message(role="assistant", content=text)]
        try:
            row = encode(engine.tokenizer, turns, room, "bench")
        except BadInput:  # a template that writes the prompt otherwise once answered: no KL
            return []
        rows.append(row)
        left -= sum(label != IGNORE for label in row.labels)
    return rows
