"""A `Trainer` whose step is a set of examples; how it is cut into micro batches changes nothing.

The loss is normalised by the whole step (its tokens, or its pairs, over all processes), so the
micro batches are free: they are cut by tokens, longest first, and halved when memory runs out, with
the same gradient. Validation is exact for the same reason: sums over all rows, then one division.

Every process draws all rows of a step and computes its share of them. Gradients are added up once,
after the last micro batch, by `_share_gradients` and not by DDP: until then nothing waits for
another process, so that shares, micro batches and repetitions may differ. Where the weights are in
shards every forward is everyone's: there all processes take the same number of micro batches.
"""

from __future__ import annotations

import contextlib
import itertools
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, cast

import torch
from accelerate.data_loader import BatchSamplerShard
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer

from errata.train.job import arguments
from errata.train.logprobs import Scored, Scorer
from errata.train.packing import Batch, Limits, Tree, cut, in_parts
from errata.train.processes import sharded
from errata.train.settings import Panel, Training

# Products of 1,024 rows run at full speed on a CPU; more only cost memory. A GPU wants more rows.
TOKENS_AT_ONCE = {"cpu": 1024, "cuda": 16384}


class Example(NamedTuple):
    """A row of training data: its id, its tokens, and what a loss needs besides (reference)."""

    id: str
    tree: Tree
    reference: tuple[float, ...] = ()


def _tokens(example: Example) -> int:
    return example.tree.tokens


def autocast(config: Panel, device: torch.device) -> torch.autocast:
    """What accelerate puts around the model's forward in training, for what comes before it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.mixed)


def tokens_at_once(config: Panel, device: torch.device) -> int:
    """The panel's budget, or what suits the device."""
    return config.micro_tokens or TOKENS_AT_ONCE.get(device.type, 0)


class Step:
    """The examples of one optimiser step; opaque, so that nobody walks its token lists."""

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples

    def __contains__(self, name: str) -> bool:
        """The Trainer looks for tensors by name; there are none."""
        return False


class Sums(NamedTuple):
    """What a micro batch adds: loss before division, and measurements by name, (n,) each."""

    loss: Tensor
    measured: dict[str, Tensor]


class StepTrainer(Trainer, ABC):
    """Subclasses say what an example weighs (`amount`) and what its loss is (`sums`)."""

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        scorer: Scorer,
        config: Training,
        folder: Any,
        train: list[Example],
        valid: list[Example],
    ) -> None:
        self.scorer, self.config = scorer, config
        self.tokens_at_once = tokens_at_once(config, scorer.device)
        self.limits = Limits(config.micro_batch, self.tokens_at_once)
        # Nothing is kept for backward: twice as much goes at once.
        self.eval_limits = Limits(2 * config.micro_batch, 2 * self.tokens_at_once)
        self.step_ids: list[str] = []
        self._measured: dict[str, list[Tensor]] = {}
        super().__init__(
            model=model,
            args=arguments(config, folder, bool(valid), label_names=[]),
            data_collator=Step,  # type: ignore[arg-type]  # not a dict: see Step
            train_dataset=train,
            eval_dataset=valid or None,
        )

    def amount(self, examples: list[Example]) -> int:
        """What the loss of a step is divided by: here pairs."""
        return len(examples)

    @abstractmethod
    def sums(self, scored: Scored, batch: Batch, examples: list[Example], total: float) -> Sums:
        """Loss summed over the examples, and measurements. `total` is the step's `amount`."""

    @property
    def halved(self) -> int:
        """How often memory ran out."""
        return self.limits.halved + self.eval_limits.halved

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Whole steps, in every process. Sharded by accelerate, the processes that get fewer rows
        of an epoch's last step get its first rows again."""
        rows = self.args.per_device_train_batch_size * self.accelerator.num_processes
        data, order = cast(Any, self.train_dataset), cast(Any, self._get_train_sampler)
        found: Any = self._get_dataloader(data, "Training", rows, order, is_training=True)
        if isinstance(shard := found.batch_sampler, BatchSamplerShard):
            shard.num_processes, shard.process_index, shard.even_batches = 1, 0, False
        return found  # type: ignore[no-any-return]

    def share(self, examples: list[Example], process: int) -> list[Example]:
        """What a process computes of a step: every n-th row by length, so that shares are alike."""
        longest_first = sorted(examples, key=_tokens, reverse=True)
        return longest_first[process :: self.accelerator.num_processes]

    def training_step(
        self, model: Any, inputs: Any, num_items_in_batch: Any = None
    ) -> Tensor:  # the Trainer's signature
        """Backward through this process's part of a step; its loss, ready to be averaged."""
        model.train()
        examples: list[Example] = inputs.examples
        self.step_ids = [example.id for example in examples]
        self.state.num_input_tokens_seen += sum(map(_tokens, examples))
        total, calls = self.amount(examples), self._calls(examples)
        # The Trainer, FSDP and ZeRO take the mean of the processes, so each has as many times more.
        scale, taken = self.accelerator.num_processes / total, itertools.count(1)

        def work(part: list[Example], weight: float = scale) -> Sums:
            waits = sharded() and next(taken) < calls
            with self.accelerator.no_sync(model) if waits else contextlib.nullcontext():
                self.accelerator.gradient_state._set_sync_gradients(not waits)  # ZeRO asks there
                trees = [example.tree for example in part]
                scored, batch = self.scorer(trees, model if sharded() else None)
                found = self.sums(scored, batch, part, total)
                self.accelerator.backward(found.loss * weight)
            return Sums(found.loss.detach() * weight, found.measured)

        def undo() -> None:
            model.zero_grad(set_to_none=True)

        mine = self.share(examples, self.accelerator.process_index)
        found = in_parts(mine, _tokens, self.limits, work, undo)
        while len(found) < calls:
            idle = work([min(examples, key=_tokens)], 0.0)
            found.append(Sums(idle.loss, {name: x[:0] for name, x in idle.measured.items()}))
        if self.accelerator.num_processes > 1 and not sharded():
            self._share_gradients()
        for one in found:
            for name, values in one.measured.items():
                self._measured.setdefault(name, []).append(values)
        return torch.stack([one.loss for one in found]).sum()

    def _calls(self, examples: list[Example]) -> int:
        """Forwards that this process takes at least: one, or with shards as many as the others."""
        if not sharded():
            return 1
        limits = (self.limits.rows, self.limits.tokens)
        shares = [self.share(examples, i) for i in range(self.accelerator.num_processes)]
        return max(len(cut(share, _tokens, *limits)) for share in shares)

    def _share_gradients(self) -> None:
        """The mean of the processes' gradients, in each of them."""
        held = [p.grad for p in self.scorer.model.parameters() if p.grad is not None]
        for dtype in sorted({grad.dtype for grad in held}, key=str):
            some = [grad for grad in held if grad.dtype == dtype]
            flat = torch.cat([grad.flatten() for grad in some])
            torch.distributed.all_reduce(flat)
            flat /= self.accelerator.num_processes
            for grad, mean in zip(some, flat.split([g.numel() for g in some]), strict=True):
                grad.copy_(mean.view_as(grad))

    def _mean(self, values: list[Tensor]) -> float:
        """Over all processes' values."""
        each = torch.cat(values).double()
        held = torch.stack([each.sum(), each.new_tensor(len(each))])
        if self.accelerator.num_processes > 1:
            torch.distributed.all_reduce(held)
        return float(held[0] / held[1])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The Trainer's numbers, and the means of what was measured since the last line."""
        if "loss" in logs:
            for name, values in sorted(self._measured.items()):
                logs[name] = self._mean(values)
            self._measured = {}
        super().log(logs, start_time)

    @torch.no_grad()
    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss and measurements over all validation examples, each counted once."""
        examples: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        was_training = self.scorer.model.training
        self.scorer.model.eval()
        total = self.amount(examples)

        def work(part: list[Example]) -> Sums:
            scored, batch = self.scorer([example.tree for example in part])
            return self.sums(scored, batch, part, total)

        found = in_parts(examples, _tokens, self.eval_limits, work)
        self.scorer.model.train(was_training)
        metrics = {f"{metric_key_prefix}_loss": sum(float(one.loss) for one in found) / total}
        for name in found[0].measured:
            values = torch.cat([one.measured[name] for one in found])
            metrics[f"{metric_key_prefix}_{name}"] = float(values.mean())
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics
