"""A `Trainer` whose step is a set of examples; how it is cut into micro batches changes nothing.

The loss is normalised by the whole step (its tokens, or its pairs, over all processes), so the
micro batches are free: they are cut by tokens, longest first, and halved when memory runs out, with
the same gradient. Validation is exact for the same reason: sums over all rows, then one division.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor
from transformers import Trainer

from errata.errors import ErrataError
from errata.train.job import arguments
from errata.train.logprobs import Scored, Scorer
from errata.train.packing import Batch, Tree, cut
from errata.train.settings import Training

# Products of 1,024 rows run at full speed on a CPU; more only cost memory. A GPU wants more rows.
TOKENS_AT_ONCE = {"cpu": 1024, "cuda": 16384}


class Example(NamedTuple):
    """A row of training data: its id, its tokens, and what a loss needs besides (reference)."""

    id: str
    tree: Tree
    reference: tuple[float, ...] = ()


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


class StepTrainer(Trainer):
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
        self.rows_at_once = config.micro_batch
        self.tokens_at_once = config.micro_tokens or TOKENS_AT_ONCE.get(scorer.device.type, 0)
        self.halved = 0
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

    def sums(self, scored: Scored, batch: Batch, examples: list[Example], total: float) -> Sums:
        """Loss summed over the examples, and measurements. `total` is the step's `amount`."""
        raise NotImplementedError

    def parts(self, examples: list[Example], times: int = 1) -> list[list[Example]]:
        """Micro batches, longest first."""
        limits = (self.rows_at_once * times, self.tokens_at_once * times)
        return cut(examples, lambda example: example.tree.tokens, *limits)

    def training_step(
        self, model: Any, inputs: Any, num_items_in_batch: Any = None
    ) -> Tensor:  # the Trainer's signature
        """Backward through all micro batches of a step; its loss, ready to be averaged."""
        model.train()
        self.step_ids = [example.id for example in inputs.examples]
        self.state.num_input_tokens_seen += sum(example.tree.tokens for example in inputs.examples)
        total = self._over_processes(self.amount(inputs.examples))
        while True:
            try:
                return self._backward(model, inputs.examples, total)
            except RuntimeError as error:
                self._halve(error)
                model.zero_grad(set_to_none=True)

    def _backward(self, model: Any, examples: list[Example], total: float) -> Tensor:
        parts = self.parts(examples)
        scale = self.accelerator.num_processes / total  # DDP takes the mean of the processes
        loss = torch.zeros((), device=self.args.device)
        measured: dict[str, list[Tensor]] = {}
        for index, part in enumerate(parts, 1):
            last = index == len(parts)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                scored, batch = self.scorer([example.tree for example in part], model)
                found = self.sums(scored, batch, part, total)
                self.accelerator.backward(found.loss * scale)
            loss += found.loss.detach() * scale
            for name, values in found.measured.items():
                measured.setdefault(name, []).append(values)
        for name, several in measured.items():
            self._measured.setdefault(name, []).extend(several)
        return loss

    def _halve(self, error: RuntimeError) -> None:
        """Out of memory: half as much at once, twice as often. Anything else goes on its way."""
        alone = self.rows_at_once == 1
        if not should_reduce_batch_size(error) or self.accelerator.num_processes > 1:
            raise error
        if alone:
            raise ErrataError(
                "out of memory with one row at once; lower seq_len, or use method=qlora"
            ) from None
        largest = max(1, self.rows_at_once // 2)
        self.rows_at_once, self.tokens_at_once = largest, self.tokens_at_once // 2
        self.halved += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _over_processes(self, amount: int) -> float:
        if self.accelerator.num_processes == 1:
            return float(amount)
        counted = torch.tensor([float(amount)], device=self.args.device)
        return float(self.accelerator.reduce(counted, "sum"))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The Trainer's numbers, and the means of what was measured since the last line."""
        if "loss" in logs:
            for name, values in self._measured.items():
                logs[name] = float(torch.cat(values).mean())
            self._measured = {}
        super().log(logs, start_time)

    @torch.no_grad()
    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss and measurements over all validation examples, each counted once."""
        examples: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        model: Any = self.model_wrapped if sharded else self.model
        was_training = model.training
        model.eval()
        total, loss = self.amount(examples), 0.0
        measured: dict[str, list[Tensor]] = {}
        for part in self.parts(examples, times=2):
            scored, batch = self.scorer([example.tree for example in part], model)
            found = self.sums(scored, batch, part, total)
            loss += float(found.loss)
            for name, values in found.measured.items():
                measured.setdefault(name, []).append(values)
        model.train(was_training)
        metrics = {f"{metric_key_prefix}_loss": loss / total}
        for name, several in measured.items():
            metrics[f"{metric_key_prefix}_{name}"] = float(torch.cat(several).mean())
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics
