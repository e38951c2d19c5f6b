"""`make bench-train`: the training engine against TRL, whole trainers, equal settings.

    .venv/bin/python bench/train.py [--only NAME] [--repeats 3] [--threads 2] [--quick]

Our side is the product itself (`errata dpo …`); TRL's is training/trl_side.py, as its documentation
sets it up. Results are written to bench/results/train.{json,md}; a missed bar is exit 1.
How it is measured: docs/training.md.
"""

from __future__ import annotations

import sys

from training.arena import main
from training.duel import Duel

BF16, FP32 = "bfloat16", "float32"

DUELS = (
    Duel("dpo", "DPO, prompts 120–270, answers 30–110", "dpo", "61m", "prompt-heavy", steps=6,
         faster=3.5, memory=0.40),
    Duel("dpo-precomputed", "the same, both references precomputed", "dpo", "61m", "prompt-heavy",
         steps=6, faster=3.0, trl={"precompute": True}),
    Duel("dpo-bf16", "the same, both sides in bf16", "dpo", "61m", "prompt-heavy", steps=6,
         faster=3.0, dtype=(BF16, BF16)),
    Duel("dpo-bf16-fp32", "UNEQUAL settings: ours in bf16, TRL in fp32", "dpo", "61m",
         "prompt-heavy", steps=6, faster=4.5, dtype=(BF16, FP32)),
    Duel("dpo-answers", "DPO, prompts 20–40, answers 100–200", "dpo", "61m", "answer-heavy",
         steps=6, faster=2.0),
    Duel("sft-small", "SFT packed, 35 % labelled, hidden 256, V 8 k", "sft", "small", "packed",
         steps=8, batch=8, faster=3.0),
    Duel("sft", "SFT packed, 35 % labelled, 61 M parameters, V 32 k", "sft", "61m", "packed",
         steps=4, batch=8, faster=2.5, memory=0.65),
    Duel("ppo", "PPO at 2 M, 128 episodes, four TRL models", "ppo", "2m", "prompts", steps=4,
         batch=32, faster=3.0, memory=0.40, above_imports=True),
    Duel("ppo-lora", "the same, TRL's policy with LoRA, its own reference", "ppo", "2m", "prompts",
         steps=4, batch=32, faster=3.0, memory=0.40, above_imports=True, trl={"lora": True}),
    Duel("ppo-61m", "PPO at 61 M, 32 episodes", "ppo", "61m", "prompts", steps=2, batch=16,
         faster=3.0, memory=0.40),
    Duel("ppo-kl", "our KL against its target, embedded model", "ppo", "embedded", "failures",
         steps=120, batch=64, kl_within=0.25, settings={"lr": 5e-4, "max_new_tokens": 48},
         ours={"target_kl": 3.0, "micro_batch": 16}),
    Duel("rm", "reward model, prompts 120–270, answers 30–110", "rm", "61m", "prompt-heavy",
         steps=6, faster=1.7),
    Duel("logps", "log-probabilities of 200 pairs, embedded model", "dpo", "embedded", "desk",
         steps=50, agree=1e-3, compare="logps", trl={"precompute": True, "logps": True},
         ours={"max_steps": 2}),
    Duel("curve", "DPO's loss over 50 steps, embedded model", "dpo", "embedded", "desk", steps=50,
         agree=1e-3),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(DUELS, "train", "The training engine against TRL"))
