"""Many LoRA adapters on one base, and each row of a batch by the adapter that it names.

    adapters = Adapters(model)
    adapters.load("a-1", folder)
    with adapters.rows(["a-1", "", "a-2"]):   # "" is the bare base
        model(input_ids=…)

peft's own mixed batch picks out the rows of each adapter, in every layer, and puts them back: with
two adapters that is twice the small operations, which is where the time of a step goes. Here all
adapters of a layer lie side by side as one wide pair of matrices, and what a row is not to see is
zeroed between the two: the same cost whatever the rows are. Hu et al. 2021, arXiv 2106.09685.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers.pytorch_utils import Conv1D

from errata.errors import BadInput

PREFIX = "base_model.model."


class Pair(NamedTuple):
    """What an adapter adds to one layer: x → x Aᵀ Bᵀ; the scaling is in `up` already."""

    down: torch.Tensor  # (rank, in)
    up: torch.Tensor  # (out, rank)


class Bank(NamedTuple):
    """The pairs of all adapters on a layer: `closed` says of each adapter (the base is the last)
    which columns its rows do not see."""

    down: torch.Tensor  # (ranks, in)
    up: torch.Tensor  # (out, ranks)
    closed: torch.Tensor  # (adapters + 1, ranks)


class Adapters:
    """The adapters that a model has now; whoever runs the model owns this too."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.pairs: dict[str, dict[str, Pair]] = {}
        self._hooks: list[Any] = []
        self._rows: torch.Tensor | None = None  # per row, the place of its adapter in `closed`

    def load(self, name: str, folder: Path) -> None:
        """Put an adapter beside the others; BadInput when it does not fit this base, and then
        nothing has changed."""
        self.pairs[name] = read(self.model, folder)
        self._hang()

    def unload(self, name: str) -> None:
        """Take it away again."""
        del self.pairs[name]
        self._hang()

    @contextmanager
    def rows(self, names: Sequence[str]) -> Iterator[None]:
        """Within it, row i of the model's input is answered by the adapter `names[i]`."""
        place = {name: number for number, name in enumerate(self.pairs)}
        if any(names):
            wanted = [place[name] if name else len(place) for name in names]
            self._rows = torch.tensor(wanted, device=next(self.model.parameters()).device)
        try:
            yield
        finally:
            self._rows = None

    def _hang(self) -> None:
        """A bank on every layer that some adapter changes."""
        for hook in self._hooks:
            hook.remove()
        layers = sorted({layer for pairs in self.pairs.values() for layer in pairs})
        self._hooks = [self._hook(layer) for layer in layers]

    def _hook(self, layer: str) -> Any:
        bank = _bank([pairs.get(layer) for pairs in self.pairs.values()])

        def add(_: Any, inputs: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
            if self._rows is None:
                return out
            low = inputs[0].to(bank.down.dtype) @ bank.down.T
            # Some models flatten rows and positions into one; the rows come first all the same.
            seen = low.view(len(self._rows), -1, low.shape[-1])
            seen = seen.masked_fill(bank.closed[self._rows][:, None], 0)
            return out + (seen.view(low.shape) @ bank.up.T).to(out.dtype)

        return self.model.get_submodule(layer).register_forward_hook(add)


def _bank(pairs: Sequence[Pair | None]) -> Bank:
    """Side by side, in the order of the adapters."""
    there = [pair for pair in pairs if pair is not None]
    ranks = [0 if pair is None else len(pair.down) for pair in pairs]
    closed = torch.ones(len(pairs) + 1, sum(ranks), dtype=torch.bool)
    for number, rank in enumerate(ranks):
        closed[number, sum(ranks[:number]) : sum(ranks[:number]) + rank] = False
    down = torch.cat([pair.down for pair in there])
    return Bank(down, torch.cat([pair.up for pair in there], 1), closed.to(down.device))


def read(model: Any, folder: Path) -> dict[str, Pair]:
    """A saved adapter, by the layer that it changes. BadInput for one of another base, and for one
    that is more than LoRA (DoRA, whole modules, biases): that has to be merged to be served."""
    from peft import LoraConfig, PeftConfig
    from peft.utils.save_and_load import load_peft_weights

    where = f"adapter {folder}"
    try:
        config: Any = PeftConfig.from_pretrained(str(folder))
        saved = load_peft_weights(str(folder), device="cpu")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{where}: cannot be read: {reason}; copy it again from its run") from None
    if not isinstance(config, LoraConfig):
        raise BadInput(f"{where}: is {config.peft_type}, not LoRA; merge it into its base")
    found: dict[str, Pair] = {}
    for key in sorted(key for key in saved if ".lora_A." in key):
        layer = key.removeprefix(PREFIX).partition(".lora_A.")[0]
        other = key.replace(".lora_A.", ".lora_B.")
        pair = Pair(saved.pop(key), saved.pop(other, torch.zeros(0, 0)))
        found[layer] = _fitted(model, layer, pair, _scaling(config, layer, len(pair.down)), where)
    if saved or not found:
        odd = min(saved, default="nothing at all")
        raise BadInput(f"{where}: holds {odd}, more than LoRA pairs; merge it into its base")
    return found


def _scaling(config: Any, layer: str, rank: int) -> float:
    """By how much peft multiplies what an adapter adds to a layer."""
    from peft.utils.other import get_pattern_key

    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern, layer))
    divisor = rank**0.5 if config.use_rslora else rank
    return float((config.lora_alpha if alpha is None else alpha) / divisor)


def _fitted(model: Any, layer: str, pair: Pair, scaling: float, where: str) -> Pair:
    """The pair where and as the layer computes; BadInput when the layer is not there or another."""
    advice = "give an adapter that was trained on this base"
    try:
        part = model.get_submodule(layer)
    except AttributeError:
        raise BadInput(f"{where}: made on another base (no layer {layer}); {advice}") from None
    if type(part) not in (torch.nn.Linear, Conv1D) or ".experts." in layer:
        raise BadInput(f"{where}: {layer} is no plain linear layer; merge it into its base")
    shape = tuple(part.weight.shape) if isinstance(part, Conv1D) else tuple(part.weight.shape[::-1])
    mine = (pair.down.shape[-1], len(pair.up))
    if mine != shape or pair.up.shape[-1] != len(pair.down):
        raise BadInput(f"{where}: made on another base ({layer} is {mine}, not {shape}); {advice}")
    if not all(bool(torch.isfinite(matrix).all()) for matrix in pair):
        raise BadInput(f"{where}: {layer} holds numbers that are none; its training diverged")
    return Pair(pair.down.to(part.weight), (pair.up.float() * scaling).to(part.weight))
