"""PPO: sample, score, and move the policy a clipped step, held to the reference by an adaptive KL.

One base with adapters (rollouts.py). The KL coefficient follows its target (kl.py); a policy that
goes through a limit (collapse.py) is stopped, and the best adapter it had is given back. Every
rollout is a checkpoint's unit, and all randomness comes from its number: a cut-off run goes on
where it was.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from random import Random
from typing import Any

import torch
from accelerate import Accelerator

from errata import candidates, jsonl
from errata.errors import BadInput
from errata.evaluate.generate import Decoding, end_token_ids
from errata.language import say
from errata.outcome import Outcome
from errata.records import PreferencePair
from errata.store.runs import Run
from errata.train import collapse, log
from errata.train.accept import ask, metrics_of
from errata.train.footprint import Meter
from errata.train.job import Interrupted
from errata.train.kl import AdaptiveKL
from errata.train.losses import clipped_policy, clipped_value
from errata.train.packing import Limits, in_parts
from errata.train.ppo_config import Config, decay
from errata.train.ppo_report import finished, give_back
from errata.train.prepare import build, learns, note_halved, note_shortened
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
from errata.train.settings import ALIASES
from errata.train.stage import Job
from errata.train.step import tokens_at_once
from errata.train.turns import as_messages, render, shorten
from errata.workspace import Workspace

__all__ = ["ALIASES", "DEFAULT_CONFIG", "Config", "main"]
DEFAULT_CONFIG = "align/ppo.yaml"
LEAST_PROMPT = 16  # tokens; with fewer, what is answered is not the question
HELD_BACK = 128  # held-out prompts whose reward is measured before and after


class Loop:
    """The state of a PPO run; everything that a resume needs goes into a checkpoint."""

    def __init__(self, job: Job, config: Config, reward: tuple[str, Path, Any]) -> None:
        if world() > 1:
            raise BadInput("ppo runs in one process; start it with `errata ppo`")
        if config.method == "full":
            raise BadInput("ppo: method=full would need a second model; use lora or qlora")
        self.job, self.config = job, config
        if config.rollout_batch % config.answers_per_prompt:
            raise BadInput(
                f"rollout_batch {config.rollout_batch} is not a multiple of answers_per_prompt "
                f"{config.answers_per_prompt}; change one of them"
            )
        self.reward_run, folder, base = reward
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
        tokens = tokens_at_once(config, scorer.device)
        trees = max(1, config.micro_batch // config.answers_per_prompt)
        self.limits, self.scoring = Limits(trees, tokens), Limits(HELD_BACK, 2 * tokens)
        self.prompts = self._prompts(job.dataset)
        self.exam = self._prompts(job.validation)[:HELD_BACK] if job.validation else []
        self.seen_tokens = 0
        self.meter = Meter()
        self.curve: list[dict[str, float]] = []
        self.samples: list[list[Any]] = []
        self.best: dict[str, Any] = {"reward": None, "weights": None, "step": 0}
        self.collapsed: str | None = None

    def _prompts(self, path: Path) -> list[list[int]]:
        rows = jsonl.read(path, PreferencePair)
        learns(self.job, rows, "prompted")
        unique = {jsonl.canonical(row.prompt): row for row in rows}.values()
        room = self.config.seq_len - self.config.max_new_tokens
        if room < LEAST_PROMPT:
            raise BadInput(
                f"seq_len {self.config.seq_len} leaves {max(room, 0)} tokens for a prompt beside "
                f"max_new_tokens {self.config.max_new_tokens}; raise seq_len"
            )
        whole = {
            row.id: render(self.tokenizer, as_messages(row.prompt), answer_next=True)
            for row in unique
        }
        note_shortened(self.job, [id for id, ids in whole.items() if len(ids) > room])
        self.job.longest = max([self.job.longest or 0, *(len(ids) for ids in whole.values())])
        return [shorten(self.tokenizer, ids, room) for ids in whole.values()]

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
        gained = advantages(rewards, seen.values, seen.mask, config.gamma, 1.0)[1][seen.mask]
        missed = (gained - seen.values[seen.mask]).var() / gained.var().clamp(min=1e-8)
        picked = adv[seen.mask]
        adv = (adv - picked.mean()) / (picked.std() + 1e-8) * seen.mask
        facts: dict[str, list[float]] = {
            name: [] for name in ("policy_loss", "value_loss", "ratio", "skipped")
        }
        self.policy.train()
        for _ in range(config.epochs):
            order = torch.randperm(len(seen.trees))
            episodes = config.micro_batch * config.grad_accum
            for part in order.split(max(1, episodes // config.answers_per_prompt)):
                blown = self._minibatch(seen, part.tolist(), adv, returns, facts)
                facts["skipped"].append(float(blown))
                if not blown:
                    self.accelerator.clip_grad_norm_(self.adapter, 1.0)
                    self.optimizer.step()
                self.optimizer.zero_grad()
        means = {k: statistics.fmean(v) if v else 0.0 for k, v in facts.items()}
        return {**means, "value_explains": 1 - float(missed)}

    def _minibatch(
        self,
        seen: Experience,
        trees: list[int],
        adv: torch.Tensor,
        returns: torch.Tensor,
        facts: dict[str, list[float]],
    ) -> bool:
        """Gradient of a minibatch, its mean over tokens; True when its ratio exploded."""
        total = int(seen.mask[seen.rows(trees)].sum())
        reach = self.config.clip * float(self.policy.value.units[1])

        def work(some: list[int]) -> tuple[float, float, float] | None:
            part = seen.rows(some)
            mask = seen.mask[part]
            logps, values, _ = self.policy([seen.trees[i] for i in some])
            ratio = (logps - seen.logps[part][mask]).exp()
            if not ratio.mean().item() <= 2.0:  # NaN too
                return None
            here, ones = len(ratio) / total, torch.ones_like(ratio)
            loss = clipped_policy(ratio, adv[part][mask], ones, self.config.clip)
            value = clipped_value(values, seen.values[part][mask], returns[part][mask], ones, reach)
            self.accelerator.backward((loss + value) * here)
            return loss.item(), value.item(), ratio.mean().item()

        undo = self.optimizer.zero_grad
        found = in_parts(trees, lambda i: seen.trees[i].tokens, self.limits, work, undo)
        known = [numbers for numbers in found if numbers is not None]
        columns = list(zip(*known, strict=True)) or [(), (), ()]
        for name, values in zip(("policy_loss", "value_loss", "ratio"), columns, strict=True):
            facts[name].extend(values)
        return len(known) < len(found)

    def held_back(self) -> float | None:
        """Mean reward of greedy answers to prompts that were never trained on."""
        if not self.exam:
            return None
        decoding = Decoding(self.config.max_new_tokens)
        seen = observe(self.policy, self.exam, decoding, self.sampler, self.ends, self.scoring)
        return float(seen.reward.mean())

    def step(self, index: int) -> bool:
        """One rollout, sampled and learnt from. False: it went through a limit."""
        config = self.config
        self.meter.begin()
        torch.manual_seed(config.seed * 100_003 + index)
        rng = Random(f"{config.seed}/{index}")
        each = config.answers_per_prompt
        picked = [rng.choice(self.prompts) for _ in range(config.rollout_batch // each)]
        decoding = Decoding(config.max_new_tokens, config.temperature, config.seed + index)
        seen = observe(self.policy, picked, decoding, self.sampler, self.ends, self.scoring, each)
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
            self.policy.value.scale(seen.reward)
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
        for row in (0, self.config.answers_per_prompt):  # of two prompts, where there are two
            row = min(row, len(seen.answers) - 1)
            prompt = prompts[row // self.config.answers_per_prompt]
            question = self.tokenizer.decode(prompt, skip_special_tokens=True)
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
            "units": self.policy.value.units.cpu(),
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
        self.policy.value.units.copy_(state["units"])
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
    log.tell(job.run.dir, loop.curve, config.max_steps)
    try:
        while index < config.max_steps:
            inside = loop.step(index)
            index += 1
            log.tell(job.run.dir, loop.curve[-1:], config.max_steps)
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
        reward = find_reward(ws, config.reward_model)
        job = Job(ws, "ppo", config, run, also=(reward[0], candidates.adapter_digest(reward[1])))
        ask(config.accept, metrics_of(job))
        loop = Loop(job, config, reward)
        run.link(loop.reward_run, run.id, "rewarded")
        before = loop.held_back()
        job.clock.start()
        done = run_loop(loop)
        job.stop_clock()
        after = loop.held_back()
        note_halved(job, loop.limits.halved, say("training", "训练"))
        note_halved(job, loop.scoring.halved, say("scoring of rollouts", "采样评分"))
        return finished(loop, done, before, after)
