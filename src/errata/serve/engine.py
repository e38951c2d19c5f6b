"""The in-process engine: transformers and peft, one base, any number of adapters by content digest.

An adapter is loaded under its own digest and never replaced, so that switching a release is a name,
not a reload, and a stale answer cannot come from a reused name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from errata import candidates
from errata.evaluate.generate import Decoding, answer_logps, answers
from errata.records import Candidate, Message
from errata.train.model import load
from errata.workspace import Workspace


class Engine:
    """Answers prompts with the base or with one of its adapters."""

    def __init__(self, base: str, dtype: str = "auto") -> None:
        self.base, self.dtype = base, dtype
        self.model, self.tokenizer = load(base, dtype)
        self.model.eval()
        self.names: dict[str, str] = {}

    def add(self, adapter: Path) -> str:
        """Load an adapter once; returns the name to ask for it by."""
        from peft import PeftModel

        name = candidates.adapter_digest(adapter).removeprefix("sha256:")[:16]
        if name in self.names:
            return name
        if not self.names:
            self.model = PeftModel.from_pretrained(self.model, str(adapter), adapter_name=name)
        else:
            self.model.load_adapter(str(adapter), adapter_name=name)
        self.model.eval()
        self.names[name] = str(adapter)
        return name

    def answer(
        self,
        prompts: Sequence[Sequence[Message]],
        adapter: str | None = None,
        decoding: Decoding | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[str]:
        """One answer a prompt from the named adapter, or from the bare base."""
        with self.using(adapter):
            return answers(self.model, self.tokenizer, prompts, decoding, progress=progress)

    def logps(
        self, rows: Sequence[Sequence[Message]], adapter: str | None = None, batch: int = 64
    ) -> list[float]:
        """Log-probability, in nats, of each conversation's last answer, its end with it."""
        out: list[float] = []
        with self.using(adapter):
            for start in range(0, len(rows), batch):
                out += answer_logps(self.model, self.tokenizer, rows[start : start + batch])
        return out

    def using(self, adapter: str | None) -> Any:
        """The model as the adapter makes it, within a `with`."""
        if adapter is not None:
            self.model.set_adapter(adapter, inference_mode=True)
            return nullcontext()
        return self.model.disable_adapter() if self.names else nullcontext()


_ENGINES: dict[tuple[str, str], Engine] = {}


def engine_for(
    ws: Workspace, candidate: Candidate, dtype: str = "auto"
) -> tuple[Engine, str | None]:
    """The process's engine for a candidate's base, and the adapter's name in it.

    One base is kept at a time: a second one replaces the first, so memory holds one model."""
    base, adapter = candidates.verify(ws, candidate)
    key = (candidate.base_digest, dtype)
    if key not in _ENGINES:
        _ENGINES.clear()
        _ENGINES[key] = Engine(base, dtype)
    engine = _ENGINES[key]
    return engine, None if adapter is None else engine.add(adapter)
