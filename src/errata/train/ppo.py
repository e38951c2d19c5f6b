"""PPO: sample, score, and move the policy a clipped step, held to the reference by an adaptive KL.

One base with adapters (rollouts.py). The KL coefficient follows its target (kl.py); a policy that
goes through a limit (collapse.py) is stopped, and the best adapter it had is given back. Every
rollout is a checkpoint's unit, and all randomness comes from its number: a cut-off run goes on
where it was.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from random import Random
from typing import Any

import torch
from accelerate import Accelerator
from pydantic import Field

from errata import jsonl
from errata.errors import BadInput
from errata.evaluate.generate import Decoding, end_token_ids
from errata.language import say
from errata.outcome import Outcome
from errata.records import PreferencePair
from errata.store.runs import Run
from errata.train import collapse
from errata.train.footprint import Meter
from errata.train.job import Interrupted
from errata.train.kl import AdaptiveKL
from errata.train.losses import clipped_policy, clipped_value
from errata.train.packing import cut
from errata.train.ppo_report import finished, give_back
from errata.train.prepare import build, tokens_at_once
from errata.train.processes import world
from errata.train.reward import find_reward
from errata.train.rollouts import (
    Experience,
    Policy,
    add_reward,
    advantages,
    local_sampler,
    observe,
    repetition,
    token_rewards,
)
from errata.train.settings import ALIASES, Panel
from errata.train.stage import Job
from errata.train.tokens import as_messages, render, shorten
from errata.train.versus import Versus
from errata.workspace import Workspace

__all__ = ["ALIASES", "DEFAULT_CONFIG", "Config", "main"]
DEFAULT_CONFIG = "align/ppo.yaml"
HELD_BACK = 128  # held-out prompts whose reward is measured before and after


class Config(Panel, Versus):
    """The panel, and what is PPO's own. `epochs` counts passes over one rollout batch."""

    dataset: str = Field("data/prefs.jsonl", description="pairs whose prompts are answered")
    reward_model: str = Field("last", description="run id of `errata rm`; last: the newest")
    max_steps: int = Field(
        30, ge=1, description="rollouts; each is sampled, scored and learnt from"
    )
    epochs: float = Field(2, ge=1, description="passes over a rollout; more drifts faster")
    micro_batch: int = Field(16, ge=1, description="episodes a gradient step (times grad_accum)")
    lr: float = Field(3e-4, gt=0, description="a fifth of SFT's or less")
    rollout_batch: int = Field(64, ge=2, description="episodes a rollout; more is steadier")
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
    value_lr: float = Field(1e-3, gt=0, description="of the value head, which starts from nothing")
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


class Loop:
    """The state of a PPO run; everything that a resume needs goes into a checkpoint."""

    def __init__(self, job: Job, config: Config) -> None:
        if world() > 1:
            raise BadInput("ppo runs in one process; start it with `errata ppo`")
        if config.method == "full":
            raise BadInput("ppo: method=full would need a second model; use lora or qlora")
        self.job, self.config = job, config
        self.reward_run, folder, base = find_reward(job.ws, config.reward_model)
        if base.base_digest != job.start.candidate.base_digest:
            raise BadInput(
                f"reward_model {self.reward_run}: trained on {base.base}, not on this run's base; "
                f"run `errata rm model={config.model}`"
            )
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        model, self.tokenizer, scorer = build(job, config)
        if job.start.adapter is not None:
            model.load_adapter(str(job.start.adapter), adapter_name="reference")
        self.policy = Policy(scorer, add_reward(model, folder)).to(self.accelerator.device)

        head = list(self.policy.value.parameters())
        self.adapter = [p for p in self.policy.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [{"params": self.adapter, "lr": config.lr}, {"params": head, "lr": config.value_lr}],
            weight_decay=config.weight_decay,
        )
        self.controller = AdaptiveKL(config.kl_coef, config.target_kl, config.kl_horizon)
        self.sampler = local_sampler(model, self.tokenizer, 4 * config.micro_batch)
        self.ends = end_token_ids(model, self.tokenizer)
        self.tokens = tokens_at_once(config, scorer.device)
        self.prompts = self._prompts(job.dataset)
        self.seen_tokens = 0
        self.meter = Meter()
        self.curve: list[dict[str, float]] = []
        self.samples: list[list[Any]] = []
        self.best: dict[str, Any] = {"reward": None, "weights": None, "step": 0}
        self.collapsed: str | None = None

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
        named = self.policy.named_parameters()
        return {name: p.detach().cpu().clone() for name, p in named if p.requires_grad}

    def restore(self, weights: dict[str, torch.Tensor]) -> None:
        """Put copies back."""
        named = dict(self.policy.named_parameters())
        with torch.no_grad():
            for name, value in weights.items():
                named[name].copy_(value)

    def learn(self, seen: Experience) -> dict[str, float]:
        """PPO's clipped steps over one rollout; a minibatch whose ratio explodes is skipped."""
        config = self.config
        rewards = token_rewards(seen, self.controller.pull(seen.kl), config.missing_end)
        adv, returns = advantages(rewards, seen.values, seen.mask, config.gamma, config.lam)
        picked = adv[seen.mask]
        adv = (adv - picked.mean()) / (picked.std() + 1e-8) * seen.mask
        facts: dict[str, list[float]] = {
            name: [] for name in ("policy_loss", "value_loss", "ratio", "skipped")
        }
        self.policy.train()
        for _ in range(int(config.epochs)):
            order = torch.randperm(len(seen.trees))
            for part in order.split(config.micro_batch * config.grad_accum):
                blown = self._minibatch(seen, part.tolist(), adv, returns, facts)
                facts["skipped"].append(float(blown))
                if not blown:
                    self.accelerator.clip_grad_norm_(self.adapter, 1.0)
                    self.optimizer.step()
                self.optimizer.zero_grad()
        return {k: statistics.fmean(v) if v else 0.0 for k, v in facts.items()}

    def _minibatch(
        self,
        seen: Experience,
        rows: list[int],
        adv: torch.Tensor,
        returns: torch.Tensor,
        facts: dict[str, list[float]],
    ) -> bool:
        """Gradient of a minibatch, its mean over tokens; True when its ratio exploded."""
        config = self.config
        total = int(seen.mask[rows].sum())
        limits = (config.micro_batch, self.tokens)
        for part in cut(rows, lambda i: seen.trees[i].tokens, *limits):
            mask = seen.mask[part]
            logps, values, _ = self.policy([seen.trees[i] for i in part])
            ratio = (logps - seen.logps[part][mask]).exp()
            if not ratio.mean().item() <= 2.0:  # NaN too
                return True
            here, ones = len(ratio) / total, torch.ones_like(ratio)
            loss = clipped_policy(ratio, adv[part][mask], ones, config.clip)
            value = clipped_value(
                values, seen.values[part][mask], returns[part][mask], ones, config.clip
            )
            self.accelerator.backward((loss + value) * here)
            facts["policy_loss"].append(loss.item())
            facts["value_loss"].append(value.item())
            facts["ratio"].append(ratio.mean().item())
        return False

    def held_back(self) -> float | None:
        """Mean reward of greedy answers to prompts that were never trained on."""
        if self.job.validation is None:
            return None
        prompts = self._prompts(self.job.validation)[:HELD_BACK]
        decoding = Decoding(self.config.max_new_tokens)
        seen = observe(self.policy, prompts, decoding, self.sampler, self.ends, 2 * self.tokens)
        return float(seen.reward.mean())

    def step(self, index: int) -> bool:
        """One rollout, sampled and learnt from. False: it went through a limit."""
        config = self.config
        self.meter.begin()
        torch.manual_seed(config.seed * 100_003 + index)
        rng = Random(f"{config.seed}/{index}")
        picked = [rng.choice(self.prompts) for _ in range(config.rollout_batch)]
        decoding = Decoding(config.max_new_tokens, config.temperature, config.seed + index)
        seen = observe(self.policy, picked, decoding, self.sampler, self.ends, 2 * self.tokens)
        self.seen_tokens += sum(tree.tokens for tree in seen.trees)
        reward, kl = float(seen.reward.mean()), seen.kl
        point = {
            "step": float(index),
            "reward": reward,
            "kl": kl,
            "kl_coef": self.controller.coefficient,
            "entropy": seen.entropy,
            "length": float(seen.mask.sum(-1).float().mean()),
            "repetition": repetition(seen.answers),
            "ended": float(seen.ended.float().mean()),
        }
        self.curve.append(point)
        self._keep_samples(index, picked, seen)
        self.collapsed = collapse.crossed(point, config.model_dump())
        if self.collapsed:
            return False
        if index == 0:  # the value starts at what an answer is worth on average
            with torch.no_grad():
                self.policy.value.bias.fill_(reward)
            seen.values = seen.mask * reward
        if self.best["reward"] is None or reward > self.best["reward"]:
            self.best = {"reward": reward, "weights": self.weights(), "step": index}
        self.optimizer.param_groups[0]["lr"] = config.lr * decay(config, index)
        self.controller.update(kl, config.rollout_batch)
        point.update(self.learn(seen))
        self.meter.end()
        point.update(self.meter.read())
        return True

    def _keep_samples(self, index: int, prompts: list[list[int]], seen: Experience) -> None:
        for row in (0, 1):
            question = self.tokenizer.decode(prompts[row], skip_special_tokens=True)
            answer = self.tokenizer.decode(seen.answers[row], skip_special_tokens=True)
            self.samples.append([index, question[-160:], answer, round(float(seen.reward[row]), 3)])

    def save(self, folder: Path, step: int) -> None:
        """A checkpoint, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "weights": self.weights(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "controller": [self.controller.coefficient, self.controller.reached],
            "curve": json.dumps(self.curve),
            "samples": json.dumps(self.samples),
            "tokens": self.seen_tokens,
            "step": step,
        }
        torch.save(state, folder / "state.new")
        (folder / "state.new").replace(folder / "state.pt")

    def load(self, folder: Path) -> int:
        """Go on from a checkpoint; returns the next rollout's number."""
        state = torch.load(folder / "state.pt", weights_only=True)  # noqa: TID251 (no code in it)
        self.restore(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        self.controller.coefficient, self.controller.reached = state["controller"]
        self.curve, self.samples = json.loads(state["curve"]), json.loads(state["samples"])
        self.seen_tokens = int(state["tokens"])
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
                give_back(loop, index)
                break
            over = job.watch.over_deadline()
            if index % config.save_every == 0 or job.watch.signalled:
                loop.save(job.checkpoints / f"checkpoint-{index}", index)
            if job.watch.signalled and index < config.max_steps:
                raise Interrupted(
                    f"ppo stopped at rollout {index}; run the same command again to go on"
                )
            if over:
                job.notes.append(
                    say(f"budget reached at rollout {index}", f"第 {index} 次采样时预算用完")
                )
                break
    finally:
        job.watch.restore()
    return index


def main(ws: Workspace, config: Config) -> Outcome:
    """`errata ppo`."""
    with Run(ws, "ppo", config) as run:
        job = Job(ws, "ppo", config, run)
        loop = Loop(job, config)
        run.link(loop.reward_run, run.id, "rewarded")
        before = loop.held_back()
        job.clock.start()
        done = run_loop(loop)
        job.stop_clock()
        after = loop.held_back()
        return finished(loop, done, before, after)
