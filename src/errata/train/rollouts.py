"""PPO's experience: sampled answers, their log-probabilities, values, rewards, advantages.

One base in memory. Adapters on it play the parts: `default` learns, `reference` is where the run
started (no adapter at all when it started from a base), `reward` is the reward model's, with its
scalar head beside it; the value head sits on the policy's hidden states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from errata.errors import BadInput
from errata.evaluate.generate import Decoding, end_token_ids, generate_batch
from errata.train.head import rows_at_once, transform_of
from errata.train.logprobs import Scorer
from errata.train.packing import IGNORE, Encoded, Limits, Tree, in_parts

# (prompts, how to draw, answers each) → answers' token ids, prompt by prompt, the end token with
# them. vLLM or any other sampler may stand here: log-probabilities are always computed by the model
# that learns.
Sampler = Callable[[list[list[int]], Decoding, int], list[list[int]]]


class ValueHead(nn.Module):
    """mean + deviation · (w · h) / H, with mean and deviation of the first rollout's rewards: in
    these units one learning rate fits any width and any scale of rewards."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))
        self.register_buffer("units", torch.tensor([0.0, 1.0]))  # mean, deviation

    units: Tensor

    def scale(self, rewards: Tensor) -> None:
        """Take the units from (B,) rewards."""
        deviation = rewards.std()
        deviation = deviation if deviation > 0 else torch.ones_like(deviation)
        self.units.copy_(torch.stack([rewards.mean(), deviation]))

    def forward(self, hidden: Tensor) -> Tensor:
        """(N, H) → (N,)."""
        mean, deviation = self.units.unbind()
        return mean + deviation * (hidden @ self.weight) / len(self.weight)


class Policy(nn.Module):
    """A causal LM with its adapters, a value head, and the reward model's score head."""

    def __init__(self, scorer: Scorer, score: Tensor) -> None:
        super().__init__()
        self.model, self.scorer = scorer.model, scorer
        size = self.model.config.get_text_config().hidden_size
        self.value = ValueHead(size)
        self.register_buffer("score", score.float(), persistent=False)
        self.to(scorer.device)

    def forward(self, trees: list[Tree]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probs and values of the answers' tokens, (N,) each, and their hidden states.

        The value reads the hidden states and does not move them: its loss, at first a hundred times
        the policy's, would fill the clipped gradient with what says nothing of the policy."""
        scored, _ = self.scorer(trees)
        return scored.logps, self.value(scored.hidden.detach().float()), scored.hidden

    @contextmanager
    def playing(self, part: str) -> Iterator[None]:
        """The model as `reference` or `reward`; a reference without an adapter is the base."""
        if part not in self.model.peft_config:
            with self.model.disable_adapter():
                yield
            return
        self.model.set_adapter(part, inference_mode=True)
        try:
            yield
        finally:
            self.model.set_adapter("default")

    def rewards(self, trees: list[Tree]) -> Tensor:
        """(S,) the reward model's score at each answer's last token."""
        with self.playing("reward"):
            last = self.scorer.last(trees)
        score: Any = self.score
        return torch.nn.functional.linear(last.float(), score)[:, 0]


def add_reward(model: Any, folder: Path) -> Tensor:
    """Load a reward model's adapter as `reward`; returns its (1, H) score weights.

    BadInput when its layers are not this model's."""
    from peft import LoraConfig, set_peft_model_state_dict
    from safetensors.torch import load_file

    saved = load_file(folder / "adapter_model.safetensors")
    name = next((key for key in saved if key.endswith("score.weight")), None)
    if name is None:
        raise BadInput(f"{folder.parent.name}: no score head in it; run `errata rm` again")
    score = saved.pop(name)
    config = LoraConfig.from_pretrained(str(folder))
    config.task_type, config.modules_to_save, config.inference_mode = "CAUSAL_LM", None, True
    model.add_adapter("reward", config)
    found: Any = set_peft_model_state_dict(model, saved, adapter_name="reward")
    if found.unexpected_keys or any("reward" in key for key in found.missing_keys):
        raise BadInput(
            f"{folder.parent.name}: its adapter does not fit this base; run `errata rm` on it"
        )
    model.set_adapter("default")
    return score


@dataclass
class Experience:
    """One rollout batch. Tensors are (B, K), K the longest answer, answers flush right; a tree is a
    prompt and its `each` answers, B = trees × each."""

    trees: list[Tree]
    mask: Tensor  # bool
    logps: Tensor
    reference: Tensor
    values: Tensor
    entropy: float  # mean over tokens, nats
    reward: Tensor  # (B,) the reward model's
    ended: Tensor  # (B,) whether the answer came to its end
    answers: list[list[int]]

    def rows(self, trees: Sequence[int]) -> list[int]:
        """The rows of B that are answers of these trees."""
        each = len(self.answers) // len(self.trees)
        return [tree * each + branch for tree in trees for branch in range(each)]

    @property
    def kl(self) -> float:
        """Mean over episodes of Σ (log π − log π_ref), in nats."""
        return float(((self.logps - self.reference) * self.mask).sum(-1).mean())


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """(N,) of the answers' tokens in order → (B, K), zero where the mask is."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


def right_mask(lengths: Sequence[int]) -> Tensor:
    """(B, K) boolean, each row's last `length` columns true."""
    longest = max(lengths)
    return torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]


def advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """GAE (Schulman et al. 2015, arXiv 1506.02438, eq. 16): (advantages, returns), all (B, K).

    Answers are flush right, so that column K − 1 is every answer's last token; before its first
    token the mask is 0 and so is everything."""
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


def repetition(answers: Sequence[Sequence[int]]) -> float:
    """Share of an answer's 3-grams that it holds already, averaged over answers of 4 and more."""
    shares = []
    for ids in answers:
        grams = [tuple(ids[i : i + 3]) for i in range(len(ids) - 2)]
        if len(grams) > 1:
            shares.append(1 - len(set(grams)) / len(grams))
    return sum(shares) / len(shares) if shares else 0.0


@torch.no_grad()
def mean_entropy(hidden: Tensor, model: Any) -> float:
    """Mean of −Σ p log p over (N, H) hidden states, in nats."""
    head, transform = model.get_output_embeddings(), transform_of(model.config.get_text_config())
    rows = rows_at_once(hidden, model.config.get_text_config().vocab_size)
    total = 0.0
    for part in hidden.split(rows):
        logp = transform(head(part).float()).log_softmax(-1)
        total -= float((logp.exp() * logp).sum())
    return total / max(1, len(hidden))


def local_sampler(model: Any, tokenizer: Any, batch: int) -> Sampler:
    """Sampling by the model itself: batches of like lengths, with the KV cache, until the end."""

    def sample(prompts: list[list[int]], decoding: Decoding, each: int) -> list[list[int]]:
        ends = end_token_ids(model, tokenizer)
        rng = torch.Generator(device=next(model.parameters()).device).manual_seed(decoding.seed)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        said: list[list[list[int]]] = [[] for _ in prompts]
        at_once = max(1, batch // each)
        for start in range(0, len(order), at_once):
            picked = order[start : start + at_once]
            rows = [prompts[i] for i in picked]
            new = generate_batch(model, rows, decoding, ends, tokenizer.pad_token_id, rng, each)
            for place, index in enumerate(picked):
                said[index] = new[place * each : (place + 1) * each]
        return [ids for answers in said for ids in answers]

    return sample


@torch.no_grad()
def observe(
    policy: Policy,
    prompts: list[list[int]],
    decoding: Decoding,
    sampler: Sampler,
    ends: set[int],
    limits: Limits,
    each: int = 1,
) -> Experience:
    """Answer each prompt `each` times, and score the answers as policy, reference and reward model.

    Every part is one packed forward within `limits`, longest trees first."""
    policy.eval()
    said = sampler(prompts, decoding, each)
    trees = [
        Tree(
            prompt[:-1],
            tuple(
                Encoded(prompt[-1:] + ids, [IGNORE, *ids])
                for ids in said[index * each : (index + 1) * each]
            ),
        )
        for index, prompt in enumerate(prompts)
    ]
    mask = right_mask([len(ids) for ids in said]).to(policy.scorer.device)
    shape = mask.shape
    found = {name: torch.zeros(shape, device=mask.device) for name in ("new", "old", "value")}
    reward = torch.zeros(len(said), device=mask.device)

    def score(part: list[int]) -> float:
        some = [trees[i] for i in part]
        at = torch.tensor([i * each + j for i in part for j in range(each)], device=mask.device)
        logps, values, hidden = policy(some)
        found["new"][at] = spread(logps, mask[at])
        found["value"][at] = spread(values, mask[at])
        with policy.playing("reference"):
            found["old"][at] = spread(policy(some)[0], mask[at])
        reward[at] = policy.rewards(some)
        return mean_entropy(hidden, policy.model) * len(hidden)

    entropy = sum(in_parts(range(len(trees)), lambda i: trees[i].tokens, limits, score))
    ended = torch.tensor([ids[-1] in ends for ids in said], device=mask.device)
    return Experience(
        trees, mask, found["new"], found["old"], found["value"], entropy / int(mask.sum()),
        reward, ended, said,
    )  # fmt: skip
