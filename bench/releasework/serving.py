"""Tokens a second of the batcher against one request after another, and what adapters cost in it.

Sixteen users ask the business suite's questions of the embedded model, each the next one when the
last is answered; every answer has 48 tokens, as benchmarks of servers have it. `short_` are the
same with the answers as long as the model likes, 13 tokens after a prompt of 55: reading prompts is
half of that work then, and no batch makes it less. One after another is transformers' own
`generate`, greedy as well, on the same prompts and threads; `alone` is this project's own loop on
one row, which costs less around a step.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from dataset.report import Run

from errata.candidates import TINY
from errata.evaluate.generate import Decoding, cache_name, end_token_ids, generate_batch
from errata.serve.batch import Batch, Draw
from errata.serve.batching import Ask, Batcher
from errata.tiny import suites
from errata.train.model import add_lora, load, save_adapter
from errata.train.turns import render

USERS, REQUESTS, LONGEST, STEPS = 16, 320, 48, 60
NEVER = 2**31 - 1  # no token


def _prompts(tokenizer: Any, count: int) -> list[list[int]]:
    asked = [case.messages for case in suites.business()]
    step = len(asked) // count
    return [render(tokenizer, messages, answer_next=True) for messages in asked[::step][:count]]


def _timed(work: Callable[[], int]) -> tuple[float, float, float]:
    """Tokens a second, wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return tokens / wall, wall, cpu


def _generated(model: Any, prompts: list[list[int]], ends: set[int]) -> int:
    """By transformers; without end tokens an answer is as long as it may be."""
    from transformers import GenerationConfig

    how = GenerationConfig(
        max_new_tokens=LONGEST, do_sample=False, eos_token_id=sorted(ends) or [NEVER],
        pad_token_id=0,
    )  # fmt: skip
    tokens = 0
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=how)
        tokens += out.shape[1] - ids.shape[1]
    return tokens


def _served(batcher: Batcher, prompts: list[list[int]]) -> int:
    """All prompts by so many users, none of whom waits before the next question."""

    def ask(prompt: list[int]) -> int:
        over = threading.Event()
        row = batcher.submit(Ask(prompt, LONGEST), lambda _, finish: finish and over.set())
        over.wait()
        return len(row.said)

    with ThreadPoolExecutor(USERS) as users:
        return sum(users.map(ask, prompts))


def speedup(repeats: int) -> list[Run]:
    """Tokens a second of the batcher, as a multiple of `generate` one request after another."""
    model, tokenizer = load(str(TINY))
    model.eval()
    prompts = _prompts(tokenizer, REQUESTS)
    batcher = Batcher(model, tokenizer, USERS, USERS)
    natural = end_token_ids(model, tokenizer)
    runs: list[Run] = []
    try:
        _served(batcher, prompts[:USERS])
        for _ in range(repeats):
            found: Run = {"threads": torch.get_num_threads()}
            for name, ends in (("short_", natural), ("", set[int]())):
                batcher.ends, few = ends, prompts[:: 4 if ends else 10]
                single, _, _ = _timed(partial(_generated, model, few, ends))
                alone, _, _ = _timed(partial(_alone, model, few, ends))
                served, wall, cpu = _timed(
                    partial(_served, batcher, prompts if ends else prompts[::2])
                )
                found |= {
                    f"{name}value": served / single, f"{name}tokens_per_s": round(served),
                    f"{name}generate_tokens_per_s": round(single),
                    f"{name}alone_tokens_per_s": round(alone),
                }  # fmt: skip
            runs.append({**found, "wall_seconds": wall, "cpu_seconds": cpu})
    finally:
        batcher.stop()
    return runs


def _alone(model: Any, prompts: list[list[int]], ends: set[int]) -> int:
    how = Decoding(LONGEST)
    return sum(len(generate_batch(model, [one], how, ends, 0)[0]) for one in prompts)


def _adapters(folder: Path) -> list[Path]:
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = add_lora(load(str(TINY))[0], 16, 32.0, 0.0)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(0, 0.01)
        made.append(folder / str(seed))
        save_adapter(model, made[-1])
    return made


def _stepper(names: list[str], folders: dict[str, Path],
             prompts: list[list[int]]) -> Callable[[], object]:  # fmt: skip
    """A step of rows that have these adapters, again and again."""
    batch = Batch(load(str(TINY))[0], 0, USERS)
    for name, folder in folders.items():
        batch.adapters.load(name, folder)
    how = [Draw() for _ in prompts]
    batch.join(prompts, names, how)
    return lambda: batch.step(how)


def _peft_stepper(names: list[str], folders: dict[str, Path],
                  prompts: list[list[int]]) -> Callable[[], object]:  # fmt: skip
    """The same by peft's own mixed batch, every prompt cut to one length."""
    from peft import PeftModel
    from transformers import DynamicCache

    (first, folder), *others = folders.items()
    model = PeftModel.from_pretrained(load(str(TINY))[0], str(folder), adapter_name=first).eval()
    for name, other in others:
        model.load_adapter(str(other), adapter_name=name)
    width = min(map(len, prompts))
    named = cache_name(model)
    state: dict[str, Any] = {"ids": torch.tensor([one[:width] for one in prompts])}
    cache = DynamicCache()

    @torch.inference_mode()
    def step() -> None:
        out = model(input_ids=state["ids"], adapter_names=names, use_cache=True, logits_to_keep=1,
                    **{named: cache})  # fmt: skip
        state["ids"] = out.logits[:, -1:].argmax(-1)

    step()
    return step


def two_adapters(repeats: int) -> list[Run]:
    """A step whose rows have two adapters in turn, as a share of one whose rows all have one.
    All are stepped in turn, so that what else the machine does is everybody's."""
    prompts = _prompts(load(str(TINY))[1], USERS)
    all_a, mixed = ["a"] * USERS, ["a", "b"] * (USERS // 2)
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as made:
        two = dict(zip(("a", "b"), _adapters(Path(made)), strict=True))
        one = {"a": two["a"]}
        for _ in range(repeats):
            wall, cpu = time.perf_counter(), time.process_time()
            steppers = {
                "base_ms": _stepper([""] * USERS, {}, prompts),
                "one_ms": _stepper(all_a, one, prompts), "two_ms": _stepper(mixed, two, prompts),
                "peft_one_ms": _peft_stepper(all_a, one, prompts),
                "peft_two_ms": _peft_stepper(mixed, two, prompts),
            }  # fmt: skip
            took: dict[str, list[float]] = {name: [] for name in steppers}
            for _ in range(STEPS):
                for name, step in steppers.items():
                    began = time.perf_counter()
                    step()
                    took[name].append(1000 * (time.perf_counter() - began))
            found = {name: round(statistics.median(each), 3) for name, each in took.items()}
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            value = found["two_ms"] / found["one_ms"]
            runs.append({"value": value, "wall_seconds": wall, "cpu_seconds": cpu, **found})
    return runs
