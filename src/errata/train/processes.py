"""Several processes, one run: `torchrun --nproc_per_node 2 -m errata sft …`.

The first process records the run, as ever; the others train beside it and record nothing. What must
be equal everywhere (the run's folder, the checkpoint to go on from) comes from the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from errata.store.runs import Run
from errata.workspace import Workspace

T = TypeVar("T")


def world() -> int:
    """Processes of this training, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def first() -> bool:
    """Whether this process records the run."""
    return int(os.environ.get("RANK", "0")) == 0


def sharded() -> bool:
    """Whether accelerate's launcher spreads the weights themselves over the processes."""
    names = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in names)


def anywhere(*flags: bool) -> list[bool]:
    """Whether each is so in any process; all of them must ask, as often."""
    if world() == 1:
        return list(flags)
    import torch
    from accelerate import PartialState

    device = PartialState(cpu=not torch.cuda.is_available()).device
    held = torch.tensor([int(flag) for flag in flags], device=device)
    torch.distributed.all_reduce(held, op=torch.distributed.ReduceOp.MAX)
    return [bool(flag) for flag in held.tolist()]


def shared(value: T) -> T:
    """The first process's value, in every process."""
    if world() == 1:
        return value
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=not torch.cuda.is_available())
    held: list[Any] = [value]
    broadcast_object_list(held)
    found: T = held[0]
    return found


class Beside(Run):
    """The run of the first process, as the others see it: same folder, nothing recorded."""

    def __enter__(self) -> Run:
        self.id = shared("")
        self.dir = self.ws.runs / self.id
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def input(self, path: str | Path, role: str = "") -> Path:
        """The file, not hashed again."""
        return self.ws.path(path)

    def link(self, src: str, dst: str, kind: str) -> None:
        """The first process says it."""

    def links(self, edges: Iterable[tuple[str, str, str]]) -> None:
        """The first process says them."""

    def nodes(self, things: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
        """The first process says them."""


class Leading(Run):
    """A run that tells the other processes its id."""

    def __enter__(self) -> Run:
        super().__enter__()
        shared(self.id)
        self.note(processes=world())
        return self


def run_of(ws: Workspace, stage: str, config: Any) -> Run:
    """The context of a stage that may run in several processes."""
    if world() == 1:
        return Run(ws, stage, config)
    return Leading(ws, stage, config) if first() else Beside(ws, stage, config)
