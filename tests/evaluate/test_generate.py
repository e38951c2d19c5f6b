"""Generated answers: those of transformers' own loop, one by one or in a batch, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from errata.evaluate.generate import Decoding, answers, end_token_ids, generate_batch
from errata.records import Message
from errata.train.model import load
from errata.train.turns import render

ASKED = [
    "Hi", "How much is the amber lamp?", "请给订单48213开退货单。", "你好！",
    "Where is order 12345, please? " * 4,
    "Is order 77 still under warranty?", "a", "b b b b b b b b b b b",
]  # fmt: skip
KINDS = [
    "llama",
    "gpt2",
    pytest.param("qwen3", marks=pytest.mark.slow),
    pytest.param("gemma2", marks=pytest.mark.slow),
    pytest.param("mistral", marks=pytest.mark.slow),
]


def prompts() -> list[list[Message]]:
    return [[Message(role="user", content=text)] for text in ASKED]


@pytest.mark.parametrize("kind", KINDS)
def test_a_greedy_batch_says_what_transformers_says_to_each_prompt_alone(
    tiny_models: Callable[[str], str], kind: str
):
    model, tokenizer = load(tiny_models(kind))
    model.eval()
    rows = [render(tokenizer, p, answer_next=True) for p in prompts()]
    ends = end_token_ids(model, tokenizer)
    found = generate_batch(model, rows, Decoding(20), ends, tokenizer.pad_token_id)

    for row, ids in zip(rows, found, strict=True):
        alone = model.generate(
            torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long),
            max_new_tokens=20, do_sample=False,
        )  # fmt: skip
        assert ids == alone[0, len(row) :].tolist()
    assert len({tuple(ids) for ids in found}) > 4  # the prompts matter


def test_answers_come_back_in_the_order_of_the_questions(tiny_models: Callable[[str], str]):
    model, tokenizer = load(tiny_models("llama"))
    seen: list[int] = []
    together = answers(model, tokenizer, prompts(), Decoding(12), batch=3, progress=seen.append)
    alone = [answers(model, tokenizer, [p], Decoding(12))[0] for p in prompts()]

    assert together == alone
    assert seen == [3, 6, 8]
    turned = answers(model, tokenizer, prompts()[::-1], Decoding(12))
    assert turned == alone[::-1]


def test_sampling_repeats_with_its_seed_and_differs_without(tiny_models: Callable[[str], str]):
    model, tokenizer = load(tiny_models("llama"))
    one, two, other = (
        answers(model, tokenizer, prompts(), Decoding(12, 1.0, seed)) for seed in (1, 1, 2)
    )

    assert one == two != other
    assert one != answers(model, tokenizer, prompts(), Decoding(12))


def test_sampling_follows_the_models_own_distribution(tiny_models: Callable[[str], str]):
    model, tokenizer = load(tiny_models("llama"))
    row = render(tokenizer, prompts()[0], answer_next=True)
    with torch.no_grad():
        expected = model(torch.tensor([row])).logits[0, -1].div(0.7).softmax(-1)
    rng = torch.Generator().manual_seed(0)
    drawn = generate_batch(model, [row] * 3000, Decoding(1, 0.7), {2}, 0, rng)
    likely = int(expected.argmax())
    share = sum(ids == [likely] for ids in drawn) / 3000

    assert share == pytest.approx(expected[likely].item(), abs=0.05)


def test_a_pad_that_the_model_says_is_not_an_end(tiny_models: Callable[[str], str]):
    model, tokenizer = load(tiny_models("llama"))
    model.eval()
    pad, wanted = tokenizer.pad_token_id, [0, 7, 9]
    script = iter([pad, 7, 9])

    class Scripted(torch.nn.Module):
        config = model.config

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids: Any, **_: Any) -> Any:
            self.logits = torch.zeros(len(input_ids), 1, len(tokenizer))
            self.logits[..., next(script)] = 1.0
            return self

    assert generate_batch(Scripted(), [[1, 5]], Decoding(3), {2}, pad) == [wanted]


def test_too_long_a_prompt_keeps_its_end_and_bos(
    tiny_models: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
):
    model, tokenizer = load(tiny_models("llama"))
    seen: list[list[int]] = []
    monkeypatch.setattr(
        "errata.evaluate.generate.generate_batch",
        lambda _, rows, *__: (seen.extend(rows), [[5]])[1],
    )
    answers(model, tokenizer, [[Message(role="user", content="lamp " * 2000)]], Decoding(12))

    assert len(seen[0]) == 512 - 12
    assert seen[0][0] == tokenizer.bos_token_id
    assert seen[0][-1] == tokenizer.convert_tokens_to_ids("<|assistant|>")


def test_a_model_in_training_mode_is_given_back_in_it(tiny_models: Callable[[str], str]):
    model, tokenizer = load(tiny_models("llama"))
    model.train()
    answers(model, tokenizer, prompts()[:1], Decoding(2))

    assert model.training
