"""PPO's experience: sampled answers, their log-probabilities, values, rewards, advantages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from errata.evaluate.generate import Decoding, end_token_ids, generate_batch
from errata.train.logprobs import IGNORE, left_pad
from errata.train.reward import scores


class Policy(nn.Module):
    """A causal LM with an adapter, and a value head on its last hidden states."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.value = nn.Linear(model.config.get_text_config().hidden_size, 1)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def forward(self, batch: dict[str, Tensor], keep: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities and values of the last `keep` columns, both (B, keep)."""
        mask = batch["attention_mask"]
        out = self.model(
            input_ids=batch["input_ids"],
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
            output_hidden_states=True,
            logits_to_keep=keep + 1,
        )
        logits = out.logits[:, -keep - 1 : -1].float()
        target = batch["labels"][:, -keep:]
        picked = logits.gather(-1, target.clamp(min=0)[..., None])[..., 0]
        hidden = out.hidden_states[-1][:, -keep - 1 : -1].float()
        return picked - logits.logsumexp(-1), self.value(hidden)[..., 0]


@contextmanager
def as_reference(model: Any) -> Iterator[None]:
    """The model the run started from: its copied adapter, or no adapter at all."""
    if "reference" not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    model.set_adapter("reference", inference_mode=True)
    try:
        yield
    finally:
        model.set_adapter("default")


@dataclass
class Experience:
    """One rollout batch. Tensors are (B, K), K the columns of the longest answer."""

    batch: dict[str, Tensor]
    mask: Tensor
    logps: Tensor
    reference: Tensor
    values: Tensor
    reward: Tensor  # (B,) the reward model's
    ended: Tensor  # (B,) whether the answer came to its end
    answers: list[str]

    @property
    def kl(self) -> float:
        """Mean over episodes of Σ (log π − log π_ref), in nats."""
        return float(((self.logps - self.reference) * self.mask).sum(-1).mean())


def advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """GAE (Schulman et al. 2015, arXiv 1506.02438, eq. 16): (advantages, returns), all (B, K).

    Columns after an answer's last token do not exist in a left-padded batch; before its first one
    the mask is 0 and so is everything."""
    out = torch.zeros_like(rewards)
    last = torch.zeros_like(rewards[:, 0])
    ahead = torch.zeros_like(rewards[:, 0])
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * ahead - values[:, t]
        last = (delta + gamma * lam * last) * mask[:, t]
        ahead = values[:, t] * mask[:, t]
        out[:, t] = last
    return out, out + values * mask


def token_rewards(seen: Experience, coefficient: float, missing_end: float) -> Tensor:
    """−β·(log π − log π_ref) at each token, and at the last one the score (less for no end)."""
    rewards = -coefficient * (seen.logps - seen.reference) * seen.mask
    score = seen.reward - missing_end * (~seen.ended).float()
    rewards[:, -1] += score
    return rewards


@torch.no_grad()
def sample(
    policy: Policy,
    reward_model: Any,
    tokenizer: Any,
    prompts: list[list[int]],
    decoding: Decoding,
) -> Experience:
    """Answer the prompts and score the answers. Labels mark the answers' tokens, end included."""
    policy.eval()
    ends = end_token_ids(policy.model, tokenizer)
    device = next(policy.parameters()).device
    rng = torch.Generator(device=device).manual_seed(decoding.seed)
    said = generate_batch(policy.model, prompts, decoding, ends, tokenizer.pad_token_id, rng)
    ended = [ids[-1] in ends for ids in said]
    rows = [
        (prompt + ids, [IGNORE] * len(prompt) + ids)
        for prompt, ids in zip(prompts, said, strict=True)
    ]
    batch = {k: v.to(device) for k, v in left_pad(rows, tokenizer.pad_token_id).items()}
    keep = max(sum(label != IGNORE for label in labels) for _, labels in rows)
    mask = (batch["labels"][:, -keep:] != IGNORE).float()
    logps, values = policy(batch, keep)
    with as_reference(policy.model):
        reference, _ = policy(batch, keep)
    return Experience(
        batch=batch,
        mask=mask,
        logps=logps * mask,
        reference=reference * mask,
        values=values * mask,
        reward=scores(reward_model, batch),
        ended=torch.tensor(ended, device=device),
        answers=[tokenizer.decode(ids, skip_special_tokens=True) for ids in said],
    )
