"""When a policy has left: the limits of PPO, what went wrong, and what to try instead. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from errata.language import say

Point = Mapping[str, float]


class Limit(NamedTuple):
    """A measured number, the knob that bounds it, and on which side of it the policy has left."""

    metric: str
    knob: str
    worse: Literal["above", "below"]


LIMITS = (
    Limit("kl", "kl_ceiling", "above"),
    Limit("entropy", "entropy_floor", "below"),
    Limit("repetition", "repetition_ceiling", "above"),
)


def crossed(point: Point, knobs: Mapping[str, float]) -> str | None:
    """The first limit that a rollout went through, as a sentence; None inside all of them."""
    for metric, knob, worse in LIMITS:
        value, limit = point[metric], knobs[knob]
        if not (value <= limit if worse == "above" else value >= limit):  # NaN is outside
            return f"{metric} {value:.3g} is {worse} {knob} {limit:g}"
    return None


def diagnose(curve: Sequence[Point], target_kl: float, held: tuple[float, float] | None) -> str:
    """Weak KL, or a reward model that is over-fitted.

    `held` is the mean reward of held-out prompts before and after. Reward that rises on the
    training prompts and not on held-out ones is over-fit (Gao et al. 2022, arXiv 2210.10760: proxy
    reward parts from true reward as KL grows); a KL far over its target is too weak a pull.
    """
    if not curve:
        return say("no rollout was learnt from", "没有完成任何一次更新")
    gained = curve[-1]["reward"] - curve[0]["reward"]
    if held is not None and gained > 0 and held[1] - held[0] < 0.5 * gained:
        return say(
            f"reward over-fit: it rose by {gained:.2f} on training prompts and by "
            f"{held[1] - held[0]:.2f} on held-out ones; train the reward model on more varied "
            "pairs, or stop earlier",
            f"奖励过拟合：训练提示上升 {gained:.2f}，留出提示上升 {held[1] - held[0]:.2f}；"
            "请用更多样的偏好对训练奖励模型，或更早停止",
        )
    if curve[-1]["kl"] > 2 * target_kl:
        return say(
            f"weak KL: {curve[-1]['kl']:.2f} nats against a target of {target_kl:g}; "
            "a higher kl_coef, a shorter kl_horizon or a lower lr holds it",
            f"KL 约束偏弱：{curve[-1]['kl']:.2f} nats，目标 {target_kl:g}；"
            "请提高 kl_coef、缩短 kl_horizon 或降低 lr",
        )
    if curve[-1]["kl"] < target_kl / 2:
        return say(
            f"the policy moved {curve[-1]['kl']:.2f} nats of the {target_kl:g} it may; more "
            "rollouts or a higher lr move it further",
            f"策略移动了 {curve[-1]['kl']:.2f} nats，允许 {target_kl:g}；"
            "更多采样或更高 lr 可走得更远",
        )
    return say("KL near its target, held-out reward follows", "KL 接近目标，留出奖励同步上升")


def safer(knobs: Mapping[str, float]) -> dict[str, float]:
    """The same run held closer: half the rate, half the distance, a pull twice as strong."""
    return {
        "lr": knobs["lr"] / 2,
        "target_kl": knobs["target_kl"] / 2,
        "kl_coef": max(2 * knobs["kl_coef"], 0.05),
        "kl_horizon": knobs["kl_horizon"] / 2,
        "clip": min(knobs["clip"], 0.1),
    }
