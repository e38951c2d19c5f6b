"""What a PPO run is told, and its learning rate over time."""

from __future__ import annotations

import math

from pydantic import Field

from errata.train.settings import Panel
from errata.train.versus import Versus


class Config(Panel, Versus):
    """The panel, and what is PPO's own. `epochs` counts passes over one rollout batch."""

    dataset: str = Field("data/prefs.jsonl", description="pairs whose prompts are answered")
    reward_model: str = Field("last", description="run id of `errata rm`; last: the newest")
    max_steps: int = Field(
        30, ge=1, description="rollouts; each is sampled, scored and learnt from"
    )
    epochs: int = Field(2, ge=1, description="passes over a rollout; more drifts faster")
    micro_batch: int = Field(16, ge=1, description="episodes a gradient step (times grad_accum)")
    lr: float = Field(3e-4, gt=0, description="a fifth of SFT's or less")
    rollout_batch: int = Field(64, ge=2, description="episodes a rollout; more is steadier")
    answers_per_prompt: int = Field(
        4, ge=1, description="episodes that share a prompt, computed once for all of them"
    )
    max_new_tokens: int = Field(48, ge=1, description="longest answer sampled")
    temperature: float = Field(1.0, gt=0, description="of sampling; 1 keeps PPO's ratios honest")
    kl_coef: float = Field(0.1, ge=0, description="first KL coefficient")
    target_kl: float = Field(3.0, gt=0, description="nats an answer may move from the reference")
    kl_horizon: float = Field(100, gt=0, description="episodes over which the coefficient adapts")
    kl_ceiling: float = Field(
        12.0, gt=0, description="above it: stop, and restore the best adapter"
    )
    entropy_floor: float = Field(
        0.01, ge=0, description="nats a token; below it the policy says one thing: stop"
    )
    repetition_ceiling: float = Field(
        0.5, gt=0, le=1, description="share of repeated 3-grams in an answer; above it: stop"
    )
    clip: float = Field(0.2, gt=0, description="how far a step may move a token's probability")
    gamma: float = Field(1.0, gt=0, le=1, description="discount over tokens")
    lam: float = Field(0.95, ge=0, le=1, description="GAE: bias against variance")
    value_lr: float = Field(
        0.2, gt=0, description="of the value head; how far a step moves it, in reward deviations"
    )
    missing_end: float = Field(2.0, ge=0, description="reward lost by an answer that does not end")
    save_every: int = Field(10, ge=1, description="rollouts between checkpoints")


def decay(config: Config, index: int) -> float:
    """Share of the learning rate at rollout `index`: never 0, neither first nor last."""
    share = config.warmup if config.warmup >= 1 else config.warmup * config.max_steps
    if index + 1 < share:
        return (index + 1) / share
    left = (config.max_steps - index) / max(1.0, config.max_steps - max(share, 1) + 1)
    if config.lr_scheduler == "constant":
        return 1.0
    return (
        min(1.0, left)
        if config.lr_scheduler == "linear"
        else math.sin(min(1, left) * math.pi / 2) ** 2
    )
