"""Whoever joins or leaves the batch, an answer is the one that its prompt gets alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from errata.errors import BadInput
from errata.evaluate.generate import Decoding, generate_batch
from errata.serve.batch import Batch, Draw, draw
from errata.serve.batching import Ask, Batcher, Full, Row, Unknown
from errata.serve.lora import Adapters
from errata.train.model import load, with_adapter

LONG = 30.0


class Heard:
    """What one request heard, and when it was over."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.finish: str | None = None
        self.over, self.begun = threading.Event(), threading.Event()

    def __call__(self, piece: str, finish: str | None) -> None:
        self.pieces.append(piece)
        self.begun.set()
        if finish is not None:
            self.finish = finish
            self.over.set()

    @property
    def text(self) -> str:
        assert self.over.wait(LONG)
        return "".join(self.pieces)


class Desk:
    """A batcher, and what its model says of a prompt alone."""

    def __init__(self, path: str, rows: int = 4, waiting: int = 100) -> None:
        self.path = path
        self.model, self.tokenizer = load(path)
        self.batcher = Batcher(self.model, self.tokenizer, rows, waiting)

    def ask(self, ids: list[int], most: int = 12, **more: Any) -> tuple[Row, Heard]:
        heard = Heard()
        return self.batcher.submit(Ask(ids, most, **more), heard), heard

    def alone(self, ids: list[int], most: int = 12, adapter: Path | None = None,
              decoding: Decoding | None = None) -> list[int]:  # fmt: skip
        model = load(self.path)[0].eval()
        if adapter is not None:
            model = with_adapter(model, adapter, False).eval()
        how = decoding or Decoding(most)
        rng = torch.Generator().manual_seed(how.seed)
        return generate_batch(model, [ids], how, self.batcher.ends, 0, rng)[0]

    def prompts(self, count: int, seed: int = 0) -> list[list[int]]:
        """Ids of different lengths, without an end token among them."""
        rng = Random(seed)
        return [[rng.randrange(20, 400) for _ in range(rng.randrange(2, 40))] for _ in range(count)]


@pytest.fixture(params=["llama", "mistral", "gemma2", "qwen3", "gpt2"])
def desk(request: pytest.FixtureRequest, tiny_models: Callable[[str], str]) -> Iterator[Desk]:
    made = Desk(tiny_models(request.param))
    yield made
    made.batcher.stop()


@pytest.fixture
def llama(tiny_models: Callable[[str], str]) -> Iterator[Desk]:
    made = Desk(tiny_models("llama"))
    yield made
    made.batcher.stop()


def test_greedy_answers_are_those_of_the_prompt_alone_whatever_joins(desk: Desk):
    """Sixteen requests of all lengths through four rows: each joins a batch that is under way,
    and outlives some of its rows."""
    prompts = desk.prompts(16)
    most = [3 + place * 2 for place in range(16)]
    asked = [desk.ask(ids, n) for ids, n in zip(prompts, most, strict=True)]

    for (row, heard), ids, n in zip(asked, prompts, most, strict=True):
        assert heard.over.wait(LONG)
        assert row.said == desk.alone(ids, n)
    assert desk.batcher.row_steps > 1.5 * desk.batcher.steps  # they really ran together


def test_each_row_of_one_batch_has_its_own_adapter(llama: Desk, two_adapters: list[Path]):
    for place, folder in enumerate(two_adapters):
        llama.batcher.load(f"a-{place}", folder).result(LONG)
    prompts = llama.prompts(9, seed=1)
    names = ["", "a-0", "a-1"] * 3
    asked = [llama.ask(ids, adapter=name) for ids, name in zip(prompts, names, strict=True)]

    for (row, heard), ids, name in zip(asked, prompts, names, strict=True):
        assert heard.over.wait(LONG)
        folder = two_adapters[int(name[-1])] if name else None
        assert row.said == llama.alone(ids, adapter=folder)
    answers = [llama.alone(prompts[0], adapter=folder) for folder in (None, *two_adapters)]
    assert len(set(map(tuple, answers))) == 3


def test_an_adapter_of_gpt2s_transposed_layers_adds_the_same(
    tiny_models: Callable[[str], str], adapter: Callable[[str], Path]
):
    path = tiny_models("gpt2")
    folder = adapter(path)
    desk = Desk(path)
    desk.batcher.load("a", folder).result(LONG)
    ids = desk.prompts(1)[0]
    row, heard = desk.ask(ids, adapter="a")

    assert heard.over.wait(LONG)
    assert row.said == desk.alone(ids, adapter=folder) != desk.alone(ids)
    desk.batcher.stop()


def test_a_sampled_answer_depends_on_its_seed_and_not_on_who_else_is_there(llama: Desk):
    ids = llama.prompts(1)[0]
    crowd = [llama.ask(other, 20, draw=Draw(1.5, 0.9, 5)) for other in llama.prompts(6, seed=3)]
    row, heard = llama.ask(ids, 15, draw=Draw(1.0, 1.0, 7))
    again, heard_again = llama.ask(ids, 15, draw=Draw(1.0, 1.0, 7))
    other, heard_other = llama.ask(ids, 15, draw=Draw(1.0, 1.0, 8))

    assert all(one.over.wait(LONG) for _, one in [*crowd, (0, heard), (0, heard_again)])
    assert heard_other.over.wait(LONG)
    assert row.said == again.said == llama.alone(ids, decoding=Decoding(15, 1.0, seed=7))
    assert other.said != row.said


def test_top_p_draws_from_the_fewest_tokens_that_have_it():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]] * 400))
    seen = {p: set(draw(logits, [Draw(1.0, p, seed) for seed in range(400)]))
            for p in (0.4, 0.6, 0.9, 1.0)}  # fmt: skip

    assert seen == {0.4: {0}, 0.6: {0, 1}, 0.9: {0, 1, 2}, 1.0: {0, 1, 2, 3}}


def test_shares_of_what_is_drawn_are_the_models():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]] * 4000))
    drawn = torch.tensor(draw(logits, [Draw(1.0, 1.0, seed) for seed in range(4000)]))

    shares = drawn.bincount(minlength=4) / 4000
    assert torch.allclose(shares, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.03)


def test_who_has_gone_leaves_his_row_to_the_next(tiny_models: Callable[[str], str]):
    desk = Desk(tiny_models("llama"), rows=1)
    row, heard = desk.ask(desk.prompts(1)[0], 400)
    waiting, never = desk.ask(desk.prompts(1)[0], 400)
    assert heard.begun.wait(LONG)
    desk.batcher.cancel(waiting)
    desk.batcher.cancel(row)
    last, heard_last = desk.ask(desk.prompts(2)[1], 5)

    assert heard_last.over.wait(LONG)
    assert last.said == desk.alone(desk.prompts(2)[1], 5)
    assert len(row.said) < 400
    assert waiting.said == []
    assert not never.over.is_set()
    desk.batcher.stop()


def test_one_more_than_may_wait_is_refused_at_once(tiny_models: Callable[[str], str]):
    desk = Desk(tiny_models("llama"), rows=1, waiting=2)
    ids = desk.prompts(1)[0]
    asked = []
    with pytest.raises(Full, match="wait already"):
        for _ in range(50):
            asked.append(desk.ask(ids, 400))

    assert 3 <= len(asked) < 50
    for row, _ in asked:
        desk.batcher.cancel(row)
    desk.batcher.stop()


def test_rows_that_would_not_fit_in_the_cache_wait_for_each_other(llama: Desk):
    llama.batcher.max_cells = 100
    prompts = llama.prompts(8)
    asked = [llama.ask(ids, 10) for ids in prompts]

    for (row, heard), ids in zip(asked, prompts, strict=True):
        assert heard.over.wait(LONG)
        assert row.said == llama.alone(ids, 10)
    llama.batcher.max_cells = 1
    row, heard = llama.ask(prompts[0], 10)  # alone it is answered all the same
    assert heard.over.wait(LONG)
    assert llama.batcher.row_steps < 3 * llama.batcher.steps


def test_an_adapter_leaves_when_its_last_row_is_done(llama: Desk, two_adapters: list[Path]):
    batcher = llama.batcher
    batcher.load("a", two_adapters[0]).result(LONG)
    row, heard = llama.ask(llama.prompts(1)[0], 60, adapter="a")
    batcher.unload("a")
    with pytest.raises(Unknown):
        llama.ask([30], adapter="a")

    assert heard.over.wait(LONG)
    assert row.said == llama.alone(llama.prompts(1)[0], 60, two_adapters[0])
    batcher.load("other", two_adapters[1]).result(LONG)  # orders are obeyed in turn
    assert batcher.loaded == {"other"}
    assert set(batcher.batch.adapters.pairs) == {"other"}
    with pytest.raises(Unknown):
        llama.ask([30], adapter="never")


def test_an_adapter_of_another_base_is_refused_and_changes_nothing(
    llama: Desk,
    tiny_models: Callable[[str], str],
    adapter: Callable[[str], Path],
    tmp_path: Path,
):
    other = adapter(tiny_models("gpt2"))
    with pytest.raises(BadInput, match="another base"):
        llama.batcher.load("a", other).result(LONG)
    with pytest.raises(BadInput, match="cannot be read"):
        llama.batcher.load("a", tmp_path).result(LONG)
    ids = llama.prompts(1)[0]
    row, heard = llama.ask(ids)

    assert heard.over.wait(LONG)
    assert row.said == llama.alone(ids)
    assert llama.batcher.loaded == set()


@pytest.mark.parametrize("kind", ["dora", "numbers", "prompt"])
def test_what_is_more_than_lora_or_no_numbers_is_refused(
    tiny_models: Callable[[str], str], tmp_path: Path, kind: str
):
    from peft import LoraConfig, PromptTuningConfig, get_peft_model

    model = load(tiny_models("llama"))[0]
    config: Any = LoraConfig(r=2, target_modules=["q_proj"], use_dora=kind == "dora")
    if kind == "prompt":
        config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    made = get_peft_model(model, config)
    if kind == "numbers":
        with torch.no_grad():
            next(w for n, w in made.named_parameters() if "lora_A" in n).fill_(float("nan"))
    made.save_pretrained(str(tmp_path))
    plain = load(tiny_models("llama"))[0]
    wrong = {"dora": "more than LoRA", "numbers": "diverged", "prompt": "not LoRA"}[kind]

    with pytest.raises(BadInput, match=wrong):
        Adapters(plain).load("a", tmp_path)


def test_scaling_by_pattern_and_by_root_is_as_peft_has_it(
    tiny_models: Callable[[str], str], tmp_path: Path
):
    from peft import LoraConfig, get_peft_model

    path = tiny_models("llama")
    config = LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "up_proj"],
                        alpha_pattern={"up_proj": 3}, rank_pattern={"q_proj": 2})  # fmt: skip
    made = get_peft_model(load(path)[0], config).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
    made.save_pretrained(str(tmp_path))
    ids = torch.tensor([[30, 40, 50]])
    plain = load(path)[0].eval()
    adapters = Adapters(plain)
    adapters.load("a", tmp_path)

    with torch.inference_mode(), adapters.rows(["a"]):
        mine = plain(input_ids=ids).logits
        theirs = made(input_ids=ids).logits
    assert torch.allclose(mine, theirs, atol=1e-4)


def test_a_step_that_fails_is_told_and_the_next_requests_are_answered(
    llama: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    real = Batch.step

    def fails(*_: Any) -> list[int]:
        monkeypatch.setattr(Batch, "step", real)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Batch, "step", fails)
    _, heard = llama.ask(llama.prompts(1)[0])
    assert heard.over.wait(LONG)
    assert heard.finish == "error"
    row, again = llama.ask(llama.prompts(1)[0])

    assert again.over.wait(LONG)
    assert row.said == llama.alone(llama.prompts(1)[0])
    assert "out of memory" in capfd.readouterr().err


def test_a_batcher_that_ends_leaves_nobody_waiting(
    tiny_models: Callable[[str], str], two_adapters: list[Path]
):
    desk = Desk(tiny_models("llama"), rows=1)
    heard = [desk.ask(desk.prompts(1)[0], 400)[1] for _ in range(3)]
    desk.batcher.stop()

    assert [one.finish for one in heard] == ["error"] * 3
    assert desk.batcher.load("a", two_adapters[0]).cancelled()
    with pytest.raises(Full):
        desk.ask([30])


def test_a_state_that_no_two_rows_can_share_is_refused(tiny_models: Callable[[str], str]):
    from transformers import MambaConfig, MambaForCausalLM

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 64, "state_size": 4}
    with pytest.raises(BadInput, match="mamba"):
        Batch(MambaForCausalLM(MambaConfig(**shape)), 0, 4)


def test_text_that_is_heard_is_what_evaluation_reads(llama: Desk):
    row, heard = llama.ask(llama.prompts(1)[0], 40)

    text = heard.text
    whole = llama.tokenizer.decode(row.said, skip_special_tokens=True).strip()
    assert text == (whole.rstrip("\ufffd").rstrip() if heard.finish == "length" else whole)
    assert len(heard.pieces) > 5
