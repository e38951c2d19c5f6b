"""`accept`: before training, whether a metric can be had; after it, whether it was reached."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from errata.errors import BadInput
from errata.train.processes import sharded
from errata.train.settings import Bound
from errata.train.versus import Versus
from errata.train.watch import Watching

if TYPE_CHECKING:
    from errata.train.stage import Job

ALWAYS = ("loss", "hours", "peak_memory_gib")
# What validation rows give besides their loss: see each trainer's `sums`.
VALIDATED = {
    "dpo": ("margin", "preference_score", "chosen_reward", "rejected_reward", "preference_loss"),
    "rm": ("margin", "preference_score", "brier"),
}
ATTACKED = ("attack_hit_rate", "refusal_rate")
ASKED = ("accuracy", "over_refusal_rate", "politeness")
# PPO has no loss that means anything from one rollout to the next.
SAMPLED = ("reward", "kl", "entropy", "repetition", "skipped", "hours", "peak_memory_gib")
HELD_OUT = ("eval_reward", "reward_gap")


def metrics_of(job: Job) -> dict[str, str]:
    """Metric → what it needs and this run does not have; "" where it will be measured."""
    config, sampled = job.config, job.stage == "ppo"
    found = dict.fromkeys(SAMPLED if sampled else ALWAYS, "")
    rows = "" if job.validation else "validation rows: set eval_dataset to a file that is there"
    validated = ["eval_loss", *VALIDATED.get(job.stage, ())]
    if not getattr(config, "sft_weight", 0):
        validated = [name for name in validated if name != "preference_loss"]
    found |= dict.fromkeys(HELD_OUT if sampled else validated, rows)
    if isinstance(config, Watching) and job.stage != "rm":
        found |= dict.fromkeys(ATTACKED, "" if config.audit_cases else "audit_cases above 0")
        found |= dict.fromkeys(ASKED, "" if config.score_cases else "score_cases above 0")
        kept = ("retention_loss", "retention_rise")
        found |= dict.fromkeys(kept, "" if job.retention else "rows in `retention`")
    if isinstance(config, Versus) and not sharded():
        needs = "" if config.versus_cases else "versus_cases above 0"
        found |= {"win_rate": needs} | ({"preference_score": rows or needs} if sampled else {})
        if not needs:  # the same names, of the policy at the end
            found |= dict.fromkeys((*ATTACKED, *ASKED[:2]), "")
    return found


def ask(accept: Collection[str], metrics: dict[str, str]) -> None:
    """BadInput for a threshold of a metric that is unknown, or that this run cannot measure."""
    for name in accept:
        if name not in metrics:
            known = ", ".join(sorted(name for name, needs in metrics.items() if not needs))
            raise BadInput(f"accept: `{name}` is not measured here; known: {known}")
        if metrics[name]:
            raise BadInput(f"accept: `{name}` needs {metrics[name]}; or take it out")


def judge(accept: dict[str, Bound], metrics: dict[str, float | None]) -> list[str]:
    """What missed its threshold. An unknown metric is a mistake in the config; None is a miss."""
    missed: list[str] = []
    for name, bound in accept.items():
        ask([name], dict.fromkeys(metrics, ""))
        missed += bound.missed(name, metrics[name])
    return missed
