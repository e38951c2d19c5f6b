"""Make the embedded model again: `python -m errata.tiny.pretrain --out DIR`.

A Llama of 2 M parameters, trained on `corpus.py` for an hour or so of two CPU cores: Muon for the
matrices (it reaches the copying phase in about half of AdamW's tokens), AdamW for the rest, bf16
products, a warm-up, a long constant rate and a linear end. It resumes from `DIR/checkpoint.pt`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from errata.tiny import corpus, tokenizer
from errata.tiny.scenes import Turn
from errata.train.model import load_tokenizer

SHAPE: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "intermediate_size": 512,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}
VOCABULARY = 2048


class Leg(NamedTuple):
    """A part of the training, up to a step."""

    until: int
    rows: int
    lr: float  # Muon's; AdamW's is an eighth
    context_share: float  # of context tokens scored
    context_weight: float  # and how much each counts, an answer's token counting 1
    shares: dict[str, float]


# What was really done. At 0.02 the loss stood still from step 800 on (0.35); at 0.007 it fell to
# 0.27 within 500 steps. More and smaller steps, and more catalogue questions, brought the copying.
LEGS = (
    Leg(2000, 48, 0.02, 0.25, 0.3, corpus.BROAD),
    Leg(3250, 48, 0.007, 0.25, 0.3, corpus.BROAD),
    Leg(6500, 24, 0.004, 0.15, 0.2, corpus.CATALOGUE),
    Leg(7000, 24, 0.004, 0.0, 0.0, corpus.RECITE),
    Leg(7500, 24, 0.0015, 0.0, 0.0, corpus.RECITE),
    Leg(11000, 24, 0.004, 0.1, 0.2, corpus.CATALOGUE),
)
DECAY = 0.8  # of the last leg, linear to zero


def render(turns: list[Turn]) -> str:
    """The chat template's text of whole turns, without the beginning of the row."""
    return "".join(f"<|{role}|>{text}<|end|>" for role, text in turns)


def encode(tok: PreTrainedTokenizerFast, turns: list[Turn]) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation, and which of them the assistant spoke (its `<|end|>` too)."""
    ids, spoken = [tok.bos_token_id], [False]
    for role, text in turns:
        head, *rest = tok(f"<|{role}|>{text}<|end|>", add_special_tokens=False)["input_ids"]
        ids += [head, *rest]
        spoken += [False] + [role == "assistant"] * len(rest)
    return ids, spoken


def batches(
    tok: PreTrainedTokenizerFast, rng: Random, leg: Leg, difficulty: float, count: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """`count` batches of similar lengths: ids (B, T) padded right, weights (B, T) of targets."""
    rows = leg.rows
    drawn = [encode(tok, corpus.draw(rng, difficulty, leg.shares)) for _ in range(rows * count)]
    drawn.sort(key=lambda row: len(row[0]))
    groups = [drawn[i : i + rows] for i in range(0, len(drawn), rows)]
    rng.shuffle(groups)
    for group in groups:
        width = max(len(ids) for ids, _ in group)
        ids = torch.full((rows, width), tok.pad_token_id)
        weights = torch.zeros(rows, width)
        for row, (row_ids, spoken) in enumerate(group):
            ids[row, : len(row_ids)] = torch.tensor(row_ids)
            said = torch.tensor(spoken, dtype=torch.float)
            context = (torch.rand(len(row_ids)) < leg.context_share).float() * leg.context_weight
            weights[row, : len(row_ids)] = torch.where(said > 0, said, context)
        yield ids, weights


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy over the chosen positions only: the head never sees the others."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        chosen = weights[:, 1:] > 0
        logits = model.lm_head(hidden[chosen])
    losses = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][chosen], reduction="none")
    weight = weights[:, 1:][chosen]
    return (losses * weight).sum() / weight.sum()


def optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "embed" not in n)]
    return [
        torch.optim.Muon(matrices, weight_decay=0.01),
        torch.optim.AdamW(rest, weight_decay=0.0, betas=(0.9, 0.95)),
    ]


def leg_at(step: int) -> Leg:
    """The leg that a step belongs to."""
    return next(leg for leg in LEGS if step < leg.until)


def rate(step: int) -> float:
    """Muon's learning rate: warm-up over 100 steps, each leg's own, the last one linear to zero."""
    begin, end = LEGS[-2].until, LEGS[-1].until
    left = (end - step) / ((end - begin) * DECAY)
    return leg_at(step).lr * min(1.0, (step + 1) / 100, left)


def save(model: LlamaForCausalLM, tok: PreTrainedTokenizerFast, out: Path) -> None:
    """A plain checkpoint for `from_pretrained`; float16 on disk (4.3 MB), read as float32."""
    half = LlamaForCausalLM(model.config).half()
    half.load_state_dict({k: v.half() for k, v in model.state_dict().items()})
    half.config.dtype = torch.float32
    half.generation_config.pad_token_id = tok.pad_token_id
    half.save_pretrained(out)
    tok.save_pretrained(out)


def new_model(tok: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Random weights of the embedded shape."""
    config = LlamaConfig(
        vocab_size=len(tok),
        pad_token_id=tok.pad_token_id,
        bos_token_id=tok.bos_token_id,
        eos_token_id=tok.eos_token_id,
        **SHAPE,
    )
    return LlamaForCausalLM(config)


class Training:
    """Model, optimisers and where the training stands."""

    def __init__(self, out: Path, seed: int) -> None:
        torch.manual_seed(seed)
        self.out, self.seed = out, seed
        sample = Random(seed)
        texts = (render(corpus.draw(sample, 1.0, corpus.BROAD)) for _ in range(40000))
        known = (out / "tokenizer.json").exists()
        self.tok = load_tokenizer(str(out)) if known else tokenizer.train(texts, VOCABULARY)
        self.model = new_model(self.tok)
        self.opts = optimizers(self.model)
        self.step, self.tokens, self.seconds = 0, 0, 0.0

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, weights_only=True)  # noqa: TID251 (no code in it)
        self.model.load_state_dict(state["model"])
        for opt, saved in zip(self.opts, state["optimizers"], strict=True):
            opt.load_state_dict(saved)
        self.step, self.tokens = state["step"], state["tokens"]
        self.seconds = state["seconds"]

    def checkpoint(self) -> None:
        """Everything needed to go on, and the model as it is now."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [opt.state_dict() for opt in self.opts],
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }
        torch.save(state, self.out / "checkpoint.new")
        (self.out / "checkpoint.new").replace(self.out / "checkpoint.pt")
        save(self.model, self.tok, self.out)

    def chunk(self, count: int) -> float:
        """`count` steps; the mean loss."""
        began = time.perf_counter()
        rng = Random(f"{self.seed}/{self.step}")
        torch.manual_seed(self.seed + self.step)
        losses = []
        difficulty = min(1.0, self.step / 1500)
        for ids, weights in batches(self.tok, rng, leg_at(self.step), difficulty, count):
            for opt in self.opts:
                share = 1 if isinstance(opt, torch.optim.Muon) else 1 / 8
                opt.param_groups[0]["lr"] = rate(self.step) * share
            loss = loss_of(self.model, ids, weights)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for opt in self.opts:
                opt.step()
                opt.zero_grad()
            losses.append(loss.item())
            self.step, self.tokens = self.step + 1, self.tokens + ids.numel()
        self.seconds += time.perf_counter() - began
        return sum(losses) / len(losses)


def main() -> None:
    """Train, or go on training, and leave a checkpoint that transformers loads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder, outside git")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    training = Training(args.out, args.seed)
    training.resume()
    while training.step < LEGS[-1].until:
        loss = training.chunk(50)
        speed = training.tokens / training.seconds
        line = f"step {training.step} tokens {training.tokens / 1e6:.2f} M loss {loss:.4f}"
        print(f"{line} {speed:.0f} tokens/s", flush=True)  # noqa: T201
        if training.step % 250 == 0:
            training.checkpoint()
    training.checkpoint()


if __name__ == "__main__":
    main()
