"""PPO: sample, score, and move the policy a clipped step, held to the reference by an adaptive KL.

One base with adapters (`default` learns, `reference` is where the run started), a value head, and
the reward model of `errata rm`. The KL coefficient follows its target (kl.py); above `kl_ceiling`
the run stops and gives back the best adapter it had. Every rollout is a checkpoint's unit: a
cut-off run goes on where it was.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from random import Random
from typing import Any

import torch
from accelerate import Accelerator
from pydantic import Field
from transformers import get_scheduler, set_seed

from errata import jsonl
from errata.evaluate.generate import Decoding
from errata.outcome import Outcome
from errata.records import PreferencePair
from errata.store.runs import Run
from errata.train.job import Interrupted
from errata.train.kl import AdaptiveKL
from errata.train.losses import clipped_policy, clipped_value
from errata.train.reward import load_reward
from errata.train.rollouts import Experience, Policy, advantages, sample, token_rewards
from errata.train.settings import ALIASES, Panel
from errata.train.stage import Job, finish
from errata.train.tokens import as_messages, render, shorten
from errata.workspace import Workspace

__all__ = ["ALIASES", "DEFAULT_CONFIG", "Config", "main"]
DEFAULT_CONFIG = "align/ppo.yaml"


class Config(Panel):
    """The panel, and what is PPO's own. `epochs` counts passes over one rollout batch."""

    dataset: str = Field("data/prefs.jsonl", description="pairs whose prompts are answered")
    reward_model: str = Field("last", description="run id of `errata rm`; last: the newest")
    max_steps: int = Field(
        30, ge=1, description="rollouts; each is sampled, scored and learnt from"
    )
    epochs: float = Field(2, ge=1, description="passes over a rollout; more drifts faster")
    micro_batch: int = Field(16, ge=1, description="episodes a gradient step")
    lr: float = Field(3e-4, gt=0, description="a fifth of SFT's or less")
    rollout_batch: int = Field(64, ge=2, description="episodes a rollout; more is steadier")
    max_new_tokens: int = Field(48, ge=1, description="longest answer sampled")
    temperature: float = Field(1.0, gt=0, description="of sampling; 1 keeps PPO's ratios honest")
    kl_coef: float = Field(0.1, ge=0, description="first KL coefficient")
    target_kl: float = Field(3.0, gt=0, description="nats an answer may move from the reference")
    kl_horizon: float = Field(600, gt=0, description="episodes over which the coefficient adapts")
    kl_ceiling: float = Field(
        12.0, gt=0, description="above it: stop, and restore the best adapter"
    )
    clip: float = Field(0.2, gt=0, description="how far a step may move a token's probability")
    gamma: float = Field(1.0, gt=0, le=1, description="discount over tokens")
    lam: float = Field(0.95, ge=0, le=1, description="GAE: bias against variance")
    value_weight: float = Field(0.5, ge=0, description="share of the value loss")
    missing_end: float = Field(2.0, ge=0, description="reward lost by an answer that does not end")
    save_every: int = Field(10, ge=1, description="rollouts between checkpoints")


class Loop:
    """The state of a PPO run; everything in `state()` goes into a checkpoint."""

    def __init__(self, job: Job, config: Config) -> None:
        from errata.train.model import add_lora, load

        set_seed(config.seed)
        self.job, self.config = job, config
        self.accelerator = Accelerator(mixed_precision="bf16" if config.bf16 else "no")
        model, self.tokenizer = load(job.start.base, config.dtype)
        lora = (config.lora_r, config.lora_alpha, config.lora_dropout)
        model = add_lora(model, *lora, job.start.adapter)
        if job.start.adapter is not None:
            model.load_adapter(str(job.start.adapter), adapter_name="reference", is_trainable=False)
            model.set_adapter("default")
        self.policy = Policy(model)
        self.reward_model, self.reward_run = load_reward(job.ws, config.reward_model, config.dtype)
        self.trainable = [p for p in self.policy.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trainable, lr=config.lr, weight_decay=config.weight_decay
        )
        warmup = config.warmup if config.warmup >= 1 else config.warmup * config.max_steps
        self.schedule = get_scheduler(
            config.lr_scheduler, self.optimizer, int(warmup), config.max_steps
        )
        self.policy, self.optimizer, self.reward_model = self.accelerator.prepare(
            self.policy, self.optimizer, self.reward_model
        )
        self.controller = AdaptiveKL(config.kl_coef, config.target_kl, config.kl_horizon)
        self.prompts = self._prompts(job.dataset)
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, Any] = {"reward": None, "weights": None, "step": 0}

    def _prompts(self, path: Path) -> list[list[int]]:
        rows = jsonl.read(path, PreferencePair)
        self.job.run.links((row.id, self.job.run.id, "prompted") for row in rows)
        unique = {jsonl.canonical(row.prompt): row.prompt for row in rows}
        room = self.config.seq_len - self.config.max_new_tokens
        return [
            shorten(self.tokenizer, render(self.tokenizer, as_messages(p), answer_next=True), room)
            for p in unique.values()
        ]

    def weights(self) -> dict[str, torch.Tensor]:
        """Copies of what is trained."""
        named = self.accelerator.unwrap_model(self.policy).named_parameters()
        return {name: p.detach().cpu().clone() for name, p in named if p.requires_grad}

    def restore(self, weights: dict[str, torch.Tensor]) -> None:
        """Put copies back."""
        named = dict(self.accelerator.unwrap_model(self.policy).named_parameters())
        with torch.no_grad():
            for name, value in weights.items():
                named[name].copy_(value)

    def learn(self, seen: Experience) -> dict[str, float]:
        """PPO's clipped steps over one rollout; a minibatch whose ratio explodes is skipped."""
        config = self.config
        rewards = token_rewards(seen, self.controller.coefficient, config.missing_end)
        adv, returns = advantages(rewards, seen.values, seen.mask, config.gamma, config.lam)
        picked = adv[seen.mask > 0]
        adv = (adv - picked.mean()) / (picked.std() + 1e-8) * seen.mask
        keep = seen.mask.shape[1]
        facts: dict[str, list[float]] = {"policy_loss": [], "value_loss": [], "skipped": []}
        self.policy.train()
        for _ in range(int(config.epochs)):
            parts = torch.randperm(len(seen.mask)).split(config.micro_batch)
            for index, part in enumerate(parts, 1):
                blown = self._backward(seen, part, adv[part], returns[part], keep, facts)
                facts["skipped"].append(float(blown))
                if index % config.grad_accum == 0 or index == len(parts):
                    self.accelerator.clip_grad_norm_(self.trainable, 1.0)
                    self.optimizer.step()
                    self.optimizer.zero_grad()
        self.schedule.step()
        return {k: statistics.fmean(v) if v else 0.0 for k, v in facts.items()}

    def _backward(
        self,
        seen: Experience,
        part: torch.Tensor,
        adv: torch.Tensor,
        returns: torch.Tensor,
        keep: int,
        facts: dict[str, list[float]],
    ) -> bool:
        """Add a micro batch's gradient; True when its ratio exploded and it was left out."""
        config, mask = self.config, seen.mask[part]
        logps, values = self.policy({k: v[part] for k, v in seen.batch.items()}, keep)
        ratio = ((logps - seen.logps[part]) * mask).exp()
        if ((ratio * mask).sum() / mask.sum()).item() > 2.0:
            return True
        loss = clipped_policy(ratio, adv, mask, config.clip)
        value = clipped_value(values, seen.values[part], returns, mask, config.clip)
        self.accelerator.backward((loss + config.value_weight * value) / config.grad_accum)
        facts["policy_loss"].append(loss.item())
        facts["value_loss"].append(value.item())
        return False

    def held_back(self) -> float | None:
        """Mean reward of greedy answers to prompts that were never trained on."""
        if self.job.validation is None:
            return None
        prompts = self._prompts(self.job.validation)[:128]
        unwrapped = self.accelerator.unwrap_model(self.policy)
        decoding = Decoding(self.config.max_new_tokens)
        seen = sample(unwrapped, self.reward_model, self.tokenizer, prompts, decoding)
        return float(seen.reward.mean())

    def step(self, index: int) -> bool:
        """One rollout, sampled and learnt from. False: the KL went through the ceiling."""
        config = self.config
        torch.manual_seed(config.seed * 100_003 + index)
        rng = Random(f"{config.seed}/{index}")
        picked = [rng.choice(self.prompts) for _ in range(config.rollout_batch)]
        decoding = Decoding(config.max_new_tokens, config.temperature, config.seed + index)
        unwrapped = self.accelerator.unwrap_model(self.policy)
        seen = sample(unwrapped, self.reward_model, self.tokenizer, picked, decoding)
        reward, kl = float(seen.reward.mean()), seen.kl
        point = {
            "step": float(index),
            "reward": reward,
            "kl": kl,
            "kl_coef": self.controller.coefficient,
            "entropy": float(-(seen.logps.sum() / seen.mask.sum())),
            "length": float(seen.mask.sum(-1).mean()),
        }
        if kl > config.kl_ceiling:
            self.curve.append(point)
            return False
        if self.best["reward"] is None or reward > self.best["reward"]:
            self.best = {"reward": reward, "weights": self.weights(), "step": index}
        point.update(self.learn(seen))
        self.controller.update(kl, config.rollout_batch)
        self.curve.append(point)
        return True

    def save(self, folder: Path, step: int) -> None:
        """A checkpoint, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "weights": self.weights(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best": self.best,
            "coefficient": self.controller.coefficient,
            "curve": json.dumps(self.curve),
            "step": step,
        }
        torch.save(state, folder / "state.new")
        (folder / "state.new").replace(folder / "state.pt")

    def load(self, folder: Path) -> int:
        """Go on from a checkpoint; returns the next rollout's number."""
        state = torch.load(folder / "state.pt", weights_only=True)  # noqa: TID251 (no code in it)
        self.restore(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.best, self.controller.coefficient = state["best"], state["coefficient"]
        self.curve = json.loads(state["curve"])
        return int(state["step"])


def run_loop(loop: Loop) -> int:
    """All rollouts; returns how many were done."""
    job, config = loop.job, loop.config
    index = loop.load(job.checkpoint) if job.checkpoint else 0
    job.watch.on_train_begin(None, None, None)
    try:
        while index < config.max_steps:
            inside = loop.step(index)
            index += 1
            if not inside:
                best = loop.best
                if best["weights"] is not None:
                    loop.restore(best["weights"])
                job.notes.append(
                    f"stopped at rollout {index}: KL above {config.kl_ceiling:g}; "
                    f"restored the adapter of rollout {best['step']}"
                )
                break
            over = job.watch.over_deadline()
            if index % config.save_every == 0 or job.watch.signalled:
                loop.save(job.checkpoints / f"checkpoint-{index}", index)
            if job.watch.signalled and index < config.max_steps:
                raise Interrupted(
                    f"ppo stopped at rollout {index}; run the same command again to go on"
                )
            if over:
                job.notes.append(f"budget reached at rollout {index}")
                break
    finally:
        job.watch.restore()
    return index


def main(ws: Workspace, config: Config) -> Outcome:
    """`errata ppo`."""
    with Run(ws, "ppo", config) as run:
        job = Job(ws, "ppo", config, run)
        job.clock.start()
        loop = Loop(job, config)
        run.link(loop.reward_run, run.id, "rewarded")
        done = run_loop(loop)
        curves = {
            name: [(int(p["step"]), p[name]) for p in loop.curve if name in p]
            for name in ("reward", "kl", "kl_coef", "entropy", "length")
        }
        tail = loop.curve[-5:]
        metrics: dict[str, float | None] = {
            name: statistics.fmean(p[name] for p in tail) if tail else None
            for name in ("reward", "kl")
        }
        metrics["eval_reward"] = loop.held_back()
        metrics["skipped"] = sum(p.get("skipped", 0.0) for p in loop.curve)
        losses = [p["policy_loss"] for p in loop.curve if "policy_loss" in p]
        model = loop.accelerator.unwrap_model(loop.policy).model
        return finish(job, model, done, losses, metrics, curves)
