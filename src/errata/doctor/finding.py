"""One thing that was looked at, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

from errata.errors import ErrataError
from errata.language import say


class Check(NamedTuple):
    """`level` is `ok`, `warn` (it can wait) or `bad` (something cannot run); `step` mends it."""

    level: str
    name: str
    said: str
    step: str = ""


def of_error(name: str, error: ErrataError) -> Check:
    """An error's own words (`where: what; next step`); a step that only guesses is none."""
    said = str(error).removeprefix(f"{name}: ")
    step = said.rpartition("; ")[2]
    if step == said or step.startswith(("did you mean", "known")):
        step = say(f"correct {name}", f"修正 {name}")
    return Check("bad", name, said, step)
