"""`make bench-gpu`: the duels of train.py on a GPU, in bf16 and at a size that fills it.

Where torch sees no GPU it says so in one line and exits 0. Results: bench/results/gpu.{json,md}.
The clock is wall time, and the CPU's bars are not asked of a GPU: the ratios are only told.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

from training.arena import main

from train import BF16, DUELS

# Name → what grows. Half of the CPU table's rows are about CPU precision and have no twin here.
GPU = {
    "dpo": {"steps": 20, "batch": 8},
    "dpo-precomputed": {"steps": 20, "batch": 8},
    "dpo-answers": {"steps": 20, "batch": 8},
    "sft": {"steps": 12, "batch": 16},
    "rm": {"steps": 20, "batch": 8},
    "ppo-61m": {"steps": 4, "batch": 32},
}
UNJUDGED = {"clock": "wall_seconds", "faster": None, "memory": None}
DUELS_ON_GPU = tuple(
    replace(duel, **GPU[duel.name], model="1b", dtype=(BF16, BF16), **UNJUDGED)
    for duel in DUELS
    if duel.name in GPU
)

if __name__ == "__main__":
    # Asked of a child: torch, once imported here, would be in every child's peak memory.
    ask = "import torch, sys; sys.exit(not torch.cuda.is_available())"
    if subprocess.run([sys.executable, "-c", ask]).returncode:
        print("bench-gpu: no GPU that torch can use; nothing was measured")
        sys.exit(0)
    sys.exit(main(DUELS_ON_GPU, "gpu", "The training engine against TRL, on a GPU"))
