"""PPO's experience: advantages against a naive loop, and where a rollout must start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.evaluate.generate import Decoding
from errata.train.logprobs import IGNORE, sequence_logps
from errata.train.model import add_lora, load, save_adapter
from errata.train.rollouts import Policy, advantages, as_reference, sample, token_rewards


def naive_gae(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """A_t = Σ_k (γλ)^k δ_{t+k}, δ_t = r_t + γ V_{t+1} − V_t, of one whole answer, term by term."""
    ahead = [*values[1:], 0.0]
    deltas = [r + gamma * n - v for r, n, v in zip(rewards, ahead, values, strict=True)]
    return [
        sum((gamma * lam) ** k * delta for k, delta in enumerate(deltas[t:]))
        for t in range(len(deltas))
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.sampled_from([0.5, 0.9, 1.0]),
    st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    st.integers(0, 10_000),
)
def test_advantages_are_those_of_each_answer_alone(
    lengths: list[int], gamma: float, lam: float, seed: int
):
    draw = torch.Generator().manual_seed(seed)
    width = max(lengths)
    mask = torch.zeros(len(lengths), width)
    for row, length in enumerate(lengths):
        mask[row, width - length :] = 1
    rewards, values = (torch.randn(mask.shape, generator=draw) * mask for _ in range(2))
    found, returns = advantages(rewards, values, mask, gamma, lam)

    for row, length in enumerate(lengths):
        picked = slice(width - length, None)
        told, seen = rewards[row, picked].tolist(), values[row, picked].tolist()
        expected = naive_gae(told, seen, gamma, lam)
        assert found[row, picked].tolist() == pytest.approx(expected, abs=1e-4)
        back = [a + v for a, v in zip(expected, seen, strict=True)]
        assert returns[row, picked].tolist() == pytest.approx(back, abs=1e-4)
        assert not found[row, : width - length].any()


class Scorer(torch.nn.Module):
    """A reward model that counts tokens: its score is a row's length over ten."""

    def forward(self, attention_mask: Any, **_: Any) -> Any:
        self.logits = attention_mask.sum(-1, keepdim=True) / 10
        return self


PROMPTS = [[1, 20, 30, 40], [1, 50], [1, 60, 70, 80, 90, 100]]


@pytest.fixture(scope="module")
def started(tiny_models: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes the base clearly."""
    torch.manual_seed(5)
    model, _ = load(tiny_models("llama"))
    model = add_lora(model, 4, 8, 0.0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(model, folder)
    return folder


def going_on(path: str, adapter: Path | None) -> tuple[Policy, Any]:
    """The policy as PPO's loop makes it."""
    torch.manual_seed(0)
    model, tokenizer = load(path)
    model = add_lora(model, 4, 8, 0.0, adapter)
    if adapter is not None:
        model.load_adapter(str(adapter), adapter_name="reference", is_trainable=False)
        model.set_adapter("default")
    return Policy(model), tokenizer


@pytest.mark.parametrize("with_adapter", [False, True])
def test_a_rollout_starts_at_its_reference_and_repeats(
    tiny_models: Callable[[str], str], started: Path, with_adapter: bool
):
    policy, tokenizer = going_on(tiny_models("llama"), started if with_adapter else None)
    decoding = Decoding(12, 1.0, 3)
    seen = sample(policy, Scorer(), tokenizer, PROMPTS, decoding)
    again = sample(policy, Scorer(), tokenizer, PROMPTS, decoding)

    assert seen.answers == again.answers
    assert abs(seen.kl) < 1e-4
    logps, values = policy(seen.batch, seen.mask.shape[1])
    ratio = ((logps - seen.logps) * seen.mask).exp()
    assert torch.allclose(ratio, torch.ones_like(ratio), atol=1e-5)
    assert not values.any()  # the value head starts at nothing
    assert seen.reward.tolist() == pytest.approx(
        (seen.batch["attention_mask"].sum(-1) / 10).tolist()
    )


def test_the_reference_is_the_adapter_the_run_started_from_and_stays_it(
    tiny_models: Callable[[str], str], started: Path
):
    policy, tokenizer = going_on(tiny_models("llama"), started)
    seen = sample(policy, Scorer(), tokenizer, PROMPTS, Decoding(8, 1.0, 1))
    with torch.no_grad(), policy.model.disable_adapter():
        base = sequence_logps(policy.model, seen.batch)
        before = seen.reference.sum(-1)
    assert (base - before).abs().min() > 0.1  # not the base

    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if weight.requires_grad and "lora_B" in name:
                assert ".default." in name
                weight.add_(0.1)
    with torch.no_grad(), as_reference(policy.model):
        after = sequence_logps(policy.model, seen.batch)
    moved = sequence_logps(policy.model, seen.batch)

    assert torch.allclose(after, before, atol=1e-4)
    assert (moved - before).abs().max() > 1e-2
    learning = {name for name, p in policy.named_parameters() if p.requires_grad}
    assert any(".default." in name for name in learning)
    assert all(".default." in name or name.startswith("value") for name in learning)


def test_labels_are_exactly_what_was_sampled_with_the_end_that_was_sampled(
    tiny_models: Callable[[str], str],
):
    policy, tokenizer = going_on(tiny_models("llama"), None)
    # A second end token, as Gemma and Llama-3 have: what the policy said must be what is scored.
    policy.model.generation_config.eos_token_id = [tokenizer.eos_token_id, 300, 301, 302, 303, 304]
    seen = sample(policy, Scorer(), tokenizer, PROMPTS * 8, Decoding(40, 1.5, 2))

    last = seen.batch["labels"][:, -1].tolist()
    ends = {tokenizer.eos_token_id, 300, 301, 302, 303, 304}
    assert [token in ends for token in last] == seen.ended.tolist()
    assert {300, 301, 302, 303, 304} & set(last)
    for row in seen.batch["labels"]:
        said = row[row != IGNORE].tolist()
        assert not ends & set(said[:-1])


def test_the_score_lies_on_the_last_token_and_no_end_costs(tiny_models: Callable[[str], str]):
    policy, tokenizer = going_on(tiny_models("llama"), None)
    seen = sample(policy, Scorer(), tokenizer, PROMPTS, Decoding(4, 1.0, 1))
    seen.ended = torch.tensor([True, False, True])
    seen.reference = seen.logps - 0.5 * seen.mask  # half a nat away at each token
    rewards = token_rewards(seen, coefficient=0.2, missing_end=2.0)

    length = seen.mask.sum(-1)
    expected = seen.reward - torch.tensor([0.0, 2.0, 0.0]) - 0.2 * 0.5 * length
    assert torch.allclose(rewards.sum(-1), expected, atol=1e-4)
    assert torch.allclose(rewards[:, 0], -0.1 * seen.mask[:, 0], atol=1e-4)
    assert seen.kl == pytest.approx(0.5 * length.mean().item(), abs=1e-4)
