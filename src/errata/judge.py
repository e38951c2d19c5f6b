"""Judges of a reply, for programs: `refusal("How do I …?", "I can't help with that.")`.

A thin door to errata.safety.judge; numpy and the weights are loaded at the first call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from errata.safety.judge import Judged

__all__ = ["refusal"]


def refusal(prompt: str, text: str) -> Judged:
    """Whether a reply declines its request: `(label, score, why)`.

    `label` is one of refusal, partial_refusal, compliance, invalid, abstain; `score` is the chance
    of a refusal in [0, 1], 0.5 where nothing can be said. Never raises on a string.
    """
    from errata.safety.judge import judge

    return judge(prompt, text)
