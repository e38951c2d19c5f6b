"""Make the embedded model again: `python -m errata.tiny.pretrain --out DIR`.

A Llama of 2 M parameters, trained on `corpus.py` for an hour or so of two CPU cores: Muon for the
matrices (it reaches the copying phase in about half of AdamW's tokens), AdamW for the rest, bf16
products, a warm-up, a long constant rate and a linear end. It resumes from `DIR/checkpoint.pt`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from errata.tiny import corpus, tokenizer
from errata.tiny.scenes import Turn

SHAPE = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "intermediate_size": 512,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}
VOCABULARY = 2048
CONTEXT_SHARE, CONTEXT_WEIGHT = 0.25, 0.3  # of context tokens scored, and how much each counts


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
    tok: PreTrainedTokenizerFast, rng: Random, rows: int, difficulty: float, count: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """`count` batches of similar lengths: ids (B, T) padded right, weights (B, T) of each target."""
    drawn = [encode(tok, corpus.draw(rng, difficulty)) for _ in range(rows * count)]
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
            context = (torch.rand(len(row_ids)) < CONTEXT_SHARE).float() * CONTEXT_WEIGHT
            weights[row, : len(row_ids)] = torch.where(said > 0, said, context)
        yield ids, weights


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy over the chosen positions only: the head never sees the others."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        chosen = weights[:, 1:] > 0
        logits = model.lm_head(hidden[chosen])
    losses = torch.nn.functional.cross_entropy(
        logits.float(), ids[:, 1:][chosen], reduction="none"
    )
    weight = weights[:, 1:][chosen]
    return (losses * weight).sum() / weight.sum()


def optimizers(model: LlamaForCausalLM, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "embed" not in n)]
    return [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=lr / 8, weight_decay=0.0, betas=(0.9, 0.95)),
    ]


def rate(step: int, steps: int) -> float:
    """Warm-up over 100 steps, constant, then linear to zero over the last third."""
    return min(1.0, (step + 1) / 100, (steps - step) / (steps * 0.35))


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


def main() -> None:
    """Train, or go on training, and leave a checkpoint that transformers loads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    sample = Random(args.seed)
    tok = tokenizer.train((render(corpus.draw(sample, 1.0)) for _ in range(40000)), VOCABULARY)
    model = new_model(tok)
    opts = optimizers(model, args.lr)
    step, tokens, seconds = 0, 0, 0.0
    checkpoint = args.out / "checkpoint.pt"
    args.out.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for opt, saved in zip(opts, state["optimizers"], strict=True):
            opt.load_state_dict(saved)
        step, tokens, seconds = state["step"], state["tokens"], state["seconds"]
    chunk = 50
    while step < args.steps:
        began = time.perf_counter()
        rng = Random(f"{args.seed}/{step}")
        torch.manual_seed(args.seed + step)
        losses = []
        for ids, weights in batches(tok, rng, args.rows, min(1.0, step / 1500), chunk):
            for opt in opts:
                base = args.lr if isinstance(opt, torch.optim.Muon) else args.lr / 8
                opt.param_groups[0]["lr"] = base * rate(step, args.steps)
            loss = loss_of(model, ids, weights)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for opt in opts:
                opt.step()
                opt.zero_grad()
            losses.append(loss.item())
            step, tokens = step + 1, tokens + ids.numel()
        seconds += time.perf_counter() - began
        speed = tokens / seconds
        print(f"step {step} tokens {tokens / 1e6:.2f}M loss {sum(losses) / len(losses):.4f} {speed:.0f} tok/s", flush=True)
        if step % 250 == 0:
            state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in opts],
                     "step": step, "tokens": tokens, "seconds": seconds}  # fmt: skip
            torch.save(state, checkpoint.with_suffix(".new"))
            os.replace(checkpoint.with_suffix(".new"), checkpoint)
            save(model, tok, args.out)
    save(model, tok, args.out)


if __name__ == "__main__":
    main()
