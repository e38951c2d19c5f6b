"""How a PPO run ends: the adapter it gives back, and what its curves and samples say."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from errata import report
from errata.language import say
from errata.outcome import Outcome
from errata.train import collapse
from errata.train.stage import finish
from errata.train.versus import after_training

if TYPE_CHECKING:
    from errata.train.ppo import Loop


def give_back(loop: Loop, index: int) -> None:
    """The best adapter of a policy that left, why it left, and what to run instead."""
    job, best = loop.job, loop.best
    if best["weights"] is not None:
        loop.restore(best["weights"])
    job.notes.append(
        say(
            f"stopped at rollout {index}: {loop.collapsed}; restored the adapter of rollout "
            f"{best['step']}",
            f"在第 {index} 次采样停止：{loop.collapsed}；已恢复第 {best['step']} 次采样的适配器",
        )
    )
    knobs = collapse.safer(loop.config.model_dump())
    changes = " ".join(f"{name}={value:g}" for name, value in knobs.items())
    job.notes += [
        say("this config is marked bad; a safer one: ", "此配置已标记为不可用；更稳妥的配置：")
        + f"errata ppo {changes}",
        say("or without sampling: ", "或不采样：") + f"errata dpo model={loop.config.model}",
    ]
    job.extra["bad_config"] = {"why": loop.collapsed, "rollout": index, "safer": knobs}


def finished(loop: Loop, done: int, before: float | None, after: float | None) -> Outcome:
    """Metrics, curves and samples of a finished loop, through the frame every stage ends with."""
    job, curve = loop.job, loop.curve
    names = [name for name in curve[0] if name != "step"] if curve else []
    curves = {n: [(int(p["step"]), p[n]) for p in curve if n in p] for n in names}
    tail = curve[-5:]
    metrics: dict[str, float | None] = {
        name: statistics.fmean(p[name] for p in tail) if tail else None
        for name in ("reward", "kl", "entropy", "repetition")
    }
    metrics["eval_reward"] = after
    metrics["skipped"] = sum(p.get("skipped", 0.0) for p in curve)
    held = None if before is None or after is None else (before, after)
    if held:
        metrics["reward_gap"] = (curve[-1]["reward"] - curve[0]["reward"]) - (held[1] - held[0])
    finding = collapse.diagnose(curve, loop.config.target_kl, held)
    head = ["rollout", say("prompt (end)", "提示（末尾）"), say("sampled", "采样"), "reward"]
    rows = [[str(cell) for cell in row] for row in [*loop.samples[:4], *loop.samples[-8:]]]
    pages = [
        f"## {say('What the curves say', '曲线说明')}\n\n{finding}",
        f"## {say('Samples', '采样回答')}\n\n{report.markdown_table(head, rows)}",
    ]
    job.extra["pages"] = [*job.extra.get("pages", []), *pages]
    metrics = {**after_training(job, loop.policy.model, loop.tokenizer), **metrics}
    job.extra |= {"tokens": loop.seen_tokens, "diagnosis": finding, "curve": curve}
    losses = [p["policy_loss"] for p in curve if "policy_loss" in p]
    return finish(job, loop.policy.model, done, losses, metrics, curves)
