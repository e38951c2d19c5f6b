"""PPO's experience: advantages against a naive loop, and where a rollout must start."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.evaluate.generate import Decoding, end_token_ids
from errata.train.logprobs import ready
from errata.train.model import add_lora, load, save_adapter, with_adapter
from errata.train.packing import IGNORE, Limits
from errata.train.rollouts import (
    Experience,
    Policy,
    ValueHead,
    advantages,
    local_sampler,
    observe,
    repetition,
    right_mask,
    spread,
    token_rewards,
)


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


PROMPTS = [[1, 20, 30, 40], [1, 50], [1, 60, 70, 80, 90, 100]]


def test_flat_values_find_their_places():
    mask = right_mask([2, 3, 1])
    assert mask.tolist() == [[False, True, True], [True, True, True], [False, False, True]]
    laid = spread(torch.arange(1.0, 7.0), mask)
    assert laid.tolist() == [[0, 1, 2], [3, 4, 5], [0, 0, 6]]
    assert laid[mask].tolist() == [1, 2, 3, 4, 5, 6]


def test_repetition_is_the_share_of_grams_said_before():
    assert repetition([[1, 2, 3, 4, 5]]) == 0
    assert repetition([[7, 7, 7, 7, 7, 7]]) == pytest.approx(0.75)  # 4 grams, 1 of them new
    assert repetition([[1, 2], [3]]) == 0  # too short to repeat


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
    """The policy as PPO's loop makes it, with the first hidden number as its reward."""
    torch.manual_seed(0)
    model, tokenizer = load(path)
    if adapter is None:
        model = add_lora(model, 4, 8, 0.0)
    else:
        model = with_adapter(model, adapter, True)
        model.load_adapter(str(adapter), adapter_name="reference", is_trainable=False)
        model.set_adapter("default")
    score = torch.zeros(1, model.config.hidden_size)
    score[0, 0] = 1.0
    return Policy(ready(model, tokenizer.pad_token_id, 256), score), tokenizer


def seen_by(
    policy: Policy, tokenizer: Any, decoding: Decoding, prompts: list[list[int]] = PROMPTS
) -> Experience:
    """One rollout, in parts of at most 40 tokens."""
    ends = end_token_ids(policy.model, tokenizer)
    sampler = local_sampler(policy.model, tokenizer, 64)
    return observe(policy, prompts, decoding, sampler, ends, Limits(8, 40))


@pytest.mark.parametrize("with_adapter_", [False, True])
def test_a_rollout_starts_at_its_reference_and_repeats(
    tiny_models: Callable[[str], str], started: Path, with_adapter_: bool
):
    policy, tokenizer = going_on(tiny_models("llama"), started if with_adapter_ else None)
    decoding = Decoding(12, 1.0, 3)
    seen, again = seen_by(policy, tokenizer, decoding), seen_by(policy, tokenizer, decoding)

    assert seen.answers == again.answers
    assert abs(seen.kl) < 1e-4
    assert 0 < seen.entropy <= math.log(policy.model.config.vocab_size)
    logps, values, _ = policy(seen.trees)
    assert torch.allclose(logps, seen.logps[seen.mask], atol=1e-5)
    assert not values.any()  # the value head starts at nothing
    # One row alone, by the model's own forward, its adapter off: what the reward model sees.
    row = seen.trees[0].prefix + seen.trees[0].branches[0].ids
    with torch.no_grad(), policy.playing("reward"):
        alone = policy.model(input_ids=torch.tensor([row]), output_hidden_states=True)
    assert seen.reward[0].item() == pytest.approx(
        alone.hidden_states[-1][0, -1, 0].item(), abs=1e-4
    )


def test_the_reference_is_the_adapter_the_run_started_from_and_stays_it(
    tiny_models: Callable[[str], str], started: Path
):
    policy, tokenizer = going_on(tiny_models("llama"), started)
    seen = seen_by(policy, tokenizer, Decoding(8, 1.0, 1))
    with torch.no_grad(), policy.model.disable_adapter():
        base = policy.scorer.sequence_logps(seen.trees)
    before = seen.reference.sum(-1)
    assert (base - before).abs().min() > 0.1  # not the base

    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if weight.requires_grad and "lora_B" in name:
                assert ".default." in name
                weight.add_(0.1)
    with torch.no_grad(), policy.playing("reference"):
        after = policy.scorer.sequence_logps(seen.trees)
    moved = policy.scorer.sequence_logps(seen.trees)

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
    seen = seen_by(policy, tokenizer, Decoding(40, 1.5, 2), PROMPTS * 8)

    ends = {tokenizer.eos_token_id, 300, 301, 302, 303, 304}
    assert [said[-1] in ends for said in seen.answers] == seen.ended.tolist()
    assert {300, 301, 302, 303, 304} & {said[-1] for said in seen.answers}
    for tree, said in zip(seen.trees, seen.answers, strict=True):
        assert [x for x in tree.branches[0].labels if x != IGNORE] == said
        assert not ends & set(said[:-1])


def test_the_score_lies_on_the_last_token_and_no_end_costs(tiny_models: Callable[[str], str]):
    policy, tokenizer = going_on(tiny_models("llama"), None)
    seen = seen_by(policy, tokenizer, Decoding(4, 1.0, 1))
    seen.ended = torch.tensor([True, False, True])
    seen.reference = seen.logps - 0.5 * seen.mask  # half a nat away at each token
    rewards = token_rewards(seen, coefficient=0.2, missing_end=2.0)

    length = seen.mask.sum(-1)
    expected = seen.reward - torch.tensor([0.0, 2.0, 0.0]) - 0.2 * 0.5 * length
    assert torch.allclose(rewards.sum(-1), expected, atol=1e-4)
    assert torch.allclose(rewards[:, 0], -0.1 * seen.mask[:, 0], atol=1e-4)
    assert seen.kl == pytest.approx(0.5 * length.float().mean().item(), abs=1e-4)


def test_answers_that_share_a_prompt_are_drawn_and_scored_as_if_each_had_its_own(
    tiny_models: Callable[[str], str],
):
    """One pass over the prompt for all of its answers changes no answer and no number."""
    policy, tokenizer = going_on(tiny_models("llama"), None)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:  # adapters that do something
                parameter.add_(0.05)
    ends = end_token_ids(policy.model, tokenizer)
    sampler = local_sampler(policy.model, tokenizer, 64)
    decoding = Decoding(12, 1.0, 3)
    repeated = [prompt for prompt in PROMPTS for _ in range(3)]

    shared = observe(policy, PROMPTS, decoding, sampler, ends, Limits(2, 200), 3)
    alone = observe(policy, repeated, decoding, sampler, ends, Limits(4, 90))

    assert shared.answers == alone.answers
    assert len({tuple(ids) for ids in shared.answers}) > len(PROMPTS)
    assert [len(tree.branches) for tree in shared.trees] == [3] * len(PROMPTS)
    for name in ("mask", "logps", "reference", "values", "reward"):
        ours, theirs = getattr(shared, name), getattr(alone, name)
        assert torch.allclose(ours.float(), theirs.float(), atol=1e-4), name
    assert shared.entropy == pytest.approx(alone.entropy, abs=1e-4)
    assert shared.rows([1]) == [3, 4, 5]


def test_values_are_in_units_of_the_rewards_whatever_the_width():
    """mean + deviation · (w · h) / H; two rewards 1 and 5 have mean 3 and deviation √8."""
    head = ValueHead(4)
    head.scale(torch.tensor([1.0, 5.0]))
    with torch.no_grad():
        head.weight.fill_(1.0)

    assert head(torch.full((1, 4), 2.0)).item() == pytest.approx(3 + math.sqrt(8) * 2)
    head.scale(torch.tensor([2.0, 2.0]))  # rewards that are all the same have no deviation
    assert head(torch.full((1, 4), 2.0)).item() == pytest.approx(2 + 2)
